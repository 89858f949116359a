"""The view model of the front page of a catalog.

In: a `Catalog`. Out: plain values for the template.
"""

from typing import Any

from saecatalog.site import charts
from saecatalog.site.catalog import Catalog
from saecatalog.site.pages import clearest
from saecatalog.site.pages.introduction import introduction
from saecatalog.site.pages.ranked import ranked

LISTED = 10
OF_KIND = 5
"""Features listed of each ranking, and of each kind of clear features."""


def catalog_front(catalog: Catalog) -> dict[str, Any]:
    """A catalog's front page: an example, links, four rankings, and the health of the SAE on this corpus."""
    health = catalog.manifest["health"]
    return {
        "note": catalog.note("index", ""),
        "n_pages": len(catalog.paged),
        "notable_pages": len(set(catalog.notable) & set(catalog.paged)),
        "introduction": introduction(catalog),
        "clearest": clearest.kinds(catalog),
        "of_kind": OF_KIND,
        "strongest": ranked(catalog, "strongest", LISTED),
        "frequent": ranked(catalog, "frequent", LISTED),
        "selective": ranked(catalog, "selective", LISTED),
        "density": charts.densities(health["density_edges"], health["density_counts"]),
        "health": health,
        "categories": catalog.categories,
        "concepts": catalog.concepts,
        "n_effects": len(catalog.effects),
    }
