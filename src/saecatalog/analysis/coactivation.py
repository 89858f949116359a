"""Which features fire together, over the whole dictionary: boolean matrices flow in, each feature's partners flow out.

Pairs are counted for one block of features at a time, so that the matrix `[d_sae, d_sae]` of all pairs is never in
memory. A feature that meets few others is counted in a sparse matrix, so that the time of a wide dictionary grows with
the pairs that occur and not with the square of its width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int, Int32, Int64
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from saecatalog.analysis.activations import among_largest, ranks_in_runs, runs
from saecatalog.analysis.disk_arrays import Appended, scratch_array
from saecatalog.constants import CLUSTER_PHI, MIN_SUPPORT, PARTNERS
from saecatalog.engines import Engine, Threads
from saecatalog.store import narrow, ranges

BLOCK = 512
"""Most features whose counts with all others are in memory at once, in each thread."""

MOST_COUNTS = 2**24
"""Most counts of a block in memory at once, 4 bytes each, unless one feature has more."""

MOST_MET = 2**22
"""Most pairs of entries, counted with repetitions, that a block of features that meet few others has."""

WORTH_KEEPING = 0.8
"""If fewer of the features are active on enough rows for a pair, the others are left out before anything is counted."""

MEETS_FEW = 0.2
"""A feature meets few others if its pairs of entries are fewer than this share of the dictionary."""

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

IN_CACHE = 16 * 24_576
"""Approximate phis that are computed at once: few enough for the processor's cache."""

Pairs = Int32[np.ndarray, "pair 3"]
"""Features a and b, a < b, and on how many rows both are active."""


@dataclass(frozen=True)
class ActiveRows:
    """The features that are active on each row, ascending: 4 bytes for each."""

    indptr: Int[np.ndarray, "row_plus_1"]
    features: Int32[np.ndarray, "entry"]

    def matrix(self, width: int) -> sparse.csr_matrix:
        """`[row, feature]`, with one-byte values, which are never read: rows are gathered faster than with four bytes.

        The bytes are a view of the features, so no new array is allocated.
        """
        values = self.features.view(np.int8)[: len(self.features)]
        return sparse.csr_matrix((values, self.features, self.indptr), shape=(len(self.indptr) - 1, width))

    def dense(self, start: int, stop: int, width: int) -> Bool[np.ndarray, "row d_sae"]:
        """What is active on the rows from `start` up to `stop`."""
        indptr = self.indptr[start : stop + 1]
        features = self.features[indptr[0] : indptr[-1]]
        ones = np.ones(len(features), bool)
        return np.asarray(
            sparse.csr_matrix((ones, features, indptr - indptr[0]), shape=(stop - start, width)).toarray()
        )

    def only(self, chosen: Bool[np.ndarray, "d_sae"], folder: Path | None) -> "ActiveRows":
        """The same for some of the features, renumbered from 0, in a scratch array."""
        number, kept = np.cumsum(chosen, dtype=np.int32) - 1, Appended(folder, np.int32)
        # The entries kept before each row, from those kept before each entry, for some entries at a time.
        before = np.zeros(len(self.indptr), np.int64)
        for start in range(0, len(self.features), GATHERED):
            features = self.features[start : start + GATHERED]
            mine = chosen[features]
            first, stop = np.searchsorted(self.indptr, [start, start + len(features)], side="right")
            before[first:stop] = kept.length + np.cumsum(mine)[self.indptr[first:stop] - start - 1]
            kept.append(number[features[mine]])
        return ActiveRows(narrow(before), kept.close())


@dataclass(frozen=True)
class Matrix:
    """The activity of the features that are counted, which every block shares; they are numbered from 0."""

    supported: Int64[np.ndarray, "feature"]
    """The number of each in the dictionary, ascending."""

    counts: Float64[np.ndarray, "feature"]
    """On how many kept rows each feature is active."""
    n: int
    """Number of kept rows."""
    support: int
    """Pairs active together on fewer rows do not count."""
    active: ActiveRows | Float32[np.ndarray, "row half_width"]
    """What is active on each row. If that is several percent of all features, `two_in_one`: 2 bytes for each row and
    feature."""


@dataclass(frozen=True)
class Block:
    """Some features, ascending, and the rows on which each is active, row after row."""

    features: Int64[np.ndarray, "feature"]
    """As numbered in the `Matrix`."""
    indptr: Int64[np.ndarray, "feature_plus_1"]
    rows: Int32[np.ndarray, "entry"]
    few: bool
    """Whether they meet few others."""


def pair_table(
    active: sparse.csr_matrix,
    by_feature: sparse.csc_matrix,
    keep: Bool[np.ndarray, "row"],
    level: str,
    decoder: Float32[np.ndarray, "d_sae d_in"],
    folder: Path | None = None,
    tick: Callable[[int], object] = lambda features: None,
    engine: Engine | None = None,
) -> pd.DataFrame:
    """The pairs with the largest phi of each feature, counted on the kept rows of `active`, `[row, feature]`.

    A row is a token or a text. `by_feature` is the same matrix in CSC form, without the rows not kept. `folder` is for
    scratch arrays; `tick` is called with the number of features processed. The engine (default `Threads`) gets a block
    of features at a time.
    """
    matrix = share_activity(active, by_feature, keep, MIN_SUPPORT[level], folder)
    n, counts, kept = matrix.n, matrix.counts, [np.empty((0, 3), np.int32)]
    tick(active.shape[1] - len(counts))
    for n_features, found in (engine or Threads()).in_order(best_partners, matrix, split(matrix, by_feature)):
        kept.append(found)
        tick(n_features)
    # A pair that both of its features keep was found twice.
    pairs = _distinct(np.concatenate(kept)).astype(np.int64)
    a, b, both = pairs.T
    frame = pd.DataFrame(
        {
            "feature_a": matrix.supported[a].astype(np.int32),
            "feature_b": matrix.supported[b].astype(np.int32),
            "level": level,
            "n_a": counts[a].astype(np.int64),
            "n_b": counts[b].astype(np.int64),
            "n_both": both.astype(np.int64),
            "jaccard": both / (counts[a] + counts[b] - both),
            "lift": both * n / (counts[a] * counts[b]),
            "phi": phi(both.astype(np.float64), counts[a], counts[b], n),
            "decoder_cosine": _cosines(decoder, matrix.supported[a], matrix.supported[b]),
        }
    )
    return frame.sort_values(["phi", "feature_a", "feature_b"], ascending=[False, True, True], ignore_index=True)


def _distinct(pairs: Pairs) -> Int32[np.ndarray, "distinct_pair 3"]:
    """The pairs `(a, b, n_both)` without repetitions, by a, then b."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return np.asarray(pairs[order][runs(pairs[order, 0], pairs[order, 1])])


def _cosines(
    decoder: Float32[np.ndarray, "d_sae d_in"], a: Int64[np.ndarray, "pair"], b: Int64[np.ndarray, "pair"]
) -> Float64[np.ndarray, "pair"]:
    """Cosines of pairs of decoder rows, about 8,192 at a time: `decoder[a]` copies a row for every pair.

    A row that is 0 has cosines of 0.
    """
    lengths = np.concatenate(
        [np.linalg.norm(rows, axis=1) for rows in np.array_split(decoder, 1 + len(decoder) // 8192)]
    )
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


def share_activity(
    active: sparse.csr_matrix,
    by_feature: sparse.csc_matrix,
    keep: Bool[np.ndarray, "row"],
    support: int,
    folder: Path | None,
) -> Matrix:
    """The activity in the form for the cheaper of two exact ways to count.

    Gathering rows costs the sum of squared row lengths, because each active feature is paired with every other one on
    its row. Dense products cost the square of the dictionary's width for every row, but each step is far cheaper.
    """
    counts = np.diff(by_feature.indptr).astype(np.float64)
    # `asarray` turns a memory map into a plain array, which an engine can share without a copy for each worker.
    rows, supported = ActiveRows(active.indptr, np.asarray(active.indices)[: active.nnz]), np.arange(len(counts))
    if (counts >= support).mean() < WORTH_KEEPING:
        supported = np.flatnonzero(counts >= support)
        rows = rows.only(counts >= support, folder)
    n, width = len(keep), len(supported)
    gathering = float(np.square(np.diff(rows.indptr).astype(np.float64)).sum())
    dense = float(n) * width * width < GATHERING * gathering
    shown = two_in_one(rows, width, keep, folder) if dense else rows
    return Matrix(supported, counts[supported], int(keep.sum()), support, shown)


def split(matrix: Matrix, by_feature: sparse.csc_matrix) -> Iterator[Block]:
    """All features in blocks that need a bounded amount of memory."""
    width = len(matrix.counts)
    features = np.arange(width)
    at_once = max(1, min(BLOCK, MOST_COUNTS // max(width, 1)))
    if not isinstance(matrix.active, ActiveRows):
        for start in range(0, len(features), at_once):
            mine = features[start : start + at_once]
            yield Block(mine, np.zeros(len(mine) + 1, np.int64), np.empty(0, np.int32), few=False)
        return
    met = _entries_met(by_feature, np.diff(matrix.active.indptr))[matrix.supported]
    few = met < MEETS_FEW * width
    many, rare = features[~few], features[few]
    groups = (np.cumsum(met[few]) - 1) // MOST_MET
    for mine in np.split(rare, np.flatnonzero(np.diff(groups)) + 1) if len(rare) else []:
        yield block_of(matrix, by_feature, mine, few=True)
    for start in range(0, len(many), at_once):
        yield block_of(matrix, by_feature, many[start : start + at_once], few=False)


def _entries_met(by_feature: sparse.csc_matrix, lengths: Int[np.ndarray, "row"]) -> Int64[np.ndarray, "d_sae"]:
    """The sum of the lengths of the rows on which each feature is active."""
    indptr, total = by_feature.indptr, 0
    # A running sum over all entries, read where each feature begins, for as many entries at once as a block gathers.
    found = np.zeros(len(indptr), np.int64)
    for start in range(0, int(indptr[-1]), GATHERED):
        sums = total + np.cumsum(lengths[by_feature.indices[start : start + GATHERED]], dtype=np.int64)
        first, stop = np.searchsorted(indptr, [start, start + len(sums)], side="right")
        found[first:stop] = sums[indptr[first:stop] - start - 1]
        total = int(sums[-1])
    return np.diff(found)


def block_of(matrix: Matrix, by_feature: sparse.csc_matrix, features: Int64[np.ndarray, "feature"], few: bool) -> Block:
    numbers = matrix.supported[features]
    starts = by_feature.indptr[numbers].astype(np.int64)
    sizes = by_feature.indptr[numbers + 1] - starts
    return Block(features, np.append(0, np.cumsum(sizes)), by_feature.indices[ranges(starts, sizes)], few)


def best_partners(matrix: Matrix, block: Block) -> tuple[int, Pairs]:
    """The number of a block's features, and the pairs of each with its PARTNERS best partners."""
    width, counts = len(matrix.counts), matrix.counts
    if not isinstance(matrix.active, ActiveRows):
        candidates = _candidates(block.features, count_dense(matrix.active, width, block.features), matrix)
    elif block.few:
        candidates = _few_candidates(block, count_met(matrix.active.matrix(width), block), matrix)
    else:
        candidates = _candidates(block.features, count_gathered(matrix.active.matrix(width), block), matrix)
    return len(block.features), _best(*candidates, counts, matrix.n).astype(np.int32)


def count_met(active: sparse.csr_matrix, block: Block) -> sparse.csr_matrix:
    """Counts `[feature, d_sae]` from the rows on which each feature of the block is active, where they are above 0."""
    rows, n = active[block.rows], len(block.rows)
    met = sparse.csr_matrix((np.ones(rows.nnz, np.int32), rows.indices, rows.indptr), shape=rows.shape)
    # Which of the gathered rows belong to each feature.
    own = sparse.csr_matrix((np.ones(n, np.int32), np.arange(n), block.indptr), shape=(len(block.features), n))
    return own @ met


def count_gathered(active: sparse.csr_matrix, block: Block) -> Float32[np.ndarray, "feature d_sae"]:
    """Counts from the rows on which each feature of the block is active, gathered and added up per feature."""
    width, indptr, end = active.shape[1], block.indptr, len(block.rows)
    both = np.zeros((len(block.features), width), np.float32)
    # The number of rows that have about GATHERED entries, by the mean length of a row.
    step = max(1, GATHERED * active.shape[0] // max(active.nnz, 1))
    ones = np.ones(GATHERED, np.float32)
    for start in range(0, end, step):
        stop = min(start + step, end)
        rows = active[block.rows[start:stop]]
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
    active: ActiveRows, width: int, keep: Bool[np.ndarray, "row"], folder: Path | None
) -> Float32[np.ndarray, "row half_width"]:
    """Activity as a dense scratch array in which two features share each number.

    A number is 1 if the feature of the first half is active, plus DENSE_ROWS + 1 if its twin in the second half is.
    """
    n, half = len(keep), (width + 1) // 2
    doubled = scratch_array(folder, np.float32, n, half)
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        dense = active.dense(start, min(start + BLOCK, n), width)
        dense &= keep[rows, None]
        doubled[rows] = dense[:, :half]
        doubled[rows, : width - half] += (DENSE_ROWS + 1) * dense[:, half:].astype(np.float32)
    return doubled


def count_dense(
    doubled: Float32[np.ndarray, "row half_width"], width: int, me: Int64[np.ndarray, "feature"]
) -> Float32[np.ndarray, "feature d_sae"]:
    """Counts of the features `me` from dense products, DENSE_ROWS rows at a time.

    Each number of a product holds two counts. The left side holds one feature's activity as 0 and 1, so a product is
    (count with the feature of the first half) + (DENSE_ROWS + 1) * (count with its twin). Both counts are at most
    DENSE_ROWS, so the sum is below 2**24 and exact.
    """
    half = doubled.shape[1]
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
    features: Int64[np.ndarray, "feature"], both: Float32[np.ndarray, "feature d_sae"], matrix: Matrix
) -> Candidates:
    """For each of these features, every partner that may be among its best, and few others.

    An approximate phi in single precision rules out nearly all pairs, so that only the rest need an exact phi and
    sorting. A pair is ruled out only by a margin larger than any rounding error.
    """
    counts, n = matrix.counts, matrix.n
    share = counts / max(n, 1)
    # phi = (both - counts_a * counts_b / n) * scale_a * scale_b, where scale = 1 / sqrt(counts * (1 - counts / n)).
    with np.errstate(divide="ignore"):
        scale = np.where((counts > 0) & (counts < n), 1 / np.sqrt(counts * (1 - share)), 0).astype(np.float32)
    # A feature that is nearly always active has a tiny variance, which magnifies rounding errors by its odds.
    odds = np.where(counts < n, counts / np.maximum(n - counts, 1), 0)
    margin = (ROUNDING * np.maximum(np.sqrt(odds * odds.max(initial=0)), 1)).astype(np.float32)
    # `expected[me] * share` is counts_a * counts_b / n, `[feature, d_sae]`.
    expected, share = counts.astype(np.float32)[:, None], share.astype(np.float32)
    found, step = [], max(1, IN_CACHE // len(counts))
    for start in range(0, len(both), step):
        rows, me = both[start : start + step], features[start : start + step]
        quick = rows - expected[me] * share
        # In place, because most of the time goes into these arrays.
        quick *= scale[me, None]
        quick *= scale
        np.copyto(quick, NO_PHI, where=rows < matrix.support)
        quick[np.arange(len(rows)), me] = NO_PHI
        least = np.maximum(_at_least(quick) - margin[me], NO_PHI + 0.5)
        row, partner = np.divmod(np.flatnonzero(quick >= least[:, None]), quick.shape[1])
        found.append((me[row], partner, rows[row, partner].astype(np.float64)))
    me, partner, kept = (np.concatenate(column) for column in zip(*found, strict=True))
    return me, partner, kept


def _few_candidates(block: Block, both: sparse.csr_matrix, matrix: Matrix) -> Candidates:
    """The same, where `both` has the counts above 0 alone."""
    place, partner = np.repeat(np.arange(both.shape[0]), np.diff(both.indptr)), both.indices
    me = block.features[place]
    kept = np.flatnonzero((both.data >= matrix.support) & (partner != me))
    place, me, partner, n_both = (values[kept] for values in (place, me, partner.astype(np.int64), both.data))
    value = phi(n_both.astype(np.float64), matrix.counts[me], matrix.counts[partner], matrix.n)
    positive = np.flatnonzero(value > 0)
    near = positive[among_largest(place[positive], value[positive], PARTNERS)]
    return me[near], partner[near], n_both[near].astype(np.float64)


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
