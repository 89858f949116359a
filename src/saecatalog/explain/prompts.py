"""What is asked of a language model, and how its answers are read: excerpts flow in, chat messages flow out, and back.

Texts stand in the questions as JSON strings, each on one line: a line break in a text is not taken for the end of it.
"""

import json
import re
from collections.abc import Sequence

from saecatalog.explain.endpoint import Messages
from saecatalog.explain.excerpts import CLOSE, OPEN, Example, Excerpt

LONGEST = 500
"""Characters of an explanation."""
TYPICAL = (
    "tokens of a kind, or texts of a kind, that this feature of a language model is active on, in some fifteen words"
)
"""Stands for an explanation that is not there yet, where the length of a question is estimated."""

_EXPLAIN = f"""A feature of a language model is active on some tokens of a text. Below are excerpts of texts, each as \
a JSON string, with {OPEN} and {CLOSE} around the tokens on which the feature is active. The number before an excerpt \
is the largest activation in it, on a scale from 1 to 10.

{{examples}}
{{promoted}}
Say what the feature stands for: what the marked tokens, or the texts around them, have in common. Use at most 20 \
words and answer with this description alone. If they have nothing in common, say so."""

_PROMOTED = """
The feature makes these next tokens more likely: {tokens}
"""

_JUDGE = """Below are {n} numbered excerpts of texts, each as a JSON string. Which of them does this description fit, \
because they hold what it describes?

Description: {description}

{excerpts}

Answer with the numbers of those excerpts alone, separated by commas, or with the word none."""

_REASONING = re.compile(r"<think>.*?</think>", re.DOTALL)
_NUMBERS = re.compile(r"(?:[\W\d_]|and|none|numbers?|excerpts?|answer|are|is|the|fit)*", re.IGNORECASE)


def explain(examples: Sequence[Example], promoted: Sequence[str]) -> Messages:
    """The question what a feature stands for."""
    shown = "\n".join(f"{example.strength}: {_quoted(example.words)}" for example in examples)
    more = _PROMOTED.format(tokens=", ".join(map(_quoted, promoted))) if promoted else ""
    return [{"role": "user", "content": _EXPLAIN.format(examples=shown, promoted=more)}]


def judge(description: str, sample: Sequence[Excerpt]) -> Messages:
    """The question which excerpts a description fits."""
    shown = "\n".join(f"{number}. {_quoted(excerpt.words)}" for number, excerpt in enumerate(sample, 1))
    content = _JUDGE.format(n=len(sample), description=_quoted(description), excerpts=shown)
    return [{"role": "user", "content": content}]


def description_in(answer: str) -> str:
    """The explanation in an answer: one line, without the model's reasoning and without quotes around it."""
    words = " ".join(_REASONING.sub("", answer).split())
    if len(words) > 1 and words[0] == words[-1] and words[0] in "\"'":
        words = words[1:-1].strip()
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def numbers_in(answer: str, n: int) -> set[int] | None:
    """The numbers, from 1 to n, that an answer names; None if it cannot be read as a list of them, or as none."""
    words = _REASONING.sub("", answer)
    found = {int(number) for number in re.findall(r"\d{1,9}", words)}
    named_none = re.search(r"\bnone\b", words, re.IGNORECASE) is not None
    readable = _NUMBERS.fullmatch(words) and bool(found) != named_none and all(1 <= number <= n for number in found)
    return found if readable else None


def tokens(messages: Messages) -> int:
    """About how many tokens a question has: one for each four bytes of UTF-8, rounded up."""
    return sum(-(-len(message["content"].encode(errors="replace")) // 4) for message in messages)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
