"""Compare a built catalog with data of the same SAE that Neuronpedia exported.
Writes a page and a CSV file; prints how many features disagree, and the first of them."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_neuronpedia_names

EXAMPLE = "compare-neuronpedia exports/features exports/activations --site site"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="exported features or activations: .jsonl or .jsonl.gz files, or folders of them",
    )
    p.add_argument(
        "--site",
        type=Path,
        default=Path("site"),
        metavar="SITE",
        help="folder of a built site, or of one of its catalogs; default: site",
    )
    p.add_argument(
        "--out",
        type=Path,
        default=Path("neuronpedia-comparison"),
        metavar="DIR",
        help="folder of the page and the CSV file; default: neuronpedia-comparison",
    )
    add_neuronpedia_names(p)
    p.add_argument("--json", action="store_true", help="print the result as JSON")


def run(a: argparse.Namespace) -> int:
    """Compare a built catalog with exported data, and say where the page is."""
    from saecatalog.neuronpedia.compare import compare
    from saecatalog.neuronpedia.report import as_json, lines, write_report
    from saecatalog.neuronpedia.source import open_catalog, source_of

    catalog = open_catalog(a.site)
    comparison = compare(catalog, source_of(catalog, a.model_id, a.source_id), a.files)
    write_report(comparison, a.out)
    print(as_json(comparison) if a.json else "\n".join(lines(comparison, a.out)))
    return 0
