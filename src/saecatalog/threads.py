"""Work in threads: a function and its inputs flow in, results flow out in the order of the inputs.

Each thread runs torch on its share of the cores: two single-threaded passes outrun one on two threads, because what
is not a matrix product runs beside the other's.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

MAX_WORKERS = 4
"""Python's own work between matrix products limits how many threads pay."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def n_workers(device: torch.device, n_items: int) -> int:
    """One thread per core on a CPU, up to a few and to the number of items; one on any other device."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1, MAX_WORKERS, n_items))


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The results of `work` in the order of the items; few wait at any time."""
    before = torch.get_num_threads()
    waiting: deque[Future[Result]] = deque()
    try:
        with ThreadPoolExecutor(
            workers, initializer=torch.set_num_threads, initargs=(max(1, before // workers),)
        ) as pool:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(before)
