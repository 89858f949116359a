"""Checks of the detection scores: every label that can be tested has a row, and those of the sample are recomputed."""

import hashlib
import math

import numpy as np

from saecatalog.verify import formulas
from saecatalog.verify.check_features import sampled
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, rows_of
from saecatalog.verify.report import EXACT, Checker
from saecatalog.verify.rule_reading import Place, RuleReader

HALF, OTHERS = "second", 100
"""As the table's description says: the half on which rules are scored, and how many rules of others are drawn."""


def check_detection(e: Evidence) -> None:
    """One row for each label chosen on the first half and each rule in a note; their figures for the sample."""
    rules = _rules(e)
    found = [f"{row.feature} {row.rule_source}" for row in rows_of(e.published["detection"])]
    e.report.at("detection").lists("feature", found, [f"{feature} {source}" for feature, source in sorted(rules)])
    reader = RuleReader(e, HALF)
    others = {f: reader.label(rules[f, "label"]) for f in _drawn([f for f, source in rules if source == "label"])}
    for feature, place, rows in sampled(e, "detection"):
        active = {(t, i): v for t, i, v in formulas.active_values(e.case, place) if e.halves[t] == HALF}
        for row in rows:
            if rule := rules.get((feature, row.rule_source)):
                matched = reader.label(rule) if row.rule_source == "label" else reader.note(rule)
                at = e.report.at("detection", f"feature {feature}, {row.rule_source}")
                at.same("half", row.half, HALF)
                _check_tokens(e, at, row, matched, active, len(reader.tokens))
                _check_texts(e, at, row, matched)
                _check_others(at, row, [o for f, o in others.items() if f != feature], active, len(reader.tokens))


def _rules(e: Evidence) -> dict[tuple[int, str], str]:
    """The rules that have a row, by feature and source."""
    labels = rows_of(e.published["features"])
    rules = {(row.feature, "label"): row.label_rule for row in labels if row.label_rule and row.label_half == "first"}
    return rules | {(int(row.name), "note"): row.rule for row in rows_of(e.published["notes"]) if row.rule}


def _drawn(features: list[int]) -> list[int]:
    """The features whose rules all are compared with: those with the smallest hashes."""
    by_hash = {hashlib.sha256(b"detection %d" % feature).hexdigest(): feature for feature in features}
    return [by_hash[digest] for digest in sorted(by_hash)[:OTHERS]]


def _check_tokens(
    e: Evidence, at: Checker, row: Row, matched: set[Place], active: dict[Place, float], n_tokens: int
) -> None:
    """The figures on tokens."""
    hit = matched & active.keys()
    at.lists(
        "n_hit",
        [row.n_tokens, row.n_active, row.n_matched, row.n_hit],
        [n_tokens, len(active), len(matched), len(hit)],
    )
    at.close("precision", row.precision, _rate(len(hit), len(matched)), EXACT)
    at.close("recall", row.recall, _rate(len(hit), len(active)), EXACT)
    at.close("f1", row.f1, _rate(2 * len(hit), len(matched) + len(active)), EXACT)
    share = _rate(math.fsum(active[place] for place in hit), math.fsum(active.values()))
    at.close("share", row.share, share, e.tolerance.relative, e.tolerance.relative)
    at.close("token_auroc", row.token_auroc, _auroc(matched, active, n_tokens), EXACT)


def _check_texts(e: Evidence, at: Checker, row: Row, matched: set[Place]) -> None:
    """The figures on texts, from the published text scores."""
    scores, texts = e.scores.of(row.feature), {t for t, _ in matched}
    half = [t for t, mine in enumerate(e.halves) if mine == HALF]
    inside, outside = [scores[t] for t in half if t in texts], [scores[t] for t in half if t not in texts]
    hit, n_active = sum(score > 0 for score in inside), sum(scores[t] > 0 for t in half)
    found = [row.n_texts, row.n_texts_active, row.n_texts_matched, row.n_texts_hit]
    at.lists("n_texts_hit", found, [len(half), n_active, len(inside), hit])
    at.close("text_precision", row.text_precision, _rate(hit, len(inside)), EXACT)
    at.close("text_recall", row.text_recall, _rate(hit, n_active), EXACT)
    auroc = formulas.auroc(inside, outside) if inside and outside else math.nan
    at.close("text_auroc", row.text_auroc, auroc, EXACT)


def _check_others(at: Checker, row: Row, others: list[set[Place]], active: dict[Place, float], n_tokens: int) -> None:
    """The AUROC of the rules of other features."""
    aurocs = [_auroc(matched, active, n_tokens) for matched in others]
    at.same("n_shuffled", row.n_shuffled, len(others))
    known = bool(aurocs) and not math.isnan(aurocs[0])
    at.close("shuffled_auroc", row.shuffled_auroc, math.fsum(aurocs) / len(aurocs) if known else math.nan, EXACT)
    at.close("shuffled_high", row.shuffled_high, float(np.quantile(aurocs, 0.95)) if known else math.nan, EXACT)


def _auroc(matched: set[Place], active: dict[Place, float], n_tokens: int) -> float:
    """The mean of the shares of active tokens that are matched, and of the others that are not."""
    hit, others = len(matched & active.keys()), n_tokens - len(active)
    return (_rate(hit, len(active)) + _rate(others - (len(matched) - hit), others)) / 2


def _rate(k: float, n: float) -> float:
    return k / n if n else math.nan
