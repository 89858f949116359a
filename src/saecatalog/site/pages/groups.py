"""The view models of categories and concepts: which features distinguish them, with the counts behind each claim.

In: a `Catalog`. Out: plain values for the templates and the charts of the heatmaps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from saecatalog.names import slug
from saecatalog.site import charts
from saecatalog.site.catalog import Catalog, FeatureRef, GroupRef, TextRef, pick
from saecatalog.site.charts import Heatmap
from saecatalog.site.feature_rows import FeatureRows
from saecatalog.site.heatmap_data import HeatmapNames, ScoreRows
from saecatalog.site.records import Groups, Row, rows
from saecatalog.site.tokens import shorten

SHOWN = 20
FREQUENT = 40
NOTABLE = 84
CONCEPT_RANKINGS = {
    "contrast": "Highest contrast",
    "consistent": "Most consistent",
    "strong": "Strongest on average",
}


@dataclass(frozen=True)
class Entry:
    """A feature in a category's or concept's ranking; `row` has the counts, and `value` is what it is ranked by."""

    place: int
    ref: FeatureRef
    row: Row
    value: float


@dataclass(frozen=True)
class HeatTable:
    """The mean scores of features in categories, as numbers and as steps of the colour scale (0 to 9)."""

    categories: list[GroupRef]
    rows: list[tuple[FeatureRef, list[tuple[float, int]]]]


def categories(catalog: Catalog, by_feature: FeatureRows, scores: ScoreRows, names: HeatmapNames) -> dict[str, Any]:
    """The overview: each category with its specialists, the categories without any, and two heatmaps.

    `by_feature` and `scores` have the features of `heatmap_features`.
    """
    counts = specialist_counts(catalog)
    held_out = {row.category: row for row in rows(catalog.tables["held_out"])}
    found = [(ref, counts.get(ref.name, 0), specialists(catalog, by_feature, ref.name)) for ref in catalog.categories]
    frequent = heat_table(catalog, by_feature, frequent_features(catalog))
    notable = heat_table(catalog, by_feature, notable_features(catalog))
    return {
        "groups": found,
        "held_out": held_out,
        "without": [ref for ref, count, _ in found if not count],
        "frequent": heatmap(scores, frequent, names, "frequent-features"),
        "frequent_table": frequent,
        "notable": heatmap(scores, notable, names, "notable-features"),
        "notable_table": notable,
        "shown_texts": len(scores.texts),
        "all_texts": scores.all_texts,
    }


def category(
    catalog: Catalog, ref: GroupRef, by_feature: FeatureRows, scores: ScoreRows, names: HeatmapNames
) -> dict[str, Any]:
    """One category: its specialists, its common features, and how they score on all texts."""
    special = specialists(catalog, by_feature, ref.name)
    common = entries(catalog, by_feature.of("categories"), f"common:{ref.name}", "category", ref.name)
    table = heat_table(catalog, by_feature, [entry.ref.number for entry in special or common])
    return {
        "category": ref,
        "note": catalog.note("category", ref.name),
        "specialists": special,
        "specialist_count": specialist_counts(catalog).get(ref.name, 0),
        "held_out": next(iter(catalog.by("held_out", "category")[ref.name]), None),
        "common": common,
        "shown_kind": "Specialists" if special else "Common features",
        "heatmap": heatmap(scores, table, names, f"category-{slug(ref.name)}") if table.rows else None,
        "heat_table": table,
        "examples": _examples(catalog, by_feature, special, ref.name),
        "shown_texts": len(scores.texts),
        "all_texts": scores.all_texts,
    }


def concepts(catalog: Catalog) -> dict[str, Any]:
    """The overview of concepts, each with its best features by each of the three rankings."""
    return {
        "concepts": [
            {"ref": ref, **{kind: _concept_entries(catalog, kind, ref.name)[:3] for kind in CONCEPT_RANKINGS}}
            for ref in catalog.concepts
        ]
    }


def concept(catalog: Catalog, ref: GroupRef) -> dict[str, Any]:
    """One concept: its features by each of the three rankings."""
    lists = [(kind, words, _concept_entries(catalog, kind, ref.name)) for kind, words in CONCEPT_RANKINGS.items()]
    return {
        "concept": ref,
        "note": catalog.note("concept", ref.name),
        "lists": lists,
        "texts": catalog.by("concept_texts", "concept")[ref.name],
    }


def specialists(catalog: Catalog, by_feature: FeatureRows, name: str) -> list[Entry]:
    """The specialists of a category, best first."""
    return entries(catalog, by_feature.of("categories"), f"specialist:{name}", "category", name)


def entries(catalog: Catalog, by_feature: Groups, ranking: str, column: str, name: str) -> list[Entry]:
    """The first features of a ranking with their rows; `by_feature` has one row per feature and name."""
    found = []
    for ranked in catalog.rankings[ranking][:SHOWN]:
        row = pick(by_feature[ranked.feature], column, name)
        if row is not None:
            found.append(Entry(ranked.rank + 1, catalog.ref(ranked.feature), row, ranked.value))
    return found


def frequent_features(catalog: Catalog) -> list[int]:
    """The features active in the most texts; the smaller index breaks ties."""
    frame = catalog.tables["features"].sort_values(["n_texts_active", "feature"], ascending=[False, True])
    found: list[int] = frame["feature"].head(FREQUENT).tolist()
    return found


def notable_features(catalog: Catalog) -> list[int]:
    """Notable features for the heatmap: the first specialists of each category, then the strongest."""
    share = max(2, NOTABLE // max(1, len(catalog.categories)))
    special = [r.feature for ref in catalog.categories for r in catalog.rankings[f"specialist:{ref.name}"][:share]]
    frame = catalog.tables.features.loc[catalog.paged].sort_values("max", ascending=False, kind="stable")
    rest = frame["feature"].head(NOTABLE).tolist()
    return [number for number in dict.fromkeys(special + rest) if catalog.ref(number).page][:NOTABLE]


def specialist_counts(catalog: Catalog) -> dict[str, int]:
    """How many specialists each category has, over all features of the SAE."""
    frame = catalog.tables.read("categories", ["category", "balanced_score"])
    found = frame.loc[frame["balanced_score"] > 0, "category"].value_counts()
    return {str(name): int(count) for name, count in found.items()}


def heatmap_features(catalog: Catalog, refs: Iterable[GroupRef], overview: bool) -> set[int]:
    """Every feature in a heatmap on the pages of these categories and, if `overview`, on the overview."""
    found = {*frequent_features(catalog), *notable_features(catalog)} if overview else set()
    for ref in [*refs, *(catalog.categories if overview else ())]:
        for kind in ("specialist", "common"):
            found |= {row.feature for row in catalog.rankings[f"{kind}:{ref.name}"][:SHOWN]}
    return found


def heatmap(scores: ScoreRows, table: HeatTable, names: HeatmapNames, source: str) -> Heatmap:
    """A heatmap of the features of a table x texts, grouped by category; its static picture shows the table's means."""
    features = [ref.number for ref, _ in table.rows]
    names.add(features)
    labels = [f"{ref.number} {ref.label}".rstrip() for ref, _ in table.rows]
    means = [[value for value, _ in cells] for _, cells in table.rows]
    texts = list(map(names.text, scores.texts))
    return charts.scores(features, scores.bands, texts, scores.of(features), labels, means, source)


def heat_table(catalog: Catalog, by_feature: FeatureRows, features: list[int]) -> HeatTable:
    """The mean score of each feature in each category; each row is coloured relative to its own largest mean."""
    table = []
    for number in features:
        means = {row.category: row.mean_inside for row in by_feature.of("categories")[number]}
        values = [float(means.get(ref.name, 0.0)) for ref in catalog.categories]
        largest = max([*values, 0.0]) or 1.0
        table.append((catalog.ref(number), [(v, round(9 * v / largest)) for v in values]))
    return HeatTable(catalog.categories, table)


def _concept_entries(catalog: Catalog, kind: str, name: str) -> list[Entry]:
    return entries(catalog, catalog.by("concepts", "feature"), f"{kind}:{name}", "concept", name)


def _examples(
    catalog: Catalog, by_feature: FeatureRows, special: list[Entry], name: str
) -> list[tuple[FeatureRef, TextRef, str]]:
    """For the first specialists, the category's text on which each is strongest."""
    found = []
    for entry in special[:5]:
        contexts = by_feature.of("contexts")[entry.ref.number]
        best = next((c for c in contexts if c.band == "top" and c.category == name), None)
        if best is not None:
            content = shorten(catalog.texts[best.text].content, 160)
            found.append((entry.ref, catalog.text_ref(best.text, best.category), content))
    return found
