"""What the selection in the features table needs to know: a `Catalog` in, data for `assets/selection.js` out."""

from typing import Any

from saecatalog.site import cite
from saecatalog.site.catalog import Catalog


def selection(catalog: Catalog) -> dict[str, Any]:
    """The catalog's title, the SAE's Neuronpedia id ("" if it has none), and which features have an embed, and where.

    `embeds` is the address of the folder of embeds. `embedded` is None if every feature of the dictionary has one.
    """
    return {
        "title": catalog.manifest["title"],
        "neuronpedia": catalog.manifest["sae"]["neuronpedia_id"] or "",
        "embeds": cite.address(catalog.manifest, "features/"),
        "embedded": None
        if len(catalog.embedded) == catalog.manifest["sae"]["d_sae"]
        else ",".join(map(str, sorted(catalog.embedded))),
    }
