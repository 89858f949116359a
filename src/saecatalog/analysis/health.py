"""How well the SAE fits this corpus: the sums in a store flow in, a few figures flow out."""

import numpy as np

from saecatalog.analysis.activations import Activations
from saecatalog.store import norm_bands

DENSITY_EDGES = np.arange(-6.0, 0.01, 0.25)
"""Edges of the density histogram, powers of ten."""


def sae_health(activations: Activations) -> dict[str, object]:
    """L0, explained variance, silent features, excluded positions and the histogram of log10 densities.

    Figures are rounded to six significant digits, because further digits depend on the order of summation.
    """
    per_token = np.diff(activations.store.indptr)[activations.included]
    n_active = np.diff(activations.by_feature.indptr)
    density = n_active[n_active > 0] / max(activations.n_tokens, 1)
    # The outer bins are open, so that every feature that fired is in one.
    counts, _ = np.histogram(np.log10(density), np.concatenate([[-np.inf], DENSITY_EDGES[1:-1], [np.inf]]))
    return {
        "l0_mean": _six(per_token.mean() if len(per_token) else 0.0),
        "l0_std": _six(per_token.std() if len(per_token) else 0.0),
        "explained_variance": _six(explained_variance(activations)),
        "silent": int((n_active == 0).sum()),
        "density_edges": DENSITY_EDGES.tolist(),
        "density_counts": counts.tolist(),
        "excluded_positions": int((~activations.included).sum()),
        "excluded_share": _six((~activations.included).mean()),
        "norm_median": _six(activations.norm_median),
        "norm_limit": _six(activations.norm_limit),
    }


def explained_variance(activations: Activations) -> float:
    """1 - sum |x - x'|^2 / sum |x - mean|^2 over the counted positions, all dimensions together; NaN for fewer than 2.

    x is what the SAE is to write and x' what it writes. The denominator is sum |x|^2 - |sum x|^2 / n, so the values
    themselves need not be stored: |x| is stored for every token, and sum x for every norm band.
    """
    store, included, n = activations.store, activations.included, activations.n_tokens
    if n < 2:
        return float("nan")
    # Bands are kept or dropped whole, because the limit is the edge of one; `total` is [d_out].
    kept = store.bands < norm_bands(np.array([activations.norm_limit * 1.001]))[0]
    total = np.asarray(store.band_sums)[kept].sum(0)
    squares = float(np.square(store.target_norms[included].astype(np.float64)).sum())
    variance = squares - float(total @ total) / n
    return 1 - float(store.squared_errors[included].astype(np.float64).sum()) / variance


def _six(value: float) -> float:
    return float(f"{value:.6g}")
