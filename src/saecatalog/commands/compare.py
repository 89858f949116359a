"""Compare two catalogs of one model, on a page of their site.
Two SAEs are matched feature by feature; one SAE on two corpora is shown with what changed. Building one of the catalogs
again with other results removes the page."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_cache
from saecatalog.commands.settings import cache_of
from saecatalog.config import SiteConfig
from saecatalog.errors import CatalogError
from saecatalog.progress import Progress

EXAMPLE = "compare gpt2-small/6-res-jb gpt2-small/8-res-jb"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "catalogs", metavar="CATALOG", nargs="*", help="two catalogs: their folders in the site, or unique beginnings"
    )
    p.add_argument("--all", action="store_true", help="compare every two catalogs of one model")
    p.add_argument(
        "--site",
        type=Path,
        default=Path(SiteConfig.out),
        metavar="DIR",
        help=f"folder of the site; default: {SiteConfig.out}",
    )
    add_cache(p)
    p.add_argument("--quiet", action="store_true", help="show no progress")


def run(a: argparse.Namespace) -> int:
    """Compare catalogs of a site."""
    from saecatalog.compare.publish import compare_all, compare_two
    from saecatalog.site.root_keys import templates_folder

    if len(a.catalogs) != (0 if a.all else 2):
        fix = "Name two catalogs, or use --all without any."
        raise CatalogError(f"{len(a.catalogs)} catalogs were named{' beside --all' if a.all else ''}.", "compare", fix)
    templates, progress = templates_folder(SiteConfig.templates), Progress(a.quiet)
    work = (
        compare_all(a.site, templates, cache_of(a), progress)
        if a.all
        else compare_two(a.site, a.catalogs, templates, cache_of(a), progress)
    )
    for made in work:
        for line in made.lines():
            print(line)
    return 0
