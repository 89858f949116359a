"""The view model of what others say a feature is: rows of `explanations` in, what its page shows out."""

from collections.abc import Sequence
from typing import NamedTuple

from saecatalog.explanations import ASKED
from saecatalog.judged import NOT_JUDGED
from saecatalog.names import with_signs
from saecatalog.site.formats import decimal_interval, decimals
from saecatalog.site.records import Row
from saecatalog.site.tokens import shorten

MOST = 3
"""Explanations on a page; the data files have all."""
LONGEST = 300
"""Characters of an explanation on a page."""
CHANCE = 0.5
"""The balanced accuracy of a guess."""


class Shown(NamedTuple):
    """Some explanations as (text, author, score), how many more there are, and the SAE they are about.

    A score is in words, and "" where all were never judged. `asked` says whether all come from the command `explain`,
    and `judged` whether one has a score.
    """

    texts: list[tuple[str, str, str]]
    more: int
    source: str
    asked: bool
    judged: bool


def view(found: Sequence[Row]) -> Shown | None:
    """What a page shows of a feature's explanations; None if it has none."""
    if not found:
        return None
    tried = any(row.unscored != NOT_JUDGED for row in found)
    texts = [
        (with_signs(shorten(row.description, LONGEST)), with_signs(_author(row)), _score(row) if tried else "")
        for row in found[:MOST]
    ]
    asked = all(row.type == ASKED for row in found)
    return Shown(texts, max(0, len(found) - MOST), found[0].source, asked, any(row.judge for row in found))


def _author(row: Row) -> str:
    """Who wrote an explanation and how, as far as it is known."""
    names = [shorten(name, LONGEST) for name in (row.model, "" if row.type == ASKED else row.type) if name]
    return ", ".join(names) or "author not stated"


def _score(row: Row) -> str:
    """How well a judge told the feature's texts by an explanation, beside what chance and the label reach."""
    if row.unscored:
        return f"Not scored: {with_signs(shorten(row.unscored, LONGEST))}."
    found = f"{row.hits} of {row.n_active} texts with the feature and {row.false_alarms} of {row.n_inactive} without"
    value = f"{decimals(row.balanced_accuracy, 2)} {decimal_interval(row.balanced_low, row.balanced_high)}"
    weak = ", no better than chance" if row.balanced_low <= CHANCE else ""
    beside = [
        f"{name} {decimals(figure, 2)}"
        for name, figure, there in (
            ("another feature’s explanation", row.control_accuracy, row.control_feature >= 0),
            ("this label’s rule", row.label_accuracy, row.label_hits >= 0),
        )
        if there
    ]
    compared = f"; {', '.join(beside)}" if beside else ""
    return f"{with_signs(shorten(row.judge, LONGEST))} named {found}: balanced accuracy {value}{weak}{compared}."
