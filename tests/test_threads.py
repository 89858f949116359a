"""Work in threads."""

import threading
from collections.abc import Iterator

import pytest

from saecatalog.threads import in_order


def test_results_come_in_order_and_little_is_begun_ahead() -> None:
    taken = []
    last_first = threading.Event()

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        # The first waits for the second, so that they end the other way round.
        if item == 0:
            assert last_first.wait(10)
        if item == 1:
            last_first.set()
        return item * item

    results = in_order(work, items(), threads=2)
    assert next(results) == 0
    assert len(taken) <= 4
    assert list(results) == [item * item for item in range(1, 20)]


def test_an_error_in_a_thread_is_raised() -> None:
    def work(item: int) -> int:
        return 1 // (3 - item)

    results = in_order(work, range(9), threads=2)
    assert [next(results), next(results), next(results)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
