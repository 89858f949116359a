"""Checks of what the weights alone say about the sampled features: direct logit effects and decoder neighbours."""

import numpy as np

from saecatalog.verify import formulas
from saecatalog.verify.check_features import check_best, check_bins, sampled
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.model import direct_effects
from saecatalog.verify.published import Row
from saecatalog.verify.report import Checker
from saecatalog.verify.sae import cosines

BINS = 40
"""As the table's description says: 40 equal bins."""


def check_effects(e: Evidence) -> None:
    """Promoted and suppressed tokens, and the distribution of the effects on all tokens."""
    logits, histograms = sampled(e, "logits"), sampled(e, "logit_histograms")
    features = sampled(e, "features")
    if not e.runner.writes_to_stream:
        e.report.at("logits").same("feature", len(e.published["logits"]), 0)
        e.report.at("logit_histograms").same("feature", len(e.published["logit_histograms"]), 0)
    for (feature, _, rows), (_, _, bins), (_, _, own) in zip(logits, histograms, features, strict=True):
        at = e.report.at("features", f"feature {feature}")
        if not e.runner.writes_to_stream:
            for row in own:
                at.lists("logit_std", [row.logit_std, row.logit_skew, row.logit_kurtosis], [0, 0, 0])
            continue
        effects = direct_effects(e.runner.model, e.runner.sae.w["W_dec"][feature])
        for row in own:
            _check_shape(at, row, effects)
        for sign, direction in ((1, "promoted"), (-1, "suppressed")):
            _check_logits(e, feature, direction, sign, [r for r in rows if r.direction == direction], effects)
        _check_histogram(e.report.at("logit_histograms", f"feature {feature}"), bins, effects)


def _slack(effects: np.ndarray) -> float:
    """The expected rounding error of an effect. Each is a sum of many terms as large as the largest effects."""
    return 1e-5 * float(np.abs(effects).max(initial=0))


def _check_shape(at: Checker, row: Row, effects: np.ndarray) -> None:
    spread, skew, kurtosis = formulas.shape_of(effects.tolist())
    at.close("logit_std", row.logit_std, spread, 1e-4)
    at.close("logit_skew", row.logit_skew, skew, 1e-3, 1e-4)
    at.close("logit_kurtosis", row.logit_kurtosis, kurtosis, 1e-3, 1e-3)


def _check_logits(e: Evidence, feature: int, direction: str, sign: int, rows: list[Row], effects: np.ndarray) -> None:
    """The tokens with the largest effect in one direction; the table decides how many are shown."""
    at = e.report.at("logits", f"feature {feature}, {direction}")
    k = int(e.published["logits"]["rank"].max()) + 1
    values = dict(enumerate((sign * effects).tolist()))
    check_best(at, "token_id", {row.token_id: sign * row.logit for row in rows}, values, k, _slack(effects))
    at.lists("rank", [row.rank for row in rows], list(range(len(rows))))
    for row in rows:
        at = e.report.at("logits", f"feature {feature}, {direction} {row.rank}")
        at.same("token", row.token, e.token(row.token_id))
        if row.token_id in values:
            at.close("logit", row.logit, sign * values[row.token_id], 1e-4, _slack(effects))


def _check_histogram(at: Checker, rows: list[Row], effects: np.ndarray) -> None:
    """40 equal bins from the most suppressed token to the most promoted one."""
    at.holds(len(rows) == 1, "feature", f"{len(rows)} histograms instead of one")
    for row in rows[:1]:
        edges, slack = [float(x) for x in row.edges], _slack(effects)
        wanted = np.linspace(effects.min(), effects.max(), BINS + 1)
        same = len(edges) == len(wanted) and bool((np.abs(np.array(edges) - wanted) <= slack).all())
        at.holds(same, "edges", f"the {len(edges)} edges do not form {BINS} equal bins over all effects")
        check_bins(at, row.counts, effects.tolist(), edges, slack)


def check_neighbours(e: Evidence) -> None:
    """The nearest decoder rows; the table decides how many are shown."""
    decoder = e.runner.sae.w["W_dec"]
    k = int(e.published["neighbours"]["rank"].max()) + 1 if len(e.published["neighbours"]) else 0
    for feature, _, rows in sampled(e, "neighbours"):
        values = dict(enumerate(cosines(decoder[feature], decoder).tolist()))
        del values[feature]
        at = e.report.at("neighbours", f"feature {feature}")
        check_best(at, "neighbour", {row.neighbour: row.cosine for row in rows}, values, k, 1e-5)
        at.lists("rank", [row.rank for row in rows], list(range(len(rows))))
        for row in rows:
            cosine = values.get(row.neighbour, 1.0)
            e.report.at("neighbours", f"feature {feature}, rank {row.rank}").close(
                "cosine", row.cosine, cosine, 1e-4, 1e-5
            )
