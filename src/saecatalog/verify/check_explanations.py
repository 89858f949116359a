"""Checks of explanations: that they are those of the manifest, and that their scores follow from the counts.

What a judge answered cannot be recomputed; how many texts it was shown can, and what follows from the counts.
"""

import hashlib
import json
import math
from collections import Counter

from saecatalog.verify import formulas
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, rows_of
from saecatalog.verify.report import EXACT, Checker

SHOWN = 10
"""Excerpts that a judge is shown of active texts, and of silent ones, if there are as many."""
COUNTS = (
    "judge", "n_active", "n_inactive", "hits", "false_alarms", "control_feature", "control_hits",
    "control_false_alarms", "label_hits", "label_false_alarms",
)  # fmt: skip
"""The columns of a score in the order in which the manifest's hash has them."""
FIGURES = (
    "precision", "recall", "balanced_accuracy", "balanced_low", "balanced_high", "control_accuracy", "label_accuracy",
)  # fmt: skip
NONE = math.nan


def check_explanations(e: Evidence) -> None:
    """The explanations are those that the manifest names, numbered from 0 for each feature, and rightly scored."""
    found = rows_of(e.published["explanations"])
    named = e.manifest.get("explanations") or {"source": "", "rows": 0, "sha256": None}
    at = e.report.at("explanations")
    at.holds(len(found) == named["rows"], "", f"{len(found)} rows, but the manifest names {named['rows']}")
    content = json.dumps([_listed(row) for row in found]).encode()
    same = not found or hashlib.sha256(content).hexdigest() == named["sha256"]
    at.holds(same, "", "the rows are not those that the manifest names")
    seen: Counter[int] = Counter()
    for row in found:
        where = e.report.at("explanations", f"feature {row.feature}, rank {row.rank}")
        where.same("rank", row.rank, seen[row.feature])
        where.same("source", row.source, named["source"])
        where.holds(bool(row.unscored) != bool(row.judge), "unscored", "there is a score and none, or neither")
        _check_figures(row, where)
        if row.judge:
            _check_sample(e, row, where)
        seen[row.feature] += 1


def _listed(row: Row) -> list[object]:
    """A row as the manifest's hash has it."""
    score = [getattr(row, name) for name in COUNTS] if row.judge else None
    return [row.feature, row.description, row.model, row.type, row.unscored, score]


def _check_figures(row: Row, at: Checker) -> None:
    """The figures that follow from the counts."""
    wanted = dict.fromkeys(FIGURES, NONE)
    if row.judge:
        named = row.hits + row.false_alarms
        low, high = _interval(row)
        wanted |= {
            "precision": row.hits / named if named else NONE,
            "recall": row.hits / row.n_active,
            "balanced_accuracy": _balanced(row, row.hits, row.false_alarms),
            "balanced_low": low,
            "balanced_high": high,
        }
        if row.control_feature >= 0:
            wanted["control_accuracy"] = _balanced(row, row.control_hits, row.control_false_alarms)
        if row.label_hits >= 0:
            wanted["label_accuracy"] = _balanced(row, row.label_hits, row.label_false_alarms)
    for name, value in wanted.items():
        given = getattr(row, name)
        at.close(name, NONE if given is None else given, value, EXACT, EXACT)


def _balanced(row: Row, hits: int, false_alarms: int) -> float:
    """Half of the share of active texts found, and half of the share of silent texts left alone."""
    return float(0.5 * hits / row.n_active + 0.5 * (row.n_inactive - false_alarms) / row.n_inactive)


def _interval(row: Row) -> tuple[float, float]:
    """Newcombe's interval of a mean of two shares, from their Wilson intervals."""
    right = row.n_inactive - row.false_alarms
    p, q = row.hits / row.n_active, right / row.n_inactive
    (p_low, p_high), (q_low, q_high) = formulas.wilson(row.hits, row.n_active), formulas.wilson(right, row.n_inactive)
    low = (p + q) / 2 - ((p - p_low) ** 2 + (q - q_low) ** 2) ** 0.5 / 2
    high = (p + q) / 2 + ((p_high - p) ** 2 + (q_high - q) ** 2) ** 0.5 / 2
    return max(0.0, low), min(1.0, high)


def _check_sample(e: Evidence, row: Row, at: Checker) -> None:
    """As many texts were shown as there are in the second half, up to the most that are shown."""
    held_out = {text for text, half in zip(e.text_ids, e.halves, strict=True) if half == "second"}
    scores = e.published["text_scores"]
    active = held_out & set(scores.loc[scores["feature"] == row.feature, "text"])
    at.same("n_active", row.n_active, min(SHOWN, len(active)))
    at.same("n_inactive", row.n_inactive, min(SHOWN, len(held_out) - len(active)))
