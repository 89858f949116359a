"""Marks on a typed text in a page: the nodes that marks.js makes are those that a browser makes of `site.tokens`."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from tokenizers_of_all_kinds import HOSTILE, corpus, random_texts

from saecatalog.site import tokens
from saecatalog.site.asset_files import ASSETS

TEXTS = [
    *HOSTILE,
    *corpus(60),
    *random_texts(150, seed=4),
    "<b>&amp;</b><script>alert(1)</script>\"'`",
    "a\xa0b\xad\u2065\u2066\x7f\x80\x9f\r",
    "\ud800 half \udfff",
    "a" + "\u0301" * 200 + "b",
    "\u200d" * 150,
    "👩" + "\u200d👩" * 90,
    "\u0301\u0302",
]


def hostile_cases() -> Iterator[dict[str, Any]]:
    """Texts with random ends, of which some are equal, and random activations, of which some are exact halves."""
    chance = random.Random(7)
    for content in TEXTS * 2:
        count = chance.randrange(1, 25)
        ends = sorted(chance.randrange(len(content) + 1) for _ in range(count))
        ends[-1] = len(content)
        largest = float(np.float32(chance.choice([1.0, 0.15625, 12.125, 3.3, 4e-6, 123456.5, 0.0])))
        values = [float(np.float32(chance.choice([chance.random(), 1, 1 / 3, 2 / 9]) * largest)) for _ in ends]
        active = [(i, value) for i, value in enumerate(values) if chance.random() < 0.5]
        first = chance.randrange(count)
        window = chance.choice([None, (first, chance.randrange(first, count) + 1)])
        peak = chance.choice([-1, *(i for i, _ in active)])
        yield {"content": content, "ends": ends, "active": active, "largest": largest, "window": window, "peak": peak}


def long_cases() -> Iterator[dict[str, Any]]:
    """Runs of combining characters around a mark that are longer than what is kept together."""
    for content in ("a" + "\u0301" * 200 + "b", "😀" + "\u200d" * 201, "👩" + "\u200d👩" * 101):
        for end in (62, 63, 64, 65, 66, 100):
            yield {"content": content, "ends": [end, end + 1, len(content)], "active": [(1, 0.5)], "largest": 1.0}


def units(content: str, place: int) -> int:
    """A place in a text as JavaScript counts."""
    return len(content[:place].encode("utf-16-le", "surrogatepass")) // 2


@pytest.fixture
def marks(page: Page) -> Page:
    page.set_content("<!doctype html><meta charset=utf-8><p id=found></p><p id=right></p>")
    page.add_script_tag(path=ASSETS / "live/marks.js")
    return page


# An element filled by marks.js and one filled from HTML have the same nodes; otherwise both are returned.
COMPARE = """(cases) => cases.flatMap(([name, given, html]) => {
  const [found, right] = ["found", "right"].map((id) => document.getElementById(id));
  saeMarks[name](found, ...given);
  right.innerHTML = html;
  return found.innerHTML === right.innerHTML ? [] : [[found.innerHTML, right.innerHTML]];
})"""


def test_marks_are_those_of_the_examples(marks: Page) -> None:
    cases = []
    for case in [*hostile_cases(), *long_cases()]:
        options = {"window": case.get("window"), "peak": case.get("peak", -1)}
        ends = [units(case["content"], end) for end in case["ends"]]
        given = [case["content"], ends, case["active"], case["largest"], options]
        cases.append(["highlight", given, str(tokens.highlight(**case))])
    assert marks.evaluate(COMPARE, cases) == []


def test_texts_and_tokens_are_shown_with_the_same_signs(marks: Page) -> None:
    every = "".join(map(chr, [*range(0x3100), *range(0xD700, 0xD800), *range(0xFE00, 0x10000)]))
    cases = [["show", [text], str(tokens.visible(text))] for text in [*TEXTS, every]]
    cases += [["token", [text], str(tokens.token(text))] for text in [*TEXTS, every]]
    assert marks.evaluate(COMPARE, cases) == []


def test_values_and_levels_are_rounded_alike(marks: Page) -> None:
    chance = random.Random(3)
    values = [np.float32(chance.random() * 10 ** chance.randrange(-8, 7)) for _ in range(2000)]
    values += [np.float32(n / 2**power) for power in range(1, 14) for n in range(1, 400, 3)]
    cases = []
    for value in map(float, values):
        largest = float(np.float32(value * chance.choice([1, 1.5, 9 / 7, 3, 9])))
        active = [(0, value)]
        cases.append(["highlight", ["a", [1], active, largest], str(tokens.highlight("a", [1], active, largest))])
    assert marks.evaluate(COMPARE, cases) == []
