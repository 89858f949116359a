"""Checks of categories and the held-out check, recomputed from the published scores."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
from scipy import stats

from saecatalog.verify import formulas
from saecatalog.verify.check_features import sampled
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, parts_of, rows_of
from saecatalog.verify.report import EXACT, Checker

HALVES = ("first", "second")

MANY_CATEGORIES = 20
"""As the table's description says: with more categories, a feature has rows only where it is active on a text."""

LARGEST_Q, SURELY_CLEAR = 0.05, 0.6
"""As the description of `evidence` says."""

NINE_DECIMALS = 1e-9
"""Balanced scores are rounded, so that a score of exactly 0 is published as 0."""


def check_categories(e: Evidence) -> None:
    """Every figure of the sampled features in every category, counted over the published scores."""
    names = sorted(set(e.categories))
    for feature, _, rows in sampled(e, "categories"):
        at, scores = e.report.at("categories", f"feature {feature}"), e.scores.of(feature)
        active = {c for s, c in zip(scores.tolist(), e.categories, strict=True) if s > 0}
        wanted = names if active and len(names) <= MANY_CATEGORIES else sorted(active)
        at.lists("category", sorted(row.category for row in rows), wanted)
        for row in rows:
            if row.category in names:
                at = e.report.at("categories", f"{row.category}, feature {feature}")
                _check_counts(e, at, row, scores)
                _check_strength(e, at, row, scores)
                _check_tests(e, at, row, scores)
                _check_halves(e, at, row, scores)


def _split(e: Evidence, scores: np.ndarray, category: str, half: str = "") -> tuple[list[float], list[float]]:
    """The scores of a category's texts and those of all other texts; of one half only, if it is given."""
    chosen = [(s, c) for s, c, h in zip(scores.tolist(), e.categories, e.halves, strict=True) if half in ("", h)]
    return [s for s, c in chosen if c == category], [s for s, c in chosen if c != category]


def _above(scores: list[float], threshold: float) -> int:
    return sum(score > threshold for score in scores)


def _check_counts(e: Evidence, at: Checker, row: Row, scores: np.ndarray) -> None:
    """Numbers of texts inside and outside the category: all, active and strong ones."""
    inside, outside = _split(e, scores, row.category)
    strong_in, strong_out = _above(inside, e.strong), _above(outside, e.strong)
    at.same("n_inside", row.n_inside, len(inside))
    at.same("n_outside", row.n_outside, len(outside))
    at.same("active_inside", row.active_inside, _above(inside, 0))
    at.same("active_outside", row.active_outside, _above(outside, 0))
    at.same("strong_inside", row.strong_inside, strong_in)
    at.same("strong_outside", row.strong_outside, strong_out)
    at.same("specialist_score", row.specialist_score, strong_in - strong_out)
    _check_rates(at, row, "inside", strong_in, len(inside))
    _check_rates(at, row, "outside", strong_out, len(outside))


def _check_rates(at: Checker, row: Row, side: str, strong: int, n: int) -> None:
    """The strong rate of one side and its interval, which is 0 to 1 for a side without texts."""
    low, high = formulas.wilson(strong, n) if n else (0.0, 1.0)
    at.close(f"strong_rate_{side}", getattr(row, f"strong_rate_{side}"), strong / n if n else 0, EXACT)
    at.close(f"strong_{side}_low", getattr(row, f"strong_{side}_low"), low, EXACT, 1e-12)
    at.close(f"strong_{side}_high", getattr(row, f"strong_{side}_high"), high, EXACT, 1e-12)


def _check_strength(e: Evidence, at: Checker, row: Row, scores: np.ndarray) -> None:
    """Largest and mean score, lifts, and the balanced score."""
    inside, outside = _split(e, scores, row.category)
    at.close("max_inside", row.max_inside, max(inside))
    at.close("mean_inside", row.mean_inside, math.fsum(inside) / len(inside))
    at.close("lift", row.lift, _lift(inside, outside, e.strong))
    at.close("active_lift", row.active_lift, _lift(inside, outside, 0))
    at.close("balanced_score", row.balanced_score, float(_balanced(e, scores, row.category)), EXACT, NINE_DECIMALS)


def _lift(inside: list[float], outside: list[float], threshold: float) -> float:
    rates = [Fraction(_above(side, threshold), len(side)) if side else Fraction(0) for side in (inside, outside)]
    return formulas.ratio(rates[0], rates[1])


def _balanced(e: Evidence, scores: np.ndarray, category: str, half: str = "") -> Fraction:
    chosen = [(s, c) for s, c, h in zip(scores.tolist(), e.categories, e.halves, strict=True) if half in ("", h)]
    sizes, strong = Counter(c for _, c in chosen), Counter(c for s, c in chosen if s > e.strong)
    return formulas.balanced_score(strong, sizes, category)


def _check_tests(e: Evidence, at: Checker, row: Row, scores: np.ndarray) -> None:
    """AUROC by counting pairs, and the p-value of the rank sum test."""
    inside, outside = _split(e, scores, row.category)
    at.close("auroc", row.auroc, formulas.auroc(inside, outside), EXACT)
    _check_interval(e, at, row, scores)
    p = 1.0
    if inside and outside and len({*inside, *outside}) > 1:
        p = float(stats.mannwhitneyu(inside, outside, alternative="two-sided", method="asymptotic").pvalue)
    at.close("p_value", row.p_value, p, 1e-6, 1e-300)


def _check_interval(e: Evidence, at: Checker, row: Row, scores: np.ndarray) -> None:
    """The interval of AUROC by source, or by text if a side has one source."""
    columns = zip(scores.tolist(), e.sources, e.text_ids, e.categories, strict=True)
    sides: tuple[list[tuple[float, str, str]], ...] = ([], [])
    for score, source, text, category in columns:
        sides[category != row.category].append((score, source, text))
    n_sources = [len({source for _, source, _ in side}) for side in sides]
    at.same("sources_inside", row.sources_inside, n_sources[0])
    at.same("sources_outside", row.sources_outside, n_sources[1])
    by_text = min(n_sources) < 2
    inside, outside = ([(s, text if by_text else source) for s, source, text in side] for side in sides)
    low, high = formulas.auroc_interval(inside, outside)
    at.close("auroc_low", row.auroc_low, low, EXACT, 1e-12)
    at.close("auroc_high", row.auroc_high, high, EXACT, 1e-12)


def _check_halves(e: Evidence, at: Checker, row: Row, scores: np.ndarray) -> None:
    """The same on each half of the texts alone."""
    special = []
    for half in HALVES:
        score, (inside, outside) = _balanced(e, scores, row.category, half), _split(e, scores, row.category, half)
        at.close(f"score_{half}", getattr(row, f"score_{half}"), float(score), EXACT, NINE_DECIMALS)
        at.close(f"auroc_{half}", getattr(row, f"auroc_{half}"), formulas.auroc(inside, outside), EXACT)
        special += [half] if score > 0 else []
    at.same("held_out", row.held_out, "both" if len(special) == 2 else "".join(special))
    at.same("evidence", row.evidence, _evidence(row))


def _evidence(row: Row) -> str:
    """How sure it is that a feature is a specialist, by the published figures, which have checks of their own."""
    if row.balanced_score <= 0:
        return ""
    if row.held_out != "both" or row.q_value > LARGEST_Q or row.auroc_low <= 0.5:
        return "weak"
    return "clear" if row.auroc_low > SURELY_CLEAR else "moderate"


def check_q_values(e: Evidence) -> None:
    """Benjamini-Hochberg over all published p-values and those of the pairs without a row."""
    rows = rows_of(e.published["categories"][["category", "feature", "p_value", "q_value"]])
    silent = _silent_tests(e)
    p = [row.p_value for row in rows] + list(silent)
    found = formulas.benjamini_hochberg(p, [1] * len(rows) + list(silent.values()))
    for row, q in zip(rows, found, strict=False):
        at = e.report.at("categories", f"{row.category}, feature {row.feature}")
        at.close("q_value", row.q_value, q, 1e-6, 1e-300)


def _silent_tests(e: Evidence) -> Counter[float]:
    """How many pairs of a category and a feature that is silent there have each p-value; none if all have rows."""
    sizes, found = Counter(e.categories), Counter[float]()
    for feature in e.scores.features if len(sizes) > MANY_CATEGORIES else ():
        scores = e.scores.of(feature)
        active = [s for s in scores.tolist() if s > 0]
        silent = sizes.keys() - {c for s, c in zip(scores.tolist(), e.categories, strict=True) if s > 0}
        for size, count in Counter(sizes[name] for name in silent).items():
            found[formulas.silent_p(active, size, len(scores))] += count
    return found


def check_held_out(e: Evidence) -> None:
    """Specialists found on one half and tested on the other, from the published figures of all features."""
    parts = parts_of(e.published["categories"], "category")
    table = {row.category: row for row in rows_of(e.published["held_out"])}
    e.report.at("held_out").lists("category", sorted(table), sorted(set(e.categories)))
    n_features = len(e.scores.features)
    for name, row in table.items():
        at, rows = e.report.at("held_out", name), rows_of(parts[name]) if name in parts else []
        first, second = [r for r in rows if r.score_first > 0], [r for r in rows if r.score_second > 0]
        both = [r for r in first if r.score_second > 0]
        for half in HALVES:
            members = [c == name and h == half for c, h in zip(e.categories, e.halves, strict=True)]
            at.same(f"texts_{half}", getattr(row, f"texts_{half}"), sum(members))
        at.same("found_first", row.found_first, len(first))
        at.same("found_second", row.found_second, len(second))
        at.same("found_both", row.found_both, len(both))
        expected = len(first) * len(second) / n_features if n_features else 0.0
        at.close("expected_both", row.expected_both, expected, EXACT)
        tried = [r.auroc_second for r in first] + [r.auroc_first for r in second]
        at.close("auroc_held_out", row.auroc_held_out, math.fsum(tried) / len(tried) if tried else math.nan, EXACT)
