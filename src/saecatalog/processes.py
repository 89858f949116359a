"""Work in processes: a number of workers flows in, an executor flows out."""

import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from types import ModuleType


@contextmanager
def worker_processes(workers: int) -> Iterator[Executor]:
    """Worker processes within the block.

    They are spawned, not forked: the caller may have threads of torch or arrow, which a fork would leave locked. A
    spawned process would first run the caller's main script again, from its beginning unless it has a guard, and then
    wait for a lock that the caller holds. So the script is out of sight while the processes start.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield pool
    finally:
        sys.modules["__main__"] = main
