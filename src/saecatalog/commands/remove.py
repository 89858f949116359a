"""Remove one catalog from a site, with its comparisons.
The others, and every link to them, stay as they are."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_site_flag
from saecatalog.commands.settings import config_of

EXAMPLE = "remove gpt2-small/6-res-jb"


def add(p: argparse.ArgumentParser) -> None:
    # Not `catalog`, which is the settings file of other commands.
    p.add_argument(
        "name", metavar="CATALOG", help="its folder in the site, or the beginning of that, if only it has it"
    )
    add_site_flag(p)


def run(a: argparse.Namespace) -> int:
    """Remove a catalog from a site."""
    from saecatalog.site.removing import remove_catalog
    from saecatalog.site.root_keys import templates_folder

    config = config_of(a).site
    site = a.site or Path(config.out)
    for folder in remove_catalog(site, a.name, templates_folder(config.templates)):
        print(f"removed {site / folder}")
    return 0
