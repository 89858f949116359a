"""Statistics of each feature: a block of activations and its text scores flow in, one row per feature flows out."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int64, Shaped

from saecatalog.analysis.activations import Block, CorpusTokens, first_largest
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import wilson
from saecatalog.tables import Columns, Lists

QUANTILES = {"q25": 0.25, "q50": 0.5, "q75": 0.75, "q90": 0.9, "q99": 0.99}
BINS = 24
"""Bins of the histogram of a feature's active values."""


def feature_rows(
    corpus: CorpusTokens, block: Block, scores: TextScores, strong: float, text_ids: Shaped[np.ndarray, "text"]
) -> pd.DataFrame:
    """Counts, density with its interval, moments and quantiles of the active values, and the strongest text.

    `scores` are those of the block's features, `strong` is the score above which a text is strong.
    """
    n, n_active = corpus.n_included, block.n_active
    low, high = wilson(n_active, n)
    # In double precision, with two passes for the variance, to avoid the cancellation of a sum of squares.
    values, alive = block.values.astype(np.float64), np.maximum(n_active, 1)
    mean = np.bincount(block.columns, values, minlength=len(block)) / alive
    variance = np.bincount(block.columns, (values - mean[block.columns]) ** 2, minlength=len(block)) / alive
    at_start = np.where(corpus.positions[block.tokens] == 0, values, 0)
    by_text = scores.by_feature
    text_columns = np.repeat(np.arange(len(block)), np.diff(by_text.indptr))
    return pd.DataFrame(
        {
            "feature": block.features,
            "n_tokens": n,
            "n_active": n_active,
            "density": n_active / max(n, 1),
            "density_low": low,
            "density_high": high,
            # The rule of three: the upper end of a 95 % interval for an event seen in none of n trials.
            "silent_below": np.where(n_active == 0, min(3 / max(n, 1), 1.0), np.nan),
            "max": _at_rank(block, n_active > 0, np.zeros(len(block), np.int64)),
            "mean_active": mean.astype(np.float32),
            "std_active": np.sqrt(variance).astype(np.float32),
            **{name: _quantile(block, q) for name, q in QUANTILES.items()},
            "n_texts": scores.n_texts,
            "n_texts_active": np.diff(by_text.indptr).astype(np.int32),
            "n_texts_strong": np.bincount(text_columns[by_text.data > strong], minlength=len(block)).astype(np.int32),
            "top_text": _top_texts(scores, text_ids),
            "start_share": np.bincount(block.columns, at_start, minlength=len(block)) / np.maximum(mean * alive, 1e-30),
        }
    )


def _at_rank(
    block: Block, which: Bool[np.ndarray, "feature"], rank: Int64[np.ndarray, "feature"]
) -> Float32[np.ndarray, "feature"]:
    """The active value at a rank (0: the largest) of each feature in `which`; 0 for the others."""
    out = np.zeros(len(block), np.float32)
    out[which] = block.values[block.strongest[block.indptr[:-1][which] + rank[which]]]
    return out


def _quantile(block: Block, q: float) -> Float32[np.ndarray, "feature"]:
    """A quantile of each feature's active values, interpolated linearly; 0 for silent features."""
    fired, last = block.n_active > 0, block.n_active - 1
    place = q * np.maximum(last, 0)
    below = np.floor(place).astype(np.int64)
    # `place` counts from the smallest value, ranks from the largest.
    low = _at_rank(block, fired, last - below).astype(np.float64)
    high = _at_rank(block, fired, last - np.minimum(below + 1, last)).astype(np.float64)
    return np.asarray(low + (high - low) * (place - below), np.float32)


def _top_texts(scores: TextScores, text_ids: Shaped[np.ndarray, "text"]) -> Shaped[np.ndarray, "feature"]:
    """The text with the largest score of each feature, the first in a tie; "" if there is none."""
    matrix = scores.by_feature
    top = np.full(scores.d_sae, "", object)
    fired = np.flatnonzero(np.diff(matrix.indptr))
    top[fired] = text_ids[matrix.indices[first_largest(matrix.data, matrix.indptr[fired])]]
    return top


def histogram_rows(block: Block) -> Columns:
    """Histograms of the active values of every feature that fired: equal bins from 0 to its maximum."""
    n_active, width = block.n_active, len(block)
    fired = np.flatnonzero(n_active)
    maxima = _at_rank(block, n_active > 0, np.zeros(width, np.int64)).astype(np.float64)
    share = block.values.astype(np.float64) / maxima[block.columns]
    # The maximum itself belongs to the last bin. One bincount gives all counts, [fired feature, bin].
    place = np.minimum((share * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(block.columns * np.int64(BINS) + place, minlength=width * BINS).reshape(-1, BINS)[fired]
    edges = np.linspace(0, 1, BINS + 1)[None, :] * maxima[fired, None]
    return {
        "feature": block.features[fired],
        "edges": Lists(edges.astype(np.float32).ravel(), np.arange(len(fired) + 1) * (BINS + 1)),
        "counts": Lists(counts.ravel(), np.arange(len(fired) + 1) * BINS),
    }
