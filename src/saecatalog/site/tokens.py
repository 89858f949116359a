"""Exact texts as HTML: the reader sees what the model read, with the strength of a feature on each token.

In: a text, the end of each token in it, and a feature's sparse activations. Out: `Markup` whose text is the original,
character for character, so that copying gives the original. The style sheet makes white space visible; the few
characters that HTML cannot contain, or that would hide or reorder text, are replaced by a sign. The result is for use
between tags, never in an attribute: quotes are not escaped.
"""

import itertools
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from saecatalog.names import HIDDEN, sign

LEVELS = 9
"""Highlight steps; the style sheet has a class for each, `a1` to `a9`."""
LONGEST_CHARACTER = 64
"""Code points that are kept together as one character with its combining characters, on either side of a token's end.
A text of combining characters alone has no end otherwise."""

_SPECIAL = re.compile(f"[&<>\n\t\xa0{HIDDEN}\ud800-\udfff]")
_SPECIAL_OR_SPACE = re.compile(_SPECIAL.pattern[:-1] + " ]")
_CONTROL_SIGNS = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
_EXTENDS = re.compile("[\u0300-\u036f\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]")


class Mark(NamedTuple):
    """A run of characters on which a feature fires, as shown."""

    start: int
    end: int
    level: int
    value: str
    peak: bool


def level(value: float, largest: float) -> int:
    """The highlight step (1 to LEVELS) of an activation; `largest` has the last step."""
    step = -int(-LEVELS * value // largest) if largest > 0 else 1
    return step if 0 < step <= LEVELS else max(1, min(LEVELS, step))


def visible(text: str) -> Markup:
    """A text with its white space marked for the style sheet and everything else escaped."""
    return Markup(_with_signs(text))


@lru_cache(1 << 16)
def token(text: str) -> Markup:
    """A token on its own, with its spaces made visible too."""
    return Markup(_SPECIAL_OR_SPACE.sub(_sign_of_match, text))


def highlight(
    content: str,
    ends: Sequence[int],
    active: Sequence[tuple[int, float]],
    largest: float,
    window: tuple[int, int] | None = None,
    peak: int = -1,
) -> Markup:
    """A text, or the tokens `window` of it, with each active token marked by its strength relative to `largest`.

    `active` has (token, activation) in the order of the text. `peak` is the token for which the text is shown: it
    stands out, and the page's script makes it reachable by keyboard.
    """
    first, last = window or (0, len(ends))
    at = ends[first - 1] if first else 0
    stop = ends[last - 1] if last else 0
    if cuts_clean(content, ends, first) and cuts_clean(content, ends, last):
        # No mark crosses the ends of the window, so the marks outside, which may be many, can be skipped.
        active = [entry for entry in active if first <= entry[0] < last]
    # Most excerpts have no special character, and one look for them is faster than one for each piece.
    shown = _with_signs if _SPECIAL.search(content, at, stop) else str
    parts: list[str] = []
    for mark in marks(content, ends, active, largest, peak):
        start, end = max(mark.start, at), min(mark.end, stop)
        if start >= end:
            continue
        parts.append(shown(content[at:start]))
        inner = shown(content[start:end])
        parts.append(f'<b class="a{mark.level}{" p" if mark.peak else ""}" title="{mark.value}">{inner}</b>')
        at = end
    parts.append(shown(content[at:stop]))
    return Markup("".join(parts))


def marks(
    content: str, ends: Sequence[int], active: Sequence[tuple[int, float]], largest: float, peak: int = -1
) -> list[Mark]:
    """The marks of `highlight`, in order and without overlap."""
    peak_end = ends[peak] if peak >= 0 else -1
    return [
        Mark(start, end, level(value, largest), f"{value:.4g}", start < peak_end <= end)
        for start, end, value in spans(content, ends, active)
    ]


def near(positions: np.ndarray, values: np.ndarray, window: tuple[int, int]) -> list[tuple[int, float]]:
    """The active tokens, in order, in a window and so near to it that they can share a character with it."""
    first = bisect_left(positions, window[0] - LONGEST_CHARACTER)
    last = bisect_left(positions, window[1] + LONGEST_CHARACTER)
    return list(zip(positions[first:last].tolist(), values[first:last].tolist(), strict=True))


def cuts(content: str, ends: Sequence[int]) -> list[int]:
    """Every offset at which a mark may begin or end; any mark consists of whole pieces between these offsets."""
    # Tokens with the same end share their characters, so one of them is enough.
    units = itertools.pairwise([0, *sorted(set(ends))])
    edges = {edge for start, end in units for edge in _whole_characters(content, start, end)}
    return sorted(edges | {0, len(content)})


def spans(content: str, ends: Sequence[int], active: Sequence[tuple[int, float]]) -> list[tuple[int, int, float]]:
    """The characters of each active token as (start, end, activation), in order and without overlap.

    Tokens that share a character are one span with the larger activation, because half a character cannot be coloured.
    A span includes the combining characters after its last character (accents, skin tones, emoji joiners).
    """
    found: list[tuple[int, int, float]] = []
    for position, value in active:
        start, end = unit(ends, position)
        # No ASCII character combines with the one before it, so the neighbours need no check.
        if start == end or not content[start : end + 1].isascii():
            start, end = _whole_characters(content, start, end)
        if found and start < found[-1][1]:
            before = found.pop()
            start, end, value = before[0], max(end, before[1]), max(value, before[2])
        found.append((start, end, value))
    return found


def unit(ends: Sequence[int], position: int) -> tuple[int, int]:
    """Start and end of the characters of token `position`; tokens with the same end share a character."""
    start, end = ends[position - 1] if position else 0, ends[position]
    if start == end:
        first = bisect_left(ends, end)
        start = ends[first - 1] if first else 0
    return start, end


def pieces(content: str, ends: Sequence[int]) -> list[Markup]:
    """The text split into tokens; tokens that share a character are one piece."""
    cuts = [0, *sorted({end for end in ends if end > 0})]
    return [visible(content[a:b]) for a, b in itertools.pairwise(cuts)]


def shorten(text: str, length: int) -> str:
    """The beginning of a text on one line, at most `length` characters, controls as signs; for titles and lists."""
    text = text.strip()
    # A text may be a book, and its white space may be wide.
    beginning = text[: 20 * length]
    line = " ".join(beginning.split()).translate(_CONTROL_SIGNS)
    if len(line) <= length and len(beginning) == len(text):
        return line
    kept = line[: length - 1]
    last_space = kept.rfind(" ")
    return (kept[:last_space] if last_space > length // 2 else kept).rstrip(" ,;:") + "…"


def _whole_characters(content: str, start: int, end: int) -> tuple[int, int]:
    """The range extended to whole characters with their combining characters, and to at least one character."""
    end = max(end, min(start + 1, len(content)))
    first, last = max(0, start - LONGEST_CHARACTER), min(len(content), end + LONGEST_CHARACTER)
    while first < start < len(content) and _extends(content[start]):
        start -= 1
    while end < last and (_extends(content[end]) or content[end - 1] == "\u200d"):
        end += 1
    return start, end


def cuts_clean(content: str, ends: Sequence[int], place: int) -> bool:
    """Whether no character, with its combining characters, is on both sides of the start of a token."""
    if place in (0, len(ends)):
        return True
    at = ends[place - 1]
    return 0 < at < ends[place] and not _extends(content[at]) and content[at - 1] != "\u200d"


def _extends(char: str) -> bool:
    """Whether a character combines with the one before it; the comparison is fast and excludes nearly all."""
    return char >= "\u0300" and _EXTENDS.match(char) is not None


def _with_signs(text: str) -> str:
    return _SPECIAL.sub(_sign_of_match, text)


def _sign_of_match(match: re.Match[str]) -> str:
    return _sign(match.group())


@cache
def _sign(char: str) -> str:
    """The HTML for one special character."""
    plain = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    if char in plain:
        return plain[char]
    if char == " ":
        return "<i> </i>"
    if char in "\n\t\xa0":
        name = {"\n": "nl", "\t": "tb", "\xa0": "nb"}[char]
        return f'<i class="{name}">{char}</i>'
    code = ord(char)
    name = unicodedata.name(char, "control character").lower()
    return f'<i class="cc" title="U+{code:04X} {name}">{sign(char)}</i>'
