"""The view model of a feature's explanations from Neuronpedia: rows of `explanations` in, what its page shows out."""

from collections.abc import Sequence
from typing import NamedTuple

from saecatalog.names import with_signs
from saecatalog.site.records import Row
from saecatalog.site.tokens import shorten

MOST = 3
"""Explanations on a page; the data files have all."""
LONGEST = 300
"""Characters of an explanation on a page."""


class Shown(NamedTuple):
    """Some explanations as (text, author), how many more there are, and the SAE they are about."""

    texts: list[tuple[str, str]]
    more: int
    source: str


def view(found: Sequence[Row]) -> Shown | None:
    """What a page shows of a feature's explanations; None if it has none."""
    if not found:
        return None
    texts = [(with_signs(shorten(row.description, LONGEST)), with_signs(_author(row))) for row in found[:MOST]]
    return Shown(texts, max(0, len(found) - MOST), found[0].source)


def _author(row: Row) -> str:
    """Who wrote an explanation and how, as far as it is known."""
    names = [shorten(name, LONGEST) for name in (row.model, row.type) if name]
    return ", ".join(names) or "author not stated"
