"""The rule that explains each feature best: active entries of a block flow in, one rule per feature flows out.

How much a rule explains is the harmonic mean of two shares: of the tokens it matches, those on which the feature is
active, corrected for chance; and of the feature's activation, the part on tokens it matches. Among rules that explain
about the same, the simpler one wins.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64

from saecatalog.analysis.activations import first_largest, runs
from saecatalog.analysis.code_counts import Coded, Entries, Pairs, count_pairs
from saecatalog.analysis.rules import POSITIONS
from saecatalog.analysis.token_kinds import CLASSES, KINDS

MOST_WORDS = 4
"""A rule names at most this many words or tokens."""

LEAST_SHARE = 0.02
"""Each of them carries at least this share of the feature's activation."""

LEAST_HITS, RARE = 2, 10
"""The feature is active on each of them at least LEAST_HITS times, unless it has fewer than RARE active tokens."""

STARTS = tuple(2**n for n in range(POSITIONS.bit_length()))
"""How many first tokens of a text a rule about positions may cover: 1, 2, 4 ... POSITIONS."""

COSTS = {
    "position": 0.0, "word": 0.0, "token": 0.02, "class": 0.02, "stem": 0.02,
    "script": 0.03, "category": 0.05, "after": 0.05, "before": 0.05, "pair": 0.08,
}  # fmt: skip
"""How much more than the simplest rule a rule of each kind must explain to be chosen."""

COST_OF_A_WORD = 0.02
"""The same for each further word of a rule."""

DECIMALS = 9
"""Scores are compared after rounding to this many decimals, because sums depend on the order of addition."""


@dataclass
class Choices:
    """The best rule of each feature so far."""

    score: Float64[np.ndarray, "feature"]
    """What it explains, minus what its kind costs; 0 where there is none."""
    kind: list[str]
    family: list[str]
    low: Int64[np.ndarray, "feature word"]
    """The first code of each of its ranges; unused ranges are empty."""
    high: Int64[np.ndarray, "feature word"]
    """One past the last code of each."""
    name: list[str] = field(default_factory=list)
    """What its value is called, if its codes do not say it: a class, a stem or a number of positions."""

    @classmethod
    def none(cls, width: int) -> "Choices":
        empty = np.zeros((width, MOST_WORDS), np.int64)
        return cls(np.zeros(width), [""] * width, [""] * width, empty, empty.copy(), [""] * width)


@dataclass(frozen=True)
class Candidate:
    """One rule for each feature of a block."""

    kind: str
    family: str
    score: Float64[np.ndarray, "feature"]
    low: Int64[np.ndarray, "feature word"]
    high: Int64[np.ndarray, "feature word"]
    names: list[str] | None = None


def choose_rules(
    entries: Entries, coded: dict[str, Coded], half: Int64[np.ndarray, "feature"], n_tokens: Int64[np.ndarray, "2"]
) -> Choices:
    """The best rule of each feature by its entries.

    `half` says for each feature which tokens count: 0 those of the first half of the texts, 1 all; `n_tokens` says how
    many these are.
    """
    best = Choices.none(entries.width)
    found = Counting(entries, coded, half, entries.n_active / np.maximum(n_tokens[half], 1))
    for candidate in _candidates(found):
        score = np.round(candidate.score - COSTS[candidate.kind], DECIMALS)
        for column in np.flatnonzero(score > best.score).tolist():
            best.kind[column], best.family[column] = candidate.kind, candidate.family
            best.low[column], best.high[column] = 0, 0
            best.low[column, : candidate.low.shape[1]] = candidate.low[column]
            best.high[column, : candidate.high.shape[1]] = candidate.high[column]
            best.name[column] = candidate.names[column] if candidate.names else ""
        best.score = np.maximum(best.score, score)
    return best


def _candidates(found: "Counting") -> Iterator[Candidate]:
    """Candidates of all kinds; the simplest come first, because the first of equally good ones is kept."""
    yield from _positions(found)
    words = found.pairs("word")
    yield from _named(found, "word", words)
    yield from _named(found, "token", found.pairs("token"))
    yield from _classes(found)
    yield from _stems(found, words)
    for kind, most in (("script", 1), ("category", 1), ("after", MOST_WORDS), ("before", MOST_WORDS), ("pair", 1)):
        yield from _named(found, kind, found.pairs(kind), most)


@dataclass(frozen=True)
class Counting:
    """The entries that rules are judged by."""

    entries: Entries
    coded: dict[str, Coded]
    half: Int64[np.ndarray, "feature"]
    density: Float64[np.ndarray, "feature"]
    """The share of the tokens that count on which each feature is active."""

    def pairs(self, family: str) -> Pairs:
        return count_pairs(self.entries, self.coded[family])


def explained(
    hits: Int64[np.ndarray, "n"],
    matched: Int64[np.ndarray, "n"],
    share: Float64[np.ndarray, "n"],
    density: Float64[np.ndarray, "n"],
) -> Float64[np.ndarray, "n"]:
    """How much rules explain: the harmonic mean of their precision beyond chance and their share of the activation.

    By chance, a rule's precision is the feature's density d. What it has beyond that is (p - d) / (1 - d), the
    conditional kappa of Coleman (1966), so that a rule that matches every token explains nothing. 0 if it is below 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = (hits / matched - density) / (1 - density)
        return np.where((hits > 0) & (beyond > 0), 2 * beyond * share / (beyond + share), 0.0)


def _named(found: Counting, kind: str, pairs: Pairs, most: int = MOST_WORDS) -> Iterator[Candidate]:
    """The best code of each feature, then unions of up to `most` codes, each with the one that helps most."""
    totals = found.entries.totals
    share = pairs.totals / totals[pairs.columns]
    fewest = np.where(found.entries.n_active < RARE, 1, LEAST_HITS)
    kept = np.flatnonzero((share >= LEAST_SHARE) & (pairs.n_active >= fewest[pairs.columns]))
    columns, codes, n_active, share = pairs.columns[kept], pairs.codes[kept], pairs.n_active[kept], share[kept]
    occurrences = found.coded[kind].occurrences[found.half[columns], codes]
    width, density = found.entries.width, found.density[columns]
    hits, matched, carried = np.zeros(width, np.int64), np.zeros(width, np.int64), np.zeros(width)
    low, score = np.zeros((width, most), np.int64), np.zeros(width)
    high = low.copy()
    free = np.ones(len(kept), bool)
    starts = runs(columns) if len(columns) else np.empty(0, np.int64)
    for place in range(most):
        gained = explained(hits[columns] + n_active, matched[columns] + occurrences, carried[columns] + share, density)
        gained = np.where(free, np.round(gained, DECIMALS), 0.0)
        best = first_largest(gained, starts)
        # A further word is kept only if it explains more than it costs.
        best = best[gained[best] > score[columns[best]] + (COST_OF_A_WORD if place else 0.0)]
        where = columns[best]
        free[best] = False
        hits[where] += n_active[best]
        matched[where] += occurrences[best]
        carried[where] += share[best]
        low[where, place], high[where, place] = codes[best], codes[best] + 1
        score[where] = gained[best] - (place > 0) * COST_OF_A_WORD
    yield Candidate(kind, kind, score, low, high)


def _range(
    found: Counting, pairs: Pairs, low: Int64[np.ndarray, "feature"], high: Int64[np.ndarray, "feature"], family: str
) -> Float64[np.ndarray, "feature"]:
    """How much a range of codes explains of each feature."""
    hits, carried = pairs.within(low, high)
    before = found.coded[family].occurrences_before
    matched = before[found.half, high] - before[found.half, low]
    return explained(hits, matched, carried / np.maximum(found.entries.totals, 1e-30), found.density)


def _positions(found: Counting) -> Iterator[Candidate]:
    pairs, width = found.pairs("position"), found.entries.width
    low = np.zeros(width, np.int64)
    for n in STARTS:
        score = _range(found, pairs, low, low + n, "position")
        cost = 0.0 if n == 1 else COST_OF_A_WORD
        yield Candidate("position", "position", score - cost, low[:, None], low[:, None] + n, [str(n)] * width)


def _classes(found: Counting) -> Iterator[Candidate]:
    pairs, width = found.pairs("kind"), found.entries.width
    for name, (first, last) in KINDS.items():
        low = np.full(width, CLASSES.index(first))
        high = np.full(width, CLASSES.index(last) + 1)
        score = _range(found, pairs, low, high, "kind")
        yield Candidate("class", "kind", score, low[:, None], high[:, None], [name] * width)


def _stems(found: Counting, words: Pairs) -> Iterator[Candidate]:
    """Words with the same first letters as the feature's most important word, if others than this word have them."""
    family, width = found.coded["word"].family, found.entries.width
    if not len(words.columns):
        return
    starts = runs(words.columns)
    best = first_largest(words.totals, starts)
    main = np.zeros(width, np.int64)
    main[words.columns[best]] = words.codes[best]
    has = np.zeros(width, bool)
    has[words.columns[best]] = True
    for length, (first, stop) in found.coded["word"].stems.items():
        low, high = first[main].astype(np.int64), stop[main].astype(np.int64)
        # A stem that only one word of the corpus has is that word.
        real: Bool[np.ndarray, feature] = has & (high - low > 1)
        low, high = np.where(real, low, 0), np.where(real, high, 0)
        names = [family.names[code][:length] for code in main.tolist()]
        score = _range(found, words, low, high, "word")
        yield Candidate("stem", "word", score, low[:, None], high[:, None], names)
