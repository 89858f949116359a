"""The view model of a comparison of two catalogs.

In: the tables and the manifest of the comparison, and nothing else. Out: plain values for the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saecatalog.compare.tables import CHANGE_STATUSES, KINDS, LEAST_TEXTS, MATCH_STATUSES, SCHEMAS, TABLES
from saecatalog.manifest import Manifest
from saecatalog.names import in_words, title
from saecatalog.site.catalog import row_page
from saecatalog.site.records import Row, rows

LISTED = 40
"""Rows of each list of features; the tables have all."""

Frames = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Named:
    """One of the two catalogs: its folder, its path from the page, its title, how lists call it, and its facts.

    A catalog of an earlier version has no page that shows features without one of their own.
    """

    slug: str
    path: str
    title: str
    short: str
    facts: Manifest
    has_row_page: bool


@dataclass(frozen=True)
class Mention:
    """A feature of one of the catalogs: where its figures are, from the page of the comparison; "" if nowhere."""

    number: int
    label: str
    page: str


def names_of(comparison: Manifest, up: str) -> tuple[Named, Named]:
    """The two catalogs; `up` leads from the page to the site's folder."""
    slugs, facts = comparison["catalogs"], comparison["facts"]
    first, second = (
        Named(slug, f"{up}{slug}/", fact["title"], short, fact, has_row_page)
        for slug, fact, short, has_row_page in zip(
            slugs, facts, _short(slugs, facts), comparison["row_pages"], strict=True
        )
    )
    return first, second


def _short(slugs: list[str], facts: list[Manifest]) -> list[str]:
    """What tells the two apart: the layer, else the hook, and the corpus; their folders if nothing of that does."""
    layers = [f"layer {fact['sae'].get('layer')}" for fact in facts]
    hooks, corpora = [fact["sae"]["hook"] for fact in facts], [fact["corpus"].get("name", "") for fact in facts]
    where = layers if layers[0] != layers[1] else hooks
    differing = [pair for pair in (where, corpora) if pair[0] != pair[1]]
    return [", ".join(words) for words in zip(*differing, strict=True)] if differing else slugs


def view(comparison: Manifest, tables: Frames, up: str) -> dict[str, Any]:
    """Everything the page shows."""
    kind, names = comparison["kind"], names_of(comparison, up)
    shared = {
        "c": comparison,
        "kind": kind,
        "names": names,
        "coverage": _coverage(tables["coverage"], names),
        "definitions": [(name, *TABLES[name], SCHEMAS[name]) for name in KINDS[kind]],
        "least_texts": in_words(LEAST_TEXTS),
    }
    return {
        **shared,
        **(_features(tables["matches"], names) if kind == "features" else _changes(tables["changes"], names)),
    }


def _features(matches: pd.DataFrame, names: Sequence[Named]) -> dict[str, Any]:
    """The pairs of matched features, those without a match, and how many there are of each kind."""
    sides = [matches[matches["catalog"] == name.slug].reset_index(drop=True) for name in names]
    pairs = sides[0][sides[0]["status"] == "matched"].sort_values(["correlation", "feature"], ascending=[False, True])
    return {
        "counts": [_counts(side, MATCH_STATUSES) for side in sides],
        "n_pairs": len(pairs),
        "agreement": [_agreement(side) for side in sides],
        "pairs": [
            (_mention(row, names[0]), _mention(_row(sides[1], row.match), names[1]), row)
            for row in rows(pairs.head(LISTED))
        ],
        "unmatched": [_unmatched(side, name) for side, name in zip(sides, names, strict=True)],
    }


def _counts(frame: pd.DataFrame, statuses: Sequence[str]) -> dict[str, int]:
    """How many features have each status."""
    found = frame["status"].tolist()
    return {status: found.count(status) for status in statuses}


def _agreement(side: pd.DataFrame) -> dict[str, float]:
    """Means over the compared features of one side, and over all rows of its decoder."""
    compared = side[side["match"] >= 0]
    return {
        "compared": len(compared),
        "correlation": float(np.mean(compared["correlation"])) if len(compared) else float("nan"),
        "chance": float(np.mean(compared["chance"])) if len(compared) else float("nan"),
        "cosine": float(np.mean(side["nearest_cosine"])),
    }


def _row(side: pd.DataFrame, feature: int) -> Row:
    return rows(side.iloc[[feature]])[0]


def _mention(row: Row, name: Named) -> Mention:
    return _mentioned(row.feature, row.label, row.page, name)


def _mentioned(feature: int, label: str, page: str, name: Named) -> Mention:
    page = page or (row_page(feature) if name.has_row_page else "")
    return Mention(feature, label, page and name.path + page)


def _unmatched(side: pd.DataFrame, name: Named) -> list[tuple[Mention, Row]]:
    """The compared features without a match of their own, those with the smallest correlations first."""
    found = side[side["status"].isin(("alone", "one way"))].sort_values(["correlation", "feature"])
    return [(_mention(row, name), row) for row in rows(found.head(LISTED))]


def _coverage(coverage: pd.DataFrame, names: Sequence[Named]) -> list[tuple[str, list[Row | None]]]:
    """Each category with its row in both catalogs, or None where a catalog does not have it."""
    found = {(row.catalog, row.category): row for row in rows(coverage)}
    categories = dict.fromkeys(row.category for row in found.values())
    return [(title(category), [found.get((name.slug, category)) for name in names]) for category in categories]


def _changes(changes: pd.DataFrame, names: Sequence[Named]) -> dict[str, Any]:
    """What changed between the corpora: silent features, densities, and the categories that features are best for."""
    size = np.log(changes["ratio"]).abs()
    apart = changes[changes["apart"] & (changes["status"] == "both")]
    densest = apart.loc[size[apart.index].sort_values(ascending=False, kind="stable").index]
    named = (changes["specialist_first"] != "") & (changes["specialist_second"] != "")
    other = changes[named & (changes["specialist_first"] != changes["specialist_second"])]
    first, second = names
    once = {
        which: changes[changes["status"] == status].sort_values(f"max_{which}", ascending=False, kind="stable")
        for which, status in (("first", "only first"), ("second", "only second"))
    }
    return {
        "counts": _counts(changes, CHANGE_STATUSES),
        "total": len(changes),
        "n_apart": len(apart),
        "densities": [_both(row, first, second) for row in rows(densest.head(LISTED))],
        "once": [
            [_both(row, first, second) for row in rows(once[which].head(LISTED))] for which in ("first", "second")
        ],
        "n_specialists": int(named.sum()),
        "n_other": len(other),
        "others": [
            (
                _mentioned(row.feature, row.label_first, row.page_first, first),
                title(row.specialist_first),
                title(row.specialist_second),
            )
            for row in rows(other.head(LISTED))
        ],
    }


def _both(row: Row, first: Named, second: Named) -> tuple[Mention, Mention, Row]:
    """A feature as both catalogs mention it."""
    return (
        _mentioned(row.feature, row.label_first, row.page_first, first),
        _mentioned(row.feature, row.label_second, row.page_second, second),
        row,
    )
