"""Categories and the held-out check against loops and scipy, and by hand."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cases import make_case
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from studies import SCORES, Study, analyse_case, close, count, split, text_scores_of

from saecatalog.analysis import categories
from saecatalog.analysis.auroc_intervals import Sources
from saecatalog.analysis.categories import AllFigures, category_rows, held_out_table, second_half
from saecatalog.analysis.text_groups import TextGroups
from saecatalog.config import AnalysisConfig
from saecatalog.verify import formulas


def test_categories_table(study: Study) -> None:
    table, matrix = study.table("categories"), study.matrix
    names = sorted(set(study.case.categories))
    shown = [f for f in range(study.case.d_sae) if matrix[:, f].any()]
    assert list(zip(table["category"], table["feature"], strict=True)) == list(itertools.product(names, shown))
    strong = study.findings.strong
    for row in table.itertuples():
        inside, outside = split(matrix[:, row.feature], study.case.categories, row.category)
        assert (row.n_inside, row.n_outside) == (len(inside), len(outside))
        assert (row.active_inside, row.active_outside) == (count(inside, 0), count(outside, 0))
        assert (row.strong_inside, row.strong_outside) == (count(inside, strong), count(outside, strong))
        assert row.specialist_score == count(inside, strong) - count(outside, strong)
        close([row.max_inside, row.mean_inside], [max(inside), math.fsum(inside) / len(inside)])
        close(row.auroc, formulas.auroc(inside, outside), atol=1e-12)
        close(row.lift, lift(inside, outside, strong))
        close(row.active_lift, lift(inside, outside, 0))


def lift(inside: list[float], outside: list[float], above: float) -> float:
    rate_in, rate_out = count(inside, above) / len(inside), count(outside, above) / len(outside)
    return 0.0 if not rate_in else math.inf if not rate_out else rate_in / rate_out


def test_p_and_q_values(study: Study) -> None:
    table, matrix = study.table("categories"), study.matrix
    for row in table.itertuples():
        inside, outside = split(matrix[:, row.feature], study.case.categories, row.category)
        if len(set(inside + outside)) == 1:
            assert row.p_value == 1
            continue
        test = stats.mannwhitneyu(inside, outside, alternative="two-sided", method="asymptotic")
        close(row.p_value, test.pvalue, atol=1e-12)
        close(row.auroc, test.statistic / (len(inside) * len(outside)), atol=1e-12)
    close(table["q_value"], formulas.benjamini_hochberg(table["p_value"].tolist()), atol=1e-12)


def test_one_category(tmp_path: Path) -> None:
    case = make_case([[[0, 1]], [[0, 2]], [[3, 0]]])
    table = analyse_case(tmp_path, case, AnalysisConfig(strong=1.5)).tables["categories"]
    assert (table["n_inside"] == 3).all()
    assert (table["n_outside"] == 0).all()
    assert (table["auroc"] == 0.5).all()
    assert (table["p_value"] == 1).all()
    assert (table["q_value"] == 1).all()
    assert table["specialist_score"].tolist() == [1, 1]


def test_lift_where_there_is_no_outside(tmp_path: Path) -> None:
    """`lift` is never an undefined number: infinite where the feature is active inside only."""
    case = make_case([[[0, 1]], [[0, 2]], [[3, 0]]])
    table = analyse_case(tmp_path, case, AnalysisConfig()).tables["categories"]
    assert not table["lift"].isna().any()


def test_specialists_survive_unequal_categories(tmp_path: Path) -> None:
    """Strong on 3 of 3 inside and 5 of 30 outside: the notebook's score is negative, the balanced one is not."""
    inside = [[[9.0]]] * 3
    outside = [[[8.0]]] * 5 + [[[0.0]]] * 25
    case = make_case(inside + outside, ["small"] * 3 + ["large"] * 30)
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0))
    row = found.tables["categories"].query("category == 'small'").iloc[0]
    assert row["specialist_score"] == 3 - 5
    close(row["lift"], 6.0)
    assert row["auroc"] == 1
    close(row["balanced_score"], 3 * (1 - 5 / 30))
    rankings = found.tables["rankings"]
    assert rankings[rankings["ranking"] == "weak specialist:small"]["feature"].tolist() == [0]
    assert not {"specialist:large", "weak specialist:large"} & set(rankings["ranking"])


def test_equal_rates_make_no_specialist(tmp_path: Path) -> None:
    """Strong on 1 of 3, 1 of 6 and 1 of 6 texts: exactly half of the balanced strong texts are in the first."""
    rows = [[9.0]] + [[0.0]] * 2 + ([[9.0]] + [[0.0]] * 5) * 2
    case = make_case([[row] for row in rows], ["a"] * 3 + ["b"] * 6 + ["c"] * 6)
    table = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0)).tables["categories"].set_index("category")
    assert table.loc["a", "balanced_score"] == 0
    close(table.loc["b", "balanced_score"], 6 * (1 / 6 - 1 / 3 - 1 / 6))
    close(table.loc["a", ["strong_inside_low", "strong_inside_high"]], formulas.wilson(1, 3))
    close(table.loc["a", ["strong_outside_low", "strong_outside_high"]], formulas.wilson(2, 12))


def test_a_large_category_does_not_win_by_its_size(tmp_path: Path) -> None:
    """Strong on 6 of 30 in the large category and on 3 of 3 in the small one: the notebook's score is 3."""
    case = make_case([[[9.0]]] * 6 + [[[0.0]]] * 24 + [[[9.0]]] * 3, ["large"] * 30 + ["small"] * 3)
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0))
    row = found.tables["categories"].query("category == 'large'").iloc[0]
    assert row["specialist_score"] == 3
    close(row["balanced_score"], 30 * (0.2 - 1))
    assert not {"specialist:large", "weak specialist:large"} & set(found.tables["rankings"]["ranking"])


def test_halves_are_looked_at_alone(tmp_path: Path) -> None:
    """Feature 0 is strong on every text of a; feature 1 only on those of the second half, the odd ones."""
    rows = [[9.0, 0.0], [9.0, 9.0], [9.0, 0.0], [9.0, 9.0], [0.0, 1.0], [0.0, 1.0]]
    case = make_case([[row] for row in rows], ["a"] * 4 + ["b"] * 2)
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0))
    assert found.tables["texts"]["half"].tolist() == ["first", "second"] * 3
    table = found.tables["categories"].query("category == 'a'").set_index("feature")
    assert table["held_out"].tolist() == ["both", "second"]
    close(table["score_first"], [2, 0])
    close(table["score_second"], [2, 2])
    # On the first half the texts of a score 0 on feature 1, below the one of b.
    close(table["auroc_first"], [1, 0])
    close(table["auroc_second"], [1, 1])
    row = found.tables["held_out"].query("category == 'a'").iloc[0]
    assert row[["texts_first", "texts_second", "found_first", "found_second", "found_both"]].tolist() == [2, 2, 1, 2, 1]
    close([row["expected_both"], row["auroc_held_out"]], [1 * 2 / 2, (1 + 1 + 0) / 3])
    nothing = found.tables["held_out"].query("category == 'b'").iloc[0]
    assert nothing["found_first"] == 0
    assert math.isnan(nothing["auroc_held_out"])


@given(st.lists(SCORES, min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_category_table_on_random_scores(columns: list[list[float]], seed: int, strong: float) -> None:
    n = min(len(c) for c in columns)
    dense = np.array([c[:n] for c in columns]).T
    names = np.random.default_rng(seed).choice(["a", "b", "c"], n).tolist()
    table = categories_of(dense, names, strong)
    shown = [f for f in range(dense.shape[1]) if dense[:, f].any()]
    wanted = list(itertools.product(sorted(set(names)), shown))
    assert list(zip(table["category"], table["feature"], strict=True)) == wanted
    for row in table.itertuples():
        inside, outside = split(dense[:, row.feature], names, row.category)
        close(row.auroc, formulas.auroc(inside, outside), atol=1e-12)
        assert (row.strong_inside, row.strong_outside) == (count(inside, strong), count(outside, strong))
        close([row.max_inside, row.mean_inside], [max(inside), sum(inside) / len(inside)])


def categories_of(dense: np.ndarray, names: list[str], strong: float) -> pd.DataFrame:
    """The table of categories, made in two blocks of features."""
    scores, groups, second = text_scores_of(dense), TextGroups.of(names), second_half(names)
    half = dense.shape[1] // 2
    blocks = [(scores.block(0, half), 0), (scores.block(half, dense.shape[1]), half)]
    sources = Sources.of(groups, [""] * len(names))
    figures = AllFigures()
    for part, first in blocks:
        figures.add(category_rows(part, groups, sources, second, strong, first))
    return figures.table(groups)


@given(st.lists(SCORES, min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_many_categories_leave_out_rows_without_an_active_text(
    columns: list[list[float]], seed: int, strong: float
) -> None:
    """All other rows are the same to the last bit: the q-values, too, count the pairs without a row."""
    n = min(len(c) for c in columns)
    dense = np.array([c[:n] for c in columns]).T
    names = np.random.default_rng(seed).choice(["a", "b", "c", "d", "e", "f"], n).tolist()
    whole = categories_of(dense, names, strong)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(categories, "MANY_CATEGORIES", 0)
        short = categories_of(dense, names, strong)
    kept = whole[whole["active_inside"] > 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(short, kept, check_exact=True)
    silent = whole[whole["active_inside"] == 0]
    assert (silent[["strong_inside", "max_inside", "mean_inside", "lift", "active_lift"]] == 0).all(axis=None)
    assert (silent["balanced_score"] <= 0).all()
    groups, second = TextGroups.of(names), second_half(names)
    pd.testing.assert_frame_equal(held_out_table(short, groups, second), held_out_table(whole, groups, second))


def test_evidence_is_by_halves_interval_and_q(study: Study) -> None:
    table = study.table("categories")
    for row in table.itertuples():
        sure = row.held_out == "both" and row.q_value <= 0.05 and row.auroc_low > 0.5
        word = "weak" if not sure else "clear" if row.auroc_low > 0.6 else "moderate"
        assert row.evidence == (word if row.balanced_score > 0 else "")


def test_clear_moderate_and_weak_by_hand(tmp_path: Path) -> None:
    """Of 24 texts of a, feature 0 is strong on all, 1 on ten, 2 on every other one (of one half), 3 on one."""
    rows = [[9.0, 9.0 * (t < 10), 9.0 * (t % 2), 9.0 * (t == 0)] for t in range(24)] + [[0.0] * 4] * 48
    case = make_case([[row] for row in rows], ["a"] * 24 + ["b"] * 24 + ["c"] * 24)
    table = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0)).tables["categories"].query("category == 'a'")
    assert table["evidence"].tolist() == ["clear", "moderate", "weak", "weak"]
    assert table["held_out"].tolist() == ["both", "both", "second", "first"]
    assert (table["balanced_score"] > 0).all()
    assert (table["q_value"] <= 0.05).tolist() == [True, True, True, False]
