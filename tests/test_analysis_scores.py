"""Text scores against loops over dense arrays, and by hand."""

from pathlib import Path

import cases
import numpy as np
import pytest
from cases import make_case
from studies import Study, analyse_case, close

from saecatalog.analysis.activations import include
from saecatalog.analysis.scores import score_texts
from saecatalog.config import AnalysisConfig


@pytest.mark.parametrize("kind", ["max", "last", "mean"])
def test_every_text_score_on_every_study(study: Study, kind: str) -> None:
    scores = score_texts(include(study.inputs.store, study.config.outlier_multiple), kind)
    wanted = cases.score_matrix(cases.text_scores(study.case, study.keep, kind), study.n_texts, study.case.d_sae)
    found = scores.by_feature.toarray()
    np.testing.assert_array_equal(found > 0, wanted > 0)
    close(found, wanted)


def test_mean_score_divides_by_counted_tokens(tmp_path: Path) -> None:
    case = make_case([[[1.0], [50.0], [2.0]], [[0.0], [4.0]], [[0.0], [0.0], [3.0]]])
    case.norms[0][1] = 200.0
    table = analyse_case(tmp_path, case, AnalysisConfig(text_score="mean")).tables["text_scores"]
    assert table["score"].tolist() == [1.5, 2, 1]
    assert table["position"].tolist() == [2, 1, 2]


def test_last_score_of_an_excluded_last_token_is_zero(tmp_path: Path) -> None:
    case = make_case([[[1.0], [50.0]], [[0.0], [4.0]], [[5.0], [0.0]]])
    case.norms[0][1] = 200.0
    table = analyse_case(tmp_path, case, AnalysisConfig(text_score="last")).tables["text_scores"]
    assert table[["text", "score", "position"]].to_numpy().tolist() == [["t01", 4, 1]]
