"""The strong threshold of a study."""

from studies import Study

from saecatalog.verify import formulas


def test_strong_threshold(study: Study) -> None:
    if study.config.strong is not None:
        assert study.findings.strong == study.config.strong
        return
    value = formulas.quantile(sorted(score for score, _ in study.scores.values()), 0.9)
    assert study.findings.strong == float(f"{value:.2g}")
