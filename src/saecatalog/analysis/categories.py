"""Which features distinguish a category: text scores flow in, one row per category and feature flows out.

A specialist has a positive balanced score, which weights texts as if all categories had equal size: neither small
categories among large ones nor large ones among small ones are misjudged. The texts are also divided into two halves,
to show whether a specialist found on one half is also one on the other, which played no part in finding it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int64, Num, Shaped
from scipy import sparse

from saecatalog.analysis.activations import runs
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import benjamini_hochberg, column_ranks, rank_sum_test, wilson
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.constants import SCORE_DECIMALS

HALVES = ("first", "second")

Figures = dict[str, Shaped[np.ndarray, "..."]]
"""The columns of a table as arrays of shape `[group, feature]`, `[group, 1]` or `[feature]`, which broadcast."""


def second_half(categories: list[str]) -> Bool[np.ndarray, "text"]:
    """Which texts belong to the second half: every other one of each category, in the order given."""
    turns = pd.Series(categories, dtype=object).groupby(categories).cumcount().to_numpy(np.int64)
    return np.asarray(turns % 2 == 1)


def category_rows(
    scores: TextScores, groups: TextGroups, second: Bool[np.ndarray, "text"], strong: float, first: int = 0
) -> Figures:
    """Every figure except the q-value, for the features of a block that fired on any text.

    `second` says which texts are in the second half, `strong` is the score above which a text is strong, and `first` is
    the number of the block's first feature.
    """
    # The matrices [group, feature] below are dense, so features that are silent on every text are left out.
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
    return {
        "category": np.array(groups.names, object)[:, None],
        "feature": (fired + first).astype(np.int32),
        "n_inside": n_inside,
        "n_outside": n_outside,
        "active_inside": active.astype(np.int32),
        "active_outside": active_outside.astype(np.int32),
        "strong_inside": whole.strong.astype(np.int32),
        "strong_outside": whole.strong_outside.astype(np.int32),
        "specialist_score": (whole.strong - whole.strong_outside).astype(np.int32),
        "balanced_score": whole.balanced,
        **rates_inside,
        **rates_outside,
        "max_inside": _maxima(matrix, groups),
        "mean_inside": groups.sums(matrix, matrix.data)[0] / n_inside,
        "lift": _lift(rates_inside["strong_rate_inside"], rates_outside["strong_rate_outside"]),
        "active_lift": _lift(active / n_inside, active_outside / np.maximum(n_outside, 1)),
        "auroc": whole.auroc,
        "p_value": whole.p,
        "score_first": halves[0].balanced,
        "score_second": halves[1].balanced,
        "auroc_first": halves[0].auroc,
        "auroc_second": halves[1].auroc,
    }


def category_table(parts: list[Figures]) -> pd.DataFrame:
    """The figures of all blocks as one table, by category and then feature, with q-values over all of its rows."""
    # Each figure is broadcast to [group, feature], and blocks are joined along the features. Flattening row by row then
    # gives all features of the first category, then those of the next.
    shapes = [part["auroc"].shape for part in parts]
    frame = pd.DataFrame(
        {
            name: np.concatenate(
                [np.broadcast_to(part[name], shape) for part, shape in zip(parts, shapes, strict=True)], axis=1
            ).ravel()
            for name in parts[0]
        }
    )
    found = [np.where(frame[f"score_{half}"] > 0, half, "") for half in HALVES]
    both = (found[0] != "") & (found[1] != "")
    return frame.assign(
        q_value=benjamini_hochberg(frame["p_value"].to_numpy()),
        held_out=np.where(both, "both", np.where(found[0] != "", found[0], found[1])).astype(object),
    )


def held_out_table(categories: pd.DataFrame, groups: TextGroups, second: Bool[np.ndarray, "text"]) -> pd.DataFrame:
    """Per category: how many specialists each half and both halves find, and their mean AUROC on the other half."""
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
                # The number expected by chance, if the halves were independent.
                "expected_both": int(first.sum()) * int(other.sum()) / n_features,
                "auroc_held_out": elsewhere.mean() if len(elsewhere) else np.nan,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Contrast:
    """Each group against all other texts."""

    active: Float64[np.ndarray, "group feature"]
    """Texts of the group with a score above 0."""
    strong: Float64[np.ndarray, "group feature"]
    balanced: Float64[np.ndarray, "group feature"]
    auroc: Float64[np.ndarray, "group feature"]
    p: Float64[np.ndarray, "group feature"]

    @property
    def strong_outside(self) -> Float64[np.ndarray, "group feature"]:
        return np.asarray(self.strong.sum(0) - self.strong)


def _contrast(matrix: sparse.csc_matrix, groups: TextGroups, threshold: float) -> Contrast:
    """Counts, balanced score, AUROC and p of each group against the rest; `matrix` is `[text, feature]`."""
    n, sizes = matrix.shape[0], groups.sizes
    ranks, ties = column_ranks(matrix)
    active, strong, rank_sums = groups.sums(matrix, None, matrix.data > threshold, ranks.data)
    rates = strong / np.maximum(sizes, 1)
    # size * (own rate - sum of the other rates). Rounded, so that rounding errors of the rates cannot make a score of
    # exactly 0 positive; adding 0.0 turns -0.0 into 0.0.
    balanced = np.round(sizes * (2 * rates - rates.sum(0)), SCORE_DECIMALS) + 0.0
    # A group's silent texts have no entry in `ranks`: all tie at rank (zeros + 1) / 2.
    zeros = n - np.diff(matrix.indptr)
    rank_sums += (sizes - active) * (zeros + 1) / 2
    auroc, p = rank_sum_test(rank_sums, sizes, n, ties)
    return Contrast(active, strong, balanced, auroc, p)


def _rates(
    side: str, strong: Float64[np.ndarray, "group feature"], n: Int64[np.ndarray, "group 1"]
) -> dict[str, Float64[np.ndarray, "group feature"]]:
    """The columns of the strong rate of one side and its interval."""
    low, high = wilson(strong, n)
    return {
        f"strong_rate_{side}": strong / np.maximum(n, 1),
        f"strong_{side}_low": low,
        f"strong_{side}_high": high,
    }


def _lift(
    inside: Num[np.ndarray, "group feature"], outside: Num[np.ndarray, "group feature"]
) -> Float64[np.ndarray, "group feature"]:
    """The rate inside divided by the rate outside: infinite if only the rate outside is 0, and 0 if the inside is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(inside == 0, 0.0, np.where(outside == 0, np.inf, inside / outside))


def _maxima(matrix: sparse.csc_matrix, groups: TextGroups) -> Float32[np.ndarray, "group feature"]:
    """The largest entry of each column in each group; 0 where there is none."""
    largest = np.zeros((len(groups.names), matrix.shape[1]), np.float32)
    if matrix.nnz:
        member = groups.member[matrix.indices]
        column = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
        # Texts are in the order of the corpus, so a group may have several runs: take the largest of each run, then the
        # largest of all runs.
        starts = runs(column, member)
        np.maximum.at(largest, (member[starts], column[starts]), np.maximum.reduceat(matrix.data, starts))
    return largest
