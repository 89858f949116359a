"""The corpus as rules read it: its tokens and texts flow in, a code for every token and family of rules flows out.

A family is one way to sort the tokens: by the word that a token ends, by the token before it, by its class, and so on.
All rules of a family are then the same computation on its codes.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int32, Int64

from saecatalog.analysis.token_kinds import BYTE, CLASSES, class_of, plain, script_of

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
"""A word: letters and digits, with apostrophes between them."""

START = "<start>"
"""What is before the first token of a text."""

END = "<end>"
"""What is behind the last token of a text."""


@dataclass(frozen=True)
class Family:
    """A code for every token of the corpus."""

    codes: Int32[np.ndarray, "token"]
    """-1 if the token has none in this family."""
    names: tuple[str, ...]
    """What each code stands for, in ascending order where codes are names of words or tokens."""

    @cached_property
    def places(self) -> dict[str, int]:
        """The code of each name."""
        return {name: code for code, name in enumerate(self.names)}

    @cached_property
    def by_code(self) -> tuple[Int32[np.ndarray, "token"], Int64[np.ndarray, "code_plus_3"]]:
        """The tokens in the order of their codes; and how many have a code below -1, below 0, and so on."""
        order = np.argsort(self.codes, kind="stable").astype(np.int32)
        return order, np.concatenate([[0], np.cumsum(np.bincount(self.codes + 1))])

    def tokens(self, low: int, high: int) -> Int32[np.ndarray, "matched"]:
        """The tokens with codes from `low` up to `high`."""
        order, below = self.by_code
        first, stop = np.minimum([low + 1, high + 1], len(below) - 1)
        return order[below[first] : below[stop]]


@dataclass(frozen=True)
class Corpus:
    """What readings are made of; every token is an index into `ids`, text after text."""

    ids: Int32[np.ndarray, "token"]
    ends: Int32[np.ndarray, "token"]
    """Where the characters of each token end in its text."""
    texts: Int32[np.ndarray, "token"]
    """The text of each token."""
    positions: Int32[np.ndarray, "token"]
    """Each token's index in its text."""
    contents: list[str]
    """The content of each text."""
    categories: list[str]
    """The category of each text."""
    vocabulary: list[str]
    """Each token id as text."""


class Readings:
    """Every family of a corpus, by name; each is computed when it is first asked for and then kept."""

    def __init__(self, corpus: Corpus):
        self.corpus = corpus

    def __getitem__(self, family: str) -> Family:
        found: Family = getattr(self, family)
        return found

    @cached_property
    def token(self) -> Family:
        """The token itself, exactly."""
        return self._by_id(self.corpus.vocabulary)

    @cached_property
    def word(self) -> Family:
        """In lower case: the word whose last token this is, or a token that is no part of a word."""
        names = [""] + [plain(text) for text in self.corpus.vocabulary]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        of_id = np.array([0 if _of_words(text) else numbers[plain(text)] for text in self.corpus.vocabulary], np.int32)
        found = of_id[self.corpus.ids]
        starts = np.searchsorted(self.corpus.texts, np.arange(len(self.corpus.contents) + 1))
        for content, start, stop in zip(self.corpus.contents, starts[:-1], starts[1:], strict=True):
            words = list(WORD.finditer(content))
            place = np.searchsorted(self.corpus.ends[start:stop], [word.end() for word in words])
            inside = place < stop - start
            of_word = [numbers.setdefault(word.group().lower(), len(numbers)) for word in words]
            found[start + place[inside]] = np.array(of_word, np.int32)[inside]
        return _sorted(found, list(numbers))

    @cached_property
    def before(self) -> Family:
        """The token behind this one, in its plain form: a feature that fires before it foresees it."""
        return self._shifted(-1, END)

    @cached_property
    def after(self) -> Family:
        """The token in front of this one, in its plain form."""
        return self._shifted(1, START)

    @cached_property
    def pair(self) -> Family:
        """The token in front of this one and this one, in their plain forms."""
        front, this = self.after, self._by_id([plain(text) for text in self.corpus.vocabulary])
        width = len(this.names)
        keys, codes = np.unique(front.codes.astype(np.int64) * width + this.codes, return_inverse=True)
        pairs = zip(*np.divmod(keys, width), strict=True)
        names = [pair_name(front.names[a], this.names[b]) for a, b in pairs]
        return Family(codes.astype(np.int32), tuple(names))

    @cached_property
    def kind(self) -> Family:
        """The class of the token (see `token_kinds`)."""
        numbers = {name: code for code, name in enumerate(CLASSES)}
        vocabulary = self.corpus.vocabulary
        codes = np.array([numbers[class_of(text)] for text in vocabulary], np.int32)[self.corpus.ids]
        begins = np.array([text[:1].isalpha() for text in vocabulary])[self.corpus.ids]
        ends = np.array([text[-1:].isalpha() for text in vocabulary])[self.corpus.ids]
        inside = begins & np.roll(ends, 1) & (self.corpus.positions > 0)
        return Family(np.where(inside, np.int32(numbers["inside"]), codes), CLASSES)

    @cached_property
    def script(self) -> Family:
        """The script of the first letter; for a part of a character, that of the whole one."""
        corpus = self.corpus
        scripts = [script_of(text) for text in corpus.vocabulary]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(["", *scripts]))}
        found = np.array([numbers[name] for name in scripts], np.int32)[corpus.ids]
        broken = np.array([BYTE in text for text in corpus.vocabulary])[corpus.ids]
        for token in np.flatnonzero(broken).tolist():
            name = script_of(character(corpus, token))
            found[token] = numbers.setdefault(name, len(numbers))
        return _sorted(found, list(numbers))

    @cached_property
    def position(self) -> Family:
        """The token's index in its text."""
        return Family(self.corpus.positions, ())

    @cached_property
    def category(self) -> Family:
        """The category of the text."""
        names, codes = np.unique(np.array(self.corpus.categories, object), return_inverse=True)
        return Family(codes.astype(np.int32)[self.corpus.texts], tuple(names))

    def _by_id(self, names: list[str]) -> Family:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return _sorted(np.array([numbers[name] for name in names], np.int32)[self.corpus.ids], list(numbers), none=-1)

    def _shifted(self, by: int, outside: str) -> Family:
        """The plain form of the token `by` places in front of each token; `outside` where the text has none there."""
        names = [plain(text) for text in self.corpus.vocabulary]
        numbers = {name: number for number, name in enumerate(dict.fromkeys([*names, outside]))}
        found = np.roll(np.array([numbers[name] for name in names], np.int32)[self.corpus.ids], by)
        other = np.roll(self.corpus.texts, by) != self.corpus.texts
        other[0 if by > 0 else -1 :][:1] = True
        return _sorted(np.where(other, np.int32(numbers[outside]), found), list(numbers), none=-1)


def pair_name(first: str, second: str) -> str:
    """The name of a pair of plain forms, from which both can be told."""
    return json.dumps([first, second], ensure_ascii=False)


def _of_words(text: str) -> bool:
    """Whether a token has no code of its own among words: it has letters or digits, or is part of a character."""
    return BYTE in text or WORD.search(text) is not None


def _sorted(numbers: Int32[np.ndarray, "token"], names: list[str], none: int = 0) -> Family:
    """The family of names that occur, in ascending order; those with the number `none` get no code."""
    used: Int64[np.ndarray, name] = np.unique(numbers)
    kept = sorted((names[number], number) for number in used.tolist() if number != none)
    codes = np.full(len(names), -1, np.int32)
    codes[[number for _, number in kept]] = np.arange(len(kept), dtype=np.int32)
    return Family(codes[numbers], tuple(name for name, _ in kept))


def character(corpus: Corpus, token: int) -> str:
    """The characters of a token in its text; for a token that is only part of one, the whole character."""
    content, end = corpus.contents[int(corpus.texts[token])], int(corpus.ends[token])
    # A token that ends where the one before it ends adds no character: it is part of the last one.
    start = int(corpus.ends[token - 1]) if corpus.positions[token] else 0
    return content[max(0, min(start, end - 1)) : end]


def in_range(codes: Int32[np.ndarray, "n"], low: int, high: int) -> Bool[np.ndarray, "n"]:
    """Which codes are at least `low` and below `high`."""
    return (codes >= low) & (codes < high)
