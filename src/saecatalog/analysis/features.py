"""What each feature does on the corpus: activations and text scores flow in, one row per feature flows out."""

from itertools import pairwise

import numpy as np
import pandas as pd

from saecatalog.analysis.activations import Activations
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import wilson

QUANTILES = {"q25": 0.25, "q50": 0.5, "q75": 0.75, "q90": 0.9, "q99": 0.99}
BINS = 24


def feature_table(activations: Activations, scores: TextScores, strong: float, text_ids: list[str]) -> pd.DataFrame:
    """Counts, density with its interval, moments and quantiles of the active values, and the strongest text."""
    matrix = activations.by_feature
    n_active = np.diff(matrix.indptr).astype(np.int64)
    n = activations.n_tokens
    low, high = wilson(n_active, n)
    values = matrix.data.astype(np.float64)
    column = np.repeat(np.arange(matrix.shape[1]), n_active)
    alive = np.maximum(n_active, 1)
    mean = np.bincount(column, values, minlength=len(n_active)) / alive
    variance = np.bincount(column, (values - mean[column]) ** 2, minlength=len(n_active)) / alive
    by_text = scores.by_feature
    strong_columns = np.repeat(np.arange(scores.d_sae), np.diff(by_text.indptr))[by_text.data > strong]
    return pd.DataFrame(
        {
            "feature": np.arange(len(n_active), dtype=np.int32),
            "n_tokens": n,
            "n_active": n_active,
            "density": n_active / max(n, 1),
            "density_low": low,
            "density_high": high,
            "max": _column_max(matrix.data, matrix.indptr),
            "mean_active": mean.astype(np.float32),
            "std_active": np.sqrt(variance).astype(np.float32),
            **_quantiles(matrix.data, matrix.indptr),
            "n_texts": scores.n_texts,
            "n_texts_active": np.diff(by_text.indptr).astype(np.int32),
            "n_texts_strong": np.bincount(strong_columns, minlength=scores.d_sae).astype(np.int32),
            "top_text": _top_texts(scores, text_ids),
        }
    )


def _column_max(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    return np.array([values[a:b].max() if b > a else 0.0 for a, b in pairwise(indptr)], np.float32)


def _quantiles(values: np.ndarray, indptr: np.ndarray) -> dict[str, np.ndarray]:
    """Linear-interpolation quantiles of each column's active values; 0 for an empty column."""
    out = np.zeros((len(indptr) - 1, len(QUANTILES)), np.float32)
    levels = list(QUANTILES.values())
    for column, (a, b) in enumerate(pairwise(indptr)):
        if b > a:
            out[column] = np.quantile(values[a:b], levels)
    return dict(zip(QUANTILES, out.T, strict=True))


def _top_texts(scores: TextScores, text_ids: list[str]) -> list[str]:
    """The text with the largest score of each feature, the first in a tie; "" where there is none."""
    matrix = scores.by_feature
    bounds = pairwise(matrix.indptr)
    return [text_ids[matrix.indices[a + int(np.argmax(matrix.data[a:b]))]] if b > a else "" for a, b in bounds]


def histogram_table(activations: Activations, maxima: np.ndarray) -> pd.DataFrame:
    """Histograms of the active values of every feature that fired: equal bins from 0 to its maximum."""
    matrix = activations.by_feature
    n_active = np.diff(matrix.indptr)
    column = np.repeat(np.arange(matrix.shape[1]), n_active)
    share = matrix.data.astype(np.float64) / maxima.astype(np.float64)[column]
    place = np.minimum((share * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(column * BINS + place, minlength=matrix.shape[1] * BINS).reshape(-1, BINS)
    fired = np.flatnonzero(n_active)
    edges = (np.linspace(0, 1, BINS + 1)[None, :] * maxima[fired, None].astype(np.float64)).astype(np.float32)
    return pd.DataFrame({"feature": fired.astype(np.int32), "edges": list(edges), "counts": list(counts[fired])})
