"""Which features fire together, over the whole dictionary: boolean matrices flow in, each feature's partners flow out.

Pairs are counted for one block of features at a time, so that the matrix `[d_sae, d_sae]` of all pairs is never in
memory. A feature that meets few others is counted in a sparse matrix, so that the time of a wide dictionary grows with
the pairs that occur and not with the square of its width.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from saecatalog.analysis.activations import among_largest, ranks_in_runs, runs
from saecatalog.analysis.by_feature import ByFeature
from saecatalog.analysis.pair_counts import (
    ActiveRows,
    Block,
    Doubled,
    Matrix,
    count_dense,
    count_gathered,
    count_met,
    share_activity,
    split,
)
from saecatalog.constants import CLUSTER_PHI, MIN_SUPPORT, PARTNERS
from saecatalog.engines import Engine, Threads

ROUNDING = 1e-6
"""A bound on the error of the difference of two approximate phis in single precision, if features are active on at most
half of the rows. If the geometric mean of both features' odds exceeds 1, the bound grows in proportion to it."""

NO_PHI = -2.0
"""Marks a pair whose phi does not count."""

IN_CACHE = 16 * 24_576
"""Approximate phis that are computed at once: few enough for the processor's cache."""

Pairs = Int32[np.ndarray, "pair 3"]
"""Features a and b, a < b, and on how many rows both are active."""


def pair_table(
    active: ActiveRows,
    by_feature: ByFeature,
    keep: Bool[np.ndarray, "row"],
    level: str,
    decoder: Float32[np.ndarray, "d_sae d_in"],
    folder: Path | None = None,
    tick: Callable[[int], object] = lambda features: None,
    engine: Engine | None = None,
) -> pd.DataFrame:
    """The pairs with the largest phi of each feature, counted on the kept rows of `active`.

    A row is a token or a text. `by_feature` has the same activity feature by feature, without the rows not kept.
    `folder` is for scratch arrays; `tick` is called with the number of features processed. The engine (default
    `Threads`) gets a block of features at a time.
    """
    with TemporaryDirectory(dir=folder) as scratch:
        shared = (active, by_feature, keep, MIN_SUPPORT[level], Path(scratch))
        matrix, pairs = _best_pairs(*shared, tick, engine or Threads())
    a, b, both = pairs.T
    n, counts, supported = matrix.n, matrix.counts, matrix.supported
    frame = pd.DataFrame(
        {
            "feature_a": supported[a].astype(np.int32),
            "feature_b": supported[b].astype(np.int32),
            "level": level,
            "n_a": counts[a].astype(np.int64),
            "n_b": counts[b].astype(np.int64),
            "n_both": both.astype(np.int64),
            "jaccard": both / (counts[a] + counts[b] - both),
            "lift": both * n / (counts[a] * counts[b]),
            "phi": phi(both.astype(np.float64), counts[a], counts[b], n),
            "decoder_cosine": _cosines(decoder, supported[a], supported[b]),
        }
    )
    return frame.sort_values(["phi", "feature_a", "feature_b"], ascending=[False, True, True], ignore_index=True)


def _best_pairs(
    active: ActiveRows,
    by_feature: ByFeature,
    keep: Bool[np.ndarray, "row"],
    support: int,
    scratch: Path,
    tick: Callable[[int], object],
    engine: Engine,
) -> tuple[Matrix, Int64[np.ndarray, "pair 3"]]:
    """What is counted, and the best pairs of each of its features."""
    matrix = share_activity(active, by_feature, keep, support, scratch, engine)
    tick(active.width - len(matrix.counts))
    kept = [np.empty((0, 3), np.int32)]
    for n_features, found in engine.in_order(best_partners, matrix, split(matrix, by_feature, engine)):
        kept.append(found)
        tick(n_features)
    # A pair that both of its features keep was found twice.
    return matrix, _distinct(np.concatenate(kept)).astype(np.int64)


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


def best_partners(matrix: Matrix, block: Block) -> tuple[int, Pairs]:
    """The number of a block's features, and the pairs of each with its PARTNERS best partners."""
    if isinstance(matrix.active, Doubled):
        both = count_dense(matrix.active.read(), len(matrix.counts), block.features)
        candidates = _candidates(block.features, both, matrix)
    elif block.few:
        candidates = _few_candidates(block, count_met(matrix.active.matrix(), block.entries.read()), matrix)
    else:
        both = count_gathered(matrix.active.matrix(), block.entries.read())
        candidates = _candidates(block.features, both, matrix)
    return len(block.features), _best(*candidates, matrix.counts, matrix.n).astype(np.int32)


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
