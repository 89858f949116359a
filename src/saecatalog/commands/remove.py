"""Remove one catalog from a site, with its comparisons.
The others, and every link to them, stay as they are."""

import argparse
from pathlib import Path

from saecatalog.config import SiteConfig

EXAMPLE = "remove gpt2-small/6-res-jb"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "catalog", metavar="CATALOG", help="its folder in the site, or the beginning of that, if only it has it"
    )
    p.add_argument(
        "--site",
        type=Path,
        default=Path(SiteConfig.out),
        metavar="DIR",
        help=f"folder of the site; default: {SiteConfig.out}",
    )


def run(a: argparse.Namespace) -> int:
    """Remove a catalog from a site."""
    from saecatalog.site.removing import remove_catalog
    from saecatalog.site.root_keys import templates_folder

    for folder in remove_catalog(a.site, a.catalog, templates_folder(SiteConfig.templates)):
        print(f"removed {a.site / folder}")
    return 0
