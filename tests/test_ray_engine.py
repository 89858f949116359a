"""How workers are placed on nodes, and how work is cut for them. No Ray is needed for this."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.errors import CatalogError
from saecatalog.ray_engine import plan
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
