"""The view model of the front page of a catalog.

In: a `Catalog`. Out: plain values for the template.
"""

from dataclasses import dataclass
from typing import Any

from saecatalog.site import charts
from saecatalog.site.catalog import Catalog, FeatureRef
from saecatalog.site.pages import feature
from saecatalog.site.records import Row

LISTED = 10


@dataclass(frozen=True)
class Ranked:
    """A feature's place in a ranking, with its row and the value it is ranked by."""

    place: int
    ref: FeatureRef
    row: Row
    value: float


def catalog_front(catalog: Catalog) -> dict[str, Any]:
    """A catalog's front page: an example, links, three rankings, and the health of the SAE on this corpus."""
    health = catalog.manifest["health"]
    return {
        "note": catalog.note("index", ""),
        "n_pages": len(catalog.paged),
        "notable_pages": len(set(catalog.notable) & set(catalog.paged)),
        "introduction": feature.introduction(catalog),
        "strongest": ranked(catalog, "strongest", LISTED),
        "frequent": ranked(catalog, "frequent", LISTED),
        "selective": ranked(catalog, "selective", LISTED),
        "density": charts.densities(health["density_edges"], health["density_counts"]),
        "health": health,
        "categories": catalog.categories,
        "concepts": catalog.concepts,
        "n_effects": len(catalog.effects),
    }


def ranked(catalog: Catalog, ranking: str, most: int) -> list[Ranked]:
    """The first `most` features of a ranking."""
    found = catalog.rankings[ranking][:most]
    return [Ranked(r.rank + 1, catalog.ref(r.feature), catalog.features[r.feature], r.value) for r in found]
