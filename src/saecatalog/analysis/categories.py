"""Which features tell a category from the rest: text scores flow in, one row per category and feature flows out."""

import numpy as np
import pandas as pd
from scipy import sparse

from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import benjamini_hochberg, column_ranks, rank_sum_test


def category_table(scores: TextScores, categories: list[str], strong: float) -> pd.DataFrame:
    """Counts inside and outside, specialist score, lift, AUROC and q-value, for every feature that fired on a text."""
    names, member = np.unique(np.array(categories, object), return_inverse=True)
    n = scores.n_texts
    groups = sparse.csr_matrix((np.ones(n), (member, np.arange(n))), shape=(len(names), n))
    matrix = scores.by_feature
    fired = np.flatnonzero(np.diff(matrix.indptr))
    matrix = matrix[:, fired]
    n_inside = np.bincount(member, minlength=len(names))[:, None]
    active = _sums(groups, matrix, np.ones_like(matrix.data))
    is_strong = _sums(groups, matrix, matrix.data > strong)
    active_out, strong_out = active.sum(0) - active, is_strong.sum(0) - is_strong
    auroc, p = _contrast(groups, matrix, active, n_inside)
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = np.where(active_out == 0, np.inf, (active / n_inside) / (active_out / (n - n_inside)))
    columns = {
        "n_inside": np.broadcast_to(n_inside, active.shape),
        "n_outside": np.broadcast_to(n - n_inside, active.shape),
        "active_inside": active,
        "active_outside": active_out,
        "strong_inside": is_strong,
        "strong_outside": strong_out,
        "specialist_score": is_strong - strong_out,
        "max_inside": np.stack([_max(matrix, member == c) for c in range(len(names))]),
        "mean_inside": _sums(groups, matrix, matrix.data.astype(np.float64)) / n_inside,
        # Active nowhere else gives infinity; active nowhere in the category gives 0.
        "lift": np.where(active == 0, 0.0, lift),
        "auroc": auroc,
        "p_value": p,
        "q_value": benjamini_hochberg(p),
    }
    frame = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
    frame.insert(0, "category", np.repeat(names, len(fired)))
    frame.insert(1, "feature", np.tile(fired.astype(np.int32), len(names)))
    counts = ["active_inside", "active_outside", "strong_inside", "strong_outside", "specialist_score"]
    return frame.astype(dict.fromkeys(counts, np.int32))


def _sums(groups: sparse.csr_matrix, matrix: sparse.csc_matrix, values: np.ndarray) -> np.ndarray:
    """Sum of the entries' values over each group: dense `[group, feature]`, small for there are few groups."""
    return (groups @ sparse.csc_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape)).toarray()


def _max(matrix: sparse.csc_matrix, inside: np.ndarray) -> np.ndarray:
    """Largest entry of each column among some rows; 0 where there is none."""
    if not matrix.shape[1]:
        return np.zeros(0)
    return np.maximum.reduceat(np.where(inside[matrix.indices], matrix.data, 0), matrix.indptr[:-1])


def _contrast(
    groups: sparse.csr_matrix, matrix: sparse.csc_matrix, active: np.ndarray, n_inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and p of every group against the rest: the rank sums of its entries plus those of its silent texts."""
    n = matrix.shape[0]
    ranks, ties = column_ranks(matrix)
    zeros = n - np.diff(matrix.indptr)
    rank_sums = _sums(groups, matrix, ranks.data) + (n_inside - active) * (zeros + 1) / 2
    return rank_sum_test(rank_sums, n_inside, n, ties)
