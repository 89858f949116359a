"""Which features fire together, over the whole dictionary: yes/no matrices flow in, each feature's partners flow out.

Counts are made block by block, so that no matrix of all pairs is ever in memory.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64
from scipy import sparse
from scipy.sparse.csgraph import connected_components

PARTNERS = 10
"""Partners kept per feature and level; a pair is kept when either keeps the other."""

MIN_SUPPORT = {"token": 5, "text": 3}
"""Tokens or texts on which both must be active."""

CLUSTER_PHI = 0.5
"""Features belong to one cluster when a chain of pairs with at least this phi on tokens joins them."""

BLOCK = 256


def pair_table(active: sparse.csr_matrix, level: str, decoder: Float32[np.ndarray, "d_sae d_in"]) -> pd.DataFrame:
    """The pairs with the largest phi of each feature, counted on the rows of `active` (`[token or text, feature]`)."""
    n = active.shape[0]
    counts = np.bincount(active.indices, minlength=active.shape[1]).astype(np.float64)
    kept = [_best(*block, counts, n) for block in _blocks(active, counts, MIN_SUPPORT[level])]
    pairs = np.unique(np.concatenate(kept), axis=0) if kept else np.empty((0, 3), np.int64)
    a, b, both = pairs.T
    union = counts[a] + counts[b] - both
    unit = decoder / np.maximum(np.linalg.norm(decoder, axis=1, keepdims=True), 1e-12)
    frame = pd.DataFrame(
        {
            "feature_a": a.astype(np.int32),
            "feature_b": b.astype(np.int32),
            "level": level,
            "n_a": counts[a].astype(np.int64),
            "n_b": counts[b].astype(np.int64),
            "n_both": both.astype(np.int64),
            "jaccard": both / union,
            "lift": both * n / (counts[a] * counts[b]),
            "phi": phi(both.astype(np.float64), counts[a], counts[b], n),
            "decoder_cosine": np.einsum("ij,ij->i", unit[a], unit[b]),
        }
    )
    return frame.sort_values(["phi", "feature_a", "feature_b"], ascending=[False, True, True], ignore_index=True)


def phi(both: np.ndarray, a: np.ndarray, b: np.ndarray, n: int) -> Float64[np.ndarray, "..."]:
    """Correlation of two yes/no variables from their counts; 0 where either is always or never true."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (both * n - a * b) / np.sqrt(a * b * (n - a) * (n - b))
    return np.where(np.isfinite(value), value, 0.0)


Candidates = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Feature, partner, rows on which both are active."""


def _blocks(active: sparse.csr_matrix, counts: np.ndarray, support: int) -> Iterator[Candidates]:
    """Block by block, the partners with enough support, from which each feature's best are taken.

    A sparse product costs the sum of squared row lengths, a dense one n * d_sae per feature; the cheaper is taken
    (a dense multiply-add is about 200 times cheaper than a sparse one). Counts are exact whole numbers in float32.
    """
    n, width = active.shape
    binary = sparse.csr_matrix((np.ones(active.nnz, np.float32), active.indices, active.indptr), shape=active.shape)
    columns = binary.tocsc()
    sparse_cost = float(np.square(np.diff(active.indptr).astype(np.float64)).sum())
    dense = float(n) * width * width / 200 < sparse_cost and n * width * 4 < 2e9
    whole = binary.toarray() if dense else binary
    for start in range(0, width, BLOCK):
        part = columns[:, start : start + BLOCK]
        if dense:
            yield _dense_candidates(start, part.toarray().T @ whole, counts, n, support)
        else:
            product = (part.T @ whole).tocoo()
            keep = (product.data >= support) & (product.row + start != product.col)
            yield product.row[keep] + start, product.col[keep], product.data[keep].astype(np.float64)


def _dense_candidates(start: int, both: np.ndarray, counts: np.ndarray, n: int, support: int) -> Candidates:
    """The partners at least as good as each feature's last that is kept, so that nearly all pairs need no sorting."""
    me = np.arange(start, start + len(both))
    value = phi(both.astype(np.float64), counts[me, None], counts, n)
    value[both < support] = 0
    value[np.arange(len(both)), me] = 0
    last = max(0, value.shape[1] - PARTNERS)
    threshold = np.partition(value, last, axis=1)[:, last]
    row, partner = np.nonzero((value > 0) & (value >= threshold[:, None]))
    return row + start, partner, both[row, partner].astype(np.float64)


def _best(me: np.ndarray, partner: np.ndarray, both: np.ndarray, counts: np.ndarray, n: int) -> np.ndarray:
    """`(a, b, n_both)` of the partners with the largest phi of each feature of a block, a < b.

    Ties are broken by the smaller index of the partner; pairs that avoid each other are left out.
    """
    value = phi(both, counts[me], counts[partner], n)
    positive = value > 0
    me, partner, both, value = me[positive], partner[positive], both[positive], value[positive]
    order = np.lexsort((partner, -value, me))
    first = np.flatnonzero(np.concatenate([[True], me[order][1:] != me[order][:-1]])[: len(order)])
    sizes = np.diff(np.concatenate([first, [len(order)]]))
    place = np.arange(len(order)) - np.repeat(first, sizes)
    best = order[place < PARTNERS]
    pair = np.minimum(me[best], partner[best]), np.maximum(me[best], partner[best])
    return np.stack([*pair, both[best]], axis=1).astype(np.int64)


def cluster_table(pairs: pd.DataFrame, d_sae: int) -> pd.DataFrame:
    """Groups of two or more features joined by strong pairs on tokens, largest first."""
    strong = pairs[(pairs["level"] == "token") & (pairs["phi"] >= CLUSTER_PHI)]
    graph = sparse.csr_matrix((np.ones(len(strong)), (strong["feature_a"], strong["feature_b"])), shape=(d_sae, d_sae))
    _, component = connected_components(graph, directed=False)
    size = np.bincount(component)
    first = np.full(len(size), d_sae)
    np.minimum.at(first, component, np.arange(d_sae))
    chosen = sorted((c for c in range(len(size)) if size[c] > 1), key=lambda c: (-size[c], first[c]))
    number = {c: i for i, c in enumerate(chosen)}
    rows = sorted((number[c], f) for f, c in enumerate(component.tolist()) if c in number)
    return pd.DataFrame(rows, columns=["cluster", "feature"])
