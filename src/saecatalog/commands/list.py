"""List known SAEs: the default one and those that sae_lens lists.
With --support, count those that can be built."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from saecatalog.commands.flags import add_cache
from saecatalog.commands.settings import cache_of

if TYPE_CHECKING:
    from saecatalog.saes.listing import Listed

EXAMPLE = "list gpt2-small-res"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "word",
        nargs="?",
        default="",
        metavar="WORD",
        help="show only SAEs whose name, model or Neuronpedia id contains WORD",
    )
    p.add_argument("--support", action="store_true", help="count the SAEs that can be built, and the others by reason")
    p.add_argument("--markdown", action="store_true", help="print these counts as the page docs/support.md")
    add_cache(p)


def run(a: argparse.Namespace) -> int:
    """List available SAEs, or count those that can be built."""
    from saecatalog.cache import Cache
    from saecatalog.saes.listing import list_saes

    with Cache(cache_of(a)) as cache:
        found = list_saes(a.word, cache)
        if not found:
            return _nothing_listed(a.word, list_saes(cache=cache))
    if a.support or a.markdown:
        return _print_support(a, found)
    rows = [
        ("SAE", "model", "hook or path", "width", "Neuronpedia"),
        *((s.name, s.model, s.hook, s.width, s.neuronpedia) for s in found),
    ]
    _page(_columns(rows))
    print(f"{len(found):,} SAE{'s' * (len(found) != 1)}", file=sys.stderr)
    return 0


def _print_support(a: argparse.Namespace, found: "Sequence[Listed]") -> int:
    """Count the SAEs that can be built, and the others by reason."""
    from saecatalog.saes.support import markdown, summary, support

    if a.markdown:
        print(markdown(support(found)), end="")
    else:
        print("\n".join(summary(support(found), f" that contain '{a.word}'" if a.word else "")))
    return 0


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _page(lines: Sequence[str]) -> None:
    """Print lines; those that a terminal cannot show at once go through the user's pager, such as `less`."""
    from pydoc import pager

    if sys.stdout.isatty() and len(lines) >= shutil.get_terminal_size().lines:
        # Otherwise `less` folds the lines.
        os.environ.setdefault("LESS", "-S")
        pager("\n".join(lines) + "\n")
    else:
        print("\n".join(lines))


def _nothing_listed(word: str, rows: "Sequence[Listed]") -> int:
    """Report that no SAE matches, and suggest similar names with the number of SAEs that each would list."""
    from saecatalog.saes.listing import similar_names

    print(f"No SAE matches '{word}'.", file=sys.stderr)
    near = similar_names(word, rows)
    if near:
        width = max(map(len, near))
        print("Similar names:", file=sys.stderr)
        for name, count in near.items():
            print(f"  {name:<{width}}  {count:,} SAE{'s' * (count != 1)}", file=sys.stderr)
    return 1
