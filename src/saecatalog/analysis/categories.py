"""Which features tell a category from the rest: text scores flow in, one row per category and feature flows out.

A specialist has a positive balanced score: counts of texts, weighted as if all categories were of equal size, so that
neither a small category among large ones nor a large one among small ones is misjudged. The texts are also looked at
in two halves, so that a reader sees whether a specialist of one half is one on texts that had no part in finding it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from scipy import sparse

from saecatalog.analysis.groups import TextGroups
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import benjamini_hochberg, column_ranks, rank_sum_test, wilson

HALVES = ("first", "second")


def second_half(categories: list[str]) -> Bool[np.ndarray, "text"]:
    """Which texts belong to the second half: every other one of each category, in the order given."""
    turns = pd.Series(categories, dtype=object).groupby(categories).cumcount().to_numpy(np.int64)
    return turns % 2 == 1


def category_rows(
    scores: TextScores, groups: TextGroups, second: Bool[np.ndarray, "text"], strong: float, first: int = 0
) -> pd.DataFrame:
    """Every figure but the q-value of the features that fired on a text; `first` is the number of the first column."""
    fired = np.flatnonzero(np.diff(scores.by_feature.indptr))
    matrix = scores.by_feature[:, fired]
    whole = _contrast(matrix, groups, strong)
    halves = [
        _contrast(TextScores(matrix, scores.positions).of_texts(half).by_feature, groups.of_texts(half), strong)
        for half in (~second, second)
    ]
    active, n_inside, n_outside = whole.active, groups.sizes, scores.n_texts - groups.sizes
    active_outside = active.sum(0) - active
    rates_inside = _rates("inside", whole.strong, n_inside)
    rates_outside = _rates("outside", whole.strong_outside, n_outside)
    columns = {
        "category": np.array(groups.names, object)[:, None],
        "feature": (fired + first).astype(np.int32),
        "n_inside": n_inside,
        "n_outside": n_outside,
        "active_inside": active,
        "active_outside": active_outside,
        "strong_inside": whole.strong,
        "strong_outside": whole.strong_outside,
        "specialist_score": whole.strong - whole.strong_outside,
        "balanced_score": whole.balanced,
        **rates_inside,
        **rates_outside,
        "max_inside": np.stack([_max(matrix, groups.member == c) for c in range(len(groups.names))]),
        "mean_inside": groups.sums(matrix, matrix.data.astype(np.float64)) / n_inside,
        "lift": _lift(rates_inside["strong_rate_inside"], rates_outside["strong_rate_outside"]),
        "active_lift": _lift(active / n_inside, active_outside / np.maximum(n_outside, 1)),
        "auroc": whole.auroc,
        "p_value": whole.p,
        "score_first": halves[0].balanced,
        "score_second": halves[1].balanced,
        "auroc_first": halves[0].auroc,
        "auroc_second": halves[1].auroc,
    }
    frame = pd.DataFrame({name: np.broadcast_to(v, active.shape).ravel() for name, v in columns.items()})
    counts = ["active_inside", "active_outside", "strong_inside", "strong_outside", "specialist_score"]
    return frame.astype(dict.fromkeys(counts, np.int32))


def category_table(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all blocks in the order of category and feature, with q-values over all of them."""
    frame = pd.concat(parts, ignore_index=True).sort_values(["category", "feature"], ignore_index=True)
    found = [np.where(frame[f"score_{half}"] > 0, half, "") for half in HALVES]
    both = (found[0] != "") & (found[1] != "")
    return frame.assign(
        q_value=benjamini_hochberg(frame["p_value"].to_numpy()),
        held_out=np.where(both, "both", np.where(found[0] != "", found[0], found[1])).astype(object),
    )


def held_out_table(categories: pd.DataFrame, groups: TextGroups, second: Bool[np.ndarray, "text"]) -> pd.DataFrame:
    """Per category: how many specialists each half finds, how many both do, and how the one half's do on the other."""
    n_features = max(categories["feature"].nunique(), 1)
    sizes = [groups.of_texts(half).sizes[:, 0] for half in (~second, second)]
    rows = []
    for place, name in enumerate(groups.names):
        mine = categories[categories["category"] == name]
        first, other = mine["score_first"] > 0, mine["score_second"] > 0
        elsewhere = pd.concat([mine["auroc_second"][first], mine["auroc_first"][other]])
        rows.append(
            {
                "category": name,
                "texts_first": sizes[0][place],
                "texts_second": sizes[1][place],
                "found_first": int(first.sum()),
                "found_second": int(other.sum()),
                "found_both": int((first & other).sum()),
                "expected_both": int(first.sum()) * int(other.sum()) / n_features,
                "auroc_held_out": elsewhere.mean() if len(elsewhere) else np.nan,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Contrast:
    """Each group against all other texts: dense `[group, feature]` arrays."""

    active: Float64[np.ndarray, "group feature"]
    strong: Float64[np.ndarray, "group feature"]
    balanced: Float64[np.ndarray, "group feature"]
    auroc: Float64[np.ndarray, "group feature"]
    p: Float64[np.ndarray, "group feature"]

    @property
    def strong_outside(self) -> Float64[np.ndarray, "group feature"]:
        return self.strong.sum(0) - self.strong


def _contrast(matrix: sparse.csc_matrix, groups: TextGroups, threshold: float) -> Contrast:
    """Counts, balanced score, AUROC and p: the rank sums of a group are those of its entries and its silent texts."""
    n, sizes = matrix.shape[0], groups.sizes
    active = groups.sums(matrix, np.ones_like(matrix.data))
    strong = groups.sums(matrix, matrix.data > threshold)
    rates = strong / np.maximum(sizes, 1)
    # Rounded, so that rounding errors of the rates cannot lift a score of exactly 0 above it.
    balanced = np.round(sizes * (2 * rates - rates.sum(0)), 9) + 0.0
    ranks, ties = column_ranks(matrix)
    zeros = n - np.diff(matrix.indptr)
    rank_sums = groups.sums(matrix, ranks.data) + (sizes - active) * (zeros + 1) / 2
    auroc, p = rank_sum_test(rank_sums, sizes, n, ties)
    return Contrast(active, strong, balanced, auroc, p)


def _rates(side: str, strong: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
    """A strong rate and its interval."""
    low, high = wilson(strong, n)
    return {
        f"strong_rate_{side}": strong / np.maximum(n, 1),
        f"strong_{side}_low": low,
        f"strong_{side}_high": high,
    }


def _lift(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """How many times larger; infinite where there is nothing outside, 0 where there is nothing inside."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(inside == 0, 0.0, np.where(outside == 0, np.inf, inside / outside))


def _max(matrix: sparse.csc_matrix, inside: np.ndarray) -> np.ndarray:
    """Largest entry of each column among some rows; 0 where there is none."""
    if not matrix.shape[1]:
        return np.zeros(0)
    return np.maximum.reduceat(np.where(inside[matrix.indices], matrix.data, 0), matrix.indptr[:-1])
