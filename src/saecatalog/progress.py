"""Progress of long work: one bar per stage on a terminal, one line per stage in a log file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TextIO

LOG_INTERVAL = 30.0
"""Seconds between two lines of one stage in a log file."""


def notice(line: str) -> None:
    """Say something that the user has to know even without a progress bar: on standard error, unless `noticed_by`."""
    _listener.get()(line)


@contextmanager
def noticed_by(listener: Callable[[str], object]) -> Iterator[None]:
    """Inside the block, notices go to a function."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def _write(line: str) -> None:
    # A bar on the terminal is moved down; if there is none, tqdm need not be imported.
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        sys.stderr.write(f"{line}\n")
    else:
        tqdm.tqdm.write(line, file=sys.stderr)


_listener: ContextVar[Callable[[str], object]] = ContextVar("listener", default=_write)


class Bar(Protocol):
    """The progress of a stage: `update` adds finished work, `close` ends the stage."""

    def update(self, n: int = 1) -> object: ...
    def set_postfix_str(self, s: str) -> object: ...
    def close(self) -> object: ...


class LogBar:
    """A stage in a log file: one line when it ends, and before that at most one line every LOG_INTERVAL seconds.

    A stage without any progress, such as one that fails immediately, writes no line.
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
        """Name the current step. A log does not show it."""

    def close(self) -> None:
        if self.done:
            done = "done" if self.total == 1 else f"{self.done:,}{self.unit}"
            self._write(f"{done} in {time.monotonic() - self.started:.0f} s")

    def _write(self, said: str) -> None:
        print(f"{self.what}: {said}", file=self.file, flush=True)


class Progress:
    """Shows progress on standard error; `quiet` shows nothing."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def open(self, what: str, total: int | None = None, unit: str = " pages") -> Bar:
        """A bar to `update` and `close`; on a terminal it shows rate and remaining time."""
        if not self.quiet and not sys.stderr.isatty():
            return LogBar(what, total, unit, sys.stderr)
        # Imported late: tqdm reads TQDM_DISABLE, with which the command line hides the bars of libraries, at import.
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
