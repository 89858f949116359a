"""Which tokens a rule matches: the texts and a rule's JSON flow in, the places of tokens flow out.

It goes through the texts token by token, by what `schemas` and the documentation say of rules, and shares no code with
the analyses.
"""

import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import regex

from saecatalog.verify.evidence import Evidence

Place = tuple[int, int]
"""A token: the number of its text, and its position there."""

CLASSES = {
    "line breaks": {"line break"},
    "white space": {"line break", "blank"},
    "brackets": {"bracket"},
    "punctuation": {"bracket", "punctuation"},
    "symbols": {"symbol"},
    "punctuation and symbols": {"bracket", "punctuation", "symbol"},
    "numbers": {"number"},
    "capitalised words": {"Capitalised"},
    "words in capitals": {"CAPITALS"},
    "words with a capital": {"Capitalised", "CAPITALS"},
    "words in lower case": {"lower"},
    "words": {"Capitalised", "CAPITALS", "lower"},
    "inside words": {"inside"},
    "words and their parts": {"Capitalised", "CAPITALS", "lower", "inside"},
    "parts of characters": {"bytes"},
}
"""What rules about classes say, and the classes of tokens that each means."""

WORDS = re.compile("[^\\W_]+(['’][^\\W_]+)*")


@dataclass(frozen=True)
class Token:
    """What rules can say about one token."""

    place: Place
    token: str
    word: str | None
    kind: str
    script: str
    after: str
    before: str
    category: str
    span: tuple[int, int]


class RuleReader:
    """The counted tokens of one half of the texts, or of all."""

    def __init__(self, e: Evidence, half: str):
        self.contents = e.published["texts"]["content"].tolist()
        self.tokens = [token for t, mine in enumerate(e.halves) if half in (mine, "all") for token in _tokens(e, t)]

    def label(self, rule: str) -> set[Place]:
        """The tokens that the rule of a label matches."""
        found = json.loads(rule)
        test = _test(found["kind"], found["values"])
        return {token.place for token in self.tokens if test(token)}

    def note(self, rule: str) -> set[Place]:
        """The tokens that the rule of a note matches: those that meet everything it names."""
        found = json.loads(rule)
        tokens = [t for t in self.tokens if t.token in found.get("tokens", [t.token])]
        tokens = [t for t in tokens if t.category == found.get("category", t.category)]
        if "regex" in found:
            texts = {token.place[0] for token in tokens}
            spans = {t: [match.span() for match in regex.finditer(found["regex"], self.contents[t])] for t in texts}
            tokens = [token for token in tokens if _touches(token.span, spans[token.place[0]])]
        return {token.place for token in tokens}


def _touches(span: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    """Whether a span shares a character with any of others."""
    return any(max(span[0], start) < min(span[1], end) for start, end in others)


def _test(kind: str, values: list[str]) -> Callable[[Token], bool]:
    """Whether a token meets a rule of a label."""
    tests: dict[str, Callable[[Token], bool]] = {
        "position": lambda t: t.place[1] < int(values[0]),
        "word": lambda t: t.word in values,
        "stem": lambda t: t.word is not None and t.word.startswith(values[0]),
        "token": lambda t: t.token in values,
        "class": lambda t: t.kind in CLASSES[values[0]],
        "script": lambda t: t.script == values[0],
        "after": lambda t: t.after in values,
        "before": lambda t: t.before in values,
        "pair": lambda t: [t.after, plain(t.token)] == values,
        "category": lambda t: t.category in values,
    }
    return tests[kind]


def _tokens(e: Evidence, t: int) -> Iterator[Token]:
    """The counted tokens of a text."""
    row = e.published["texts"].iloc[t]
    content, ends = row["content"], [int(end) for end in row["token_ends"]]
    names = [e.token(token_id) for token_id in e.seen.ids(t)]
    words = _words(content, ends)
    for i, name in enumerate(names):
        if not e.keep[t][i]:
            continue
        first = ends[i - 1] if i else 0
        # A token without a character of its own is part of the last one.
        span = (max(0, min(first, ends[i] - 1)), ends[i])
        inside = i > 0 and name[:1].isalpha() and names[i - 1][-1:].isalpha()
        sign = plain(name) if not WORDS.search(name) and "<0x" not in name else None
        yield Token(
            (t, i),
            name,
            words.get(i, sign),
            "inside" if inside else kind_of(name),
            script_of(content[slice(*span)] if "<0x" in name else name),
            plain(names[i - 1]) if i else "<start>",
            plain(names[i + 1]) if i + 1 < len(names) else "<end>",
            e.categories[t],
            span,
        )


def _words(content: str, ends: list[int]) -> dict[int, str]:
    """The words of a text by their last token; of several that end in one token, the last."""
    found = {bisect_left(ends, match.end()): match.group().lower() for match in WORDS.finditer(content)}
    return {i: word for i, word in found.items() if i < len(ends)}


def plain(name: str) -> str:
    """A token in lower case and without the spaces around it; white space is a line break or a space."""
    if "<0x" in name:
        return name.strip()
    return name.strip().lower() or ("\n" if set(name) & {"\n", "\r"} else " ")


def kind_of(name: str) -> str:
    """The class of a token that does not continue a word."""
    text = name.strip()
    if "<0x" in text:
        return "bytes"
    if not text:
        return "line break" if set(name) & {"\n", "\r"} else "blank"
    majors = [unicodedata.category(char) for char in text]
    if any(major[0] == "L" for major in majors):
        return _case_of([char for char in text if char.isalpha()])
    if any(major[0] == "N" for major in majors):
        return "number"
    if all(major in ("Ps", "Pe") for major in majors):
        return "bracket"
    if all(major[0] == "P" for major in majors):
        return "punctuation"
    return "symbol" if all(major[0] in "PS" for major in majors) else "other"


def _case_of(letters: list[str]) -> str:
    if all(letter.isupper() for letter in letters):
        return "Capitalised" if len(letters) == 1 else "CAPITALS"
    if letters[0].isupper() or letters[0].istitle():
        return "Capitalised"
    return "lower" if letters[0].islower() else "other"


def script_of(text: str) -> str:
    """The first word of the name of the first letter, such as LATIN; "" without a letter."""
    names = [unicodedata.name(char, "") for char in text if char.isalpha()]
    return re.split("[ -]", names[0])[0] if names else ""
