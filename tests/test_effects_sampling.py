"""Which contexts are sampled: equal numbers from each quarter, spread over categories and texts, always the same."""

import numpy as np
import pytest
from scipy import sparse

from saecatalog.analysis.activations import Activations
from saecatalog.analysis.contexts import band_bounds
from saecatalog.effects.sampling import Sample, sample_contexts
from saecatalog.store import Store

D_SAE = 6
LENGTH = 10
N_TEXTS = 120
CATEGORIES = np.array([f"c{t % 3 if t < 90 else 3}" for t in range(N_TEXTS)], object)


def world(dense: np.ndarray) -> Activations:
    """Texts of equal lengths with given activations `[token, feature]`."""
    matrix = sparse.csr_matrix(dense.astype(np.float32))
    n = len(dense)
    zeros = np.zeros(n, np.float32)
    store = Store(
        np.arange(0, n + 1, LENGTH), np.zeros(n, np.int32), np.zeros(n, np.int32), zeros, zeros, zeros,
        matrix.indptr.astype(np.int64), matrix.indices, matrix.data, np.zeros(1, np.int32), np.zeros((1, 4)),
        np.array([n, D_SAE]),
    )  # fmt: skip
    return Activations(store, np.ones(n, bool), 1.0, 9.0)


@pytest.fixture(scope="module")
def dense() -> np.ndarray:
    """Feature 0 fires on a quarter of the tokens, 1 on few, 2 in four texts, 3 on all, 4 never; 5 has no decoder."""
    rng = np.random.default_rng(0)
    values = rng.exponential(1, (N_TEXTS * LENGTH, D_SAE))
    active = rng.random(values.shape) < [0.25, 0.005, 0, 1, 0, 0.5]
    active[: 4 * LENGTH, 2] = True
    return np.where(active, values, 0)


def drawn(dense: np.ndarray, features: tuple[int, ...] = (0, 1, 2, 3, 4), n: int = 32, seed: int = 0) -> Sample:
    silent = np.arange(D_SAE) == 5
    return sample_contexts(world(dense), CATEGORIES, features, n, seed, silent)


def test_equal_numbers_from_each_quarter(dense: np.ndarray) -> None:
    sample = drawn(dense)
    for feature in (0, 2, 3):
        own = sample.part(sample.features == feature)
        assert np.bincount(own.bands).tolist() == [8, 8, 8, 8]
        assert len(set(own.tokens.tolist())) == 32
        assert (np.diff(own.tokens) > 0).all()
        ranked = np.sort(dense[:, feature][dense[:, feature] > 0])[::-1].astype(np.float32)
        bounds = band_bounds(len(ranked))
        for band in range(4):
            inside = own.activations[own.bands == band]
            assert inside.max() <= ranked[bounds[band]]
            assert inside.min() >= ranked[bounds[band + 1] - 1]
    np.testing.assert_array_equal(sample.activations, dense[sample.tokens, sample.features].astype(np.float32))
    assert set(sample.features.tolist()) == {0, 1, 2, 3}


def test_all_tokens_of_a_rare_feature(dense: np.ndarray) -> None:
    sample = drawn(dense)
    assert (dense[:, 1] > 0).sum() < 32
    assert sample.tokens[sample.features == 1].tolist() == np.flatnonzero(dense[:, 1]).tolist()
    assert np.bincount(drawn(dense, n=30).bands[:30]).tolist() == [8, 8, 7, 7]


def test_one_context_of_a_text_where_there_are_enough(dense: np.ndarray) -> None:
    sample = drawn(dense)
    texts = sample.tokens // LENGTH
    for feature, wanted in ((0, 32), (3, 32), (2, 4)):
        assert len(set(texts[sample.features == feature].tolist())) == wanted


def test_categories_in_proportion(dense: np.ndarray) -> None:
    """A quarter of a feature's tokens are of each category, so are a quarter of its contexts."""
    counts = np.zeros(4)
    for seed in range(20):
        sample = drawn(dense, (0, 3), seed=seed)
        counts += np.unique(CATEGORIES[sample.tokens // LENGTH], return_counts=True)[1]
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.03)


def test_the_plain_mean_estimates_that_of_all_active_tokens(dense: np.ndarray) -> None:
    """A value that depends on strength and category, over 200 samples: no bias."""
    value = dense[:, 0] ** 2 + 3 * (CATEGORIES == "c3").repeat(LENGTH)
    true = value[dense[:, 0] > 0].mean()
    means = [value[drawn(dense, (0,), seed=seed).tokens].mean() for seed in range(200)]
    assert abs(np.mean(means) - true) < 3 * np.std(means) / np.sqrt(200) + 0.02


def test_a_sample_depends_on_its_feature_and_the_seed_alone(dense: np.ndarray) -> None:
    whole, alone = drawn(dense), drawn(dense, (3,))
    part = whole.part(whole.features == 3)
    for name, values in vars(alone).items():
        np.testing.assert_array_equal(values, getattr(part, name))
    assert drawn(dense, (3,), seed=1).tokens.tolist() != alone.tokens.tolist()


def test_controls_are_other_features_active_there(dense: np.ndarray) -> None:
    sample = drawn(dense)
    for feature, token, control in zip(sample.features, sample.tokens, sample.controls, strict=True):
        others = set(np.flatnonzero(dense[token]).tolist()) - {int(feature), 5}
        assert int(control) in others if others else control == -1
    assert (sample.controls == -1).any()
    both = (dense[sample.tokens, 2] > 0) & (dense[sample.tokens, 3] > 0) & (sample.features == 0)
    assert {2, 3} <= set(sample.controls[both].tolist()) or both.sum() < 5
