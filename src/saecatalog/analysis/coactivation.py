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

BLOCK = 1024
"""Features whose counts with all others are in memory at once."""

CHUNK_BYTES = 600_000_000
"""A dense product takes the rows in chunks of this size."""

ROUNDING = 1e-4
"""More than single precision can be off in a quick phi."""


def pair_table(active: sparse.csr_matrix, level: str, decoder: Float32[np.ndarray, "d_sae d_in"]) -> pd.DataFrame:
    """The pairs with the largest phi of each feature, counted on the rows of `active` (`[token or text, feature]`)."""
    n = active.shape[0]
    counts = np.bincount(active.indices, minlength=active.shape[1]).astype(np.float64)
    kept = []
    for first, both in joint_counts(active):
        kept.append(_best(*_candidates(first, both, counts, n, MIN_SUPPORT[level]), counts, n))
    pairs = np.unique(np.concatenate(kept), axis=0) if kept else np.empty((0, 3), np.int64)
    a, b, both = pairs.T
    frame = pd.DataFrame(
        {
            "feature_a": a.astype(np.int32),
            "feature_b": b.astype(np.int32),
            "level": level,
            "n_a": counts[a].astype(np.int64),
            "n_b": counts[b].astype(np.int64),
            "n_both": both.astype(np.int64),
            "jaccard": both / (counts[a] + counts[b] - both),
            "lift": both * n / (counts[a] * counts[b]),
            "phi": phi(both.astype(np.float64), counts[a], counts[b], n),
            "decoder_cosine": _cosines(decoder, a, b),
        }
    )
    return frame.sort_values(["phi", "feature_a", "feature_b"], ascending=[False, True, True], ignore_index=True)


def _cosines(decoder: np.ndarray, a: np.ndarray, b: np.ndarray) -> Float64[np.ndarray, "pair"]:
    """Cosines of pairs of decoder rows, some thousand pairs at a time."""
    norms = np.maximum(np.linalg.norm(decoder, axis=1), 1e-12)
    parts = [slice(start, start + 8192) for start in range(0, len(a), 8192)]
    dots = [np.einsum("ij,ij->i", decoder[a[part]], decoder[b[part]]) for part in parts]
    return np.concatenate([*dots, np.empty(0)]) / (norms[a] * norms[b])


def phi(both: np.ndarray, a: np.ndarray, b: np.ndarray, n: int) -> Float64[np.ndarray, "..."]:
    """Correlation of two yes/no variables from their counts; 0 where either is always or never true."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (both * n - a * b) / np.sqrt(a * b * (n - a) * (n - b))
    return np.where(np.isfinite(value), value, 0.0)


def joint_counts(active: sparse.csr_matrix) -> Iterator[tuple[int, Float32[np.ndarray, "feature d_sae"]]]:
    """Block by block, the rows on which each feature of the block and each feature of the dictionary are active.

    A sparse product costs the sum of squared row lengths, a dense one n * d_sae per feature; the cheaper is taken
    (a dense multiply-add is about 200 times cheaper than a sparse one). Counts are exact whole numbers in float32.
    """
    n, width = active.shape
    binary = sparse.csr_matrix((np.ones(active.nnz, np.float32), active.indices, active.indptr), shape=active.shape)
    sparse_cost = float(np.square(np.diff(active.indptr).astype(np.float64)).sum())
    dense = float(n) * width * width / 200 < sparse_cost
    chunk = max(1, CHUNK_BYTES // (4 * width)) if dense else max(n, 1)
    parts = [binary[start : start + chunk] for start in range(0, n, chunk)]
    # One chunk is made dense once; of several, each is made anew for each block.
    whole = [parts[0].toarray()] if dense and len(parts) == 1 else parts
    columns = [part.tocsc() for part in parts]
    for first in range(0, width, BLOCK):
        both = np.zeros((min(BLOCK, width - first), width), np.float32)
        for part, column in zip(whole, columns, strict=True):
            mine = column[:, first : first + BLOCK]
            if dense:
                both += mine.toarray().T @ (part if isinstance(part, np.ndarray) else part.toarray())
            else:
                both += (mine.T @ part).toarray()
        yield first, both


Candidates = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Feature, partner, rows on which both are active."""


def _candidates(first: int, both: np.ndarray, counts: np.ndarray, n: int, support: int) -> Candidates:
    """The partners about as good as each feature's last that is kept, so that nearly all pairs need no sorting.

    A quick phi in single precision leaves out only those that are surely worse.
    """
    me = np.arange(first, first + len(both))
    share = counts / max(n, 1)
    with np.errstate(divide="ignore"):
        scale = np.where((counts > 0) & (counts < n), 1 / np.sqrt(counts * (1 - share)), 0).astype(np.float32)
    quick = both - counts[me, None].astype(np.float32) * share.astype(np.float32)
    quick *= scale[me, None]
    quick *= scale
    quick[both < support] = 0
    quick[np.arange(len(both)), me] = 0
    last = max(0, quick.shape[1] - PARTNERS)
    threshold = np.partition(quick, last, axis=1)[:, last]
    row, partner = np.nonzero((quick > 0) & (quick >= threshold[:, None] - ROUNDING))
    return row + first, partner, both[row, partner].astype(np.float64)


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
