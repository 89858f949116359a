"""The view models of two categories side by side: which features tell one from the other.

In: a `Catalog`. Out: plain values for the templates.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from saecatalog.names import slug
from saecatalog.site.catalog import Catalog, FeatureRef, GroupRef
from saecatalog.site.records import Row, rows

LONGEST_HALF = 80
"""Bytes of each category's part of the name of a pair's page, so that the whole fits into what file systems allow."""


@dataclass(frozen=True)
class Side:
    """One of two categories, with the features that have larger scores there than in the other."""

    ref: GroupRef
    found: list[tuple[FeatureRef, Row]]

    @property
    def clear(self) -> list[tuple[FeatureRef, Row]]:
        """The features whose difference is clear."""
        return [(ref, row) for ref, row in self.found if row.clear]


@dataclass(frozen=True)
class CategoryPair:
    """Two categories that are compared, in the order of the manifest, and their page from the catalog's root."""

    sides: tuple[Side, Side]
    page: str

    def seen_from(self, name: str) -> tuple[Side, Side]:
        """This category's side, then the other's."""
        a, b = self.sides
        return (a, b) if a.ref.name == name else (b, a)

    @property
    def clear(self) -> int:
        """How many of the features shown tell the two apart."""
        return sum(len(side.clear) for side in self.sides)


class CategoryPairs:
    """All pairs of categories that are compared."""

    def __init__(self, catalog: Catalog):
        self._found: dict[frozenset[str], dict[str, list[tuple[FeatureRef, Row]]]] = {}
        for row in rows(catalog.tables["category_pairs"]):
            sides = self._found.setdefault(frozenset((row.category, row.other)), {row.category: [], row.other: []})
            sides[row.category].append((catalog.ref(row.feature), row))
        self._place = {ref.name: place for place, ref in enumerate(catalog.categories)}
        self._refs = catalog.category

    def __iter__(self) -> Iterator[CategoryPair]:
        """In the order of the first category, then of the second."""
        ordered = sorted(sorted(self._place[name] for name in names) for names in self._found)
        return map(self._pair, ordered)

    def of(self, name: str) -> list[CategoryPair]:
        """The pairs of a category with others, in the order of the others."""
        mine = self._place[name]
        others = sorted(self._place[other] for names in self._found if name in names for other in names - {name})
        return [self._pair(sorted((mine, other))) for other in others]

    def _pair(self, places: list[int]) -> CategoryPair:
        a, b = (list(self._place)[place] for place in places)
        found = self._found[frozenset((a, b))]
        sides = (Side(self._refs[a], found[a]), Side(self._refs[b], found[b]))
        return CategoryPair(sides, page_of(a, b))


def page_of(a: str, b: str) -> str:
    """The page of two categories; no file name of a category has a dot, so none is equal to another one."""
    return f"categories/{_half(a)}.vs.{_half(b)}.html"


def _half(name: str) -> str:
    """A category's part of the file name: its own file name, or the beginning of a long one and a hash."""
    whole = slug(name)
    if len(whole.encode()) <= LONGEST_HALF:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    start = whole.encode()[: LONGEST_HALF - len(digest) - 1].decode(errors="ignore")
    return f"{start}-{digest}"


def view(pair: CategoryPair) -> dict[str, Any]:
    """Two categories side by side."""
    a, b = (side.ref for side in pair.sides)
    return {"pair": pair, "sides": pair.sides, "titles": (a.title, b.title)}


def overview(pairs: CategoryPairs, name: str) -> list[tuple[CategoryPair, Side, Side]]:
    """A category's pairs with others, for its own page: each with its own side and the other."""
    return [(pair, *pair.seen_from(name)) for pair in pairs.of(name)]
