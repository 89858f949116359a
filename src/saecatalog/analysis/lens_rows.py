"""What the weights alone say about each feature: the lens flows in, rows of the tables about weights flow out."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Shaped

from saecatalog.analysis.activations import BLOCK_FEATURES
from saecatalog.store import Lens
from saecatalog.tables import Coded, Columns, Lists


def logit_rows(lens: Lens, vocabulary: Shaped[np.ndarray, "d_vocab"]) -> Iterator[Columns]:
    """The tokens that each feature promotes and suppresses most, for a block of features at a time."""
    sides = {
        "promoted": (lens.promoted_ids, lens.promoted_logits),
        "suppressed": (lens.suppressed_ids, lens.suppressed_logits),
    }
    for start in range(0, len(lens.decoder), BLOCK_FEATURES):
        part = slice(start, start + BLOCK_FEATURES)
        # [feature, side, rank], so that flattening gives a feature's promoted tokens, then its suppressed ones.
        ids = np.stack([np.asarray(side[0][part]) for side in sides.values()], axis=1)
        logits = np.stack([np.asarray(side[1][part]) for side in sides.values()], axis=1)
        n, _, k = ids.shape
        yield {
            "feature": np.repeat(np.arange(start, start + n), 2 * k),
            "direction": Coded(list(sides), np.tile(np.repeat([0, 1], k), n)),
            "rank": np.tile(np.arange(k), 2 * n),
            "token_id": ids.ravel(),
            "token": vocabulary[ids.ravel()],
            "logit": logits.ravel(),
        }


def logit_moments(lens: Lens) -> dict[str, Float32[np.ndarray, "d_sae"]]:
    """The columns of the features table that describe the distribution of each feature's effects on the logits."""
    return dict(zip(("logit_std", "logit_skew", "logit_kurtosis"), np.asarray(lens.logit_moments).T, strict=True))


def logit_histogram_rows(lens: Lens) -> Columns:
    """The histogram of each feature's effects on the logits; no rows if the SAE has no such effects."""
    edges, counts = np.asarray(lens.logit_edges), np.asarray(lens.logit_counts)
    n = len(edges) if edges.shape[1] else 0
    return {
        "feature": np.arange(n),
        "edges": Lists(edges.ravel(), np.arange(n + 1) * edges.shape[1]),
        "counts": Lists(counts.ravel(), np.arange(n + 1) * counts.shape[1]),
    }


def neighbour_rows(lens: Lens) -> Columns:
    """The features whose decoder rows are nearest to each feature's, by cosine."""
    n, k = lens.neighbour_ids.shape
    return {
        "feature": np.repeat(np.arange(n), k),
        "rank": np.tile(np.arange(k), n),
        "neighbour": np.asarray(lens.neighbour_ids).ravel(),
        "cosine": np.asarray(lens.neighbour_cosines).ravel(),
    }
