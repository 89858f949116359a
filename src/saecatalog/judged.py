"""Scores of explanations: the counts of a judge's answers flow in, figures with an interval and checked rows flow out.

The judge is a language model. It reads excerpts of held-out texts, some of which the feature fires on, and names those
that an explanation fits; the command `explain` asks it.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from saecatalog.json_lines import TEXT, Field, Line, optional

FIELD = "detection"
"""The field that `explain` adds to a row of a file of explanations: the score, and what it is of."""

HELD_OUT = "second"
"""The half of the texts (see `texts.half`) on which explanations are scored."""

NOT_JUDGED = "not judged"
OTHER_TEXTS = "judged on other texts or another SAE"
REWORDED = "reworded since it was judged"

BASIS = ("sae", "corpus", "text_score", "half")
"""What a score is of, beside the words: the hashes of the SAE and of the texts, the score of a text, and the half."""

_COUNT = Field("a whole number of 0 or more", lambda value: type(value) is int and 0 <= value < 2**31)
_COUNT_OR_NONE = Field("a whole number of -1 or more", lambda value: type(value) is int and -1 <= value < 2**31)
_COUNTS = {
    "n_active": _COUNT,
    "n_inactive": _COUNT,
    "hits": _COUNT,
    "false_alarms": _COUNT,
    "control_feature": _COUNT_OR_NONE,
    "control_hits": _COUNT,
    "control_false_alarms": _COUNT,
    "label_hits": _COUNT_OR_NONE,
    "label_false_alarms": _COUNT_OR_NONE,
}
_NEW = "Remove it, or score anew with `explain`."


class Judged(NamedTuple):
    """How well a judge told a feature's texts by an explanation: the columns of the table `explanations` say more."""

    judge: str
    n_active: int
    n_inactive: int
    hits: int
    false_alarms: int
    control_feature: int = -1
    control_hits: int = 0
    control_false_alarms: int = 0
    label_hits: int = -1
    label_false_alarms: int = -1

    def accuracy(self, hits: int, false_alarms: int) -> float:
        """Mean of the share of active texts that were named and the share of silent texts that were not."""
        return (hits / self.n_active + 1 - false_alarms / self.n_inactive) / 2

    def figures(self) -> dict[str, float | None]:
        """The columns that follow from the counts; None where a figure does not exist."""
        named = self.hits + self.false_alarms
        low, high = balanced_interval(self.hits, self.n_active, self.n_inactive - self.false_alarms, self.n_inactive)
        control = self.accuracy(self.control_hits, self.control_false_alarms) if self.control_feature >= 0 else None
        label = self.accuracy(self.label_hits, self.label_false_alarms) if self.label_hits >= 0 else None
        return {
            "precision": self.hits / named if named else None,
            "recall": self.hits / self.n_active,
            "balanced_accuracy": self.accuracy(self.hits, self.false_alarms),
            "balanced_low": low,
            "balanced_high": high,
            "control_accuracy": control,
            "label_accuracy": label,
        }

    def possible(self, d_sae: int) -> bool:
        """Whether the counts fit together, and to a dictionary of this size."""
        pairs = (
            (self.hits, self.false_alarms),
            (self.control_hits, self.control_false_alarms),
            (self.label_hits, self.label_false_alarms),
        )
        within = all(k <= self.n_active and m <= self.n_inactive for k, m in pairs)
        control = self.control_feature >= 0 or not (self.control_hits or self.control_false_alarms)
        label = (self.label_hits < 0) == (self.label_false_alarms < 0)
        return within and control and label and min(self.n_active, self.n_inactive) > 0 and self.control_feature < d_sae


UNJUDGED = Judged("", 0, 0, 0, 0)
NO_FIGURES: dict[str, float | None] = {
    "precision": None,
    "recall": None,
    "balanced_accuracy": None,
    "balanced_low": None,
    "balanced_high": None,
    "control_accuracy": None,
    "label_accuracy": None,
}
"""The row of an explanation without a score."""


def balanced_interval(k: int, n: int, right: int, of: int) -> tuple[float, float]:
    """Ends of a 95 % interval of (k / n + right / of) / 2, the mean of two independent shares.

    From the Wilson intervals of both: method 10 of Newcombe (1998), "Interval estimation for the difference between
    independent proportions", with a sum in the place of the difference.
    """
    from scipy.stats import binomtest  # which takes half a second to import, and a build without scores does not need

    ends = [binomtest(*count).proportion_ci(0.95, method="wilson") for count in ((k, n), (right, of))]
    shares = (k / n, right / of)
    below = math.hypot(*(share - end.low for share, end in zip(shares, ends, strict=True)))
    above = math.hypot(*(end.high - share for share, end in zip(shares, ends, strict=True)))
    return max(0.0, (sum(shares) - below) / 2), min(1.0, (sum(shares) + above) / 2)


def basis_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What scores of a catalog's explanations are of; raises KeyError for a manifest that does not say."""
    values = manifest["sae"]["weights_sha256"], manifest["corpus"]["sha256"], manifest["settings"]["text_score"]
    return dict(zip(BASIS, (*map(str, values), HELD_OUT), strict=True))


def field_of(judged: Judged, description: str, basis: Mapping[str, str]) -> dict[str, object]:
    """The field of a row that holds a score."""
    return {**judged._asdict(), "wording": _hash(description), **basis}


def field_without(reason: str) -> dict[str, object]:
    """The field of a row that was to be judged and could not be."""
    return {"unscored": reason}


def read_field(line: Line, description: str, d_sae: int, basis: Mapping[str, str] | None) -> tuple[str, Judged | None]:
    """Why a row has no score, and the score if it is of these texts, this SAE and these words.

    Raises CatalogError, with file and line, for a field that `explain` did not write.
    """
    value = line.row.get(FIELD)
    if value is None:
        return NOT_JUDGED, None
    if not isinstance(value, dict):
        line.fail(f"The field '{FIELD}' is not an object.", _NEW)
    given = replace(line, row=value)
    given.check({"unscored": optional(TEXT)})
    if value.get("unscored"):
        return str(value["unscored"]), None
    given.check({**dict.fromkeys(("judge", "wording", *BASIS), TEXT), **_COUNTS})
    if {name: value[name] for name in BASIS} != basis:
        return OTHER_TEXTS, None
    if value["wording"] != _hash(description):
        return REWORDED, None
    judged = Judged(value["judge"], *(value[name] for name in _COUNTS))
    if not judged.possible(d_sae):
        line.fail(f"The counts in the field '{FIELD}' cannot be.", _NEW)
    return "", judged


def _hash(description: str) -> str:
    return hashlib.sha256(description.encode(errors="backslashreplace")).hexdigest()
