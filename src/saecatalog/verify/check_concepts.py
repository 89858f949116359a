"""Checks of concepts: scores recomputed with the model, compared with the published scores of the corpus."""

import math
from itertools import pairwise

import numpy as np

from saecatalog.verify import formulas
from saecatalog.verify.check_features import sampled
from saecatalog.verify.check_texts import score_bounds
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, rows_of
from saecatalog.verify.report import EXACT, Checker

HALVES = ("first", "second")

LARGEST_Q, FEWEST = 0.05, 5
"""As the descriptions of `responds` and `auroc_first` say."""


def check_concepts(e: Evidence) -> None:
    """How the sampled features respond to the texts of each concept."""
    texts: dict[str, list[int]] = {}
    for place, name in enumerate(e.published["concept_texts"]["concept"]):
        texts.setdefault(str(name), []).append(place)
    bounds = _concept_scores(e)
    for feature, _, rows in sampled(e, "concepts"):
        scores, found = e.scores.of(feature), {row.concept: row for row in rows}
        at = e.report.at("concepts", f"feature {feature}")
        at.holds(len(found) == len(rows), "concept", "a concept is listed twice")
        for name in sorted({*texts, *found}):
            mine = [bounds[t].get(feature, (0.0, 0.0, 0.0)) for t in texts.get(name, ())]
            at = e.report.at("concepts", f"{name}, feature {feature}")
            if name not in found:
                at.holds(not any(low > 0 for low, _, _ in mine), "feature", "the row is missing")
                continue
            at.holds(any(high > 0 for _, high, _ in mine), "feature", "the feature is silent on this concept")
            _check_concept(e, at, found[name], mine)
            _check_contrast(e, at, found[name], mine, scores)
            _check_response(at, found[name])


Bounds = tuple[float, float, float]
"""The smallest and the largest possible value of a score, and its rounding error."""


def _concept_scores(e: Evidence) -> list[dict[int, Bounds]]:
    """The scores of the sampled features on each text of the concepts."""
    found = []
    for t in range(e.concepts_seen.n_texts):
        block, (a, b) = e.concepts_seen.block(t), e.concepts_seen.offsets[t : t + 2]
        low, high = score_bounds(block, str(e.settings["text_score"]), e.concepts_seen.counted[a:b].tolist())
        columns = zip(block.features.tolist(), low.tolist(), high.tolist(), block.slack.tolist(), strict=True)
        found.append({f: (least, most, slack) for f, least, most, slack in columns})
    return found


def _check_concept(e: Evidence, at: Checker, row: Row, scores: list[Bounds]) -> None:
    """Counts and means over the texts of a concept."""
    n, slack = len(scores), max(s for _, _, s in scores)
    allowed = [e.tolerance.relative * high + s for _, high, s in scores]
    surely = sum(low - a > e.strong for (low, _, _), a in zip(scores, allowed, strict=True))
    possibly = sum(high + a > e.strong for (_, high, _), a in zip(scores, allowed, strict=True))
    at.same("n_texts", row.n_texts, n)
    at.within("n_active", row.n_active, sum(low > 0 for low, _, _ in scores), sum(high > 0 for _, high, _ in scores))
    at.within("n_strong", row.n_strong, surely, possibly)
    low, high = formulas.wilson(row.n_strong, n)
    at.close("consistency", row.consistency, row.n_strong / n, EXACT)
    at.close("consistency_low", row.consistency_low, low, EXACT, 1e-12)
    at.close("consistency_high", row.consistency_high, high, EXACT, 1e-12)
    least, most = math.fsum(low for low, _, _ in scores), math.fsum(high for _, high, _ in scores)
    at.within("mean_all", row.mean_all, least / n, most / n, e.tolerance.relative, slack)
    n_active = max(1, row.n_active)
    at.within("mean_active", row.mean_active, least / n_active, most / n_active, e.tolerance.relative, slack)


def _check_contrast(e: Evidence, at: Checker, row: Row, mine: list[Bounds], scores: np.ndarray) -> None:
    """The contrast with the rest of the corpus; two scores that rounding may swap count either way."""
    table = e.published["concept_texts"]
    table = table[table["concept"] == row.concept]
    contents = set(table["content"])
    texts = zip(scores.tolist(), e.published["texts"]["content"], e.halves, strict=True)
    rest = [(score, half) for score, content, half in texts if content not in contents]
    rivals = [score for score, _ in rest]
    n, strong = len(rest), sum(score > e.strong for score in rivals)
    at.same("n_rest", row.n_rest, n)
    at.same("strong_rest", row.strong_rest, strong)
    at.close("strong_rate_rest", row.strong_rate_rest, strong / max(1, n), EXACT)
    found = formulas.difference_of_rates(row.n_strong, row.n_texts, strong, n)
    for name, value in zip(("excess", "excess_low", "excess_high"), found, strict=True):
        at.close(name, getattr(row, name), value, EXACT, 1e-12)
    same = 2 * e.tolerance.relative
    least, most = _auroc_bounds(mine, rivals, same)
    at.within("auroc", row.auroc, least, most, 0, EXACT)
    _check_sureness(at, row, mine, rivals, same if most > least or _may_tie(mine, same) else 0.0)
    _check_halves(at, row, mine, [str(text) for text in table["text"]], rest, same)


def _auroc_bounds(mine: list[Bounds], rivals: list[float], same: float) -> tuple[float, float]:
    least = formulas.auroc_range([low for low, _, _ in mine], rivals, same)[0]
    return least, formulas.auroc_range([high for _, high, _ in mine], rivals, same)[1]


def _may_tie(mine: list[Bounds], same: float) -> bool:
    """Whether two scores of the concept are so close that rounding may make them equal, or different."""
    scores = sorted(high for _, high, _ in mine if high > 0)
    return any(above - below <= same * above for below, above in pairwise(scores))


def _check_sureness(at: Checker, row: Row, mine: list[Bounds], rivals: list[float], same: float) -> None:
    """Interval and p-value, between those of the lowest and of the highest scores that the concept may have.

    If rounding may swap scores, it may also make or break ties, which moves both a little.
    """
    ways = [[low * (1 - same) for low, _, _ in mine], [high * (1 + same) for _, high, _ in mine]]
    ends = [(0.0, 1.0)]
    if len(mine) > 1 and len(rivals) > 1:
        outside = [(score, f"rival {n}") for n, score in enumerate(rivals)]
        ends = [formulas.auroc_interval([(s, f"text {n}") for n, s in enumerate(way)], outside) for way in ways]
    p = [formulas.drawn_at_random(way, rivals) for way in ways]
    loose = 0.02 if same else 0.0
    for side, name in enumerate(("auroc_low", "auroc_high")):
        values = [end[side] for end in ends]
        at.within(name, getattr(row, name), min(values), max(values), loose, loose / 2 + 1e-9)
    at.within("p_value", row.p_value, min(p), max(p), 1e-6 + 10 * loose, 1e-300)


def _check_halves(
    at: Checker, row: Row, mine: list[Bounds], texts: list[str], rest: list[tuple[float, str]], same: float
) -> None:
    """AUROC on each half of a concept's texts, in the order of their ids, against the same half of the corpus."""
    places = {text: place for place, text in enumerate(sorted(texts))}
    turns = [places[text] % 2 for text in texts]
    if len(texts) // 2 < FEWEST:
        at.same("held_out", row.held_out, "too few")
        at.holds(math.isnan(row.auroc_first) and math.isnan(row.auroc_second), "auroc_first", "it should be empty")
        return
    found = []
    for turn, half in enumerate(HALVES):
        part = [bounds for bounds, other in zip(mine, turns, strict=True) if other == turn]
        least, most = _auroc_bounds(part, [score for score, where in rest if where == half], same)
        auroc = float(getattr(row, f"auroc_{half}"))
        at.within(f"auroc_{half}", auroc, least, most, 0, EXACT)
        found += [half] if auroc > 0.5 else []
    at.same("held_out", row.held_out, "both" if len(found) == 2 else "".join(found))


def _check_response(at: Checker, row: Row) -> None:
    """Whether the feature is one of the concept, by the published figures, which have checks of their own."""
    responds = row.q_value <= LARGEST_Q and row.auroc_low > 0.5 and row.excess >= 0
    at.same("responds", bool(row.responds), bool(responds and row.held_out in ("both", "too few")))


def check_q_values(e: Evidence) -> None:
    """Benjamini-Hochberg over all concepts and all features that fired on a text; pairs without a row have p = 1."""
    rows = rows_of(e.published["concepts"][["concept", "feature", "p_value", "q_value"]])
    if not rows:
        return
    fired = {row.feature for row in rows} | set(e.scores.features)
    others = len(set(e.published["concept_texts"]["concept"])) * len(fired) - len(rows)
    if not rows:
        return
    found = formulas.benjamini_hochberg([row.p_value for row in rows] + [1.0], [1] * len(rows) + [others])
    for row, q in zip(rows, found, strict=False):
        at = e.report.at("concepts", f"{row.concept}, feature {row.feature}")
        at.close("q_value", row.q_value, q, 1e-6, 1e-300)
