"""Finished parts of long work: items flow in, files with their results flow out. Only what is not there yet is done.

A file is named by a hash of all that its content depends on and by its checksum, and is there whole or not at all.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import IO, Protocol, TypeVar

from saecatalog.cache import checksum
from saecatalog.progress import notice

PART = ".part"
"""The file that is being written."""


class Keyed(Protocol):
    """A part of the work."""

    @property
    def key(self) -> str:
        """A hash of everything that its results depend on, but for model and SAE."""
        ...


Item = TypeVar("Item", bound=Keyed)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Kept:
    """A folder of finished parts, which no other process has at the same time."""

    folder: Path
    suffix: str
    again: str
    """What happens to a damaged part, in words."""

    def in_order(
        self,
        items: Iterable[Item],
        run: Callable[[Iterator[Item]], Iterator[Result]],
        write: Callable[[IO[bytes], Result], object],
    ) -> Iterator[tuple[Item, Path, bool]]:
        """Every item with the file of its result, and whether that was there before.

        `run` makes the results of the items that are missing, in their order. It may take a few items ahead.
        """
        asked, answered = tee((item, self._find(item.key)) for item in items)
        fresh = run(item for item, path in asked if path is None)
        for item, path in answered:
            if path is not None:
                yield item, path, True
            else:
                yield item, self._keep(item.key, next(fresh), write), False

    def _find(self, key: str) -> Path | None:
        """The file of a finished part; one that is not as it was written is removed."""
        for path in self.folder.glob(f"{key}-*{self.suffix}"):
            if path.stem == f"{key}-{checksum(path)}":
                return path
            notice(f"the cache's {path} is damaged; {self.again}")
            path.unlink()
        return None

    def _keep(self, key: str, result: Result, write: Callable[[IO[bytes], Result], object]) -> Path:
        """Write a finished part, completely or not at all."""
        part = self.folder / PART
        try:
            with part.open("wb") as file:
                write(file, result)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part.replace(self.folder / f"{key}-{checksum(part)}{self.suffix}")

    def tidy(self) -> None:
        """Remove everything, once the tables have what it holds."""
        for path in [*self.folder.glob(f"*{self.suffix}"), self.folder / PART]:
            path.unlink(missing_ok=True)
