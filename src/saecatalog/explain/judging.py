"""Scores: explanations and samples flow in as cases, a judge's answers too; counts of right and wrong ones flow out.

Beside each explanation, that of another feature is judged on the same excerpts, which is what an explanation reaches
that knows nothing of them; and the rule of the feature's own label is tried on them, if it has one.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from saecatalog.analysis.readings import Corpus, Readings
from saecatalog.analysis.rules import Rule, matches
from saecatalog.analysis.token_kinds import BYTE
from saecatalog.explain import prompts
from saecatalog.explain.endpoint import Messages
from saecatalog.explain.excerpts import SEED, Excerpt
from saecatalog.judged import Judged
from saecatalog.site.records import Row, rows
from saecatalog.tables import Tables

PART = f"{BYTE}..>"
"""Stands for a token that is only part of a character; which part, the published texts do not say."""

UNREADABLE = "the judge's answer is not a list of numbers"

Counts = tuple[int, int]
"""How many excerpts were named: of active texts, and of silent ones."""


class Case(NamedTuple):
    """An explanation, the excerpts on which it is judged, and the feature whose explanation is judged on them too."""

    feature: int
    description: str
    sample: Sequence[Excerpt]
    control: int
    """-1 if there is no other feature."""
    control_description: str

    @property
    def question(self) -> Messages:
        return prompts.judge(self.description, self.sample)

    @property
    def control_question(self) -> Messages:
        """Of a case with a control."""
        return prompts.judge(self.control_description, self.sample)

    def named(self, answer: str) -> Counts | None:
        """The excerpts that an answer names; None if it cannot be read."""
        numbers = prompts.numbers_in(answer, len(self.sample))
        return None if numbers is None else counts(numbers, self.sample)

    def judged(self, judge: str, answer: str, control_answer: str, label: Counts | None) -> Judged | str:
        """The score that follows from the answers, or why there is none; the label's counts are added to it."""
        named, control = self.named(answer), self.named(control_answer) if self.control >= 0 else None
        if named is None:
            return UNREADABLE
        n_active = sum(excerpt.active for excerpt in self.sample)
        compared = (-1, 0, 0) if control is None else (self.control, *control)
        return Judged(judge, n_active, len(self.sample) - n_active, *named, *compared, *(label or (-1, -1)))


def cases(explanations: Sequence[tuple[int, str]], samples: Mapping[int, Sequence[Excerpt]]) -> list[Case]:
    """A case for each explanation, a feature and its description, that is not empty and whose feature has a sample."""
    tried = [(feature, words) for feature, words in explanations if words and feature in samples]
    first = dict(reversed(tried))
    others = controls(first)
    return [
        Case(feature, words, samples[feature], other := others.get(feature, -1), first.get(other, ""))
        for feature, words in tried
    ]


def controls(features: Iterable[int]) -> dict[int, int]:
    """Another feature for each feature, every one once, in a random order; none if there is only one feature."""
    order = np.random.default_rng(SEED).permutation(sorted(set(features))).tolist()
    return dict(zip(order, [*order[1:], *order[:1]], strict=True)) if len(order) > 1 else {}


def counts(named: set[int], sample: Sequence[Excerpt]) -> Counts:
    """How many excerpts were named of active texts, and of silent ones; the first excerpt has the number 1."""
    fires = [excerpt.active for number, excerpt in enumerate(sample, 1) if number in named]
    return sum(fires), len(fires) - sum(fires)


def label_rules(tables: Tables, features: Iterable[int]) -> dict[int, Rule]:
    """The rules of the features' labels.

    Features whose label has no rule, or one that was not chosen on the first half of the texts, are left out.
    """
    found = rows(tables.read("features", ("feature", "label_rule", "label_half"), features=features))
    rules = {row.feature: Rule.from_json(row.label_rule) for row in found if row.label_half == "first"}
    return {feature: rule for feature, rule in rules.items() if rule}


def by_rules(rules: Mapping[int, Rule], samples: Mapping[int, Sequence[Excerpt]], tables: Tables) -> dict[int, Counts]:
    """The counts of the excerpts of each feature that have a token which its rule matches."""
    wanted = {excerpt.text for feature in rules for excerpt in samples[feature]}
    if not wanted:
        return {}
    frame = tables.read("texts", ("text", "category", "content", "token_ends"))
    texts = rows(frame[frame["text"].isin(wanted)])
    ends = accumulate(len(row.token_ends) for row in texts)
    starts = {row.text: end - len(row.token_ends) for row, end in zip(texts, ends, strict=True)}
    readings = Readings(_corpus(texts))
    return {
        feature: counts(_matched(matches(rule, readings), starts, samples[feature]), samples[feature])
        for feature, rule in rules.items()
    }


def _matched(tokens: np.ndarray, starts: Mapping[str, int], sample: Sequence[Excerpt]) -> set[int]:
    """The numbers of the excerpts that have one of these tokens."""
    places = ((number, starts[one.text], one) for number, one in enumerate(sample, 1))
    return {number for number, start, one in places if tokens[start + one.start : start + one.end].any()}


def _corpus(texts: Sequence[Row]) -> Corpus:
    """Published texts as rules read them."""
    tokens = [token for row in texts for token in _tokens(row.content, row.token_ends.tolist())]
    lengths = [len(row.token_ends) for row in texts]
    vocabulary = sorted(set(tokens))
    ids = {token: number for number, token in enumerate(vocabulary)}
    return Corpus(
        np.array([ids[token] for token in tokens], np.int32),
        np.concatenate([row.token_ends for row in texts]).astype(np.int32),
        np.repeat(np.arange(len(texts), dtype=np.int32), lengths),
        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        [row.content for row in texts],
        [row.category for row in texts],
        vocabulary,
    )


def _tokens(content: str, ends: Sequence[int]) -> list[str]:
    """The tokens of a text; the parts of a character end at the same place."""
    starts, following = [0, *ends[:-1]], [*ends[1:], -1]
    return [
        PART if end in (start, after) else content[start:end]
        for start, end, after in zip(starts, ends, following, strict=True)
    ]
