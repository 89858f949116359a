"""Intervals of the means of effects: how often they cover the true mean, and a slow reference."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.effects import bootstrap
from saecatalog.effects.bootstrap import LEAST_TEXTS, RESAMPLES, mean_interval

N = 32
RUNS = 2000
SKEWED: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float]] = {
    "normal": (lambda rng, n: rng.normal(1, 1, n), 1.0),
    "exponential": (lambda rng, n: rng.exponential(1, n), 1.0),
    "log-normal": (lambda rng, n: rng.lognormal(0, 0.5, n), float(np.exp(0.125))),
    "very skewed": (lambda rng, n: rng.lognormal(0, 1, n), float(np.exp(0.5))),
}


@pytest.mark.parametrize("name", SKEWED)
def test_coverage_of_the_true_mean(name: str) -> None:
    """Between 93 and 97 % of 95 % intervals of 32 contexts contain it; a percentile interval would in 88 to 92 %."""
    draw, true = SKEWED[name]
    rng = np.random.default_rng(3)
    found = [mean_interval(draw(rng, N), np.arange(N), 0) for _ in range(RUNS)]
    covered = np.mean([low <= true <= high for _, low, high in found])
    assert 0.93 <= covered <= 0.97


def test_coverage_where_contexts_share_texts() -> None:
    """16 texts of two contexts that are nearly the same are 16 independent values, not 32."""
    rng, texts = np.random.default_rng(4), np.repeat(np.arange(16), 2)
    found = []
    for _ in range(RUNS):
        of_text = rng.exponential(1, 16)
        found.append(mean_interval(np.repeat(of_text, 2) + rng.normal(0, 0.1, 32), texts, 0))
    covered = np.mean([low <= 1 <= high for _, low, high in found])
    assert 0.92 <= covered <= 0.97
    as_if = [mean_interval(np.repeat(rng.exponential(1, 16), 2), np.arange(32), 0) for _ in range(RUNS)]
    assert np.mean([low <= 1 <= high for _, low, high in as_if]) < 0.9


def slowly(values: np.ndarray, texts: np.ndarray, seed: int) -> tuple[float, float, float]:
    """The same interval, one resample at a time."""
    names = np.unique(texts)
    parts = [values[texts == name] for name in names]

    def mean_and_error(chosen: list[np.ndarray]) -> tuple[float, float]:
        n, total = len(chosen), sum(map(len, chosen))
        mean = sum(part.sum() for part in chosen) / total
        squares = sum((part.sum() - mean * len(part)) ** 2 for part in chosen)
        return mean, np.sqrt(squares * n / (n - 1)) / total

    mean, error = mean_and_error(parts)
    counts = np.random.default_rng([seed, len(names)]).multinomial(
        len(names), np.full(len(names), 1 / len(names)), 2000
    )
    ratios = []
    for row in counts:
        again, spread = mean_and_error([parts[i] for i in np.repeat(np.arange(len(names)), row)])
        if spread > 1e-9 * error:
            ratios.append((again - mean) / spread)
    low, high = np.quantile(ratios, [0.0175, 0.9825])
    return mean, mean - high * error, mean - low * error


def test_against_one_resample_at_a_time() -> None:
    assert RESAMPLES == 2000
    rng = np.random.default_rng(5)
    values, texts = rng.exponential(1, 20), np.sort(rng.integers(0, 12, 20))
    np.testing.assert_allclose(mean_interval(values, texts, 7), slowly(values, texts, 7), rtol=1e-8)
    assert mean_interval(values, texts, 7) != mean_interval(values, texts, 8)


@given(st.lists(st.floats(-5, 5), min_size=LEAST_TEXTS, max_size=40), st.floats(-3, 3), st.floats(0.5, 4))
def test_shift_and_scale(values: list[float], shift: float, scale: float) -> None:
    plain = np.array(values)
    texts = np.arange(len(plain))
    mean, low, high = mean_interval(plain, texts, 0)
    assert low <= mean + 1e-9
    assert mean <= high + 1e-9
    if np.std(plain) > 1e-3:
        moved = mean_interval(plain * scale + shift, texts, 0)
        np.testing.assert_allclose(moved, np.array([mean, low, high]) * scale + shift, atol=1e-6)


def test_few_texts_have_no_interval_and_equal_values_an_empty_one() -> None:
    assert np.isnan(mean_interval(np.empty(0), np.empty(0), 0)).all()
    mean, low, high = mean_interval(np.arange(7.0), np.arange(7), 0)
    assert mean == 3
    assert np.isnan([low, high]).all()
    assert np.isnan(mean_interval(np.arange(20.0), np.repeat([1, 2], 10), 0)[1:]).all()
    assert mean_interval(np.full(9, 0.25), np.arange(9), 0) == (0.25, 0.25, 0.25)
    assert bootstrap.LEVEL == 0.965
