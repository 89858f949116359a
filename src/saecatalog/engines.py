"""Engines: who does the work. A function, what its calls share and their items flow in; results flow out in order.

No result depends on the engine. `Threads` is the threads of this process; `ray_engine` has workers on any machines.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from saecatalog.threads import in_order, n_threads

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Calls a function for many items."""

    @property
    def workers(self) -> int:
        """How many calls run at the same time."""
        ...

    def reaches(self, folder: Path) -> bool:
        """Whether every call, wherever it runs, can read and write files in a folder of this machine by its path."""
        ...

    def in_order(
        self, work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Result]:
        """`work(shared, item)` for every item, in the order of the items; only a few are computed ahead.

        `work` is a function of a module. It, `shared`, the items and the results can be pickled, and `work` changes
        neither `shared` nor anything else, except files that are the same if they are written again: it may run in
        another process, and again if that process is lost.
        """
        ...


class Threads:
    """The threads of this process."""

    @property
    def workers(self) -> int:
        return n_threads()

    def reaches(self, folder: Path) -> bool:
        return True

    def in_order(
        self, work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Result]:
        return in_order(lambda item: work(shared, item), items)
