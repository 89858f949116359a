"""Concepts against loops over dense arrays, and by hand."""

import math
from pathlib import Path

import cases
import numpy as np
from cases import make_case
from conftest import CONSTANT
from hypothesis import given
from scipy import sparse
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

from saecatalog.analysis.concepts import concept_rows
from saecatalog.analysis.study import Inputs
from saecatalog.analysis.text_groups import TextGroups
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


@given(SCORES, SCORES, SCORES, SCORES)
def test_concept_table_on_random_scores(a: list[float], b: list[float], c: list[float], d: list[float]) -> None:
    """Two features, concepts and corpus of any size, with many ties."""
    n, m = min(len(a), len(b)), min(len(c), len(d))
    concept, corpus = np.array([a[:n], b[:n]]).T, np.array([c[:m], d[:m]]).T
    names = ["x" if i % 3 else "y" for i in range(n)]
    common = sparse.csr_matrix((m, len(set(names))), dtype=bool)
    table = concept_rows(text_scores_of(concept), TextGroups.of(names), text_scores_of(corpus), common, 0.75)
    for row in table.itertuples():
        scores, _ = split(concept[:, row.feature], names, row.concept)
        close(row.auroc, formulas.auroc(scores, corpus[:, row.feature].tolist()), atol=1e-12)
        close(row.mean_all, sum(scores) / len(scores))
        close(row.mean_active, sum(scores) / sum(s > 0 for s in scores))
    fired = {(n, f) for n in set(names) for f in range(2) if any(split(concept[:, f], names, n)[0])}
    assert set(zip(table["concept"], table["feature"], strict=True)) == fired
