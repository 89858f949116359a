"""Work in threads whose results come in order: nothing depends on how many threads there are."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_THREADS = 4
"""Each thread holds a block's arrays, and Python's own steps keep more from paying."""


def n_threads() -> int:
    return max(1, min(os.cpu_count() or 1, MAX_THREADS))


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> Iterator[Result]:
    """`work` of every item, in the order of the items; few are begun before they are asked for."""
    threads = threads or n_threads()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
