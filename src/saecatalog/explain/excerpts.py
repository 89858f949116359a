"""What a language model is shown of a feature: a catalog's tables flow in, marked examples and a sample flow out.

Examples come from the first half of the texts, and the sample that tests an explanation from the second, so no text is
both an example and a test.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from saecatalog.constants import AFTER, BEFORE
from saecatalog.judged import HELD_OUT
from saecatalog.names import in_words
from saecatalog.site.records import Groups, Records, Row
from saecatalog.tables import Tables

SEED = 0
STRONGEST, WEAKER = 8, 4
"""Examples for an explanation: the strongest, and others evenly spaced by strength."""
JUDGED = 10
"""Excerpts of active texts in a sample, and of silent ones."""
FEWEST = 5
"""With fewer of either, an explanation is not judged."""
OPEN, CLOSE = "\u27e6", "\u27e7"
"""Around active tokens; they are in hardly any text."""
CONTEXT_COLUMNS = (
    "feature", "text", "position", "activation", "band", "window_start", "window_end", "active_positions",
)  # fmt: skip
TEXT_COLUMNS = ("text", "half", "content", "n_tokens", "token_ends")


class Example(NamedTuple):
    """An excerpt with its active tokens marked, and its largest activation from 1 to 10, of the feature's largest."""

    strength: int
    words: str


class Excerpt(NamedTuple):
    """Tokens `start` to `end` of a text as words, and whether the feature fires on the text."""

    text: str
    start: int
    end: int
    words: str
    active: bool


@dataclass(frozen=True)
class Shown:
    """What is shown of some features of a catalog."""

    texts: Records
    contexts: Groups
    scores: Groups
    promoted: Groups
    held_out: list[str]
    """Ids of the texts of the second half, sorted."""
    at_end: bool
    """Whether a text's score is that of its last token."""

    @classmethod
    def of(cls, tables: Tables, features: Iterable[int], text_score: str) -> "Shown":
        """Read it from a catalog's tables."""
        wanted = sorted(set(features))
        texts = tables.read("texts", TEXT_COLUMNS)
        held_out = texts.loc[texts["half"] == HELD_OUT, "text"]
        contexts = tables.read("contexts", CONTEXT_COLUMNS, features=wanted)
        scores = tables.read("text_scores", ("text", "feature", "score", "position"), features=wanted)
        logits = tables.read("logits", ("feature", "direction", "rank", "token"), features=wanted)
        return cls(
            Records(texts, "text"),
            Groups(contexts[~contexts["text"].isin(held_out)], "feature"),
            Groups(_strongest_first(scores[scores["text"].isin(held_out)]), "feature"),
            Groups(logits[logits["direction"] == "promoted"], "feature"),
            sorted(held_out),
            text_score == "last",
        )

    def examples(self, feature: int) -> list[Example]:
        """Excerpts of the first half of the texts on which a feature fires, the strongest first."""
        rows = sorted(self.contexts[feature], key=lambda row: (-row.activation, row.text, row.position))
        first, rest = rows[:STRONGEST], rows[STRONGEST:]
        places = np.linspace(0, len(rest) - 1, min(WEAKER, len(rest))).round().astype(int).tolist()
        return [
            Example(max(1, -int(-10 * row.activation // rows[0].activation)), self._marked(row))
            for row in [*first, *(rest[place] for place in places)]
        ]

    def sample(self, feature: int) -> list[Excerpt] | str:
        """Excerpts of held-out texts in random order, active and silent; or why there are too few."""
        chance = np.random.default_rng([SEED, feature])
        rows = self.scores[feature]
        firing = {row.text for row in rows}
        order = chance.permutation(len(self.held_out)).tolist()
        silent = [text for place in order if (text := self.held_out[place]) not in firing][:JUDGED]
        for name, found in (("active", rows), ("silent", silent)):
            if len(found) < FEWEST:
                return f"{name} on fewer than {in_words(FEWEST)} held-out texts"
        chosen = [self._excerpt(row.text, row.position, True) for row in _spread(rows, chance)]
        chosen += [self._excerpt(text, self._anywhere(text, chance), False) for text in silent]
        return [chosen[place] for place in chance.permutation(len(chosen)).tolist()]

    def _anywhere(self, text: str, chance: np.random.Generator) -> int:
        n = self.texts[text].n_tokens
        place = int(chance.integers(n))
        return n - 1 if self.at_end else place

    def _excerpt(self, name: str, position: int, active: bool) -> Excerpt:
        text = self.texts[name]
        start, end = max(0, position - BEFORE), min(text.n_tokens, position + AFTER + 1)
        words = _between(text, start, end)
        return Excerpt(name, start, end, _cut(text, start, end, words), active)

    def _marked(self, context: Row) -> str:
        """The words of a context's window, with marks around each run of active tokens."""
        text, active = self.texts[context.text], set(context.active_positions)
        start, end = context.window_start, context.window_end
        words = ""
        for fires, run in groupby(range(start, end), active.__contains__):
            first, *_, last = [*run] * 2
            part = _between(text, first, last + 1)
            words += f"{OPEN}{part}{CLOSE}" if fires and part else part
        return _cut(text, start, end, words)


def _strongest_first(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sort_values(["feature", "score", "text"], ascending=[True, False, True])


def _spread(rows: list[Row], chance: np.random.Generator) -> list[Row]:
    """At most `JUDGED` rows: one drawn from each of as many parts of equal size, so that weak texts count too."""
    if len(rows) <= JUDGED:
        return rows
    ends = np.linspace(0, len(rows), JUDGED + 1).round().astype(int).tolist()
    return [rows[int(chance.integers(low, high))] for low, high in pairwise(ends)]


def _cut(text: Row, start: int, end: int, words: str) -> str:
    """An excerpt with signs where the text goes on."""
    return f"{'…' * (start > 0)}{words}{'…' * (end < text.n_tokens)}"


def _between(text: Row, start: int, end: int) -> str:
    """The characters of tokens `start` to `end` of a text."""
    first = text.token_ends[start - 1] if start else 0
    return str(text.content)[first : text.token_ends[end - 1]]
