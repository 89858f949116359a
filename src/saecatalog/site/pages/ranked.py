"""The features of a ranking as the front page and the page of the clearest features list them.

In: a `Catalog`. Out: plain values for the templates.
"""

from dataclasses import dataclass

from saecatalog.site.catalog import Catalog, FeatureRef
from saecatalog.site.records import Row


@dataclass(frozen=True)
class Ranked:
    """A feature's place in a ranking, with its row and the value it is ranked by."""

    place: int
    ref: FeatureRef
    row: Row
    value: float


def ranked(catalog: Catalog, ranking: str, most: int) -> list[Ranked]:
    """The first `most` features of a ranking."""
    found = catalog.rankings[ranking][:most]
    return [Ranked(r.rank + 1, catalog.ref(r.feature), catalog.features[r.feature], r.value) for r in found]
