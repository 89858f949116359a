"""List known SAEs: the default one and those that sae_lens lists.
With --support, count those that can be built. Exit code 1 if no SAE matches WORD.

With --json: a list of objects with the fields name (for --sae), model, hook, width and neuronpedia,
which are strings, empty if not known."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from saecatalog.commands.flags import add_cache, add_json
from saecatalog.commands.output import print_json
from saecatalog.commands.settings import cache_of
from saecatalog.errors import CatalogError

if TYPE_CHECKING:
    from saecatalog.saes.listing import Listed

EXAMPLE = "list gpt2-small-res"
FIELDS = ("name", "model", "hook", "width", "neuronpedia")
HEADINGS = ("SAE", "model", "hook or path", "width", "Neuronpedia")


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "word",
        nargs="?",
        default="",
        metavar="WORD",
        help="show only SAEs whose name, model or Neuronpedia id contains WORD",
    )
    p.add_argument("--support", action="store_true", help="count the SAEs that can be built, and the others by reason")
    form = p.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print these counts as the page docs/support.md")
    add_json(form)
    add_cache(p)


def run(a: argparse.Namespace) -> int:
    """List available SAEs, or count those that can be built."""
    from saecatalog.cache import Cache
    from saecatalog.saes.listing import list_saes

    if a.json and a.support:
        raise CatalogError("The counts of --support have no JSON.", "--json", "Leave out one of the two.")
    with Cache(cache_of(a)) as cache:
        found = list_saes(a.word, cache)
        if a.json:
            print_json([{field: getattr(sae, field) for field in FIELDS} for sae in found])
        if not found:
            return _nothing_listed(a.word, list_saes(cache=cache))
    if a.json:
        return 0
    if a.support or a.markdown:
        return _print_support(a, found)
    _page(_columns([HEADINGS, *([getattr(sae, field) for field in FIELDS] for sae in found)]))
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
