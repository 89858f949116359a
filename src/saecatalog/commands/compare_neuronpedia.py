"""Compare a built catalog with data of the same SAE that Neuronpedia exported.
Writes a page and a CSV file; prints how many features disagree, and the first of them.
With --json: one object with the thresholds, the number of features with each kind of disagreement (counts),
and the figures on both sides of each feature that disagrees (features)."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_json, add_neuronpedia_names, add_site_flag
from saecatalog.commands.output import print_json
from saecatalog.config import SiteConfig

OUT = Path("neuronpedia-comparison")
EXAMPLE = "compare-neuronpedia exports/features exports/activations --site site"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="exported features or activations: .jsonl or .jsonl.gz files, or folders of them",
    )
    add_site_flag(p, "folder of a built site, or of one of its catalogs", Path(SiteConfig.out))
    p.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="DIR",
        help=f"folder of the page and the CSV file; default: {OUT}",
    )
    add_neuronpedia_names(p)
    add_json(p)


def run(a: argparse.Namespace) -> int:
    """Compare a built catalog with exported data, and say where the page is."""
    from saecatalog.neuronpedia.compare import compare
    from saecatalog.neuronpedia.report import check_free, facts, lines, write_report
    from saecatalog.neuronpedia.source import open_catalog, source_of

    check_free(a.out)
    catalog = open_catalog(a.site)
    comparison = compare(catalog, source_of(catalog, a.model_id, a.source_id), a.files)
    write_report(comparison, a.out)
    if a.json:
        print_json(facts(comparison))
    else:
        print("\n".join(lines(comparison, a.out)))
    return 0
