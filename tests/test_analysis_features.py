"""The features table and the histograms against loops over dense arrays."""

import math
from fractions import Fraction
from pathlib import Path

from cases import make_case
from conftest import CONSTANT, SILENT
from studies import Study, analyse_case, close

from saecatalog.config import AnalysisConfig
from saecatalog.verify import formulas


def test_features_table(study: Study) -> None:
    table = study.table("features")
    assert table["feature"].tolist() == list(range(study.case.d_sae))
    n_tokens = sum(sum(kept) for kept in study.keep)
    for row in table.itertuples():
        values = [v for _, _, v in formulas.active_values(study.case, row.feature)]
        assert row.n_tokens == n_tokens
        assert row.n_active == len(values)
        assert row.density == len(values) / n_tokens
        close([row.density_low, row.density_high], formulas.wilson(len(values), n_tokens), atol=1e-12)
        mean = math.fsum(values) / len(values) if values else 0.0
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values)) if values else 0.0
        assert row.max == max(values, default=0.0)
        close([row.mean_active, row.std_active], [mean, spread], rtol=1e-5, atol=1e-6)
        wanted = [formulas.quantile(values, q) for q in (0.25, 0.5, 0.75, 0.9, 0.99)]
        close([row.q25, row.q50, row.q75, row.q90, row.q99], wanted, rtol=1e-5)


def test_features_table_counts_texts(study: Study) -> None:
    matrix = study.matrix
    for row in study.table("features").itertuples():
        column = matrix[:, row.feature].tolist()
        assert row.n_texts == study.n_texts
        assert row.n_texts_active == sum(s > 0 for s in column)
        assert row.n_texts_strong == sum(s > study.findings.strong for s in column)
        wanted = study.case.text_ids[column.index(max(column))] if max(column) > 0 else ""
        assert row.top_text == wanted


def test_silent_and_always_active_features(study: Study) -> None:
    table = study.table("features").set_index("feature")
    silent, constant = table.loc[SILENT], table.loc[CONSTANT]
    numbers = ["n_active", "density", "density_low", "max", "mean_active", "std_active", "q50", "n_texts_active"]
    assert not silent[numbers].any()
    assert silent["density_high"] > 0
    assert (silent["top_text"], silent["token_rule"], silent["notable"]) == ("", "", "")
    assert silent["label"] == "silent"
    assert constant["n_active"] == constant["n_tokens"]
    assert (constant["density"], constant["density_high"]) == (1, 1)
    assert constant["density_low"] < 1
    for name in ("contexts", "tokens", "histograms", "text_scores", "text_top", "categories", "concepts", "rankings"):
        assert SILENT not in study.table(name)["feature"].tolist()


def test_histograms(study: Study) -> None:
    table = study.table("histograms")
    assert table["feature"].tolist() == study.fired
    for row in table.itertuples():
        values = [v for _, _, v in formulas.active_values(study.case, row.feature)]
        bins = len(row.counts)
        counts = [0] * bins
        for value in values:
            counts[min(int(Fraction(value) / Fraction(max(values)) * bins), bins - 1)] += 1
        assert list(row.counts) == counts
        assert sum(row.counts) == len(values)
        close(row.edges, [max(values) * i / bins for i in range(bins + 1)])


def test_silent_features_have_an_upper_bound(tmp_path: Path) -> None:
    table = analyse_case(tmp_path, make_case([[[0, 1]] * 30, [[0, 0]] * 20]), AnalysisConfig()).tables["features"]
    assert table["silent_below"].tolist()[0] == 3 / 50
    assert math.isnan(table["silent_below"].tolist()[1])


def test_strong_means_above_the_threshold(tmp_path: Path) -> None:
    found = analyse_case(tmp_path, make_case([[[5.0, 5.5]], [[5.0, 0.0]]]), AnalysisConfig(strong=5.0))
    assert found.tables["features"]["n_texts_strong"].tolist() == [0, 1]
