"""Work in threads: a function and its inputs flow in, results flow out in the order of the inputs.

No result depends on the number of threads. Torch is imported only for passes of torch.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

MAX_THREADS = 4
"""Each thread has arrays of its own, and because of Python's global lock more threads gain little."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def n_threads() -> int:
    """One thread per core, up to MAX_THREADS."""
    return max(1, min(os.cpu_count() or 1, MAX_THREADS))


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int | None = None,
    prepare: Callable[[], object] = lambda: None,
) -> Iterator[Result]:
    """The result of `work` for every item, in the order of the items; only a few are computed ahead.

    `prepare` is called once in each thread.
    """
    threads = threads or n_threads()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=prepare) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def n_passes(device: "torch.device", n_items: int) -> int:
    """Number of torch passes to run in parallel: one per core on a CPU, up to MAX_THREADS; one on any other device."""
    import torch

    return max(1, min(torch.get_num_threads(), n_threads(), n_items)) if device.type == "cpu" else 1


def passes_in_order(work: Callable[[Item], Result], items: Iterable[Item], passes: int) -> Iterator[Result]:
    """`in_order`, with torch's threads divided among the passes.

    Two single-threaded passes are faster than one on two threads, because only matrix products use both threads.
    """
    import torch

    before = torch.get_num_threads()
    try:
        yield from in_order(work, items, passes, lambda: torch.set_num_threads(max(1, before // passes)))
    finally:
        torch.set_num_threads(before)
