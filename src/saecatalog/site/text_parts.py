"""The parts of a long text, one for each of its pages.

In: a row of `texts`, and rows of `text_top` or `contexts` about it. Out: the same rows cut down to one part, in which
positions count from the part's first token, so that a part is shown as if it were a whole text.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from saecatalog.site import tokens
from saecatalog.site.records import Row

MOST_TOKENS = 4000
"""Tokens of a text on one page."""
MOST_PARTS = 250
"""Pages of one text; the rest of a longer text, over a million tokens, is only in the data file."""


@dataclass(frozen=True)
class Part:
    """One page of a text: its tokens `first` up to `stop`, and its number from 1 up."""

    number: int
    first: int
    stop: int

    def __contains__(self, position: int) -> bool:
        return self.first <= position < self.stop

    def page(self, text_page: str) -> str:
        """The page of this part, given that of the text; no text's page has a dot in its name."""
        return text_page if self.number == 1 else f"{text_page.removesuffix('.html')}.{self.number}.html"


def count(row: Row) -> int:
    """The number of pages of a text."""
    return min(max(1, -(-len(row.token_ends) // MOST_TOKENS)), MOST_PARTS)


def parts(row: Row) -> list[Part]:
    """The parts of a text in order."""
    found = (part(row, number) for number in range(1, count(row) + 1))
    # None is left of the last if the one before it ends in a character of many tokens.
    return [each for each in found if each.number == 1 or each.first < each.stop]


def part(row: Row, number: int) -> Part:
    """A part of a text, by its number; the tokens of one character are all in one part."""
    return Part(number, *(_bound(row, place * MOST_TOKENS) for place in (number - 1, number)))


def _bound(row: Row, place: int) -> int:
    """The first token from `place` on that begins a character of its own; the end of the text at last."""
    last = len(row.token_ends)
    near = range(place, min(place + tokens.LONGEST_CHARACTER, last))
    return next((at for at in near if tokens.cuts_clean(row.content, row.token_ends, at)), min(near.stop, last))


def part_at(row: Row, position: int) -> Part:
    """The part with a token; the first if it is beyond the last part."""
    if len(row.token_ends) <= MOST_TOKENS:
        return _whole(len(row.token_ends))
    number = min(position // MOST_TOKENS + 1, count(row))
    near = (part(row, n) for n in (number, number - 1, 1) if n > 0)
    return next((found for found in near if position in found), part(row, 1))


@cache
def _whole(n_tokens: int) -> Part:
    """The only part of a text that is short enough for one page, as nearly all are."""
    return Part(1, 0, n_tokens)


def text_in(row: Row, part: Part) -> Row:
    """A row of `texts` as if the part were all of its text."""
    if (part.first, part.stop) == (0, len(row.token_ends)):
        return row
    start = row.token_ends[part.first - 1] if part.first else 0
    ends = [end - start for end in row.token_ends[part.first : part.stop]]
    content = row.content[start : start + ends[-1]]
    return row._replace(content=content, token_ends=ends, n_tokens=len(ends))


def entry_in(entry: Row, part: Part) -> Row | None:
    """A row of `text_top` or `contexts` as if the part were all of its text; None if the feature does not fire there.

    Its position is that of the strongest token in the part, unless the entry's own is there.
    """
    positions = np.asarray(entry.active_positions)
    first, stop = np.searchsorted(positions, [part.first, part.stop])
    if first == stop:
        return None
    values = np.asarray(entry.active_values)[first:stop]
    position = entry.position if entry.position in part else int(positions[first + values.argmax()])
    return entry._replace(
        position=position - part.first, active_positions=positions[first:stop] - part.first, active_values=values
    )
