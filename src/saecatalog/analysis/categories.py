"""Which features distinguish a category: text scores flow in, one row per category and feature flows out.

A specialist has a positive balanced score, which weights texts as if all categories had equal size: neither small
categories among large ones nor large ones among small ones are misjudged. The texts are also divided into two halves,
to show whether a specialist found on one half is also one on the other, which played no part in finding it. Whether the
evidence for a specialist is clear, moderate or weak follows from this, from its AUROC and from its q-value.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int64, Num, Shaped
from scipy import sparse

from saecatalog.analysis.activations import runs
from saecatalog.analysis.auroc_intervals import Sources, auroc_intervals
from saecatalog.analysis.disk_arrays import Appended, scratch_array
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.statistics import benjamini_hochberg, column_ranks, rank_sum_test, wilson
from saecatalog.analysis.text_groups import Cells, TextGroups
from saecatalog.constants import CLEAR_AUROC, EVIDENCE, MANY_CATEGORIES, SCORE_DECIMALS, SURE_Q

HALVES = ("first", "second")


@dataclass(frozen=True)
class Figures:
    """The rows of some features, by category, then feature, and the tests of their pairs without a row."""

    group: Int64[np.ndarray, "row"]
    """Index of the category."""
    columns: dict[str, Shaped[np.ndarray, "row"]]
    silent_p: Float64[np.ndarray, "test"]
    """The p-values of the pairs without a row: those of categories of one size have the same one."""
    silent_counts: Int64[np.ndarray, "test"]
    """How many pairs have each of these p-values."""


def second_half(categories: list[str]) -> Bool[np.ndarray, "text"]:
    """Which texts belong to the second half: every other one of each category, in the order given."""
    turns = pd.Series(categories, dtype=object).groupby(categories).cumcount().to_numpy(np.int64)
    return np.asarray(turns % 2 == 1)


def category_rows(
    scores: TextScores,
    groups: TextGroups,
    sources: Sources,
    second: Bool[np.ndarray, "text"],
    strong: float,
    first: int = 0,
) -> Figures:
    """Every figure except the q-value, for the features of a block that fired on any text.

    With more than `MANY_CATEGORIES` categories, there are only rows of features active on a text of the category.
    `sources` says which texts are from one file, `second` which are in the second half, `strong` is the score above
    which a text is strong, and `first` is the number of the block's first feature.
    """
    fired = np.flatnonzero(np.diff(scores.by_feature.indptr))
    matrix = scores.by_feature[:, fired]
    every = len(groups.names) <= MANY_CATEGORIES
    cells = groups.cells(matrix, every)
    whole = Contrast(matrix, groups, cells, strong)
    halves = [_of_half(half, scores, matrix, groups, cells, strong) for half in (~second, second)]
    n_inside = groups.sizes[cells.group]
    n_outside = scores.n_texts - n_inside
    active_outside = np.diff(matrix.indptr)[cells.column] - whole.active
    rates_inside = _rates("inside", whole.strong, n_inside)
    rates_outside = _rates("outside", whole.strong_outside, n_outside)
    (total,) = cells.sums(matrix.data)
    auroc_low, auroc_high = auroc_intervals(matrix, sources, cells, whole.auroc)
    columns = {
        "feature": (fired[cells.column] + first).astype(np.int32),
        "n_inside": n_inside,
        "n_outside": n_outside,
        "active_inside": whole.active.astype(np.int32),
        "active_outside": active_outside.astype(np.int32),
        "strong_inside": whole.strong.astype(np.int32),
        "strong_outside": whole.strong_outside.astype(np.int32),
        "specialist_score": (whole.strong - whole.strong_outside).astype(np.int32),
        "balanced_score": whole.balanced,
        **rates_inside,
        **rates_outside,
        "max_inside": _maxima(matrix, cells),
        "mean_inside": total / n_inside,
        "lift": _lift(rates_inside["strong_rate_inside"], rates_outside["strong_rate_outside"]),
        "active_lift": _lift(whole.active / n_inside, active_outside / np.maximum(n_outside, 1)),
        "auroc": whole.auroc,
        "auroc_low": auroc_low,
        "auroc_high": auroc_high,
        "sources_inside": sources.inside[cells.group],
        "sources_outside": sources.outside[cells.group],
        "p_value": whole.p,
        "score_first": halves[0].balanced,
        "score_second": halves[1].balanced,
        "auroc_first": halves[0].auroc,
        "auroc_second": halves[1].auroc,
    }
    return Figures(cells.group, columns, *whole.silent_tests)


def _of_half(
    half: Bool[np.ndarray, "text"],
    scores: TextScores,
    matrix: sparse.csc_matrix,
    groups: TextGroups,
    cells: Cells,
    strong: float,
) -> "Contrast":
    """The contrasts of the same cells, on some of the texts alone."""
    part = TextScores(matrix, scores.positions).of_texts(half).by_feature
    return Contrast(part, groups.of_texts(half), cells.of_entries(half[matrix.indices]), strong)


class AllFigures:
    """The figures of all blocks, in the order of the features. The rows are in scratch files, not in memory."""

    def __init__(self, folder: Path | None = None):
        self._folder = folder
        self._columns: dict[str, Appended] = {}
        self._silent: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, part: Figures) -> None:
        for name, values in {"group": part.group, **part.columns}.items():
            self._columns.setdefault(name, Appended(self._folder, values.dtype)).append(values)
        self._silent.append((part.silent_p, part.silent_counts))

    def table(self, groups: TextGroups) -> pd.DataFrame:
        """One table, by category and then feature, as memory maps of scratch files.

        The q-values are over all pairs of a category and a feature that fired on a text, those without a row included.
        """
        group = self._columns.pop("group").close()
        # A stable sort by category keeps the features of each in order.
        order = np.argsort(group, kind="stable")
        columns = {name: self._sorted(column.close(), order) for name, column in self._columns.items()}
        columns["category"] = np.array(groups.names, object)[group[order]]
        frame = pd.DataFrame(columns, copy=False)
        silent_p, silent_counts = zip(*self._silent, strict=True)
        p = np.concatenate([columns["p_value"], *silent_p])
        counts = np.concatenate([np.ones(len(frame), np.int64), *silent_counts])
        first, other = ((columns[f"score_{half}"] > 0).astype(np.int8) for half in HALVES)
        frame = frame.assign(
            q_value=benjamini_hochberg(p, counts)[: len(frame)],
            # By index into an array of objects, so that equal strings are one object.
            held_out=np.array(["", *HALVES, "both"], object)[first + 2 * other],
        )
        return frame.assign(evidence=_evidence(frame))

    def _sorted(self, values: Shaped[np.ndarray, "row"], order: Int64[np.ndarray, "row"]) -> Shaped[np.ndarray, "row"]:
        found = scratch_array(self._folder, values.dtype, len(values))
        found[:] = values[order]
        return found


def _evidence(rows: pd.DataFrame) -> Shaped[np.ndarray, "row"]:
    """How sure it is that a feature is a specialist, one of `EVIDENCE`; empty if it is none."""
    sure = (rows["q_value"] <= SURE_Q) & (rows["auroc_low"] > 0.5) & (rows["held_out"] == "both")
    clear = sure & (rows["auroc_low"] > CLEAR_AUROC)
    place = np.select([rows["balanced_score"] <= 0, clear, sure], [0, 1, 2], 3)
    return np.asarray(np.array(["", *EVIDENCE], object)[place])


def held_out_table(categories: pd.DataFrame, groups: TextGroups, second: Bool[np.ndarray, "text"]) -> pd.DataFrame:
    """Per category: how many specialists each half and both halves find, and their mean AUROC on the other half."""
    n_features = max(categories["feature"].nunique(), 1)
    sizes = [groups.of_texts(half).sizes.tolist() for half in (~second, second)]
    special = categories[(categories["score_first"] > 0) | (categories["score_second"] > 0)]
    # The table is sorted by category, so the rows of each are a slice.
    bounds = np.searchsorted(pd.Categorical(special["category"], groups.names).codes, np.arange(len(groups.names) + 1))
    first, other = (special[f"score_{half}"].to_numpy() > 0 for half in HALVES)
    auroc_first, auroc_second = (special[f"auroc_{half}"].to_numpy() for half in HALVES)
    rows = []
    for place, name in enumerate(groups.names):
        mine = slice(bounds[place], bounds[place + 1])
        a, b = first[mine], other[mine]
        elsewhere = np.concatenate([auroc_second[mine][a], auroc_first[mine][b]])
        rows.append(
            {
                "category": name,
                "texts_first": sizes[0][place],
                "texts_second": sizes[1][place],
                "found_first": int(a.sum()),
                "found_second": int(b.sum()),
                "found_both": int((a & b).sum()),
                # The number expected by chance, if the halves were independent.
                "expected_both": int(a.sum()) * int(b.sum()) / n_features,
                "auroc_held_out": elsewhere.mean() if len(elsewhere) else np.nan,
            }
        )
    return pd.DataFrame(rows)


class Contrast:
    """Each cell's group against all other texts: counts, balanced score, AUROC and p, one figure for each cell.

    `matrix` is `[text, feature]`, and `threshold` the score above which a text is strong.
    """

    def __init__(self, matrix: sparse.csc_matrix, groups: TextGroups, cells: Cells, threshold: float):
        self._cells, self._sizes, self._n = cells, groups.sizes, matrix.shape[0]
        self._silent = self._n - np.diff(matrix.indptr)
        ranks, self._ties = column_ranks(matrix)
        self.active, self.strong, rank_sums = cells.sums(None, matrix.data > threshold, ranks.data)
        """Texts of the group with a score above 0, and above the threshold."""
        sizes = self._sizes[cells.group]
        # A group's silent texts have no entry in `ranks`: all tie at rank (silent + 1) / 2.
        rank_sums += (sizes - self.active) * (self._silent[cells.column] + 1) / 2
        self.auroc, self.p = rank_sum_test(rank_sums, sizes, self._n, self._ties[cells.column])

    @cached_property
    def balanced(self) -> Float64[np.ndarray, "cell"]:
        """The balanced score: size * (own rate - sum of the other rates)."""
        sizes = self._sizes[self._cells.group]
        rates = self.strong / np.maximum(sizes, 1)
        # Rounded, so that rounding errors of the rates cannot make a score of exactly 0 positive; adding 0.0 turns -0.0
        # into 0.0.
        return np.asarray(np.round(sizes * (2 * rates - self._over_groups(rates)), SCORE_DECIMALS) + 0.0)

    @property
    def strong_outside(self) -> Float64[np.ndarray, "cell"]:
        return np.asarray(self._over_groups(self.strong) - self.strong)

    def _over_groups(self, values: Float64[np.ndarray, "cell"]) -> Float64[np.ndarray, "cell"]:
        """For each cell, the sum over all groups; pairs that are no cell count as 0."""
        return np.asarray(np.bincount(self._cells.column, values, len(self._silent))[self._cells.column])

    @property
    def silent_tests(self) -> tuple[Float64[np.ndarray, "test"], Int64[np.ndarray, "test"]]:
        """The p-values of the pairs that are no cell, and how many pairs have each.

        The group's texts are all silent on the feature, so p depends on the number of texts alone.
        """
        sizes, of_group = np.unique(self._sizes, return_inverse=True)
        width = len(self._silent)
        cells = np.bincount(of_group[self._cells.group] * width + self._cells.column, minlength=len(sizes) * width)
        counts = np.bincount(of_group)[:, None] - cells.reshape(len(sizes), width)
        rank_sums = sizes[:, None] * (self._silent + 1) / 2
        _, p = rank_sum_test(rank_sums, sizes[:, None], self._n, self._ties)
        return p[counts > 0], counts[counts > 0]


def _rates(
    side: str, strong: Float64[np.ndarray, "row"], n: Int64[np.ndarray, "row"]
) -> dict[str, Float64[np.ndarray, "row"]]:
    """The columns of the strong rate of one side and its interval."""
    low, high = wilson(strong, n)
    return {
        f"strong_rate_{side}": strong / np.maximum(n, 1),
        f"strong_{side}_low": low,
        f"strong_{side}_high": high,
    }


def _lift(inside: Num[np.ndarray, "row"], outside: Num[np.ndarray, "row"]) -> Float64[np.ndarray, "row"]:
    """The rate inside divided by the rate outside: infinite if only the rate outside is 0, and 0 if the inside is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(inside == 0, 0.0, np.where(outside == 0, np.inf, inside / outside))


def _maxima(matrix: sparse.csc_matrix, cells: Cells) -> Float32[np.ndarray, "row"]:
    """The largest entry of each cell; 0 where there is none."""
    largest = np.zeros(len(cells), np.float32)
    if matrix.nnz:
        # Texts are in the order of the corpus, so a group may have several runs: take the largest of each run, then the
        # largest of all runs.
        starts = runs(cells.of_entry)
        np.maximum.at(largest, cells.of_entry[starts], np.maximum.reduceat(matrix.data, starts))
    return largest
