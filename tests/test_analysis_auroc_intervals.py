"""Intervals of AUROC against the slow formula of `verify`, against DeLong's own, and against a bootstrap by source."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from studies import close, split

from saecatalog.analysis import auroc_intervals as module
from saecatalog.analysis.auroc_intervals import Sources, auroc_intervals
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.verify import formulas

Interval = tuple[float, float]


def intervals(dense: np.ndarray, names: list[str], files: list[str]) -> dict[tuple[str, int], Interval]:
    """The interval of every category and feature."""
    matrix, groups = sparse.csc_matrix(dense.astype(np.float32)), TextGroups.of(names)
    cells = groups.cells(matrix, every=True)
    keys = [(groups.names[g], int(f)) for g, f in zip(cells.group, cells.column, strict=True)]
    auroc = np.array([formulas.auroc(*split(dense[:, f], names, name)) for name, f in keys])
    low, high = auroc_intervals(matrix, Sources.of(groups, files), cells, auroc)
    assert (low <= auroc + 1e-12).all()
    assert (high >= auroc - 1e-12).all()
    return dict(zip(keys, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def slow(scores: np.ndarray, names: list[str], files: list[str], name: str) -> Interval:
    """By source if both sides have two, else by text."""
    sources = [file or f"text {place}" for place, file in enumerate(files)]
    for units in (sources, [str(place) for place in range(len(files))]):
        rows = list(zip(scores.tolist(), units, names, strict=True))
        inside, outside = ([(s, u) for s, u, n in rows if (n == name) is side] for side in (True, False))
        if min(len({u for _, u in inside}), len({u for _, u in outside})) > 1:
            return formulas.auroc_interval(inside, outside)
    return 0.0, 1.0


ROW = st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "y", "z"]), st.sampled_from([0, 0, 1, 2, 3.5]))


@settings(max_examples=40)
@given(st.lists(ROW, min_size=1, max_size=24), st.booleans())
def test_intervals_on_random_scores(rows: list[tuple[str, str, float]], mixed: bool) -> None:
    """A file may have texts of several categories, or of one; a text may have no file."""
    names = [name for name, _, _ in rows]
    files = [file if mixed or not file else f"{name}/{file}" for name, file, _ in rows]
    scores = np.array([[score, 3.5 - score] for _, _, score in rows])
    for part in (1, module.PART):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "PART", part)
            found = intervals(scores, names, files)
        for (name, feature), ends in found.items():
            close(ends, slow(scores[:, feature], names, files, name), atol=1e-10)


def delong(inside: np.ndarray, outside: np.ndarray) -> float:
    """The variance of DeLong, DeLong & Clarke-Pearson (1988): of the placements on each side, over its size."""
    wins = (inside[:, None] > outside) + (inside[:, None] == outside) / 2
    return float(np.var(wins.mean(1), ddof=1) / len(inside) + np.var(wins.mean(0), ddof=1) / len(outside))


def test_independent_texts_have_the_variance_of_delong() -> None:
    chance = np.random.default_rng(3)
    inside, outside = chance.normal(0.5, 1, 300), chance.normal(0, 1, 400)
    scores = np.exp(np.concatenate([inside, outside]))[:, None]
    low, high = intervals(scores, ["a"] * 300 + ["b"] * 400, [""] * 700)["a", 0]
    # With many texts and an AUROC far from 1, Wilson's interval is close to 1.96 standard errors on each side.
    close((high - low) / 2, 1.96 * math.sqrt(delong(inside, outside)), rtol=0.01)


def test_texts_of_one_file_count_less() -> None:
    """As wide as the spread of the AUROC if whole files are drawn anew, and wider than if texts are."""
    chance = np.random.default_rng(4)
    shift = np.repeat(chance.normal(0, 1, 80), 10)
    scores = np.exp(np.r_[np.full(300, 0.7), np.zeros(500)] + shift + chance.normal(0, 1, 800))
    names, files = ["a"] * 300 + ["b"] * 500, [f"file {n // 10}" for n in range(800)]
    by_file = np.diff(intervals(scores[:, None], names, files)["a", 0])[0]
    by_text = np.diff(intervals(scores[:, None], names, [""] * 800)["a", 0])[0]
    drawn = []
    for _ in range(500):
        inside, outside = (scores.reshape(80, 10)[chance.integers(a, b, b - a)].ravel() for a, b in ((0, 30), (30, 80)))
        drawn.append((inside[:, None] > outside).mean())
    close(by_file, np.subtract(*np.quantile(drawn, [0.975, 0.025])), rtol=0.15)
    assert by_file > 2 * by_text


def test_complete_separation_is_not_certain() -> None:
    """No text outside scores as high as any inside, so there is no variance to see; two texts say less than sixty."""
    ends = {}
    for n in (2, 60):
        names = ["a"] * n + ["b"] * n
        ends[n] = intervals(np.array([[9.0]] * n + [[0.0]] * n), names, [""] * (2 * n))["a", 0]
    assert ends[2] == (pytest.approx(0, abs=0.1), 1)
    assert 0.95 < ends[60][0] < 0.99
    assert ends[60][1] == 1


def test_a_category_of_one_file_is_compared_by_text() -> None:
    scores = np.array([[5.0], [4], [1], [3], [0], [2], [0]])
    names, files = ["a"] * 3 + ["b"] * 4, ["one"] * 3 + ["two", "two", "three", "three"]
    sources = Sources.of(TextGroups.of(names), files)
    assert (sources.inside.tolist(), sources.outside.tolist()) == ([1, 2], [2, 1])
    assert intervals(scores, names, files) == intervals(scores, names, [""] * 7)


def test_without_texts_to_compare_nothing_is_known() -> None:
    assert intervals(np.array([[1.0], [2]]), ["a", "a"], ["", ""]) == {("a", 0): (0, 1)}
    assert intervals(np.array([[1.0], [2]]), ["a", "b"], ["", ""])["a", 0] == (0, 1)
