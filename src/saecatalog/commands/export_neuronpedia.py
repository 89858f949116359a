"""Write the data of a built catalog as files for Neuronpedia's importer.
Reads the published tables; needs no model."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_neuronpedia_names, add_site

EXAMPLE = "export-neuronpedia site --out neuronpedia"


def add(p: argparse.ArgumentParser) -> None:
    add_site(p, "folder of a built site, or of one of its catalogs")
    p.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the export; writes v1/MODEL/SOURCE/features and activations below it",
    )
    add_neuronpedia_names(p)
    p.add_argument(
        "--creator-id",
        metavar="ID",
        help="Neuronpedia user that owns the rows; default: the one that Neuronpedia's own programs use",
    )


def run(a: argparse.Namespace) -> int:
    """Write the data of a built catalog as files for Neuronpedia's importer."""
    from saecatalog.neuronpedia.export import CREATOR, export
    from saecatalog.neuronpedia.source import open_catalog, source_of

    catalog = open_catalog(a.site)
    summary = export(catalog, source_of(catalog, a.model_id, a.source_id), a.creator_id or CREATOR, a.out)
    for line in summary.lines():
        print(line)
    return 0
