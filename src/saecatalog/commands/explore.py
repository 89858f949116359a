"""Show how strongly one feature fires on any text, token by token."""

import argparse
from pathlib import Path

from saecatalog.commands.flags import add_special_tokens, add_subject
from saecatalog.commands.settings import config_of
from saecatalog.errors import CatalogError
from saecatalog.progress import Progress

EXAMPLE = 'explore 2776 --text "The rain stopped at noon."'


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument("feature", type=int, help="index of the feature in the dictionary")
    p.add_argument("--text", action="append", default=[], help="text to run; can be repeated")
    p.add_argument("--file", type=Path, metavar="F", help="file of texts, in any corpus format")
    add_special_tokens(p)
    add_subject(p)


def run(a: argparse.Namespace) -> int:
    """Show how strongly a feature fires on texts, token by token."""
    from saecatalog.explore import explore
    from saecatalog.texts.corpus import read_text_list

    config = config_of(a)
    texts = [*a.text, *(read_text_list(a.file, config.corpus) if a.file else [])]
    if not texts:
        raise CatalogError("No text was given.", "explore", 'Add --text "..." or --file FILE.')
    for line in explore(config, Progress(a.quiet), a.feature, texts):
        print(line)
    return 0
