"""Builds that are killed, and damaged caches: a sample of what benchmarks/reliability.py measures."""

from collections.abc import Iterator

import pytest
from reliability import Table, faults, kills, stops
from workbench import Workbench, workbench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench() -> Iterator[Workbench]:
    """Fewer texts and pages than in the benchmark."""
    with workbench(n_lines=1, notable=4) as made:
        yield made


def assert_good(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    table.print()
    assert table.n_failed == 0, capsys.readouterr().out


def test_after_a_kill_the_same_command_finishes_the_same_site(
    bench: Workbench, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an empty cache every stage runs, and beside a standing site there is something to tear.

    In some of the stages, because each case takes seconds; `benchmarks/reliability.py kills` takes all of them.
    """
    table = kills(bench, 5, seed=1, names=["changed text, empty cache"])
    assert len(table.rows) == 5, "each in a stage of its own"
    assert_good(table, capsys)


def test_a_stopped_build_says_so_and_goes_on(bench: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    assert_good(stops(bench, 2, seed=1, names=["changed text"]), capsys)


def test_damaged_results_are_named_and_made_again(bench: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    assert_good(faults(bench, 4, seed=1, reuses=1), capsys)
