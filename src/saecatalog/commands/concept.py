"""Rank the features that respond to a list of texts that share a concept."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_corpus, add_subject
from saecatalog.commands.settings import config_of
from saecatalog.progress import Progress

EXAMPLE = "concept corpora/concepts/weather.txt"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", type=Path, metavar="FILE", help="texts that share a concept, one per line")
    p.add_argument(
        "--catalog",
        type=Path,
        metavar="CATALOG.toml",
        help="settings file of the corpus to compare with; default: catalog.toml",
    )
    add_subject(p)
    add_corpus(p)


def run(a: argparse.Namespace) -> int:
    """Rank the features that respond to the texts of a concept."""
    from saecatalog.explore import concept

    for line in concept(config_of(a), Progress(a.quiet), a.file):
        print(line)
    return 0
