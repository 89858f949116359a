"""Check a built site: links, pages, size limits, data files, changes since the build."""

import argparse

from saecatalog.commands.flags import add_site

EXAMPLE = "check site"


def add(p: argparse.ArgumentParser) -> None:
    add_site(p)


def run(a: argparse.Namespace) -> int:
    """Check that every link resolves and every page follows the rules."""
    from saecatalog.site.check import check_site, summary

    problems = check_site(a.site)
    for problem in problems:
        print(problem)
    found = summary(a.site)
    for catalog, totals in found["catalogs"].items():
        print(f"{catalog}: {totals.corpus_words()}; {totals.page_words()}")
    print(
        f"{len(problems) or 'No'} problem{'s' * (len(problems) != 1)} in {found['files']:,} files, "
        f"{found['bytes'] / 1e6:.1f} MB; feature pages {found['feature_page_mean'] / 1000:.1f} KB on average"
    )
    return 1 if problems else 0
