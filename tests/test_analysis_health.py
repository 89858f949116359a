"""Figures on the SAE as a whole, from the residual stream itself."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import cases
import numpy as np
import reference
from cases import make_case
from conftest import CONTEXT
from hypothesis import given
from hypothesis import strategies as st
from studies import Study, close

from saecatalog.analysis.activations import include
from saecatalog.analysis.health import explained_variance
from saecatalog.store import read_store
from saecatalog.texts.corpus import Text
from saecatalog.verify import formulas


def test_health(study: Study, models: Callable, saes: Callable, texts: list[Text]) -> None:
    health = study.findings.health
    active = study.tokens_active
    per_token = [int(row.sum()) for row in active]
    mean = sum(per_token) / len(per_token)
    spread = math.sqrt(sum((n - mean) ** 2 for n in per_token) / len(per_token))
    close([health["l0_mean"], health["l0_std"]], [mean, spread], rtol=6e-6)
    assert health["silent"] == study.case.d_sae - len(study.fired)
    assert health["excluded_positions"] == sum(not k for kept in study.keep for k in kept)
    median = cases.median_norm(study.raw)
    close(health["norm_median"], median, rtol=6e-6)
    close(health["norm_limit"], formulas.norm_limit(median, study.config.outlier_multiple), rtol=6e-6)
    density = [math.log10(active[:, f].mean()) for f in study.fired]
    edges = health["density_edges"]
    wanted = [sum(a <= d < b for d in density) for a, b in itertools.pairwise(edges)]
    wanted[-1] += sum(d == edges[-1] for d in density)
    assert health["density_counts"] == wanted


def test_explained_variance(study: Study, models: Callable, saes: Callable) -> None:
    """From the residual stream and reconstruction of every counted position, dense."""
    folder = models(study.shape)
    rows = []
    for text in study.inputs.texts:
        rows.append(reference.residuals(folder, study.kind.hook, text.content, CONTEXT, reference.bos_of(folder))[1])
    x = np.concatenate(rows)[np.concatenate(study.keep)]
    sae = saes(study.shape, study.kind)
    wanted = cases.explained_variance(x, reference.decode(sae, reference.encode(sae, x), x))
    close(study.findings.health["explained_variance"], wanted, rtol=1e-4, atol=1e-5)


@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_explained_variance_of_random_residuals(n: int, d_in: int, seed: int) -> None:
    import tempfile

    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d_in)) + 1
    reconstruction = x + generator.normal(size=x.shape) * 0.3
    case = make_case([np.ones((n, 1))])
    case.norms[0] = np.linalg.norm(x, axis=1).astype(np.float32)
    case.squared_errors[0] = np.square(x - reconstruction).sum(1).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        cases.save_case(Path(folder), case, [x])
        found = explained_variance(include(read_store(Path(folder)), 1e6))
    close(found, cases.explained_variance(x, reconstruction), rtol=1e-4, atol=1e-4)
