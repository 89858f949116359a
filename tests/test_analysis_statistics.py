"""Formulas against scipy and numpy."""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats
from studies import ACTIVATIONS, SCORES, close

from saecatalog.analysis import statistics
from saecatalog.analysis.statistics import (
    benjamini_hochberg,
    column_ranks,
    difference_interval,
    rank_sum_tail,
    rank_sum_test,
    wilson,
)
from saecatalog.verify import formulas


@given(st.integers(1, 10**7), st.floats(0, 1))
def test_wilson_against_scipy(n: int, share: float) -> None:
    k = round(n * share)
    low, high = wilson(np.array([k]), n)
    interval = stats.binomtest(k, n).proportion_ci(0.95, method="wilson") if n < 10**5 else formulas.wilson(k, n)
    close([low[0], high[0]], list(interval), rtol=1e-6, atol=1e-9)
    assert 0 <= low[0] <= k / n <= high[0] <= 1


def test_wilson_of_nothing() -> None:
    low, high = wilson(np.zeros(2), 0)
    assert (low.tolist(), high.tolist()) == ([0, 0], [1, 1])


@given(st.lists(SCORES, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_ranks_and_tests_against_scipy(columns: list[list[float]], seed: int) -> None:
    n = min(len(c) for c in columns)
    dense = np.array([c[:n] for c in columns]).T
    matrix = sparse.csc_matrix(dense)
    ranks, ties = column_ranks(matrix)
    wanted = stats.rankdata(dense, axis=0)
    np.testing.assert_array_equal(ranks.toarray()[dense > 0], wanted[dense > 0])
    for column in range(dense.shape[1]):
        sizes = np.unique(dense[:, column], return_counts=True)[1].tolist()
        assert ties[column] == sum(t**3 - t for t in sizes)
    inside = np.random.default_rng(seed).random(n) < 0.4
    sums = np.stack([wanted[inside].sum(0), wanted[~inside].sum(0)])
    sizes = np.array([[inside.sum()], [(~inside).sum()]])
    auroc, p = rank_sum_test(sums, sizes, n, ties)
    for column, scores in enumerate(dense.T):
        for group, member in enumerate((inside, ~inside)):
            mine, rest = scores[member].tolist(), scores[~member].tolist()
            close(auroc[group, column], formulas.auroc(mine, rest), atol=1e-12)
            if not mine or not rest or len(set(mine + rest)) == 1:
                assert p[group, column] == 1
                continue
            close(p[group, column], stats.mannwhitneyu(mine, rest, method="asymptotic").pvalue, atol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg(p: list[float]) -> None:
    found = benjamini_hochberg(np.array(p))
    np.testing.assert_array_equal(found, stats.false_discovery_control(p))
    close(found, formulas.benjamini_hochberg(p), atol=1e-300)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5)), min_size=1, max_size=20))
def test_benjamini_hochberg_of_repeated_tests(tests: list[tuple[float, int]]) -> None:
    p, counts = (np.array(column) for column in zip(*tests, strict=True))
    repeated = stats.false_discovery_control(np.repeat(p, counts))
    np.testing.assert_array_equal(benjamini_hochberg(p, counts), repeated[np.cumsum(counts) - 1])
    close(formulas.benjamini_hochberg(p.tolist(), counts.tolist()), repeated[np.cumsum(counts) - 1], atol=1e-300)


@given(st.lists(st.sampled_from([1.0, 1.0, 2.0, 3.5]), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 9))
def test_the_p_of_a_silent_group(active: list[float], n_inside: int, silent: int) -> None:
    """The closed form that `verify` uses, against scipy."""
    found = formulas.silent_p(active, n_inside, len(active) + n_inside + silent)
    wanted = stats.mannwhitneyu([0.0] * n_inside, active + [0.0] * silent, method="asymptotic").pvalue
    close(found, wanted, atol=1e-12)


def test_benjamini_hochberg_of_nothing() -> None:
    assert benjamini_hochberg(np.zeros(0)).shape == (0,)


@given(st.lists(ACTIVATIONS, min_size=1, max_size=40), st.floats(0, 1), st.integers(1, 50))
def test_quantiles_against_numpy(values: list[float], q: float, part: int) -> None:
    array = np.array(values, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "PART", part)
        found = statistics.quantile(array, q)
    np.testing.assert_allclose(found, float(np.quantile(array, q)), rtol=1e-6)


def test_the_quantile_of_many_numbers() -> None:
    array = np.random.default_rng(2).lognormal(size=10_001).astype(np.float32)
    for q in (0.0, 0.5, 0.9, 1.0):
        assert statistics.quantile(array, q) == float(np.quantile(array, q))
    assert statistics.quantile(array[:0], 0.9) == 0


@given(st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 3.0, 5.0]), min_size=2, max_size=11), st.data())
def test_rank_sum_tail_against_every_choice_of_texts(scores: list[float], data: st.DataObject) -> None:
    """Against the share of all choices of as many texts that win as many pairs, for the texts drawn."""
    m = data.draw(st.integers(1, len(scores) - 1))

    def wins(chosen: Sequence[int]) -> float:
        inside, rest = [scores[i] for i in chosen], [s for i, s in enumerate(scores) if i not in chosen]
        return formulas.auroc(inside, rest) * len(inside) * len(rest)

    every = [wins(chosen) for chosen in itertools.combinations(range(len(scores)), m)]
    u = data.draw(st.sampled_from(every))
    exact = sum(w >= u - 1e-9 for w in every) / len(every)
    active = [s for s in scores if s > 0]
    ties = sum(t**3 - t for t in Counter(active).values())
    columns = [np.array([x]) for x in (u, m, len(scores), float(len(active)), float(ties))]
    (p,) = rank_sum_tail(*columns)
    assert 0.6 * exact <= p <= 1.6 * exact
    if len(set(active)) <= 1:
        # Without an order among the active texts, the test is Fisher's exact one.
        close(p, exact)


def test_one_active_text_is_no_evidence() -> None:
    """One of 20 texts is active, and none of 962 others: chance 20 in 982, for the usual approximation 2e-12."""
    u = np.array([19 * 962 / 2 + 962])
    (p,) = rank_sum_tail(u, np.array([20]), np.array([982]), np.array([1.0]), np.array([0.0]))
    close(p, 20 / 982)


def test_difference_interval_of_newcombe() -> None:
    """Newcombe 1998, table II: 56/70 - 48/80 gives 0.0524 to 0.3339, and 10/10 - 0/10 gives 0.6075 to 1."""
    k, n, other, n_other = np.array([56, 10]), np.array([70, 10]), np.array([48, 0]), np.array([80, 10])
    found, low, high = difference_interval(k, n, other, n_other)
    close(found, [0.2, 1.0])
    close(low, [0.0524, 0.6075], atol=5e-5)
    close(high, [0.3339, 1.0], atol=5e-5)
