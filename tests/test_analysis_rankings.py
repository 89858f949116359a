"""Rankings and notable features against sorted rows of the tables."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cases import make_case
from conftest import TWIN_A, TWIN_B
from hypothesis import given
from hypothesis import strategies as st
from studies import Study, analyse_case, close

from saecatalog.analysis.rankings import choose_notable, rank_features
from saecatalog.config import AnalysisConfig
from saecatalog.schemas import SCHEMAS
from saecatalog.verify import formulas


def test_rankings_of_features(study: Study) -> None:
    rows = [r for r in study.table("features").itertuples() if r.n_active]
    strong = [r for r in rows if r.n_texts_strong]
    assert_ranking(study, "strongest", rows, lambda r: (-r.max, r.feature), lambda r: r.max)
    assert_ranking(study, "frequent", rows, lambda r: (-r.n_texts_active, r.feature), lambda r: r.n_texts_active)
    assert_ranking(
        study, "selective", strong, lambda r: (r.n_texts_strong, -r.max, r.feature), lambda r: r.n_texts_strong
    )


def assert_ranking(study: Study, name: str, rows: list[Any], key: Callable, value: Callable) -> None:
    wanted = formulas.ranked(rows, key, study.config.top)
    rankings = study.table("rankings")
    found = rankings[rankings["ranking"] == name]
    assert found["feature"].tolist() == [r.feature for r in wanted]
    assert found["rank"].tolist() == list(range(len(wanted)))
    close(found["value"], [value(r) for r in wanted])


def test_rankings_of_categories(study: Study) -> None:
    for name, rows in study.table("categories").groupby("category"):
        every = list(rows.itertuples())
        specialists = [r for r in every if r.balanced_score > 0]
        for kind, grades in (("specialist", ("clear", "moderate")), ("weak specialist", ("weak",))):
            assert_ranking(
                study,
                f"{kind}:{name}",
                [r for r in specialists if r.evidence in grades],
                lambda r: (r.evidence != "clear", -r.balanced_score, -r.auroc, r.feature),
                lambda r: r.balanced_score,
            )
        common = [r for r in every if r.active_inside * 2 > r.n_inside]
        assert_ranking(
            study, f"common:{name}", common, lambda r: (-more(r), -r.active_inside, r.feature), lambda r: float(more(r))
        )


def more(row: Any) -> Fraction:
    """How much larger the active rate is inside, exactly."""
    return Fraction(row.active_inside, row.n_inside) - Fraction(row.active_outside, row.n_outside)


def test_rankings_of_concepts(study: Study) -> None:
    for name, rows in study.table("concepts").groupby("concept"):
        every = list(rows.itertuples())
        assert_ranking(
            study,
            f"consistent:{name}",
            [r for r in every if r.n_strong],
            lambda r: (-Fraction(r.n_strong, r.n_texts), -r.mean_all, r.feature),
            lambda r: r.consistency,
        )
        assert_ranking(study, f"strong:{name}", every, lambda r: (-r.mean_all, r.feature), lambda r: r.mean_all)
        assert_ranking(
            study,
            f"contrast:{name}",
            [r for r in every if r.responds],
            lambda r: (-r.auroc_low, -r.auroc, -r.mean_all, r.feature),
            lambda r: r.auroc_low,
        )


def test_equal_features_are_ranked_by_index(study: Study) -> None:
    if study.kind.architecture == "topk":
        pytest.skip("no two features of this SAE are equal")
    rankings = study.table("rankings")
    together = [
        rows.set_index("feature")["rank"]
        for _, rows in rankings.groupby("ranking")
        if {TWIN_A, TWIN_B} <= set(rows["feature"])
    ]
    assert all(rank[TWIN_B] > rank[TWIN_A] for rank in together)
    only_b = [name for name, rows in rankings.groupby("ranking") if TWIN_A not in set(rows["feature"])]
    assert not rankings[rankings["ranking"].isin(only_b)]["feature"].eq(TWIN_B).any()


def test_notable_features_have_reasons_from_the_rankings(study: Study) -> None:
    rankings = study.table("rankings")
    wanted: dict[int, set[str]] = {}
    for row in rankings.itertuples():
        kind, _, name = row.ranking.partition(":")
        if row.ranking in ("clearest", "strongest", "frequent", "selective"):
            wanted.setdefault(row.feature, set()).add(kind)
        if kind in ("specialist", "weak specialist"):
            wanted.setdefault(row.feature, set()).add(f"{kind}:{name}")
        if kind == "contrast":
            wanted.setdefault(row.feature, set()).add(f"concept:{name}")
    for row in study.table("features").itertuples():
        assert set(filter(None, row.notable.split(","))) == wanted.get(row.feature, set())


def test_selective_ties_go_by_maximum_then_index(tmp_path: Path) -> None:
    rows = [[6.0, 7.0, 7.0, 9.0], [0.0, 0.0, 0.0, 9.0]]
    found = analyse_case(tmp_path, make_case([[r] for r in rows]), AnalysisConfig(strong=5.0))
    ranking = found.tables["rankings"].query("ranking == 'selective'")
    assert ranking["feature"].tolist() == [1, 2, 0, 3]
    assert ranking["value"].tolist() == [1, 1, 1, 2]


def test_common_ties_go_by_activity_then_index(tmp_path: Path) -> None:
    """4/5 - 1/5 and 5/5 - 2/5 are equal, so the feature active on more texts of the category comes first."""
    inside = [[[1.0, 1.0]]] * 4 + [[[0.0, 1.0]]]
    outside = [[[1.0, 1.0]], [[0.0, 1.0]]] + [[[0.0, 0.0]]] * 3
    case = make_case(inside + outside, ["in"] * 5 + ["out"] * 5)
    ranking = analyse_case(tmp_path, case, AnalysisConfig()).tables["rankings"].query("ranking == 'common:in'")
    assert ranking["feature"].tolist() == [1, 0]


@given(st.data())
def test_common_features_on_random_counts(data: st.DataObject) -> None:
    """Equal differences of rates are ties, whatever fractions they come from."""
    n_in, n_out = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    counts = data.draw(
        st.lists(st.tuples(st.integers(0, n_in), st.integers(0, n_out)), min_size=1, max_size=9).filter(any)
    )
    rows = pd.DataFrame(counts, columns=["active_inside", "active_outside"]).assign(
        category="c", n_inside=n_in, n_outside=n_out, balanced_score=0.0, auroc=0.5, evidence=""
    )
    rows["feature"] = np.arange(len(rows))
    features = pd.DataFrame(
        {"feature": rows["feature"], "n_active": 1, "max": 1.0, "n_texts_active": 1, "n_texts_strong": 0}
    )
    concepts = pd.DataFrame({name: [] for name in SCHEMAS["concepts"]})
    table = rank_features(features, rows, concepts, 50)
    common = [r for r in rows.itertuples() if r.active_inside * 2 > n_in]
    wanted = sorted(common, key=lambda r: (-more(r), -r.active_inside, r.feature))
    assert table.query("ranking == 'common:c'")["feature"].tolist() == [r.feature for r in wanted]


def test_clear_specialists_are_notable_before_weak_ones() -> None:
    """Feature 1 is first for a category and 2 second; 8 is the first of the weak ones, and 2 is among them too."""
    lists = {
        "strongest": [5],
        "specialist:a": [1, 2],
        "weak specialist:b": [8, 2],
        "common:a": [7],
        "consistent:k": [6],
    }
    rankings = pd.DataFrame(
        [(name, rank, feature) for name, found in lists.items() for rank, feature in enumerate(found)],
        columns=["ranking", "rank", "feature"],
    )
    clear = {1: ["specialist:a"], 2: ["specialist:a", "weak specialist:b"], 5: ["strongest"]}
    assert choose_notable(rankings, 3) == clear
    assert choose_notable(rankings, 9) == {**clear, 8: ["weak specialist:b"]}
