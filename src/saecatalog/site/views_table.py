"""The view models of the front page and of the table of all features with a page.

In: a `Catalog`. Out: plain values for the templates, and the table's data for its script.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saecatalog.names import title
from saecatalog.site import charts, views_feature
from saecatalog.site.catalog import REASONS, Catalog, FeatureRef, split_reasons
from saecatalog.site.groups import Row

STATIC_ROWS = 500
"""Rows of the table in one page's HTML; more go on to further pages (with a script, one page shows them all)."""
LISTED = 10


@dataclass(frozen=True)
class Column:
    """One sortable column: its key in the address, its heading, the column of `features` it shows, and its filter."""

    key: str
    heading: str
    source: str
    format: str


COLUMNS = (
    Column("feature", "Feature", "feature", "plain"),
    Column("max", "Max", "max", "number"),
    Column("mean", "Mean active", "mean_active", "number"),
    Column("density", "Density", "density", "percent"),
    Column("texts", "Texts active", "n_texts_active", "count"),
    Column("strong", "Texts strong", "n_texts_strong", "count"),
    Column("precision", "Token precision", "token_precision", "percent"),
    Column("recall", "Token recall", "token_recall", "percent"),
)


@dataclass(frozen=True)
class Ranked:
    """A feature's place in a ranking with its row and the figure the ranking goes by."""

    place: int
    ref: FeatureRef
    row: Row
    value: float


def index(catalog: Catalog) -> dict[str, Any]:
    """The front page: the three rankings, the health of the SAE on this corpus, and the ways in."""
    health = catalog.manifest["health"]
    return {
        "note": catalog.note("index", ""),
        "introduction": views_feature.introduction(catalog),
        "strongest": ranked(catalog, "strongest", LISTED),
        "frequent": ranked(catalog, "frequent", LISTED),
        "selective": ranked(catalog, "selective", LISTED),
        "density": charts.densities(health["density_edges"], health["density_counts"]),
        "health": health,
        "categories": catalog.categories,
        "concepts": catalog.concepts,
    }


def ranked(catalog: Catalog, ranking: str, most: int) -> list[Ranked]:
    """The first `most` features of a ranking."""
    found = catalog.rankings[ranking][:most]
    return [Ranked(r.rank + 1, catalog.ref(r.feature), catalog.features[r.feature], r.value) for r in found]


def table_rows(catalog: Catalog, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of the table for these features."""
    return [
        {
            "ref": catalog.ref(number),
            "row": row,
            "kinds": kinds(row),
            "category": catalog.texts[row.top_text].category if row.top_text else "",
        }
        for number in numbers
        for row in [catalog.features[number]]
    ]


def kinds(row: Row) -> list[str]:
    """The kinds of a feature's reasons, each once: `specialist` for any number of categories."""
    found = {reason.partition(":")[0] for reason in split_reasons(row.notable)}
    return [kind for kind in REASONS if kind in found] + sorted(found - set(REASONS))


def table_data(catalog: Catalog) -> dict[str, Any]:
    """What the table's script sorts and filters: one list per feature, in the order of the pages.

    A row is [label, page, kinds, category of the strongest text, then the figures of `COLUMNS`].
    """
    found = [
        [
            entry["row"].label,
            entry["row"].page.rpartition("/")[2],
            entry["kinds"],
            entry["category"],
            *(_rounded(getattr(entry["row"], column.source)) for column in COLUMNS),
        ]
        for entry in table_rows(catalog, catalog.paged)
    ]
    return {"columns": [[c.key, c.format] for c in COLUMNS], "titles": titles(catalog), "rows": found}


def titles(catalog: Catalog) -> dict[str, str]:
    """Each category's title by its name."""
    return {ref.name: title(ref.name) for ref in catalog.categories}


def all_kinds(catalog: Catalog) -> list[str]:
    """Every kind of reason that some feature with a page has."""
    found = {kind for number in catalog.paged for kind in kinds(catalog.features[number])}
    return [kind for kind in REASONS if kind in found] + sorted(found - set(REASONS))


def _rounded(value: float) -> float:
    """Six significant digits: sorting by it is exact enough, and it is short."""
    return value if isinstance(value, int) else float(f"{value:.6g}")
