"""Concepts against loops over dense arrays, and by hand."""

import math
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pandas as pd
import pytest
from cases import make_case
from conftest import CONSTANT
from hypothesis import given
from hypothesis import strategies as st
from studies import (
    SCORES,
    Study,
    analyse_case,
    close,
    count,
    empty_lens,
    run_analyses,
    split,
    text_scores_of,
)

from saecatalog.analysis.categories import second_half
from saecatalog.analysis.concepts import ConceptTexts, concept_rows, concept_table
from saecatalog.analysis.study import Inputs
from saecatalog.config import AnalysisConfig
from saecatalog.schemas import SCHEMAS
from saecatalog.store import read_store
from saecatalog.texts.corpus import Text
from saecatalog.verify import formulas


def test_concepts_table(study: Study) -> None:
    """`mean_all` divides by all texts of the concept; dividing by one would give a sum."""
    table, matrix, concept_matrix = study.table("concepts"), study.matrix, study.concept_matrix
    names = [t.category for t in study.inputs.concept_texts]
    keys = [
        (name, feature)
        for name in sorted(set(names))
        for feature in range(study.case.d_sae)
        if any(split(concept_matrix[:, feature], names, name)[0])
    ]
    assert list(zip(table["concept"], table["feature"], strict=True)) == keys
    for row in table.itertuples():
        scores, _ = split(concept_matrix[:, row.feature], names, row.concept)
        active = [s for s in scores if s > 0]
        n_strong = count(scores, study.findings.strong)
        assert (row.n_texts, row.n_active, row.n_strong) == (len(scores), len(active), n_strong)
        assert row.consistency == n_strong / len(scores)
        close(row.mean_all, math.fsum(scores) / len(scores))
        close(row.mean_active, math.fsum(active) / len(active))
        close(row.auroc, formulas.auroc(scores, matrix[:, row.feature].tolist()), atol=1e-12)
    assert (table["mean_all"] < table["mean_active"] * 0.99).any()


def test_an_always_active_feature_does_not_win_a_concept(study: Study) -> None:
    table = study.table("concepts")
    constant = table[table["feature"] == CONSTANT]
    assert len(constant) == len({t.category for t in study.inputs.concept_texts})
    # A text of nothing but a massive token scores 0 on every feature.
    n_empty = sum(not any(kept) for kept in study.keep)
    close(constant["auroc"], np.full(len(constant), 0.5 + n_empty / study.n_texts / 2), atol=1e-6)


def test_no_concepts(tmp_path: Path) -> None:
    found = analyse_case(tmp_path, make_case([[[1.0]], [[2.0]]]), AnalysisConfig())
    assert found.tables["concepts"].empty
    assert list(found.tables["concepts"]) == list(SCHEMAS["concepts"])


def test_concept_means_by_hand(tmp_path: Path) -> None:
    """Scores 4, 0 and 2: their mean is 2, over the active ones 3, and neither is their sum."""
    corpus = make_case([[[1.0]], [[2.0]], [[0.0]], [[9.0]]])
    concepts = make_case([[[4.0]], [[0.0]], [[1.0], [2.0]]], ["k", "k", "k"])
    row = analyse_case(tmp_path, corpus, AnalysisConfig(strong=3.0), concepts).tables["concepts"].iloc[0]
    assert (row["n_texts"], row["n_active"], row["n_strong"]) == (3, 2, 1)
    assert (row["mean_all"], row["mean_active"]) == (2, 3)
    assert row["consistency"] == 1 / 3
    # 4 beats three of four; 0 ties with one; 2 beats two and ties with one.
    assert row["auroc"] == (3 + 0.5 + 2.5) / 12


def test_a_concept_is_compared_with_the_rest_of_the_corpus(tmp_path: Path) -> None:
    """One of the concept's two texts is also in the corpus; it does not count as a rival of its concept."""
    cases.save_case(tmp_path / "store", make_case([[[5.0]], [[1.0]], [[3.0]]]))
    cases.save_case(tmp_path / "concepts", make_case([[[5.0]], [[2.0]], [[4.0]]]))
    texts = [Text(f"t{i}", "c", "here", content) for i, content in enumerate(["same", "b", "c"])]
    concepts = [
        Text(f"k{i}", name, "here", content)
        for i, (name, content) in enumerate([("k", "same"), ("k", "new"), ("other", "new")])
    ]
    stores = read_store(tmp_path / "store"), read_store(tmp_path / "concepts")
    inputs = Inputs(texts, stores[0], concepts, stores[1], empty_lens(1), [f"w{i}" for i in range(9)])
    table = run_analyses(inputs, AnalysisConfig(), tmp_path / "tables").tables["concepts"]
    # Of k's 5 and 2 against 1 and 3, of other's 4 against 5, 1 and 3.
    close(table["auroc"], [3 / 4, 2 / 3])
    close(table.loc[0, ["consistency_low", "consistency_high"]], formulas.wilson(table.loc[0, "n_strong"], 2))


def test_concepts_are_judged_by_the_corpus_median(tmp_path: Path) -> None:
    corpus = make_case([[[1.0]], [[2.0]], [[3.0]]])
    concepts = make_case([[[5.0]], [[6.0]]], ["k", "k"])
    concepts.norms[0][:], concepts.norms[1][:] = 100.0, 2.0
    row = analyse_case(tmp_path, corpus, AnalysisConfig(), concepts).tables["concepts"].iloc[0]
    assert (row["n_texts"], row["n_active"], row["mean_all"]) == (2, 1, 3)


Side = tuple[np.ndarray, list[str], list[str]]
"""Dense scores of texts, the concept of each (in the corpus, its category) and its content."""


def table_of(concepts: Side, corpus: Side, strong: float = 0.75) -> pd.DataFrame:
    (mine, names, contents), (rest, categories, rivals) = concepts, corpus
    texts = ConceptTexts.of(names, contents, rivals, second_half(categories))
    return concept_table([concept_rows(text_scores_of(mine), text_scores_of(rest), texts, strong)])


@st.composite
def sides(draw: st.DrawFn) -> tuple[Side, Side]:
    """Two features, concepts and corpus of any size, with many ties; some texts are in both."""
    a, b, c, d = (draw(SCORES) for _ in range(4))
    n, m = min(len(a), len(b)), min(len(c), len(d))
    concept, corpus = np.array([a[:n], b[:n]]).T, np.array([c[:m], d[:m]]).T
    rivals = [f"text {i}" for i in range(m)]
    for place in draw(st.sets(st.integers(0, min(n, m) - 1))):
        rivals[place], corpus[place] = f"concept {place}", concept[place]
    names = ["x" if i % 3 else "y" for i in range(n)]
    return (concept, names, [f"concept {i}" for i in range(n)]), (corpus, ["c"] * m, rivals)


@given(sides())
def test_concept_table_on_random_scores(given: tuple[Side, Side]) -> None:
    (concept, names, contents), (corpus, _, rivals) = given
    table = table_of(*given)
    for row in table.itertuples():
        scores, _ = split(concept[:, row.feature], names, row.concept)
        own = {content for content, name in zip(contents, names, strict=True) if name == row.concept}
        rest = [float(s) for s, text in zip(corpus[:, row.feature], rivals, strict=True) if text not in own]
        close(row.mean_all, sum(scores) / len(scores))
        close(row.mean_active, sum(scores) / sum(s > 0 for s in scores))
        assert (row.n_rest, row.strong_rest) == (len(rest), count(rest, 0.75))
        wanted = formulas.difference_of_rates(row.n_strong, row.n_texts, row.strong_rest, row.n_rest)
        close([row.excess, row.excess_low, row.excess_high], wanted)
        close(row.auroc, formulas.auroc(scores, rest), atol=1e-12)
        inside, outside = ([(s, f"{side} {i}") for i, s in enumerate(part)] for side, part in enumerate((scores, rest)))
        close([row.auroc_low, row.auroc_high], formulas.auroc_interval(inside, outside))
        close(row.p_value, formulas.drawn_at_random(scores, rest))
    fired = {(n, f) for n in set(names) for f in range(2) if any(split(concept[:, f], names, n)[0])}
    assert set(zip(table["concept"], table["feature"], strict=True)) == fired
    tested = len(set(names)) * sum(bool(concept[:, f].any() or corpus[:, f].any()) for f in range(2))
    p = table["p_value"].tolist() + [1.0] * (tested - len(table))
    close(table["q_value"], formulas.benjamini_hochberg(p)[: len(table)])


@given(sides(), st.randoms(use_true_random=False))
def test_the_order_of_texts_does_not_matter(given: tuple[Side, Side], chance: Any) -> None:
    """Whatever the order, every figure but those of the halves, which go by the order of ids, is the same."""
    turned = []
    for scores, names, contents in given:
        order = list(range(len(names)))
        chance.shuffle(order)
        turned.append((scores[order], [names[i] for i in order], [contents[i] for i in order]))
    of_halves = ["auroc_first", "auroc_second", "held_out", "responds"]
    first, other = (table_of(*both).drop(columns=of_halves) for both in (given, turned))
    pd.testing.assert_frame_equal(first, other, rtol=1e-12)


def halves_of(values: list[float]) -> list[list[float]]:
    return [values[::2], values[1::2]]


def test_halves_of_a_concept_against_halves_of_the_corpus() -> None:
    chance = np.random.default_rng(3)
    concept, corpus = chance.integers(0, 4, (11, 6)).astype(float), chance.integers(0, 4, (30, 6)).astype(float)
    names, contents = ["k"] * 11, [f"k{i}" for i in range(11)]
    table = table_of((concept, names, contents), (corpus, ["c"] * 30, [f"c{i}" for i in range(30)]))
    for row in table.itertuples():
        mine, rivals = halves_of(concept[:, row.feature].tolist()), halves_of(corpus[:, row.feature].tolist())
        found = [formulas.auroc(a, b) for a, b in zip(mine, rivals, strict=True)]
        close([row.auroc_first, row.auroc_second], found)
        more = [a > 0.5 for a in found]
        assert row.held_out == {2: "both", 0: ""}.get(sum(more), "first" if more[0] else "second")
    assert set(table["held_out"]) >= {"both", ""}


@pytest.mark.parametrize("n", [9, 10])
def test_a_concept_of_fewer_than_ten_texts_has_no_halves(n: int) -> None:
    corpus = (np.zeros((200, 1)), ["c"] * 200, [f"c{i}" for i in range(200)])
    (row,) = table_of((np.full((n, 1), 3.0), ["k"] * n, [f"k{i}" for i in range(n)]), corpus).itertuples()
    assert row.held_out == ("too few" if n < 10 else "both")
    assert math.isnan(row.auroc_first) == (n < 10)
    assert row.responds


def test_features_that_fire_on_everything_belong_to_no_concept() -> None:
    """Feature 0 is strong on all texts, and 1 on those of the concept less than elsewhere; both are most consistent.

    Feature 2 is strong on half of the concept's texts and nowhere else: it is the only one that responds. Feature 3
    does the same in one half of the texts only.
    """
    concept = np.array([[9.0, 5.0, 4.0 * (i % 4 < 2), 4.0 * (i % 2)] for i in range(20)])
    corpus = np.array([[9.0, 5.0 + i % 3, 0.0, 0.0] for i in range(300)])
    table = table_of((concept, ["k"] * 20, [f"k{i}" for i in range(20)]), (corpus, ["c"] * 300, ["c"] * 300))
    assert table["consistency"].tolist() == [1, 1, 0.5, 0.5]
    assert table["responds"].tolist() == [False, False, True, False]
    close(table["auroc"], [0.5, 1 / 6, 0.75, 0.75])
    assert table["held_out"].tolist() == ["", "", "both", "second"]
    others = table_of(
        (concept[:, :2], ["k"] * 20, [f"k{i}" for i in range(20)]), (corpus[:, :2], ["c"] * 300, ["c"] * 300)
    )
    assert not others["responds"].any()


def test_texts_drawn_from_the_corpus_are_no_concept() -> None:
    """Thousands of features, most of them rare: none responds to texts that are like all others."""
    chance = np.random.default_rng(0)
    rates = np.exp(chance.uniform(np.log(0.002), 0, 3000))
    scores = (chance.random((500, 3000)) < rates) * chance.exponential(size=(500, 3000))
    names = [f"k{i // 20}" for i in range(100)]
    table = table_of((scores[:100], names, [f"t{i}" for i in range(100)]), (scores[100:], ["c"] * 400, ["c"] * 400))
    assert not table["responds"].any()
    # The p-values hold what they promise also far out, where the usual normal approximation does not.
    tests = 5 * 3000
    for level in (0.05, 0.001):
        assert (table["p_value"] <= level).sum() <= tests * level + 4 * math.sqrt(tests * level)
    assert table["p_value"].min() > 0.1 / tests
