"""Remove cached results; the next build makes what it needs again."""

import argparse
from collections.abc import Callable

from saecatalog.commands.flags import add_cache
from saecatalog.commands.settings import cache_of

EXAMPLE = "clean --older-than 30"
DAY = 86_400
"""Seconds."""


def add(p: argparse.ArgumentParser) -> None:
    add_cache(p)
    p.add_argument(
        "--older-than", metavar="DAYS", type=_amount(float), help="remove only what was not used for so long"
    )
    p.add_argument(
        "--keep",
        metavar="N",
        type=_amount(int),
        default=0,
        help="keep the N last used results of each stage; default: 0",
    )


def run(a: argparse.Namespace) -> int:
    """Remove cached results that are not in use."""
    from saecatalog.cache import Cache

    removed = left = size = 0
    with Cache(cache_of(a)) as cache:
        for part in cache.clean((a.older_than or 0) * DAY, a.keep):
            print(f"{part.stage}: removed {part.removed}, {part.size / 1e6:.1f} MB; {part.left} left")
            removed, left, size = removed + part.removed, left + part.left, size + part.size
    print(f"Removed {removed} results, {size / 1e6:.1f} MB; {left} left in {cache_of(a)}")
    return 0


def _amount(kind: Callable[[str], float]) -> Callable[[str], float]:
    """A parser of numbers that are not negative."""

    def amount(word: str) -> float:
        if not 0 <= kind(word) < float("inf"):
            raise ValueError(word)
        return kind(word)

    return amount
