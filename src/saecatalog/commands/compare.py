"""Compare two catalogs of one model, on a page of their site.
Two SAEs are matched feature by feature; one SAE on two corpora is shown with what changed. Building one of the catalogs
again with other results removes the page. Exit code 1 if --all could compare no two catalogs."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_cache, add_quiet, add_site_flag
from saecatalog.commands.settings import config_of
from saecatalog.errors import CatalogError
from saecatalog.progress import Progress

EXAMPLE = "compare gpt2-small/6-res-jb gpt2-small/8-res-jb"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "catalogs", metavar="CATALOG", nargs="*", help="two catalogs: their folders in the site, or unique beginnings"
    )
    p.add_argument("--all", action="store_true", help="compare every two catalogs of one model")
    add_site_flag(p)
    add_cache(p)
    add_quiet(p)


def run(a: argparse.Namespace) -> int:
    """Compare catalogs of a site."""
    from saecatalog.compare.publish import compare_all, compare_two
    from saecatalog.site.root_keys import templates_folder

    if len(a.catalogs) != (0 if a.all else 2):
        fix = "Name two catalogs, or use --all without any."
        raise CatalogError(f"{len(a.catalogs)} catalogs were named{' beside --all' if a.all else ''}.", "compare", fix)
    config = config_of(a)
    site, templates = a.site or Path(config.site.out), templates_folder(config.site.templates)
    given = (templates, config.cache, Progress(a.quiet))
    done = 0
    for made in compare_all(site, *given) if a.all else compare_two(site, a.catalogs, *given):
        done += 1
        print("\n".join(made.lines()))
    return 0 if done else 1
