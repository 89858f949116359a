"""Progress of long work: on a terminal one bar for each stage, in a log file one line."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

LOG_INTERVAL = 30.0
"""Seconds between two lines of one stage in a log file."""


class Bar(Protocol):
    """How far a stage is: `update` counts what was done, `close` ends the stage."""

    def update(self, n: int = 1) -> object: ...
    def set_postfix_str(self, s: str) -> object: ...
    def close(self) -> object: ...


class LogBar:
    """A stage in a log file: one line when it ends, and one at most every LOG_INTERVAL seconds before that.

    A stage in which nothing was done, as one that failed at once, leaves no line.
    """

    def __init__(self, what: str, total: int | None, unit: str, file: TextIO):
        self.what, self.total, self.unit, self.file = what, total, unit, file
        self.done = 0
        self.started = self.written = time.monotonic()

    def update(self, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        if now - self.written >= LOG_INTERVAL:
            self.written = now
            of = f" of {self.total:,}" if self.total else ""
            self._write(f"{self.done:,}{of}{self.unit}, {now - self.started:.0f} s so far")

    def set_postfix_str(self, s: str) -> None:
        """What is being done just now; a log has no place for it."""

    def close(self) -> None:
        if self.done:
            self._write(f"{self.done:,}{self.unit} in {time.monotonic() - self.started:.0f} s")

    def _write(self, said: str) -> None:
        print(f"{self.what}: {said}", file=self.file, flush=True)


class Progress:
    """Shows what is going on, on standard error; quiet shows nothing."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def open(self, what: str, total: int | None = None, unit: str = " pages") -> Bar:
        """A bar to `update` and to `close`; on a terminal it shows rate and time left."""
        if not self.quiet and not sys.stderr.isatty():
            return LogBar(what, total, unit, sys.stderr)
        # Imported late: tqdm reads TQDM_DISABLE, by which the command line quiets the bars of libraries, only then.
        from tqdm import tqdm

        large = unit == " tokens"
        name = f"{what:<14}"
        bar: Bar = tqdm(total=total, desc=name, unit=unit, unit_scale=large, disable=self.quiet, file=sys.stderr)
        return bar

    @contextmanager
    def bar(self, what: str, total: int | None = None, unit: str = " steps") -> Iterator[Bar]:
        """A bar that closes at the end of the block."""
        bar = self.open(what, total, unit)
        try:
            yield bar
        finally:
            bar.close()
