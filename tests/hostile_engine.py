"""An engine that does everything an engine may do: other processes, any order, twice, on arrays that cannot be changed.

What works with it works with workers anywhere.
"""

import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

Packed = tuple[bytes, list[bytes]]
"""A pickled object and the contents of its arrays."""


def pack(thing: object) -> Packed:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return data, [bytes(buffer.raw()) for buffer in buffers]


def unpack(packed: Packed) -> Any:
    """A copy of the object; its arrays are read-only, because `bytes` are."""
    data, buffers = packed
    return pickle.loads(data, buffers=buffers)


def size(thing: object) -> int:
    data, buffers = pack(thing)
    return len(data) + sum(map(len, buffers))


def call(work: Packed, shared: Packed, item: Packed) -> Packed:
    return pack(unpack(work)(unpack(shared), unpack(item)))


class HostileEngine:
    """Every item goes to another process or, one in three, to this one; every fourth one is done twice."""

    def __init__(self, seed: int = 0, reaches: bool = False):
        self._chance, self.reached = random.Random(seed), reaches
        self._pool = ProcessPoolExecutor(1, get_context("spawn"))
        self.calls: list[tuple[str, int, list[int]]] = []
        """For each use of the engine: the name of the function, the bytes that its calls share, and those of items."""

    def __enter__(self) -> "HostileEngine":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def workers(self) -> int:
        return 2

    def reaches(self, folder: Path) -> bool:
        return self.reached

    def in_order(self, work: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any]) -> Iterator[Any]:
        todo, packed = list(items), (pack(work), pack(shared))
        self.calls.append((work.__name__, size(shared), [size(item) for item in todo]))
        places = [*range(len(todo)), *range(0, len(todo), 4)]
        self._chance.shuffle(places)
        found: dict[int, Packed] = {}
        for place in places:
            arguments = (*packed, pack(todo[place]))
            here = self._chance.random() < 1 / 3
            found[place] = call(*arguments) if here else self._pool.submit(call, *arguments).result()
        return (unpack(found[place]) for place in range(len(todo)))
