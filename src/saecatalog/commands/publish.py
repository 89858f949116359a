"""Put a built site on a branch of a git repository, such as gh-pages.

The site is checked, committed and pushed to the branch of a remote of the repository in the current folder. Your files,
your index and your local branches stay as they are. The branch is never force-pushed, and one that has commits of
anybody else is refused."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_site
from saecatalog.errors import CatalogError

EXAMPLE = "publish site --branch gh-pages"
BRANCH, REMOTE, MESSAGE = "gh-pages", "origin", "Publish the site"
SHOWN = 3
"""How many problems of a site an error names."""


def add(p: argparse.ArgumentParser) -> None:
    add_site(p)
    p.add_argument("--branch", metavar="NAME", default=BRANCH, help=f"branch for the site alone; default: {BRANCH}")
    p.add_argument("--remote", metavar="NAME", default=REMOTE, help=f"where to push it; default: {REMOTE}")
    p.add_argument("--message", metavar="WORDS", default=MESSAGE, help=f"message of the commit; default: {MESSAGE}")


def run(a: argparse.Namespace) -> int:
    """Publish a site on a branch and print what was pushed."""
    from saecatalog.site.git_branch import publish_branch, site_files

    files = site_files(a.site)
    _check(a.site)
    pushed = publish_branch(a.site, files, Path(), a.remote, a.branch, a.message.strip() or MESSAGE)
    if not pushed.commit:
        print(f"Unchanged: {a.branch} on {a.remote} has this site already.")
        return 0
    size = f"{pushed.files:,} files, {pushed.size / 1e6:.1f} MB"
    print(f"Published {size} to {a.branch} on {a.remote} (commit {pushed.commit[:12]})")
    if pushed.new_branch:
        print(f"On GitHub, choose once: Settings > Pages > Deploy from a branch > {a.branch}, / (root)")
    return 0


def _check(site: Path) -> None:
    """Raise CatalogError if the site breaks a rule, or was changed or left unfinished since its build."""
    from saecatalog.site.check import check_site

    problems = check_site(site)
    if problems:
        more = f"\n         and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        found = "\n         ".join(problems[:SHOWN]) + more
        raise CatalogError("The site does not pass its check.", found, "Build it again; `check` lists every problem.")
