"""Progress of long work on the terminal: one bar per stage, and lines that stay."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


class Progress:
    """Shows what is going on, on standard error; quiet shows nothing."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def open(self, what: str, total: int | None = None, unit: str = " pages") -> "tqdm[None]":
        """A bar to `update` and to `close`, with rate and time left."""
        large = unit == " tokens"
        name = f"{what:<14}"
        return tqdm(total=total, desc=name, unit=unit, unit_scale=large, disable=self.quiet, file=sys.stderr)

    @contextmanager
    def bar(self, what: str, total: int | None = None, unit: str = " steps") -> Iterator["tqdm[None]"]:
        """A bar that closes at the end of the block."""
        with self.open(what, total, unit) as bar:
            yield bar
