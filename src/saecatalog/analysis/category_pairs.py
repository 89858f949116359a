"""What tells two categories apart: text scores flow in, the features that differ most between two categories flow out.

A pair of categories is a small corpus of its own: its texts are those of the two, and the figures are those of one
category against the other. The number of pairs is bounded: with many categories, only the most alike are compared.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from scipy import sparse

from saecatalog.analysis.auroc_intervals import Sources, auroc_intervals
from saecatalog.analysis.categories import Contrast
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import benjamini_hochberg
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.constants import MANY_CATEGORIES, PAIR_FEATURES, SURE_Q
from saecatalog.schemas import SCHEMAS

MOST_PAIRS = MANY_CATEGORIES * (MANY_CATEGORIES - 1) // 2
"""The most pairs of categories that are compared: all of them for up to `MANY_CATEGORIES` categories."""


class Pair(NamedTuple):
    """Two categories by their index, the smaller first."""

    a: int
    b: int


@dataclass(frozen=True)
class Compared:
    """The features that differ most between two categories, and the tests of all features active in either."""

    rows: pd.DataFrame
    tests: Int64[np.ndarray, "row"]
    """The index in `p` of each row."""
    p: Float64[np.ndarray, "feature"]


def category_pair_table(scores: TextScores, groups: TextGroups, sources: Sources, strong: float) -> pd.DataFrame:
    """The features that differ most between each two categories: up to `PAIR_FEATURES` for each of the two.

    A row is about a feature with larger scores in `category` than in `other`: its AUROC is above 0.5. The q-values are
    over all pairs of categories compared and, for each, all features active on a text of either.
    """
    found = [_compare(pair, scores, groups, sources, strong) for pair in choose_pairs(scores, groups)]
    if not found:
        return pd.DataFrame({name: [] for name in SCHEMAS["category_pairs"]})
    starts = np.cumsum([0, *(len(one.p) for one in found)])
    q = benjamini_hochberg(np.concatenate([one.p for one in found]))
    tests = np.concatenate([start + one.tests for start, one in zip(starts, found, strict=False)])
    frame = pd.concat([one.rows for one in found], ignore_index=True).assign(q_value=q[tests])
    return frame.assign(clear=(frame["q_value"] <= SURE_Q) & (frame["auroc_low"] > 0.5))


def choose_pairs(scores: TextScores, groups: TextGroups) -> list[Pair]:
    """The pairs of categories that are compared, in order: all, or the `MOST_PAIRS` that are most alike.

    Two categories are alike if the mean scores of all features in one and in the other have a large cosine.
    """
    n = len(groups.names)
    if n * (n - 1) // 2 <= MOST_PAIRS:
        return [Pair(a, b) for a, b in combinations(range(n), 2)]
    share = 1 / groups.sizes[groups.member]
    to_means = sparse.csr_matrix((share, (groups.member, np.arange(len(share)))), shape=(n, len(share)))
    means = (to_means @ scores.matrix).tocsr()
    norms = np.sqrt(np.asarray(means.multiply(means).sum(axis=1))).ravel()
    alike = (means @ means.T).toarray() / np.maximum(np.outer(norms, norms), np.finfo(np.float64).tiny)
    a, b = np.triu_indices(n, 1)
    # Rounded, so that the order does not depend on the last bit of a sum.
    first = np.lexsort((b, a, -np.round(alike[a, b], 9)))[:MOST_PAIRS]
    return sorted(Pair(int(a[place]), int(b[place])) for place in first)


def _compare(pair: Pair, scores: TextScores, groups: TextGroups, sources: Sources, strong: float) -> Compared:
    texts = np.flatnonzero(np.isin(groups.member, pair))
    matrix = scores.matrix[texts].tocsc()
    features = np.flatnonzero(np.diff(matrix.indptr))
    matrix = matrix[:, features]
    both = TextGroups([groups.names[place] for place in pair], (groups.member[texts] == pair.b).astype(np.int64))
    cells = both.cells(matrix, every=True)
    contrast = Contrast(matrix, both, cells, strong)
    (total,) = cells.sums(matrix.data)
    # [category, feature]: cells are by group, then column.
    shape = (2, len(features))
    auroc, active, strong_texts, total = (
        values.reshape(shape) for values in (contrast.auroc, contrast.active, contrast.strong, total)
    )
    means = total / both.sizes[:, None]
    member = pd.factorize(sources.member[texts])[0]
    chosen = [_largest(auroc[side], means[side] - means[1 - side]) for side in (0, 1)]
    low, high = _intervals(matrix, Sources(both, member), chosen, auroc)
    side, column = np.repeat([0, 1], list(map(len, chosen))), np.concatenate(chosen)
    counts = {"texts": np.broadcast_to(both.sizes[:, None], shape), "active": active, "strong": strong_texts}
    rows = {
        "category": np.array(both.names, object)[side],
        "other": np.array(both.names, object)[1 - side],
        "rank": np.concatenate([np.arange(len(part)) for part in chosen]).astype(np.int32),
        "feature": features[column].astype(np.int32),
        **{name: values[side, column].astype(np.int32) for name, values in counts.items()},
        **{f"{name}_other": values[1 - side, column].astype(np.int32) for name, values in counts.items()},
        "mean": means[side, column],
        "mean_other": means[1 - side, column],
        "auroc": auroc[side, column],
        "auroc_low": low,
        "auroc_high": high,
        "p_value": contrast.p.reshape(shape)[0, column],
    }
    return Compared(pd.DataFrame(rows), column, contrast.p.reshape(shape)[0])


def _largest(
    auroc: Float64[np.ndarray, "feature"], difference: Float64[np.ndarray, "feature"]
) -> Int64[np.ndarray, "chosen"]:
    """The features with the largest AUROC above 0.5; in a tie, with the larger difference of means, then the first."""
    order = np.lexsort((-difference, -auroc))[:PAIR_FEATURES]
    return np.asarray(order[auroc[order] > 0.5])


def _intervals(
    matrix: sparse.csc_matrix,
    sources: Sources,
    chosen: list[Int64[np.ndarray, "chosen"]],
    auroc: Float64[np.ndarray, "2 feature"],
) -> tuple[Float64[np.ndarray, "row"], Float64[np.ndarray, "row"]]:
    """The ends of the intervals of AUROC of the chosen features of both categories."""
    ends = []
    for side, columns in enumerate(chosen):
        part = matrix[:, columns]
        both = auroc_intervals(part, sources, sources.groups.cells(part, every=True), auroc[:, columns].ravel())
        # [end, category, feature], of which this category's are kept.
        ends.append(np.reshape(both, (2, 2, len(columns)))[:, side])
    low, high = np.concatenate(ends, axis=1)
    return low, high
