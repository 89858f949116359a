"""Pairs and clusters against counts and correlations of dense matrices."""

from collections.abc import Callable
from pathlib import Path

import cases
import numpy as np
import pandas as pd
import pytest
from conftest import TWIN_A, TWIN_B
from safetensors.numpy import load_file
from scipy import sparse
from studies import Study, close

from saecatalog.analysis import coactivation, pair_counts
from saecatalog.analysis.by_feature import ByFeature
from saecatalog.analysis.coactivation import MIN_SUPPORT, PARTNERS, cluster_table, pair_table
from saecatalog.analysis.pair_counts import ActiveRows, Doubled
from saecatalog.engines import Threads
from saecatalog.verify import formulas


def test_coactivation_table(study: Study, saes: Callable) -> None:
    decoder = load_file(saes(study.shape, study.kind) / "sae_weights.safetensors")["W_dec"].astype(np.float64)
    table = study.table("coactivation")
    for level, active in (("token", study.tokens_active), ("text", study.matrix > 0)):
        assert_pairs(table[table["level"] == level], active, MIN_SUPPORT[level], decoder)


def assert_pairs(table: pd.DataFrame, active: np.ndarray, support: int, decoder: np.ndarray) -> None:
    """Every figure of every pair, and that exactly the best partners of each feature are listed."""
    both, n = cases.pair_counts(active), len(active)
    phi = cases.correlations(active)
    for row in table.itertuples():
        a, b = row.feature_a, row.feature_b
        assert a < b
        assert (row.n_a, row.n_b, row.n_both) == (both[a, a], both[b, b], both[a, b])
        assert row.n_both >= support
        close(row.jaccard, both[a, b] / (active[:, a] | active[:, b]).sum())
        close(row.lift, (both[a, b] / n) / ((both[a, a] / n) * (both[b, b] / n)))
        close(row.phi, phi[a, b], atol=1e-12)
        cosine = decoder[a] @ decoder[b] / np.linalg.norm(decoder[a]) / np.linalg.norm(decoder[b])
        close(row.decoder_cosine, cosine, rtol=1e-4, atol=1e-6)
    assert not table.duplicated(["feature_a", "feature_b"]).any()
    assert (np.diff(table["phi"]) <= 0).all()
    found = set(zip(table["feature_a"], table["feature_b"], strict=True))
    must, may = best_partners(phi, both, support)
    assert must <= found <= may


def best_partners(phi: np.ndarray, both: np.ndarray, support: int) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs that are surely among a feature's best partners, and pairs that may be (ties with the last one)."""
    must: set[tuple[int, int]] = set()
    may: set[tuple[int, int]] = set()
    for a in range(len(phi)):
        partners = [b for b in range(len(phi)) if b != a and both[a, b] >= support and phi[a, b] > 1e-9]
        partners.sort(key=lambda b, row=phi[a]: (-row[b], b))
        last = phi[a, partners[PARTNERS - 1]] if len(partners) > PARTNERS else 0.0
        must |= {(min(a, b), max(a, b)) for b in partners if phi[a, b] > last + 1e-9}
        may |= {(min(a, b), max(a, b)) for b in partners if phi[a, b] > last - 1e-9}
    return must, may


def pairs_of(active: np.ndarray, decoder: np.ndarray) -> pd.DataFrame:
    matrix = sparse.csr_matrix(active.astype(np.float32))
    given = ActiveRows.of(matrix), ByFeature.of(matrix.tocsc()), np.ones(len(active), bool)
    return pair_table(*given, "token", decoder.astype(np.float32))


@pytest.mark.parametrize("density", [0.01, 0.03, 0.4])
def test_pairs_of_sparse_and_dense_matrices(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wider than a block, for both ways of counting (sparse and dense products), with correlated columns."""
    monkeypatch.setattr(pair_counts, "BLOCK", 128)
    generator = np.random.default_rng(5)
    active = generator.random((400, 300)) < density
    for column in range(0, 300, 3):
        for other in (1, 2, 7, 150):
            same = generator.random(400) < 0.8
            active[same, (column + other) % 300] = active[same, column]
    active[:, 299], active[:, 7], active[:, 258] = True, False, active[:, 12]
    decoder = generator.normal(size=(300, 8))
    table = pairs_of(active, decoder)
    assert len(table) > 100
    assert_pairs(table, active, MIN_SUPPORT["token"], decoder)


FREQUENCIES = {
    "even": np.full(90, 0.2),
    "from always to never": np.linspace(1, 0, 90),
    "few of all, many of hardly any": np.where(np.arange(90) % 30 == 0, 0.98, 0.03),
    "each half as frequent as the one before": np.maximum(0.5 ** np.arange(90), 0.02),
    "never but for twins": np.where(np.arange(90) % 45 == 7, 0.5, 0.0),
    "one alone": np.where(np.arange(90) == 44, 0.5, 0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [*((name, 89) for name in FREQUENCIES), ("even", 90)])
def test_both_ways_of_counting_are_exact(
    name: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks that do not divide the dictionary evenly, parts that split features, and with some rows excluded."""
    generator = np.random.default_rng(3)
    active = generator.random((230, width)) < FREQUENCIES[name][:width]
    keep = generator.random(230) < 0.9
    matrix = sparse.csr_matrix(active.astype(np.float32))
    by_feature = ByFeature.of(sparse.csr_matrix((active & keep[:, None]).astype(np.float32)).tocsc())
    counted = active[keep].astype(np.int64)
    for block, gathered, rows in ((16, 40, 7), (7, 100_000, 200), (512, 1, 4095)):
        monkeypatch.setattr(pair_counts, "BLOCK", block)
        monkeypatch.setattr(pair_counts, "GATHERED", gathered)
        monkeypatch.setattr(pair_counts, "DENSE_ROWS", rows)
        rows = ActiveRows.of(matrix)
        doubled = pair_counts.two_in_one(rows, keep, tmp_path, Threads()).read()
        shared = pair_counts.share_activity(rows, by_feature, keep, 0, tmp_path)
        for first in range(0, width, block):
            features = np.arange(first, min(first + block, width))
            mine = pair_counts.block_of(shared, by_feature, features, few=False).entries.read()
            wanted = counted[:, features].T @ counted
            np.testing.assert_array_equal(pair_counts.count_dense(doubled, width, features), wanted)
            np.testing.assert_array_equal(pair_counts.count_gathered(matrix, mine), wanted)
            np.testing.assert_array_equal(pair_counts.count_met(matrix, mine).toarray(), wanted)
        table = pair_table(rows, by_feature, keep, "token", np.eye(width, dtype=np.float32))
        assert_pairs(table, active[keep], MIN_SUPPORT["token"], np.eye(width))


@pytest.mark.parametrize("few", [0, 2, 1e9])
@pytest.mark.parametrize("keeping", [0, 2])
def test_pairs_of_features_that_meet_few_others(few: float, keeping: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in sparse matrices, some or all of them; features too rare for a pair are left out or not."""
    sizes = {"MEETS_FEW": few, "WORTH_KEEPING": keeping, "GATHERING": 0, "GATHERED": 97, "MOST_MET": 500, "BLOCK": 7}
    for name, size in sizes.items():
        monkeypatch.setattr(pair_counts, name, size)
    generator = np.random.default_rng(8)
    often = np.where(np.arange(90) % 3 == 1, 0.004, np.geomspace(0.3, 0.01, 90))
    active = generator.random((500, 90)) < often
    active[:, 5], active[:, 60], active[:5, 80] = active[:, 3], active[:, 0], True
    decoder = generator.normal(size=(90, 4))
    table = pairs_of(active, decoder)
    counts = active.sum(0)
    assert (counts < MIN_SUPPORT["token"]).sum() > 20
    assert (table["n_both"] == MIN_SUPPORT["token"]).any()
    assert_pairs(table, active, MIN_SUPPORT["token"], decoder)


def test_a_feature_meets_all_entries_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_counts, "GATHERED", 7)
    active = np.random.default_rng(2).random((40, 30)) < np.linspace(0, 0.5, 30)
    matrix = sparse.csr_matrix(active.astype(np.float32))
    found = pair_counts._entries_met(ByFeature.of(matrix.tocsc()), np.diff(matrix.indptr), Threads())
    np.testing.assert_array_equal(found, active.T.astype(int) @ active.sum(1))


def test_dense_counts_are_exact_where_everything_fires(tmp_path: Path) -> None:
    """The largest counts that share a number, over more rows than one product takes."""
    active = sparse.csr_matrix(np.ones((2 * pair_counts.DENSE_ROWS + 3, 5), np.float32))
    doubled = pair_counts.two_in_one(ActiveRows.of(active), np.ones(active.shape[0], bool), tmp_path, Threads()).read()
    assert (pair_counts.count_dense(doubled, 5, np.arange(5)) == active.shape[0]).all()


@pytest.mark.parametrize("most", [3, 40, 200, 2000])
def test_no_partner_of_features_that_are_hardly_ever_silent_is_lost(most: int) -> None:
    """Their counts differ by a few in a million, which single precision cannot distinguish."""
    n, width = 1_000_000, 64
    for seed in range(15):
        chance = np.random.default_rng(seed)
        silent = np.zeros((width, 2 * most))
        for row in silent:
            row[chance.choice(2 * most, chance.integers(1, most), replace=False)] = 1
        count = silent.sum(1)
        both = n - (count[:, None] + count - silent @ silent.T)
        counts = both.diagonal().copy()
        matrix = pair_counts.Matrix(np.arange(width), counts, n, 5, Doubled(np.empty((0, width), np.float32)))
        me, partner, _ = coactivation._candidates(np.arange(width), both.astype(np.float32), matrix)
        found = set(zip(me.tolist(), partner.tolist(), strict=True))
        phis = coactivation.phi(both, counts[:, None], counts, n)
        for a in range(width):
            best = sorted((b for b in range(width) if b != a and phis[a, b] > 0), key=lambda b, a=a: (-phis[a, b], b))
            assert {(a, b) for b in best[:PARTNERS]} <= found


@pytest.mark.parametrize("width", [3, 10, 11, 63, 64, 200, 700])
def test_no_partner_is_lost_in_the_quick_choice(width: int) -> None:
    """The threshold for candidates is never above the tenth largest value, and not far below it."""
    values = np.random.default_rng(width).normal(size=(50, width)).astype(np.float32)
    values[0], values[1, : width // 2] = 0.5, 0.25
    least = coactivation._at_least(values)
    last = np.sort(values)[:, max(0, width - PARTNERS)]
    assert (least <= last).all()
    assert ((values >= least[:, None]).sum(1) <= 6 * PARTNERS)[2:].all()


def test_partners_that_tie_go_by_index() -> None:
    """Of 14 identical features, each keeps the ten others with the smallest index."""
    active = np.zeros((40, 14), np.float32)
    active[:9] = 1
    table = pairs_of(active, np.eye(14))
    wanted = set()
    for a in range(14):
        partners = [b for b in range(14) if b != a][:PARTNERS]
        wanted |= {(min(a, b), max(a, b)) for b in partners}
    assert list(zip(table["feature_a"], table["feature_b"], strict=True)) == sorted(wanted)


def test_pairs_of_nothing() -> None:
    decoder = np.eye(4)
    for shape in ((0, 4), (1, 4), (9, 4)):
        assert pairs_of(np.zeros(shape), decoder).empty
    assert pairs_of(np.ones((9, 4)), decoder).empty


def test_clusters(study: Study) -> None:
    active = study.tokens_active
    both, phi = cases.pair_counts(active), cases.correlations(active)
    d_sae = study.case.d_sae
    together = [(a, b) for a in range(d_sae) for b in range(a) if both[a, b] >= 5 and phi[a, b] >= 0.5]
    groups = formulas.clusters(together)
    table = study.table("clusters")
    assert [g["feature"].tolist() for _, g in table.groupby("cluster")] == groups
    if study.kind.architecture != "topk":
        assert any({TWIN_A, TWIN_B} <= set(g) for g in groups)


def test_clusters_join_chains_and_go_by_size() -> None:
    pairs = pd.DataFrame(
        [(0, 5, "token", 0.9), (2, 3, "token", 0.5), (3, 4, "token", 0.6), (1, 6, "text", 0.9), (6, 7, "token", 0.49)],
        columns=["feature_a", "feature_b", "level", "phi"],
    )
    table = cluster_table(pairs, 8)
    assert table.to_numpy().tolist() == [[0, 2], [0, 3], [0, 4], [1, 0], [1, 5]]
