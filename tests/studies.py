"""Analysed corpora for the tests of `saecatalog.analysis`: harvested ones, and stores made by hand.

`conftest.py` names this module as a plugin, so every test may use the fixture `study`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pandas as pd
import pytest
from conftest import SaeKind
from hypothesis import strategies as st
from scipy import sparse

from saecatalog.analysis.run import Findings, analyse
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.study import Inputs
from saecatalog.config import AnalysisConfig
from saecatalog.engines import Engine
from saecatalog.store import Lens, read_lens, read_store
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import tokenize
from saecatalog.verify.formulas import Case

LENS_ENTRIES = 6
TOP = 5

SCORES = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 2.25, 3.0]), min_size=1, max_size=25)
"""Text scores of one feature, with many ties."""

ACTIVATIONS = st.sampled_from([0.0, 1e-30, 0.25, 0.25, 1.0, 3.5, 3.5000002, 1e30])
"""One activation, which may be equal to another or differ from it by its last bit."""


@dataclass(frozen=True)
class Study:
    """An analysed corpus, and the same corpus as dense arrays."""

    shape: str
    kind: SaeKind
    config: AnalysisConfig
    inputs: Inputs
    findings: Findings
    case: Case
    """Without massive positions."""
    raw: Case
    keep: list[list[bool]]
    """Which tokens of each text count."""
    scores: dict[tuple[int, int], tuple[float, int]]
    """Score and position of every text and feature whose score is above 0."""
    concept_scores: dict[tuple[int, int], tuple[float, int]]

    def table(self, name: str) -> pd.DataFrame:
        return self.findings.tables[name]

    @property
    def n_texts(self) -> int:
        return len(self.case.text_ids)

    @property
    def matrix(self) -> np.ndarray:
        """Text scores, dense."""
        return cases.score_matrix(self.scores, self.n_texts, self.case.d_sae)

    @property
    def concept_matrix(self) -> np.ndarray:
        return cases.score_matrix(self.concept_scores, len(self.inputs.concept_texts), self.case.d_sae)

    @property
    def fired(self) -> list[int]:
        """The features that are active on any included token."""
        return [f for f in range(self.case.d_sae) if any(rows[:, f].any() for rows in self.case.activations)]

    @property
    def tokens_active(self) -> np.ndarray:
        """`[included token, feature]`, true where active."""
        rows = np.concatenate(self.case.activations)
        return rows[np.concatenate(self.keep)] > 0


STUDIES = {
    "llama-max": ("llama", SaeKind("standard"), AnalysisConfig(top=TOP)),
    "gpt2-last": ("gpt2", SaeKind("jumprelu"), AnalysisConfig(top=TOP, text_score="last", strong=3.5)),
    "sink-mean": ("sink", SaeKind("gated"), AnalysisConfig(top=3, text_score="mean", strong=0.25)),
    "gpt2-topk": ("gpt2", SaeKind("topk"), AnalysisConfig(top=100)),
}


@pytest.fixture(scope="session")
def studies(
    subjects: Callable, texts: list[Text], concept_texts: list[Text], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Study]:
    """Returns a study by its name, computed once per worker whatever the order of the tests."""
    from saecatalog.harvest import harvest
    from saecatalog.lens import make_lens

    @cache
    def named(name: str) -> Study:
        shape, kind, config = STUDIES[name]
        folder = tmp_path_factory.mktemp("study")
        subject = subjects(shape, kind)
        for part, chosen in (("corpus", texts), ("concepts", concept_texts)):
            (folder / part).mkdir()
            harvest(subject, tokenize(chosen, subject.tokenizer), 256, folder / part, lambda n: None)
        (folder / "lens").mkdir()
        make_lens(subject, folder / "lens", lambda n: None, LENS_ENTRIES)
        inputs = Inputs(
            texts,
            read_store(folder / "corpus"),
            concept_texts,
            read_store(folder / "concepts"),
            read_lens(folder / "lens"),
            json.loads((folder / "lens" / "vocabulary.json").read_text(encoding="utf-8")),
        )
        return make_study(shape, kind, config, inputs, folder)

    return named


@pytest.fixture(scope="session", params=list(STUDIES))
def study(request: pytest.FixtureRequest, studies: Callable[[str], Study]) -> Study:
    """Each of the studies in turn."""
    return studies(request.param)


def make_study(shape: str, kind: SaeKind, config: AnalysisConfig, inputs: Inputs, folder: Path) -> Study:
    raw = cases.case_of(folder / "corpus", [t.id for t in inputs.texts], [t.category for t in inputs.texts])
    case, keep = cases.without_massive(raw, config.outlier_multiple)
    concept_ids = [t.id for t in inputs.concept_texts]
    concepts = cases.case_of(folder / "concepts", concept_ids, [t.category for t in inputs.concept_texts])
    median = cases.median_norm(raw)
    concepts, concept_keep = cases.without_massive(concepts, config.outlier_multiple, median)
    return Study(
        shape,
        kind,
        config,
        inputs,
        run_analyses(inputs, config, folder / "tables"),
        case,
        raw,
        keep,
        cases.text_scores(case, keep, config.text_score),
        cases.text_scores(concepts, concept_keep, config.text_score),
    )


def run_analyses(inputs: Inputs, config: AnalysisConfig, folder: Path, engine: Engine | None = None) -> Findings:
    folder.mkdir(parents=True)
    return analyse(inputs, config, "all", folder, engine=engine)


# Helpers of several test modules


def close(found: Any, wanted: Any, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    """Numbers must be equal except for rounding."""
    np.testing.assert_allclose(np.asarray(found, float), np.asarray(wanted, float), rtol=rtol, atol=atol)


def split(scores: np.ndarray, names: list[str], name: str) -> tuple[list[float], list[float]]:
    """The scores of the texts with a name, and those of all others."""
    inside = [float(s) for s, n in zip(scores, names, strict=True) if n == name]
    return inside, [float(s) for s, n in zip(scores, names, strict=True) if n != name]


def count(values: list[float], above: float) -> int:
    return sum(v > above for v in values)


def text_scores_of(dense: np.ndarray) -> TextScores:
    matrix = sparse.csc_matrix(dense.astype(np.float32))
    return TextScores(matrix, np.zeros(matrix.nnz, np.int32))


def empty_lens(d_sae: int) -> Lens:
    """A lens that is empty except for a decoder of ones."""
    none, ids = np.zeros((d_sae, 0), np.float32), np.zeros((d_sae, 0), np.int32)
    empty = {f.name: ids if f.name.endswith("_ids") else none for f in fields(Lens)}
    moments = np.zeros((d_sae, 3), np.float32)
    return Lens(**{**empty, "decoder": np.ones((d_sae, 2), np.float32), "logit_moments": moments})


def analyse_case(
    folder: Path,
    case: Case,
    config: AnalysisConfig,
    concepts: Case | None = None,
    residual: Any = None,
    engine: Engine | None = None,
) -> Findings:
    """Write a store by hand and run all analyses on it."""
    cases.save_case(folder / "store", case, residual)
    texts = [Text(i, c, "here", "x" * 99) for i, c in zip(case.text_ids, case.categories, strict=True)]
    concept_texts, concept_store = [], None
    if concepts is not None:
        cases.save_case(folder / "concepts", concepts)
        concept_texts = [
            Text(i, c, "here", "x" * 99) for i, c in zip(concepts.text_ids, concepts.categories, strict=True)
        ]
        concept_store = read_store(folder / "concepts")
    vocabulary = [f"w{i}" for i in range(500)]
    store = read_store(folder / "store")
    inputs = Inputs(texts, store, concept_texts, concept_store, empty_lens(case.d_sae), vocabulary)
    return run_analyses(inputs, config, folder / "tables", engine)
