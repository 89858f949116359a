"""Checks of labels: for the sampled features, the figures behind each label and whether its words state its rule.

Which rule is the best one is not computed again. How well the published one holds is, token by token, and so are the
interval of its clearness and what the label must say by the documented thresholds.
"""

import json
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import stats

from saecatalog.verify import formulas
from saecatalog.verify.check_features import sampled
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row
from saecatalog.verify.report import EXACT, SINGLE, Checker
from saecatalog.verify.rule_reading import Place, RuleReader

LABEL_TOKENS = 10
"""As the documentation says: the fewest active tokens of a half on which a rule is chosen, or checked."""

EXPLAINS, WEAK, DENSE = 0.1, 0.25, 0.1
"""As the documentation says: what a rule must explain to be stated, and not to be weak; what density is dense."""

LONGEST = 20
"""Values that are longer, or have signs other than ASCII, may be shown in another form."""

STEP = 1e-4
"""By how much the weight of a text is changed to see what it adds to the clearness."""


@dataclass(frozen=True)
class Half:
    """A feature and its rule on some texts: six sums for each text, of its counted tokens."""

    sums: Float64[np.ndarray, "text 6"]
    """Tokens, active ones, matched ones, both; the activation, and the part of it on matched tokens."""

    @classmethod
    def of(cls, e: Evidence, reader: RuleReader, matched: set[Place], active: dict[Place, float]) -> "Half":
        """Go through the counted tokens of a reader; `matched` are those that the rule matches."""
        sums = np.zeros((len(e.text_ids), 6))
        for place in (token.place for token in reader.tokens):
            value, hit = active.get(place, 0.0), place in matched
            sums[place[0]] += [1, value > 0, hit, hit and value > 0, value, hit * value]
        return cls(sums)

    @property
    def n_active(self) -> int:
        return int(self.sums[:, 1].sum())

    def figures(self) -> tuple[float, float, float, float]:
        """Precision, recall, F1 and the share of the activation; each 0 if nothing is divided."""
        _, active, matched, hit, total, carried = self.sums.sum(0).tolist()
        return _rate(hit, matched), _rate(hit, active), _rate(2 * hit, matched + active), _rate(carried, total)

    def explained(self, weights: Float64[np.ndarray, "text"] | None = None) -> float:
        """The harmonic mean of the share and of the precision beyond chance; texts count as often as their weights."""
        sums = self.sums.sum(0) if weights is None else weights @ self.sums
        tokens, active, matched, hit, total, carried = sums.tolist()
        density, share = _rate(active, tokens), _rate(carried, total)
        beyond = _rate(_rate(hit, matched) - density, 1 - density)
        return 2 * beyond * share / (beyond + share) if beyond > 0 and share > 0 else 0.0

    def interval(self) -> tuple[float, float]:
        """95 % interval of what the rule explains: Wilson's for the number of texts that the variance is worth.

        What a text adds is the derivative by its weight (the infinitesimal jackknife), as a central difference.
        """
        c, has = self.explained(), np.flatnonzero(self.sums[:, 0] > 0).tolist()
        added = [self.explained(self._weights(t, 1 + STEP)) - self.explained(self._weights(t, 1 - STEP)) for t in has]
        variance = math.fsum((a / (2 * STEP)) ** 2 for a in added) * len(has) / max(len(has) - 1, 1)
        touched = int(((self.sums[:, 1] > 0) | (self.sums[:, 2] > 0)).sum())
        worth = min(touched, c * (1 - c) / variance) if variance > 0 and 0 < c < 1 else touched
        worth *= float((stats.norm.ppf(0.975) / stats.t.ppf(0.975, max(touched - 1, 1))) ** 2)
        return formulas.wilson(c * worth, worth)

    def _weights(self, text: int, weight: float) -> Float64[np.ndarray, "text"]:
        weights = np.ones(len(self.sums))
        weights[text] = weight
        return weights


def _rate(k: float, n: float) -> float:
    return k / n if n else 0.0


def check_labels(e: Evidence) -> None:
    """The columns of labels and clearness."""
    readers = {half: RuleReader(e, half) for half in ("first", "second", "all")}
    for feature, place, rows in sampled(e, "features"):
        active = {(t, i): v for t, i, v in formulas.active_values(e.case, place)}
        for row in rows:
            at = e.report.at("features", f"feature {feature}")
            first, second = (_half(e, readers[half], row.label_rule, active) for half in ("first", "second"))
            rare = first.n_active < LABEL_TOKENS
            chosen = _half(e, readers["all"], row.label_rule, active) if rare else first
            at.same("label_half", row.label_half, ("all" if rare else "first") if row.label_rule else "")
            _check_figures(e, at, row, chosen)
            judged = bool(row.label_rule) and not rare and second.n_active >= LABEL_TOKENS
            _check_clearness(e, at, row, second if judged else None)
            strength = chosen.explained() if row.label_rule else 0.0
            strength = min(strength, second.explained()) if judged else strength
            _check_words(e, at, row, strength, rare)


def _half(e: Evidence, reader: RuleReader, rule: str, active: dict[Place, float]) -> Half:
    return Half.of(e, reader, reader.label(rule) if rule else set(), active)


def _check_figures(e: Evidence, at: Checker, row: Row, chosen: Half) -> None:
    """The figures on the texts that the rule was chosen on."""
    precision, recall, f1, share = chosen.figures()
    at.close("label_precision", row.label_precision, precision)
    at.close("label_recall", row.label_recall, recall)
    at.close("label_f1", row.label_f1, f1)
    at.close("label_share", row.label_share, share, e.tolerance.relative, SINGLE)


def _check_clearness(e: Evidence, at: Checker, row: Row, second: Half | None) -> None:
    """The clearness and its interval; empty without a half to judge by."""
    low, high = second.interval() if second else (math.nan, math.nan)
    clearness = second.explained() if second else math.nan
    for name, value in (("clearness", clearness), ("clearness_low", low), ("clearness_high", high)):
        at.close(name, getattr(row, name), value, e.tolerance.relative, SINGLE)


def _check_words(e: Evidence, at: Checker, row: Row, strength: float, rare: bool) -> None:
    """Whether the label is of the right kind and strength, and names what its rule names."""
    slack = e.tolerance.relative + EXACT
    rule = json.loads(row.label_rule) if row.label_rule else None
    if not row.n_active:
        at.lists("label_kind", [row.label, row.label_kind, row.label_group], ["silent", "silent", ""])
        return
    if abs(strength - EXPLAINS) > slack:
        mixed = strength < EXPLAINS
        at.holds((row.label_kind == "mixed") == mixed, "label_kind", f"{row.label_kind}, but explains {strength:.6g}")
    at.holds((row.label_kind == "mixed") == (row.label_group == "mixed"), "label_group", row.label_group)
    if row.label_kind == "mixed" or rule is None:
        wanted = "dense, mixed" if row.density > DENSE else "mixed"
        at.holds(row.label.startswith(wanted), "label", f"published {row.label!r}, which should begin with {wanted!r}")
        return
    several = rule["kind"] in ("word", "token") and len(rule["values"]) > 1
    at.same("label_kind", row.label_kind, rule["kind"] + "s" * several)
    if rare or abs(strength - WEAK) > slack:
        wanted = "rare: " if rare else "weak: " if strength < WEAK else ""
        begins = next((word for word in ("rare: ", "weak: ") if row.label.startswith(word)), "")
        at.holds(begins == wanted, "label", f"published {row.label!r}, but the rule explains {strength:.6g}")
    lacking = [part for part in _parts(rule["kind"], rule["values"]) if part not in row.label]
    at.holds(not lacking, "label", f"published {row.label!r}, which does not say {lacking} of {row.label_rule}")


def _parts(kind: str, values: list[str]) -> list[str]:
    """What a label must contain to state a rule; of values that may be shown in another form, nothing."""
    # Longer lists of values may be cut.
    plain = [v.strip() for v in values if v.isascii() and v.isprintable() and len(v) <= LONGEST and v.strip()]
    named = [] if any(v.startswith("<") for v in plain) else plain[:2]
    match kind:
        case "position":
            return ["start of text" if int(values[0]) == 1 else f"first {values[0]} tokens of a text"]
        case "class":
            return values
        case "script":
            return ["Chinese characters" if values == ["CJK"] else f"{values[0].capitalize()} letters"]
        case "category":
            return ["texts in "]
        case "stem":
            return ["words that begin with ", *named]
        case "after" | "before":
            return [f"{kind} ", *(f"“{name}”" for name in named)]
        case "pair":
            return [" after ", *(f"“{name}”" for name in named)]
    # Tokens that differ only in case are named once.
    return [f"“{name}”" for name in named[:1]]
