"""Progress of long work on the terminal: one bar per stage, and lines that stay."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


class Progress:
    """Shows what is going on, on standard error; quiet shows nothing."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    @contextmanager
    def bar(self, what: str, total: int | None = None, unit: str = "it") -> Iterator["tqdm[None]"]:
        """A bar to `update`, with rate and time left."""
        with tqdm(
            total=total,
            desc=f"{what:<14}",
            unit=unit,
            unit_scale=unit == " tokens",
            disable=self.quiet,
            file=sys.stderr,
        ) as bar:
            yield bar

    def over(self, what: str, items: Iterable[T], total: int | None = None) -> Iterable[T]:
        """The items, with a bar over them."""
        return tqdm(items, desc=f"{what:<14}", total=total, disable=self.quiet, file=sys.stderr)

    def say(self, line: str) -> None:
        """A line that stays above the bars."""
        if not self.quiet:
            tqdm.write(line, file=sys.stderr)
