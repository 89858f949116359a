"""The Ray engine: where workers are placed, how work is cut for them, and what they do with it."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog import stage_keys
from saecatalog.config import MachinesConfig
from saecatalog.engines import Engine
from saecatalog.errors import CatalogError
from saecatalog.progress import noticed_by
from saecatalog.ray_crew import AHEAD, LOSSES, Desk
from saecatalog.ray_engine import connect, plan
from saecatalog.remote_harvest import GROUPS, LEAST_TOKENS, grouped
from saecatalog.shards import SHARD_TOKENS
from saecatalog.texts.windows import Window

NODES = st.lists(st.fixed_dictionaries({"CPU": st.integers(0, 8), "GPU": st.integers(0, 4)}), min_size=1, max_size=4)


def fits(nodes: list[dict[str, int]], workers: int, cpus: int, gpus: float) -> bool:
    """Whether some way to spread the workers over the nodes exists, found by trying all."""
    ways = product(*(range(workers + 1) for _ in nodes))
    return any(
        sum(way) == workers
        and all(n * cpus <= node["CPU"] and n * gpus <= node["GPU"] for n, node in zip(way, nodes, strict=True))
        for way in ways
    )


@given(NODES, st.none() | st.integers(1, 6), st.sampled_from([0, 1, 2, 0.5]))
def test_workers_have_as_many_processors_as_fit(nodes: list[dict[str, int]], wanted: int | None, gpus: float) -> None:
    given_nodes = [{name: float(n) for name, n in node.items() if n} for node in nodes]
    try:
        workers, cpus = plan(given_nodes, wanted, gpus)
    except CatalogError:
        assert not fits(nodes, wanted or 1, 1, gpus)
        return
    assert workers == wanted or wanted is None
    assert cpus == int(cpus) >= 1
    if workers <= 6:
        assert fits(nodes, workers, int(cpus), gpus)
        assert not fits(nodes, workers, int(cpus) + 1, gpus)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "wanted"),
    [
        ([{"CPU": 2.0}], None, 0, (1, 2)),
        ([{"CPU": 1.0}, {"CPU": 1.0}], None, 0, (2, 1)),
        ([{"CPU": 0.0}, {"CPU": 4.0}], None, 0, (1, 4)),
        ([{"CPU": 16.0, "GPU": 4.0}], 4, 1, (4, 4)),
        ([{"CPU": 16.0, "GPU": 4.0}], None, 1, (4, 4)),
        ([{"CPU": 16.0, "GPU": 4.0}], None, 0.5, (8, 2)),
        ([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}], None, 1, (2, 4)),
    ],
)
def test_examples(nodes: list[dict[str, float]], workers: int | None, gpus: float, wanted: tuple[int, int]) -> None:
    assert plan(nodes, workers, gpus) == wanted


@given(st.lists(st.lists(st.integers(1, 400), min_size=1, max_size=5), max_size=60), st.integers(1, 5))
def test_groups_hold_every_batch_once(lengths: list[list[int]], workers: int) -> None:
    batches = [[Window(0, length, 0, b"") for length in batch] for batch in lengths]
    groups = list(grouped(batches, workers))
    assert [batch for group in groups for batch in group] == batches
    total = sum(map(sum, lengths))
    least = min(SHARD_TOKENS, max(LEAST_TOKENS, total // (GROUPS * workers)))
    sizes = [sum(len(window) for batch in group for window in batch) for group in groups]
    assert all(size >= least for size in sizes[:-1])
    assert all(size - sum(map(len, group[-1])) < least for size, group in zip(sizes, groups, strict=True))


@pytest.mark.parametrize("file", ["harvest.py", "render.py", "style.css"])
def test_workers_with_other_code_for_data_or_pages_are_another_version(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, sha256 = Desk({}).version(), stage_keys.file_sha256
    monkeypatch.setattr(stage_keys, "file_sha256", lambda path: "other" if path.name == file else sha256(path))
    assert Desk({}).version() != mine


@pytest.fixture(scope="module")
def engine(cluster: Any) -> Iterator[Engine]:
    """Workers on both nodes, to which functions of this file are sent by their source."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    connection = connect(MachinesConfig(address=cluster.address))
    yield connection
    connection.close()


def double(shared: int, item: int) -> int:
    return shared * item


def die_once(folder: Path, item: int) -> int:
    """Ends its process, the first time for each third item."""
    marker = folder / str(item)
    if item % 3 == 0 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die(shared: None, item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def fail(shared: None, item: int) -> int:
    raise CatalogError("It went wrong.", f"item {item}", "Mend it.")


@pytest.mark.slow
def test_results_come_in_order_and_not_too_far_ahead(engine: Engine) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(60):
            taken.append(item)
            yield item

    for place, result in enumerate(engine.in_order(double, 3, items())):
        assert result == 3 * place
        assert len(taken) <= place + 1 + AHEAD * engine.workers
    assert len(taken) == 60


@pytest.mark.slow
def test_nothing_is_nothing(engine: Engine) -> None:
    assert list(engine.in_order(double, 3, [])) == []


@pytest.mark.slow
def test_items_whose_worker_dies_are_done_again(engine: Engine, tmp_path: Path) -> None:
    said: list[str] = []
    with noticed_by(said.append):
        assert list(engine.in_order(die_once, tmp_path, range(9))) == list(range(9))
    assert len(list(tmp_path.iterdir())) == 3
    assert list(engine.in_order(double, 2, range(3))) == [0, 2, 4]


@pytest.mark.slow
def test_a_new_worker_is_not_asked_for_a_folder_that_is_gone(engine: Engine, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    assert engine.reaches(gone)
    gone.rmdir()
    said: list[str] = []
    with noticed_by(said.append):
        assert list(engine.in_order(die_once, tmp_path, range(5))) == list(range(5))
    assert said


@pytest.mark.slow
def test_an_item_that_ends_every_worker_is_an_error(engine: Engine) -> None:
    with noticed_by(lambda line: None), pytest.raises(CatalogError, match=f"{LOSSES} workers ended with the same part"):
        list(engine.in_order(die, None, range(4)))


def write_to_a_full_disk(shared: None, item: int) -> None:
    with open("/dev/full", "wb", buffering=0) as file:
        try:
            file.write(b"anything")
        except OSError as error:
            error.filename = file.name
            raise


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_a_full_disk_of_a_worker_is_told_as_one(engine: Engine) -> None:
    """By its number, and with the name of the machine."""
    with pytest.raises(OSError, match=r"/dev/full \(on ") as error:
        list(engine.in_order(write_to_a_full_disk, None, [7]))
    assert error.value.errno == errno.ENOSPC


@pytest.mark.slow
def test_an_error_of_a_worker_says_where(engine: Engine) -> None:
    with pytest.raises(CatalogError) as error:
        list(engine.in_order(fail, None, [7]))
    assert error.value.what == "It went wrong."
    assert error.value.where.startswith("item 7 (on ")
    assert error.value.fix == "Mend it."
