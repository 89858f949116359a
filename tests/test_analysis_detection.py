"""Detection scores, compared with slow code that looks at one token at a time, and with a case to check by hand."""

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cases import make_case, save_case
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.analysis import activations as activations_module
from saecatalog.analysis.activations import Activations, include
from saecatalog.analysis.detection import HeldOut, balanced_accuracy, deal
from saecatalog.analysis.scores import score_texts
from saecatalog.constants import SHUFFLED
from saecatalog.store import read_store

FEATURES, TEXTS = 9, 14
SILENT, ALWAYS, RULELESS = 2, 3, 5
"""A feature that never fires, one that always does, and one without a rule."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Activations:
    """Random activations with many ties, on texts of 1 to 7 tokens; three tokens are massive and do not count."""
    chance = np.random.default_rng(3)
    rows = [chance.integers(-3, 4, (chance.integers(1, 8), FEATURES)).clip(0) / 2 for _ in range(TEXTS)]
    for part in rows:
        part[:, SILENT], part[:, ALWAYS] = 0, 1.5
    case = make_case(rows)
    for text in (1, 4, 7):
        case.norms[text][0] = 500.0
    folder = tmp_path_factory.mktemp("detection")
    save_case(folder / "store", case)
    return include(read_store(folder / "store"), 10)


SECOND = np.arange(TEXTS) % 2 == 1


def rules_of(corpus: Activations) -> dict[str, np.ndarray]:
    """Random rules by name, one of which matches nothing and one everything."""
    chance, n = np.random.default_rng(4), len(corpus.included)
    rules = {f"rule {share}": chance.random(n) < share for share in (0.1, 0.3, 0.6)}
    return rules | {"nothing": np.zeros(n, bool), "everything": np.ones(n, bool)}


def places(rules: dict[str, np.ndarray]) -> Callable[[str], np.ndarray]:
    """Finds the tokens that a rule matches."""
    return lambda name: np.flatnonzero(rules[name])


def dealt(corpus: Activations) -> dict[int, str]:
    names = list(rules_of(corpus))
    return {f: names[f % len(names)] for f in range(FEATURES) if f != RULELESS}


def found(corpus: Activations, score: str = "max") -> pd.DataFrame:
    rules, by_feature, scores = rules_of(corpus), dealt(corpus), score_texts(corpus, score)
    others = {f: name for f, name in by_feature.items() if f != SILENT}
    held_out = HeldOut(corpus, SECOND, others, places(rules))
    parts = [
        held_out.rows(block, scores.block(block.first, block.first + len(block)), by_feature, places(rules))
        for block in corpus.blocks()
    ]
    return pd.concat(parts, ignore_index=True)


def without_others(corpus: Activations, second: np.ndarray) -> HeldOut:
    return HeldOut(corpus, second, {}, {}.__getitem__)


def rate(k: float, n: float) -> float:
    return k / n if n else math.nan


def pairwise_auroc(high: list[float], low: list[float]) -> float:
    """The share of pairs in which the first is larger; ties count half."""
    wins = [(a > b) + (a == b) / 2 for a, b in product(high, low)]
    return rate(sum(wins), len(wins))


def slow_row(corpus: Activations, feature: int, matched: np.ndarray, score: str) -> dict[str, float]:
    """Every figure of one feature and rule, from a dense matrix."""
    dense = corpus.store.matrix().toarray()[:, feature].astype(float)
    texts = corpus.store.token_texts()
    half = [t for t in range(len(dense)) if SECOND[texts[t]] and corpus.included[t]]
    active, hit = [t for t in half if dense[t] > 0], [t for t in half if dense[t] > 0 and matched[t]]
    picked = [t for t in half if matched[t]]
    scores = {}
    for text in range(TEXTS):
        if SECOND[text]:
            mine = [dense[t] if corpus.included[t] else 0.0 for t in range(len(dense)) if texts[t] == text]
            scores[text] = mine[-1] if score == "last" else max(mine)
    picked_texts = {int(texts[t]) for t in picked}
    active_texts = {text for text in scores if scores[text] > 0}
    both = len(picked_texts & active_texts)
    return {
        "n_tokens": len(half),
        "n_active": len(active),
        "n_matched": len(picked),
        "n_hit": len(hit),
        "precision": rate(len(hit), len(picked)),
        "recall": rate(len(hit), len(active)),
        "f1": rate(2 * len(hit), len(picked) + len(active)),
        "share": rate(sum(dense[t] for t in hit), sum(dense[t] for t in active)),
        "token_auroc": pairwise_auroc([matched[t] for t in active], [matched[t] for t in half if not dense[t]]),
        "n_texts": len(scores),
        "n_texts_active": len(active_texts),
        "n_texts_matched": len(picked_texts),
        "n_texts_hit": both,
        "text_precision": rate(both, len(picked_texts)),
        "text_recall": rate(both, len(active_texts)),
        "text_auroc": pairwise_auroc(
            [scores[t] for t in picked_texts], [scores[t] for t in scores if t not in picked_texts]
        ),
    }  # fmt: skip


@pytest.mark.parametrize("score", ["max", "last"])
def test_every_figure_equals_that_of_slow_code(corpus: Activations, score: str) -> None:
    rules, by_feature, table = rules_of(corpus), dealt(corpus), found(corpus, score)
    assert table["feature"].tolist() == sorted(by_feature)
    for row in table.to_dict("records"):
        wanted = slow_row(corpus, row["feature"], rules[by_feature[row["feature"]]], score)
        mine = {name: row[name] for name in wanted}
        np.testing.assert_allclose(list(mine.values()), list(wanted.values()), rtol=1e-9, err_msg=str(row))


def test_the_control_is_the_rules_of_the_other_features(corpus: Activations) -> None:
    rules, by_feature = rules_of(corpus), dealt(corpus)
    for row in found(corpus).to_dict("records"):
        others = [name for f, name in by_feature.items() if f not in (row["feature"], SILENT)]
        aurocs = [slow_row(corpus, row["feature"], rules[name], "max")["token_auroc"] for name in others]
        assert row["n_shuffled"] == len(others)
        np.testing.assert_allclose(row["shuffled_auroc"], np.mean(aurocs))
        np.testing.assert_allclose(row["shuffled_high"], np.quantile(aurocs, 0.95))


def test_features_that_are_always_or_never_active_have_no_auroc(corpus: Activations) -> None:
    rows = found(corpus).set_index("feature")
    for feature in (SILENT, ALWAYS):
        assert rows.loc[feature, ["token_auroc", "shuffled_auroc", "shuffled_high"]].isna().all()
    assert np.isnan(rows.loc[SILENT, "recall"])
    assert rows.loc[ALWAYS, "n_active"] == rows.loc[ALWAYS, "n_tokens"]


def test_figures_do_not_depend_on_the_blocks(corpus: Activations, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(corpus)
    monkeypatch.setattr(activations_module, "BLOCK_FEATURES", 2)
    pd.testing.assert_frame_equal(found(corpus), whole)


def test_the_first_half_has_no_say(corpus: Activations) -> None:
    """Rules that agree on the second half have equal figures, whatever they say of the first."""
    scores = score_texts(corpus, "max")
    first = ~SECOND[corpus.token_texts]
    rule = rules_of(corpus)["rule 0.3"]
    (block,) = corpus.blocks()
    every = dict.fromkeys(range(FEATURES), "rule")
    tables = [
        without_others(corpus, SECOND).rows(block, scores, every, lambda _, r=r: np.flatnonzero(r))
        for r in (rule, rule ^ first)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_no_rules_give_no_rows_and_no_others_give_no_control(corpus: Activations) -> None:
    scores = score_texts(corpus, "max")
    (block,) = corpus.blocks()
    assert not len(without_others(corpus, SECOND).rows(block, scores, {}, places(rules_of(corpus))))
    (row,) = (
        without_others(corpus, SECOND)
        .rows(block, scores, {0: "everything"}, places(rules_of(corpus)))
        .to_dict("records")
    )
    assert row["n_shuffled"] == 0
    assert np.isnan(row["shuffled_high"])


def test_a_case_to_check_by_hand(tmp_path: Path) -> None:
    """Two texts of the second half: active on 3 of 6 tokens; the rule matches 2, of which 1 is active."""
    case = make_case([[[9.0]], [[4.0], [1.0], [0.0]], [[0.0]], [[0.0], [0.0], [3.0]]])
    save_case(tmp_path / "store", case)
    corpus = include(read_store(tmp_path / "store"), 10)
    matched = np.array([True, True, False, True, True, False, False, False])
    (block,) = corpus.blocks()
    half = np.array([False, True, False, True])
    table = without_others(corpus, half).rows(
        block, score_texts(corpus, "max"), {0: "r"}, lambda _: np.flatnonzero(matched)
    )
    (row,) = table.to_dict("records")
    assert (row["n_tokens"], row["n_active"], row["n_matched"], row["n_hit"]) == (6, 3, 2, 1)
    assert (row["precision"], row["share"]) == (0.5, 0.5)
    assert row["recall"] == pytest.approx(1 / 3)
    # A third of the active tokens, and two thirds of the inactive ones, are on the right side.
    assert row["token_auroc"] == pytest.approx(0.5)
    assert (row["n_texts_matched"], row["n_texts_hit"], row["text_auroc"]) == (1, 1, 1.0)


@given(st.integers(1, 50), st.integers(1, 50), st.data())
def test_balanced_accuracy_lies_between_its_bounds(active: int, inactive: int, data: Any) -> None:
    hit, false = data.draw(st.integers(0, active)), data.draw(st.integers(0, inactive))
    counts = [np.array([x]) for x in (hit, hit + false, active)]
    value = balanced_accuracy(*counts, active + inactive)[0]
    assert 0 <= value <= 1
    if hit / active == false / inactive:
        assert value == pytest.approx(0.5)
    opposite = [np.array([x]) for x in (active - hit, active - hit + inactive - false, active)]
    assert balanced_accuracy(*opposite, active + inactive)[0] == pytest.approx(1 - value)


def test_the_draw_of_other_rules_is_bounded_and_the_same_for_all() -> None:
    assert deal(range(7)) == list(range(7))
    many = deal(range(5000))
    assert len(many) == SHUFFLED
    assert many == deal(range(4999, -1, -1))
    assert many != list(range(SHUFFLED))
