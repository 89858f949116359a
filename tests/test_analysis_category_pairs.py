"""What tells two categories apart, against loops and scipy, and by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from studies import Study, close, count, text_scores_of

from saecatalog.analysis.auroc_intervals import Sources
from saecatalog.analysis.category_pairs import MOST_PAIRS, category_pair_table, choose_pairs
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.constants import PAIR_FEATURES
from saecatalog.verify import formulas

STRONG = 1.0


def compare(dense: np.ndarray, names: list[str], files: list[str] | None = None) -> pd.DataFrame:
    groups = TextGroups.of(names)
    sources = Sources.of(groups, files or [""] * len(names))
    return category_pair_table(text_scores_of(dense), groups, sources, STRONG)


def test_every_figure(study: Study) -> None:
    table, matrix, names = study.table("category_pairs"), study.matrix, study.case.categories
    p_values: dict[tuple[str, str, int], float] = {}
    for a, b in combinations(sorted(set(names)), 2):
        sides = [matrix[[c == name for c in names]] for name in (a, b)]
        for feature in np.flatnonzero((np.concatenate(sides) > 0).any(axis=0)).tolist():
            p_values[a, b, feature] = p_value(*(side[:, feature].tolist() for side in sides))
    q = dict(zip(p_values, formulas.benjamini_hochberg(list(p_values.values())), strict=True))
    for (name, other), rows in table.groupby(["category", "other"]):
        mine, theirs = (matrix[[c == one for c in names]] for one in (name, other))
        assert rows["rank"].tolist() == list(range(len(rows)))
        for row in rows.itertuples():
            a, b = mine[:, row.feature].tolist(), theirs[:, row.feature].tolist()
            close([row.mean, row.mean_other], [np.mean(a), np.mean(b)])
            close(row.auroc, formulas.auroc(a, b), atol=1e-12)
            assert (row.texts, row.active, row.strong) == (len(a), count(a, 0), count(a, study.findings.strong))
            assert (row.texts_other, row.active_other) == (len(b), count(b, 0))
            assert row.strong_other == count(b, study.findings.strong)
            key = (*sorted((name, other)), row.feature)
            close([row.p_value, row.q_value], [p_values[key], q[key]], atol=1e-12)
        # No feature that is left out has a larger AUROC than one that is kept.
        everything = [formulas.auroc(mine[:, f].tolist(), theirs[:, f].tolist()) for f in range(matrix.shape[1])]
        best = sorted((value for value in everything if value > 0.5), reverse=True)[:PAIR_FEATURES]
        close(rows["auroc"].tolist(), best, atol=1e-12)
    assert len(table)


def p_value(a: list[float], b: list[float]) -> float:
    if len(set(a + b)) == 1:
        return 1.0
    return float(stats.mannwhitneyu(a, b, alternative="two-sided", method="asymptotic").pvalue)


def test_what_tells_two_apart_need_not_tell_either_from_the_rest() -> None:
    """Feature 0 fires in `a` and in `c`, feature 1 everywhere: only 0 tells `a` from `b`."""
    names = ["a"] * 30 + ["b"] * 30 + ["c"] * 30
    dense = np.zeros((90, 2))
    dense[:30, 0] = dense[60:, 0] = np.linspace(2, 3, 30)
    dense[:, 1] = np.tile(np.linspace(1, 2, 30), 3)
    table = compare(dense, names)
    found = table[table["clear"]]
    assert {(row.category, row.other, row.feature) for row in found.itertuples()} == {("a", "b", 0), ("c", "b", 0)}


def test_chance_is_not_clear() -> None:
    rng = np.random.default_rng(0)
    dense = rng.exponential(size=(40, 200))
    assert not compare(dense, ["a"] * 20 + ["b"] * 20)["clear"].any()


def test_the_interval_counts_sources() -> None:
    """The same scores are surer if each text has a file of its own."""
    rng = np.random.default_rng(1)
    dense, names = rng.exponential(size=(40, 1)) + np.repeat([1.0, 0.0], 20)[:, None], ["a"] * 20 + ["b"] * 20
    apart, alike = compare(dense, names), compare(dense, names, [f"{place // 5}.txt" for place in range(40)])
    assert alike["auroc"].tolist() == apart["auroc"].tolist()
    assert alike["auroc_low"].item() < apart["auroc_low"].item()


def test_the_order_of_texts_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    dense = rng.choice([0.0, 0.0, 0.5, 1.0, 2.0], size=(30, 8))
    names = [str(name) for name in rng.choice(list("abc"), 30)]
    order = rng.permutation(30)
    moved = compare(dense[order], [names[place] for place in order])
    pd.testing.assert_frame_equal(compare(dense, names), moved, check_exact=False, rtol=1e-12)


def test_one_category_has_no_other() -> None:
    assert not len(compare(np.ones((3, 2)), ["a"] * 3))


def test_of_many_categories_the_most_alike_are_compared() -> None:
    """Thirty categories in pairs that fire on the same feature: each is compared with its twin."""
    names = [f"{place:02}" for place in range(30) for _ in range(2)]
    dense = np.zeros((60, 15))
    dense[np.arange(60), np.arange(60) // 4] = 1
    groups = TextGroups.of(names)
    pairs = choose_pairs(text_scores_of(dense), groups)
    assert len(pairs) == MOST_PAIRS
    assert {(2 * place, 2 * place + 1) for place in range(15)} <= set(pairs)
