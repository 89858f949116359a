"""Which features fire together, over the whole dictionary: boolean matrices flow in, each feature's partners flow out.

Pairs are counted for one block of features at a time, so that the matrix `[d_sae, d_sae]` of all pairs is never in
memory.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int64
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from saecatalog.analysis.activations import ranks_in_runs, runs
from saecatalog.analysis.disk_arrays import scratch_array
from saecatalog.constants import CLUSTER_PHI, MIN_SUPPORT, PARTNERS
from saecatalog.threads import in_order

BLOCK = 512
"""Features whose counts with all others are in memory at once, in each thread."""

GATHERED = 1_000_000
"""Approximate number of row entries gathered at a time: few enough to stay in the processor's cache."""

DENSE_ROWS = 4095
"""Rows of a dense product: two counts up to this number share one float32, which is exact below 2**24."""

GATHERING = 400.0
"""Cost of counting one pair of entries from gathered rows, relative to one pair in a dense product."""

ROUNDING = 1e-6
"""A bound on the error of the difference of two approximate phis in single precision, if features are active on at most
half of the rows. If the geometric mean of both features' odds exceeds 1, the bound grows in proportion to it."""

NO_PHI = -2.0
"""Marks a pair whose phi does not count."""

ROWS_IN_CACHE = 16
"""Features whose approximate phis with all others are computed at once: few enough for the processor's cache."""


def pair_table(
    active: sparse.csr_matrix,
    by_feature: sparse.csc_matrix,
    keep: Bool[np.ndarray, "row"],
    level: str,
    decoder: Float32[np.ndarray, "d_sae d_in"],
    folder: Path | None = None,
    tick: Callable[[int], object] = lambda features: None,
) -> pd.DataFrame:
    """The pairs with the largest phi of each feature, counted on the kept rows of `active`, `[row, feature]`.

    A row is a token or a text. `by_feature` is the same matrix in CSC form, without the rows not kept. `folder` is for
    scratch arrays; `tick` is called with the number of features processed.
    """
    n = int(keep.sum())
    counts = np.diff(by_feature.indptr).astype(np.float64)
    joint_counts = choose_counting(active, by_feature, keep, folder)

    def best_of_block(first: int) -> Int64[np.ndarray, "pair 3"]:
        return _best(*_candidates(first, joint_counts(first), counts, n, MIN_SUPPORT[level]), counts, n)

    kept = [np.empty((0, 3), np.int64)]
    for best in in_order(best_of_block, range(0, len(counts), BLOCK)):
        kept.append(best)
        tick(min(BLOCK, len(counts) - BLOCK * (len(kept) - 2)))
    # A pair that both of its features keep was found twice.
    pairs = _distinct(np.concatenate(kept))
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


def _distinct(pairs: Int64[np.ndarray, "pair 3"]) -> Int64[np.ndarray, "distinct_pair 3"]:
    """The pairs `(a, b, n_both)` without repetitions, by a, then b."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return np.asarray(pairs[order][runs(pairs[order, 0], pairs[order, 1])])


def _cosines(
    decoder: Float32[np.ndarray, "d_sae d_in"], a: Int64[np.ndarray, "pair"], b: Int64[np.ndarray, "pair"]
) -> Float64[np.ndarray, "pair"]:
    """Cosines of pairs of decoder rows, 8,192 pairs at a time: `decoder[a]` copies a row for every pair.

    A row that is 0 has cosines of 0.
    """
    lengths = np.linalg.norm(decoder, axis=1)
    norms = np.where(lengths == 0, 1, lengths)
    parts = [slice(start, start + 8192) for start in range(0, len(a), 8192)]
    dots = [np.einsum("ij,ij->i", decoder[a[part]], decoder[b[part]]) for part in parts]
    return np.asarray(np.concatenate([*dots, np.empty(0)]) / (norms[a] * norms[b]))


def phi(
    both: Float64[np.ndarray, "..."], a: Float64[np.ndarray, "..."], b: Float64[np.ndarray, "..."], n: int
) -> Float64[np.ndarray, "..."]:
    """Pearson's correlation of two boolean variables over n rows; 0 if either is constant.

    `a` and `b` count the rows on which each is true, `both` those on which both are; the shapes broadcast.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (both * n - a * b) / np.sqrt(a * b * (n - a) * (n - b))
    return np.where(np.isfinite(value), value, 0.0)


JointCounts = Callable[[int], Float32[np.ndarray, "feature d_sae"]]
"""Takes a block's first feature; returns on how many rows each feature of the block is active with every feature."""


def choose_counting(
    active: sparse.csr_matrix, by_feature: sparse.csc_matrix, keep: Bool[np.ndarray, "row"], folder: Path | None
) -> JointCounts:
    """The cheaper of two exact ways to count.

    Gathering rows costs the sum of squared row lengths, because each active feature is paired with every other one on
    its row. Dense products cost the square of the dictionary's width for every row, but each step is far cheaper.
    """
    n, width = active.shape
    gathering = float(np.square(np.diff(active.indptr).astype(np.float64)).sum())
    if float(n) * width * width < GATHERING * gathering:
        doubled = two_in_one(active, keep, folder)
        return lambda first: count_dense(doubled, width, first)
    places = without_values(active)
    return lambda first: count_gathered(places, by_feature, first)


def without_values(active: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same sparsity pattern with one-byte values, which are never read. Rows are gathered a quarter faster.

    The bytes are a view of the indices, so no new array is allocated.
    """
    bytes_of = active.indices.view(np.int8)[: active.nnz]
    return sparse.csr_matrix((bytes_of, active.indices, active.indptr), shape=active.shape)


def count_gathered(
    active: sparse.csr_matrix, by_feature: sparse.csc_matrix, first: int
) -> Float32[np.ndarray, "feature d_sae"]:
    """Counts from the rows on which each feature of the block is active, gathered and added up per feature."""
    width = active.shape[1]
    indptr = by_feature.indptr[first : first + BLOCK + 1].astype(np.int64)
    both = np.zeros((len(indptr) - 1, width), np.float32)
    # The number of rows that have about GATHERED entries, by the mean length of a row.
    step = max(1, GATHERED * active.shape[0] // max(active.nnz, 1))
    ones = np.ones(GATHERED, np.float32)
    for start in range(int(indptr[0]), int(indptr[-1]), step):
        stop = min(start + step, int(indptr[-1]))
        rows = active[by_feature.indices[start:stop]]
        if rows.nnz > len(ones):
            ones = np.ones(rows.nnz, np.float32)
        # The features of these entries; the first and the last may have more entries elsewhere.
        a, b = np.searchsorted(indptr, start, "right") - 1, np.searchsorted(indptr, stop, "left")
        # A matrix [feature, d_sae] in CSR form. Each row lists the entries of all rows gathered for one feature, with
        # repetitions; conversion to a dense array adds up repeated entries, which gives the count.
        bounds = rows.indptr[np.clip(indptr[a : b + 1], start, stop) - start]
        both[a:b] += sparse.csr_matrix((ones[: rows.nnz], rows.indices, bounds), shape=(b - a, width)).toarray()
    return both


def two_in_one(
    active: sparse.csr_matrix, keep: Bool[np.ndarray, "row"], folder: Path | None
) -> Float32[np.ndarray, "row half_width"]:
    """Activity as a dense scratch array in which two features share each number.

    A number is 1 if the feature of the first half is active, plus DENSE_ROWS + 1 if its twin in the second half is.
    """
    n, width = active.shape
    half = (width + 1) // 2
    doubled = scratch_array(folder, np.float32, n, half)
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        dense = active[rows].toarray() > 0
        dense &= keep[rows, None]
        doubled[rows] = dense[:, :half]
        doubled[rows, : width - half] += (DENSE_ROWS + 1) * dense[:, half:].astype(np.float32)
    return doubled


def count_dense(
    doubled: Float32[np.ndarray, "row half_width"], width: int, first: int
) -> Float32[np.ndarray, "feature d_sae"]:
    """Counts from dense products, DENSE_ROWS rows at a time; each number of a product holds two counts.

    The left side holds one feature's activity as 0 and 1, so a product is (count with the feature of the first half) +
    (DENSE_ROWS + 1) * (count with its twin). Both counts are at most DENSE_ROWS, so the sum is below 2**24 and exact.
    """
    half = doubled.shape[1]
    me = np.arange(first, min(first + BLOCK, width))
    both = np.zeros((len(me), width), np.float32)
    for start in range(0, len(doubled), DENSE_ROWS):
        rows = doubled[start : start + DENSE_ROWS]
        # The columns of the block's own features [row, feature], separated into 0 and 1.
        mine = rows[:, me % half]
        twin = (mine > DENSE_ROWS).astype(np.float32)
        mine = np.where(me < half, mine - (DENSE_ROWS + 1) * twin, twin)
        product = mine.T @ rows
        second = np.floor(product / (DENSE_ROWS + 1))
        both[:, :half] += product - (DENSE_ROWS + 1) * second
        both[:, half:] += second[:, : width - half]
    return both


Candidates = tuple[Int64[np.ndarray, "candidate"], Int64[np.ndarray, "candidate"], Float64[np.ndarray, "candidate"]]
"""Feature, partner, and on how many rows both are active."""


def _candidates(
    first: int,
    both: Float32[np.ndarray, "feature d_sae"],
    counts: Float64[np.ndarray, "d_sae"],
    n: int,
    support: int,
) -> Candidates:
    """For each feature of a block, every partner that may be among its best, and few others.

    An approximate phi in single precision rules out nearly all pairs, so that only the rest need an exact phi and
    sorting. A pair is ruled out only by a margin larger than any rounding error.
    """
    share = counts / max(n, 1)
    # phi = (both - counts_a * counts_b / n) * scale_a * scale_b, where scale = 1 / sqrt(counts * (1 - counts / n)).
    with np.errstate(divide="ignore"):
        scale = np.where((counts > 0) & (counts < n), 1 / np.sqrt(counts * (1 - share)), 0).astype(np.float32)
    # A feature that is nearly always active has a tiny variance, which magnifies rounding errors by its odds.
    odds = np.where(counts < n, counts / np.maximum(n - counts, 1), 0)
    margin = (ROUNDING * np.maximum(np.sqrt(odds * odds.max(initial=0)), 1)).astype(np.float32)
    # `expected[me] * share` is counts_a * counts_b / n, `[feature, d_sae]`.
    expected, share = counts.astype(np.float32)[:, None], share.astype(np.float32)
    found = []
    for start in range(0, len(both), ROWS_IN_CACHE):
        rows = both[start : start + ROWS_IN_CACHE]
        me = np.arange(first + start, first + start + len(rows))
        quick = rows - expected[me] * share
        # In place, because most of the time goes into these arrays of ROWS_IN_CACHE rows.
        quick *= scale[me, None]
        quick *= scale
        np.copyto(quick, NO_PHI, where=rows < support)
        quick[np.arange(len(rows)), me] = NO_PHI
        least = np.maximum(_at_least(quick) - margin[me], NO_PHI + 0.5)
        row, partner = np.divmod(np.flatnonzero(quick >= least[:, None]), quick.shape[1])
        found.append((me[row], partner, rows[row, partner].astype(np.float64)))
    me, partner, kept = (np.concatenate(column) for column in zip(*found, strict=True))
    return me, partner, kept


def _at_least(values: Float32[np.ndarray, "feature d_sae"]) -> Float32[np.ndarray, "feature"]:
    """For each row, a value that at least PARTNERS of its values reach (all, if there are fewer).

    Each row is folded into columns of up to 64 values. At least ten values reach the tenth largest of the columns'
    maxima. This value is close to the tenth largest of the whole row, because few of the largest values share a column,
    and it is much cheaper to find.
    """
    columns = max(values.shape[1] // 64, min(values.shape[1], 64))
    depth = values.shape[1] // columns
    largest = values[:, : depth * columns].reshape(len(values), depth, columns).max(1)
    last = max(0, columns - PARTNERS)
    return np.partition(largest, last, axis=1)[:, last]


def _best(
    me: Int64[np.ndarray, "candidate"],
    partner: Int64[np.ndarray, "candidate"],
    both: Float64[np.ndarray, "candidate"],
    counts: Float64[np.ndarray, "d_sae"],
    n: int,
) -> Int64[np.ndarray, "pair 3"]:
    """`(a, b, n_both)` of the PARTNERS candidates with the largest exact phi of each feature, a < b.

    Ties are broken by the smaller index of the partner. Pairs whose phi is not above 0 are left out.
    """
    value = phi(both, counts[me], counts[partner], n)
    positive = value > 0
    me, partner, both, value = me[positive], partner[positive], both[positive], value[positive]
    order = np.lexsort((partner, -value, me))
    best = order[ranks_in_runs(runs(me[order]), len(order)) < PARTNERS]
    pair = np.minimum(me[best], partner[best]), np.maximum(me[best], partner[best])
    return np.stack([*pair, both[best]], axis=1).astype(np.int64)


def cluster_table(pairs: pd.DataFrame, d_sae: int) -> pd.DataFrame:
    """Groups of two or more features connected by strong pairs on tokens, largest first, then by first feature."""
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
