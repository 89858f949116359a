"""Rules about tokens: a rule flows in as a kind and values, the tokens of the corpus that it picks flow out.

A rule predicts that a feature is active on every token that it matches. Labels state rules, and the column
`label_rule` has them as JSON, such as `{"kind": "after", "values": ["of"]}`.
"""

import json
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64

from saecatalog.analysis.readings import Family, Readings, pair_name
from saecatalog.analysis.token_kinds import CLASSES, KINDS

FAMILIES = {
    "position": "position",
    "word": "word",
    "token": "token",
    "class": "kind",
    "stem": "word",
    "script": "script",
    "category": "category",
    "after": "after",
    "before": "before",
    "pair": "pair",
}
"""The kinds of rules, and the family whose codes decide each."""

STEMS = range(4, 11)
"""Lengths of the stems that are tried, in letters."""

POSITIONS = 64
"""A rule about positions covers at most this many tokens of a text."""


@dataclass(frozen=True)
class Rule:
    """A rule of one kind: it matches a token that any of its values describes.

    - `word`: the token ends one of these words, in lower case (or is one of these signs, which are no words).
    - `stem`: the token ends a word that begins with this.
    - `token`: the token is one of these, exactly, with its spaces and capitals.
    - `class`: the token belongs to this class (a name of `token_kinds.KINDS`).
    - `script`: its first letter is of this script, as Unicode names it.
    - `position`: it is among the first tokens of a text, as many as the value says.
    - `after`, `before`: the token in front of it, or behind it, is one of these, in lower case and without spaces.
    - `pair`: the first value is the token in front of it, the second the token itself, both in that form.
    - `category`: the text belongs to this category.
    """

    kind: str
    values: tuple[str, ...]

    @classmethod
    def named(cls, kind: str, names: list[str]) -> "Rule":
        """The rule about codes with these names."""
        return cls(kind, tuple(json.loads(names[0])) if kind == "pair" else tuple(names))

    def to_json(self) -> str:
        """The rule as the column `label_rule` has it."""
        return json.dumps({"kind": self.kind, "values": list(self.values)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Rule | None":
        """The rule of that column; None for "", which is no rule. Raises ValueError or KeyError if it is malformed."""
        if not text:
            return None
        found = json.loads(text)
        if found["kind"] not in FAMILIES or not found["values"]:
            raise ValueError(f"no kind of rule: {text}")
        return cls(found["kind"], tuple(map(str, found["values"])))


def ranges(rule: Rule, family: Family) -> list[tuple[int, int]]:
    """The codes that a rule matches, as first and one past the last of each run; values that never occur have none."""
    match rule.kind:
        case "position":
            return [(0, int(rule.values[0]))]
        case "class":
            first, last = KINDS[rule.values[0]]
            return [(CLASSES.index(first), CLASSES.index(last) + 1)]
        case "stem":
            low, high = stem_range(rule.values[0], family)
            return [(low, high)] if low < high else []
    names = [pair_name(*rule.values)] if rule.kind == "pair" else rule.values
    codes = sorted({family.places[name] for name in names if name in family.places})
    return [(code, code + 1) for code in codes]


def stem_range(stem: str, family: Family) -> tuple[int, int]:
    """The first code of a word that begins with a stem, and one past the last; names ascend."""
    # Behind every word that begins with the stem, because no character is larger.
    return bisect_left(family.names, stem), bisect_left(family.names, stem + chr(0x10FFFF))


def stem_bounds(family: Family, length: int) -> tuple[Int64[np.ndarray, "code"], Int64[np.ndarray, "code"]]:
    """For each word, the range of the words with the same first letters; empty for a word that is shorter."""
    stems = np.array([name[:length] for name in family.names], object)
    numbers = np.arange(len(stems))
    changed = np.flatnonzero(np.append(True, stems[1:] != stems[:-1]))
    sizes = np.diff(np.append(changed, len(stems)))
    long = np.array([len(name) >= length and name[:length].isalpha() for name in family.names], bool)
    first, stop = np.repeat(changed, sizes), np.repeat(changed + sizes, sizes)
    return np.where(long, first, numbers), np.where(long, stop, numbers)


def matches(rule: Rule, readings: Readings) -> Bool[np.ndarray, "token"]:
    """Which tokens of the corpus a rule matches."""
    found = np.zeros(len(readings.corpus.ids), bool)
    found[tokens_of(rule, readings)] = True
    return found


def tokens_of(rule: Rule, readings: Readings) -> Int32[np.ndarray, "matched"]:
    """The tokens of the corpus that a rule matches, each once."""
    family = readings[FAMILIES[rule.kind]]
    return np.concatenate([np.empty(0, np.int32), *(family.tokens(*codes) for codes in ranges(rule, family))])
