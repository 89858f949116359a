"""The best partners of features against a slow and obvious search, and what chance gives."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

from saecatalog.compare import matching
from saecatalog.compare.matching import (
    DECIMALS,
    Directions,
    Scores,
    best_partners,
    chance_levels,
    mutual,
    shuffled,
    similarity,
)


def sparse_scores(rows: int, features: int, seed: int, density: float = 0.3) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return np.where(chance.random((rows, features)) < density, chance.exponential(3, (rows, features)), 0).astype(
        np.float32
    )


def as_scores(table: np.ndarray) -> Scores:
    return Scores(sparse.csc_matrix(table))


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r of two lists, 0 if one of them is constant."""
    return float(stats.pearsonr(x.astype(float), y.astype(float))[0]) if np.ptp(x) and np.ptp(y) else 0.0


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    sizes = math.sqrt(sum(a * a for a in x.tolist())) * math.sqrt(sum(b * b for b in y.tolist()))
    return sum(a * b for a, b in zip(x.tolist(), y.tolist(), strict=True)) / sizes if sizes else 0.0


def slowly(table: list[list[float]]) -> list[tuple[int, float]]:
    """The first of the largest entries of each row, after rounding."""
    found = []
    for row in table:
        rounded = [round(value, DECIMALS) for value in row]
        found.append((rounded.index(max(rounded)), max(row)))
    return found


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_best_partners_are_those_of_a_slow_search(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "WIDEST", block)
    a, b = sparse_scores(40, 13, 1), sparse_scores(40, 11, 2)
    b[:, 4], b[:, 7], a[:, 5] = a[:, 2], a[:, 2], 0
    first, second = as_scores(a), as_scores(b)
    best = best_partners(first, second)
    table = [[correlation(a[:, i], b[:, j]) for j in range(11)] for i in range(13)]
    for found, wanted, pair in (
        (best[0], slowly(table), (first, second)),
        (best[1], slowly([list(column) for column in zip(*table, strict=True)]), (second, first)),
    ):
        assert found.partner.tolist() == [place for place, _ in wanted]
        exact = similarity(*pair, found.partner)
        np.testing.assert_allclose(exact, [value for _, value in wanted], atol=2 * 10**-DECIMALS)
    assert best[0].partner[2] == 4, "of two equal ones, the smaller index"


def test_cosines_are_those_of_a_slow_search() -> None:
    chance = np.random.default_rng(3)
    a, b = (chance.normal(size=(n, 6)).astype(np.float32) for n in (9, 7))
    a[3] = 0
    best, _ = best_partners(Directions(a), Directions(b))
    wanted = slowly([[cosine(x, y) for y in b] for x in a])
    assert best.partner.tolist() == [place for place, _ in wanted]
    np.testing.assert_allclose(
        similarity(Directions(a), Directions(b), best.partner), [v for _, v in wanted], atol=1e-6
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_permuted_features_are_found_and_a_dictionary_matches_itself(seed: int, features: int) -> None:
    table = sparse_scores(50, features, seed % 1000, density=0.5)
    order = np.random.default_rng(seed).permutation(features)
    there, back = best_partners(as_scores(table), as_scores(3 * table[:, order] + 0))
    assert np.array_equal(order[there.partner], np.arange(features))
    assert np.array_equal(back.partner, order)
    assert mutual(there.partner, back.partner).all()
    same, _ = best_partners(as_scores(table), as_scores(table))
    assert np.array_equal(same.partner, np.arange(features))
    np.testing.assert_allclose(same.similarity, 1, atol=1e-5)


def test_shuffling_the_rows_of_one_side_is_what_the_order_does() -> None:
    a, b = sparse_scores(30, 8, 4), sparse_scores(30, 9, 5)
    order = shuffled([f"text-{n}" for n in range(30)])
    assert sorted(order) == list(range(30))
    assert order != list(range(30))
    there, back = best_partners(as_scores(a), as_scores(b), order)
    wanted = best_partners(as_scores(a[order]), as_scores(b))
    assert there.partner.tolist() == wanted[0].partner.tolist()
    assert back.partner.tolist() == wanted[1].partner.tolist()


def test_unrelated_dictionaries_rarely_exceed_chance_and_related_ones_do() -> None:
    a, b = sparse_scores(200, 150, 6, density=0.1), sparse_scores(200, 150, 7, density=0.1)
    names = [f"text-{n}" for n in range(200)]
    n_active = (a > 0).sum(0)

    def above(other: np.ndarray) -> float:
        null, _ = best_partners(as_scores(a), as_scores(other), shuffled(names))
        found, _ = best_partners(as_scores(a), as_scores(other))
        return float((found.similarity > chance_levels(n_active, null.similarity)).mean())

    assert above(b) < 0.15
    noisy = np.where(np.random.default_rng(8).random(a.shape) < 0.9, a, 0).astype(np.float32)
    assert above(noisy[:, ::-1]) > 0.95


def test_features_that_fire_about_as_often_share_a_level() -> None:
    n_active = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    best = np.array([1, 0.2, 0.9, 0.3, 0.4, 0.5, 0.6, 0.1], np.float32)
    wanted = [1, 0.9, 0.9, 0.6, 0.6, 0.6, 0.6, 0.1]
    np.testing.assert_allclose(chance_levels(n_active, best), wanted, rtol=1e-6)


def test_chance_is_what_at_most_five_in_a_hundred_exceed() -> None:
    best = np.random.default_rng(0).permutation(np.arange(1, 101, dtype=np.float32))
    levels = chance_levels(np.full(100, 8), best)
    assert [(best > level).sum() for level in set(levels.tolist())] == [4]
    assert [(best >= level).sum() for level in set(levels.tolist())] == [5]


def test_only_partners_of_each_other_are_mutual() -> None:
    there, back = [2, 0, 2, -1], [1, 3, 0]
    slow = [t >= 0 and back[t] == i for i, t in enumerate(there)]
    assert mutual(np.array(there), np.array(back)).tolist() == slow == [True, True, False, False]


@pytest.mark.parametrize(("n", "m"), list(product([0, 3], [0, 4])))
def test_a_side_without_features_finds_and_is_found_by_none(n: int, m: int) -> None:
    there, back = best_partners(as_scores(sparse_scores(9, n, 1)), as_scores(sparse_scores(9, m, 2)))
    assert (len(there.partner), len(back.partner)) == (n, m)
    assert n * m > 0 or set(there.partner.tolist() + back.partner.tolist()) <= {-1}
