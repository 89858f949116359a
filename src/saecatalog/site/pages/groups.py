"""The view models of categories and concepts: which features distinguish them, with the counts behind each claim.

In: a `Catalog`. Out: plain values for the templates and the charts of the heatmaps.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saecatalog.constants import MANY_CATEGORIES, WEAK_SPECIALIST
from saecatalog.names import slug
from saecatalog.site import charts
from saecatalog.site.catalog import Catalog, FeatureRef, GroupRef, TextRef
from saecatalog.site.charts import Heatmap
from saecatalog.site.feature_rows import FeatureRows
from saecatalog.site.heatmap_data import HeatmapNames, Means, ScoreRows
from saecatalog.site.records import Row, rows
from saecatalog.site.tokens import shorten

CONTEXT_COLUMNS = ("feature", "rank", "text", "category", "band")
"""The columns that are read of the contexts."""
SHOWN = 20
FREQUENT = 40
NOTABLE = 84
CATEGORY_RANKINGS = ("specialist", WEAK_SPECIALIST, "common")
CONCEPT_RANKINGS = {
    "contrast": "Features of this concept",
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


class RankedRows:
    """The rows of `categories` or `concepts` that a page of rankings shows, for the first `SHOWN` of each ranking."""

    def __init__(self, catalog: Catalog, table: str, column: str, kinds: Collection[str]):
        ranked = catalog.tables["rankings"]
        kind, name = (ranked["ranking"].str.partition(":")[part] for part in (0, 2))
        shown = kind.isin(kinds) & (ranked["rank"] < SHOWN)
        wanted = pd.MultiIndex.from_arrays([name[shown].astype(object), ranked["feature"][shown]])
        # The columns that identify a row first: the others are read only where they are needed.
        keys = catalog.tables.read(table, [column, "feature"])
        where = pd.MultiIndex.from_frame(keys).isin(wanted)
        found = rows(catalog.tables.read(table, where=where))
        self._rows = {(getattr(row, column), row.feature): row for row in found}
        self._catalog = catalog

    def entries(self, kind: str, name: str, most: int = SHOWN) -> list[Entry]:
        """The first features of the ranking `<kind>:<name>` with their rows."""
        return [
            Entry(ranked.rank + 1, self._catalog.ref(ranked.feature), self._rows[name, ranked.feature], ranked.value)
            for ranked in self._catalog.rankings.first(f"{kind}:{name}", most)
            if (name, ranked.feature) in self._rows
        ]


@dataclass(frozen=True)
class CategoryData:
    """What the pages of categories read: the ranked rows, and the rows, means and text scores of `heatmap_features`."""

    ranked: RankedRows
    by_feature: FeatureRows
    means: Means
    scores: ScoreRows

    @classmethod
    def of(cls, catalog: Catalog, refs: Iterable[GroupRef], overview: bool) -> "CategoryData":
        """The data for the pages of these categories and, if `overview`, for the overview."""
        shown = heatmap_features(catalog, refs, overview)
        ranked = RankedRows(catalog, "categories", "category", CATEGORY_RANKINGS)
        return cls(ranked, FeatureRows(catalog.tables, shown), Means(catalog, shown), ScoreRows(catalog, shown))


def categories_list(catalog: Catalog, data: CategoryData, refs: Sequence[GroupRef]) -> dict[str, Any]:
    """A page of the list of categories: those in `refs`, each with its best specialist, and which have none at all."""
    evidence = catalog.evidence
    sure = {name: counts["clear"] + counts["moderate"] for name, counts in evidence.items()}
    return {
        "groups": [(ref, evidence[ref.name], specialists(data.ranked, ref.name)[:1]) for ref in refs],
        "total": len(catalog.categories),
        "held_out": {ref.name: catalog.by("held_out", "category")[ref.name][0] for ref in refs},
        "without": [ref for ref in catalog.categories if not any(evidence[ref.name].values())],
        "only_weak": [ref for ref in catalog.categories if evidence[ref.name]["weak"] and not sure[ref.name]],
        "most": MANY_CATEGORIES,
    }


def categories_heatmaps(catalog: Catalog, data: CategoryData, names: HeatmapNames) -> dict[str, Any]:
    """The two heatmaps of the overview, of the largest categories if there are many."""
    refs, scores = catalog.largest_categories, data.scores
    frequent = heat_table(catalog, data.means, frequent_features(catalog), refs)
    notable = heat_table(catalog, data.means, notable_features(catalog), refs)
    return {
        "frequent": heatmap(scores, frequent, names, "frequent-features"),
        "frequent_table": frequent,
        "notable": heatmap(scores, notable, names, "notable-features"),
        "notable_table": notable,
        "shown_texts": len(scores.places(refs)),
        "all_texts": scores.n_texts(refs),
        "shown_categories": len(refs),
    }


def category(catalog: Catalog, ref: GroupRef, data: CategoryData, names: HeatmapNames) -> dict[str, Any]:
    """One category: its specialists, its common features, and how they score on all texts."""
    special, common = specialists(data.ranked, ref.name), data.ranked.entries("common", ref.name)
    features = [entry.ref.number for entry in special or common]
    shown = data.means.most_active(features, ref, MANY_CATEGORIES)
    table = heat_table(catalog, data.means, features, shown)
    return {
        "category": ref,
        "note": catalog.note("category", ref.name),
        "specialists": [entry for entry in special if entry.row.evidence != "weak"],
        "weak": [entry for entry in special if entry.row.evidence == "weak"],
        "counts": catalog.evidence[ref.name],
        "held_out": next(iter(catalog.by("held_out", "category")[ref.name]), None),
        "common": common,
        "shown_kind": "Specialists" if special else "Common features",
        "heatmap": heatmap(data.scores, table, names, f"category-{slug(ref.name)}") if table.rows else None,
        "heat_table": table,
        "examples": _examples(catalog, data.by_feature, special, ref.name),
        "shown_texts": len(data.scores.places(shown)),
        "all_texts": data.scores.n_texts(shown),
        "shown_categories": len(shown),
        "total": len(catalog.categories),
    }


def specialists(ranked: RankedRows, category: str) -> list[Entry]:
    """The first specialists of a category: those with clear evidence, then moderate, then weak."""
    return [*ranked.entries("specialist", category), *ranked.entries(WEAK_SPECIALIST, category)]


def concepts(catalog: Catalog, ranked: RankedRows, refs: Sequence[GroupRef]) -> dict[str, Any]:
    """A page of the list of concepts: those in `refs`, each with its best features by each of the three rankings."""
    return {
        "concepts": [
            {"ref": ref, **{kind: ranked.entries(kind, ref.name, 3) for kind in CONCEPT_RANKINGS}} for ref in refs
        ],
        "responding": catalog.responding,
        "total": len(catalog.concepts),
    }


def concept_rows(catalog: Catalog) -> RankedRows:
    """The rows that the pages of concepts show."""
    return RankedRows(catalog, "concepts", "concept", CONCEPT_RANKINGS)


def concept(catalog: Catalog, ref: GroupRef, ranked: RankedRows) -> dict[str, Any]:
    """One concept: the features that respond to it, the most consistent and the strongest ones."""
    lists = [(kind, words, ranked.entries(kind, ref.name)) for kind, words in CONCEPT_RANKINGS.items()]
    return {
        "concept": ref,
        "note": catalog.note("concept", ref.name),
        "lists": lists,
        "responding": catalog.responding.get(ref.name, 0),
        "halved": all(entry.row.held_out != "too few" for _, _, found in lists for entry in found),
        "texts": catalog.by("concept_texts", "concept")[ref.name],
    }


def frequent_features(catalog: Catalog) -> list[int]:
    """The features active in the most texts; the smaller index breaks ties."""
    frame = catalog.tables["features"].sort_values(["n_texts_active", "feature"], ascending=[False, True])
    found: list[int] = frame["feature"].head(FREQUENT).tolist()
    return found


def notable_features(catalog: Catalog) -> list[int]:
    """Notable features for the heatmap: the first specialists of each category shown, then the strongest."""
    refs = catalog.largest_categories
    share = max(2, NOTABLE // max(1, len(refs)))
    special = [r.feature for ref in refs for r in catalog.rankings.first(f"specialist:{ref.name}", share)]
    frame = catalog.tables.features.sort_values("max", ascending=False, kind="stable")
    rest = frame["feature"].head(NOTABLE).tolist()
    return list(dict.fromkeys(special + rest))[:NOTABLE]


def heatmap_features(catalog: Catalog, refs: Iterable[GroupRef], overview: bool) -> set[int]:
    """Every feature in a heatmap on the pages of these categories and, if `overview`, on the overview."""
    found = {*frequent_features(catalog), *notable_features(catalog)} if overview else set()
    for ref in refs:
        for kind in CATEGORY_RANKINGS:
            found |= {row.feature for row in catalog.rankings.first(f"{kind}:{ref.name}", SHOWN)}
    return found


def heatmap(scores: ScoreRows, table: HeatTable, names: HeatmapNames, source: str) -> Heatmap:
    """A heatmap of a table's features x the texts of its categories; its static picture shows the table's means."""
    features = [ref.number for ref, _ in table.rows]
    names.add(features)
    labels = [f"{ref.number} {ref.label}".rstrip() for ref, _ in table.rows]
    means = [[value for value, _ in cells] for _, cells in table.rows]
    places = scores.places(table.categories)
    texts = [names.text(scores.texts[place]) for place in places]
    return charts.scores(features, scores.bands(places), texts, scores.of(features, places), labels, means, source)


def heat_table(catalog: Catalog, means: Means, features: list[int], categories: list[GroupRef]) -> HeatTable:
    """The mean score of each feature in some categories; each row is coloured relative to its own largest mean."""
    place = {ref.name: i for i, ref in enumerate(catalog.categories)}
    table = []
    for number, row in zip(
        features, means.of(features)[:, [place[ref.name] for ref in categories]].tolist(), strict=True
    ):
        largest = max([*row, 0.0]) or 1.0
        table.append((catalog.ref(number), [(v, round(9 * v / largest)) for v in row]))
    return HeatTable(categories, table)


def _examples(
    catalog: Catalog, by_feature: FeatureRows, special: list[Entry], name: str
) -> list[tuple[FeatureRef, TextRef, str]]:
    """For the first specialists, the category's text on which each is strongest."""
    found = []
    for entry in special[:5]:
        contexts = by_feature.of("contexts", CONTEXT_COLUMNS)[entry.ref.number]
        best = next((c for c in contexts if c.band == "top" and c.category == name), None)
        if best is not None:
            content = shorten(catalog.texts[best.text].content, 160)
            found.append((entry.ref, catalog.text_ref(best.text, best.category), content))
    return found
