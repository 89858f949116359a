"""Check a built site: links, pages, size limits, data files, changes since the build.
Exit code 1 if there is a problem.

With --json: one object with `problems` (a list of sentences that begin with the file's path), `catalogs`
(for each folder: texts, tokens, counted tokens, and pages by kind), the number of `files`, their `bytes`,
and `feature_page_mean`, the mean size of a feature page in bytes."""

import argparse
from dataclasses import asdict

from saecatalog.commands.flags import add_json, add_site
from saecatalog.commands.output import print_json

EXAMPLE = "check site"


def add(p: argparse.ArgumentParser) -> None:
    add_site(p)
    add_json(p)


def run(a: argparse.Namespace) -> int:
    """Check that every link resolves and every page follows the rules."""
    from saecatalog.site.check import check_site, summary

    problems, found = check_site(a.site), summary(a.site)
    if a.json:
        catalogs = {catalog: asdict(totals) for catalog, totals in found["catalogs"].items()}
        print_json({"problems": problems, **found, "catalogs": catalogs})
        return 1 if problems else 0
    for problem in problems:
        print(problem)
    for catalog, totals in found["catalogs"].items():
        print(f"{catalog}: {totals.corpus_words()}; {totals.page_words()}")
    print(
        f"{len(problems) or 'No'} problem{'s' * (len(problems) != 1)} in {found['files']:,} files, "
        f"{found['bytes'] / 1e6:.1f} MB; feature pages {found['feature_page_mean'] / 1000:.1f} KB on average"
    )
    return 1 if problems else 0
