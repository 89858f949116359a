"""The view model of the table of all features with a page.

In: a `Catalog`. Out: plain values for the templates, and the table's data for its script.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from saecatalog.constants import CLEAR_KINDS, MANY_CATEGORIES
from saecatalog.names import title
from saecatalog.schemas import SCHEMAS
from saecatalog.site.catalog import REASONS, Catalog, split_reasons
from saecatalog.site.pages.selection import selection
from saecatalog.site.records import Row


@dataclass(frozen=True)
class Column:
    """A statistic of the table: its column in `features`, heading and format, and whether it is shown by default."""

    name: str
    heading: str
    format: str = "number"
    shown: bool = False

    @property
    def meaning(self) -> str:
        """What the statistic means, as in the data files."""
        return SCHEMAS["features"][self.name][1]


COLUMNS = (
    Column("feature", "Feature", "plain", shown=True),
    Column("clearness", "Clearness", "percent", shown=True),
    Column("clearness_low", "Clearness, low end", "percent"),
    Column("clearness_high", "Clearness, high end", "percent"),
    Column("max", "Max", shown=True),
    Column("mean_active", "Mean active", shown=True),
    Column("std_active", "SD active"),
    Column("q25", "25th percentile"),
    Column("q50", "Median"),
    Column("q75", "75th percentile"),
    Column("q90", "90th percentile"),
    Column("q99", "99th percentile"),
    Column("density", "Density", "percent", shown=True),
    Column("density_low", "Density, low end", "percent"),
    Column("density_high", "Density, high end", "percent"),
    Column("silent_below", "Silent below", "percent"),
    Column("n_tokens", "Tokens counted", "count"),
    Column("n_active", "Tokens active", "count"),
    Column("n_texts", "Texts", "count"),
    Column("n_texts_active", "Texts active", "count", shown=True),
    Column("n_texts_strong", "Texts strong", "count", shown=True),
    Column("label_f1", "Label F1", "percent"),
    Column("label_precision", "Label precision", "percent"),
    Column("label_recall", "Label recall", "percent"),
    Column("label_share", "Label’s share of activation", "percent"),
    Column("token_f1", "Token F1", "percent", shown=True),
    Column("token_precision", "Token precision", "percent"),
    Column("token_recall", "Token recall", "percent"),
    Column("token_share", "Token’s share of activation", "percent"),
    Column("bigram_precision", "Bigram precision", "percent"),
    Column("bigram_recall", "Bigram recall", "percent"),
    Column("start_share", "On first tokens", "percent"),
    Column("logit_std", "SD of logit effects"),
    Column("logit_skew", "Skewness of logit effects"),
    Column("logit_kurtosis", "Kurtosis of logit effects"),
)
"""Every number in the `features` table, in the order in which the page shows them."""

GROUPS = CLEAR_KINDS | {"mixed": "Mixed"}
"""The kinds of label to filter by, and their text."""

BANDS = (
    ("0.1-", "above 10 %"),
    ("0.01-0.1", "1 to 10 %"),
    ("0.001-0.01", "0.1 to 1 %"),
    ("0.0001-0.001", "0.01 to 0.1 %"),
    ("-0.0001", "below 0.01 %"),
)
"""Density ranges to filter by (lower bound included, upper bound excluded) and their text."""

LEFT_OUT = ("page", "label_rule")
"""The columns of `features` that the scripts do without: the second would be a fifth of their data."""

ROWS_IN_PART = 1000
"""Features in one script with rows of features without a page, which is then about as large as a picture."""


def table_rows(catalog: Catalog, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of the table for these features, with the same figures as in the data of its script."""
    return [
        {
            "ref": catalog.ref(number),
            "row": row,
            "figures": [rounded(getattr(row, column.name)) for column in COLUMNS if column.shown],
            "kinds": kinds(row),
            "category": _category(catalog, row.top_text),
        }
        for number in numbers
        for row in [catalog.features[number]]
    ]


def kinds(row: Row) -> list[str]:
    """The kinds of a feature's reasons, each once: a specialist of several categories gives one `specialist`."""
    return list(dict.fromkeys(reason.partition(":")[0] for reason in _in_order(split_reasons(row.notable))))


def _in_order(reasons: Iterable[str]) -> list[str]:
    """Reasons, or kinds of reason, in the order of `REASONS`."""
    places = {kind: place for place, kind in enumerate(REASONS)}
    return sorted(reasons, key=lambda reason: (places.get(reason.partition(":")[0], len(places)), reason))


def row_data(catalog: Catalog, numbers: Sequence[int]) -> dict[str, Any]:
    """The rows of these features as scripts show them.

    `values` has the columns of `features` but for `LEFT_OUT`, packed. `statistics` says how to show the numbers.
    """
    frame = catalog.tables.features.loc[list(numbers)]
    return {
        "statistics": [[c.name, c.heading, c.format, c.meaning] for c in COLUMNS],
        "values": {name: _packed(frame[name].tolist()) for name in SCHEMAS["features"] if name not in LEFT_OUT},
        "category": _packed([_category(catalog, text) for text in frame["top_text"]]),
        "titles": titles(catalog),
    }


def table_data(catalog: Catalog) -> dict[str, Any]:
    """The rows of all features with a page, with what the table's script needs to sort, filter and select them.

    `first` is the place of each in the order in which the table begins, if that is not the order of the numbers.
    """
    reasons = set(catalog.tables.features.loc[catalog.paged, "notable"])
    first = [catalog.order[number] for number in catalog.paged]
    return {
        **row_data(catalog, catalog.paged),
        "shown": [c.name for c in COLUMNS if c.shown],
        "reasons": {name: _in_order(split_reasons(name)) for name in sorted(reasons)},
        "selection": selection(catalog),
        **({"first": _packed(first)} if first != sorted(first) else {}),
        **({"options": options} if (options := long_lists(catalog)) else {}),
    }


def _packed(values: list[Any]) -> str | list[str] | dict[str, Any]:
    """A column for `assets/row.js`: numbers as one string, which a browser reads far faster than a list of numbers.

    Strings are a list or, if they repeat, a list of the distinct strings and the packed index of each row in that list.
    """
    if not values or not isinstance(values[0], str):
        return ",".join("" if value != value else f"{rounded(value):.15g}" for value in values)
    codes = {name: code for code, name in enumerate(dict.fromkeys(values))}
    if len(codes) > len(values) / 2:
        return values
    return {"names": list(codes), "codes": _packed([codes[value] for value in values])}


def _category(catalog: Catalog, top_text: str) -> str:
    """The category of a feature's strongest text; "" if the feature is silent."""
    return str(catalog.texts[top_text].category) if top_text else ""


def titles(catalog: Catalog) -> dict[str, str]:
    """Each category's title by its name."""
    return {ref.name: title(ref.name) for ref in catalog.categories}


def all_reasons(catalog: Catalog) -> dict[str, list[tuple[str, str]]]:
    """Every kind of reason among the features with a page, with the name and title of each of its subjects."""
    found: dict[str, set[str]] = {}
    for notable in catalog.tables.features.loc[catalog.paged, "notable"].unique():
        for reason in split_reasons(notable):
            kind, _, subject = reason.partition(":")
            found.setdefault(kind, set()).update([subject] if subject else [])
    return {kind: [(subject, title(subject)) for subject in sorted(found[kind])] for kind in _in_order(found)}


def label_groups(catalog: Catalog) -> dict[str, str]:
    """The kinds of label among the features with a page, with what readers call them."""
    found = set(catalog.tables.features.loc[catalog.paged, "label_group"])
    return {name: words for name, words in GROUPS.items() if name in found}


def long_lists(catalog: Catalog) -> dict[str, list[tuple[str, str]]]:
    """The values and texts of the filters that are too long to be in every page of the table: its script adds them."""
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, subjects in all_reasons(catalog).items():
        if len(subjects) > MANY_CATEGORIES:
            found.setdefault("reason", []).extend((f"{kind}:{name}", f"{kind}: {words}") for name, words in subjects)
    if catalog.has_many_categories:
        found["category"] = list(titles(catalog).items())
    return found


def row_parts(catalog: Catalog) -> list[tuple[str, list[int]]]:
    """The scripts with the rows of the features without a page: the path of each and its features.

    Each has those of `ROWS_IN_PART` consecutive numbers, so that a page finds the one to load.
    """
    parts: list[tuple[str, list[int]]] = [
        (f"features/rows/{at}.js", []) for at in range(-(-len(catalog.features) // ROWS_IN_PART))
    ]
    for number in catalog.unpaged:
        parts[number // ROWS_IN_PART][1].append(number)
    return parts


def row_view(catalog: Catalog) -> dict[str, Any]:
    """What the page of features without a page needs besides the row, which its script loads."""
    return {"rows_in_part": ROWS_IN_PART, "neuronpedia": catalog.neuronpedia_folder}


def rounded(value: float) -> float:
    """A number to six significant digits: short, and exact enough to sort by."""
    return value if isinstance(value, int) else float(f"{value:.6g}")
