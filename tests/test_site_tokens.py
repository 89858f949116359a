"""Texts are shown exactly: every character is there once, in order, and nothing in it is read as HTML."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import CONTENTS, tokenize

from saecatalog.site import tokens

ALL_TEXTS = [content for contents in CONTENTS.values() for content in contents]
SIGNS = {"\r": "␍", "\x07": "␇", "\x00": "␀", "\x1b": "␛", "\u202e": "U+202E", "\u200b": "U+200B"}


def text_of(markup: str) -> str:
    """The text that a browser reads in the markup."""
    body = HTMLParser(f"<div id=x>{markup}</div>").css_first("#x")
    return body.text()


def as_shown(content: str) -> str:
    return "".join(SIGNS.get(char, char) for char in content)


@pytest.mark.parametrize("content", ALL_TEXTS)
def test_text_is_kept_character_for_character(content: str) -> None:
    _, ends = tokenize(content)
    active = [(i, 1.0 + i) for i in range(0, len(ends), 2)]
    assert text_of(tokens.highlight(content, ends, active, 9.0)) == as_shown(content)
    assert text_of(tokens.visible(content)) == as_shown(content)
    assert "".join(text_of(piece) for piece in tokens.pieces(content, ends)) == as_shown(content)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40), st.data())
def test_any_cut_of_any_text_keeps_its_characters(content: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12))
    ends = [*sorted(data.draw(st.lists(st.integers(0, len(content)), min_size=count, max_size=count))), len(content)]
    active = [(i, 1.0) for i in range(len(ends)) if data.draw(st.booleans())]
    assert tokens.highlight(content, ends, active, 1.0).striptags() == tokens.visible(content).striptags()


@given(st.text(alphabet=st.sampled_from("ab \n<&e\u0301\u200d\ufe0f👋🏽👩م\x00"), min_size=1, max_size=20), st.data())
def test_pieces_and_marks_make_the_same_markup(content: str, data: st.DataObject) -> None:
    """What a script can do with the pieces and the marks of a text, however it is divided."""
    count = data.draw(st.integers(0, 12))
    ends = [*sorted(data.draw(st.lists(st.integers(0, len(content)), min_size=count, max_size=count))), len(content)]
    active = [(i, float(1 + i % 3)) for i in range(len(ends)) if data.draw(st.booleans())]
    peak = data.draw(st.sampled_from([position for position, _ in active] or [-1]))
    cuts = tokens.cuts(content, ends)
    made = [str(tokens.visible(content[a:b])) for a, b in itertools.pairwise(cuts)]
    for mark in reversed(tokens.marks(content, ends, active, 4.0, peak)):
        part = slice(cuts.index(mark.start), cuts.index(mark.end))
        classes = f"a{mark.level}{' p' * mark.peak}"
        made[part] = [f'<b class="{classes}" title="{mark.value}">{"".join(made[part])}</b>']
    assert "".join(made) == tokens.highlight(content, ends, active, 4.0, peak=peak)


def test_character_split_over_tokens_is_one_mark_with_the_largest_strength() -> None:
    content = "a 🙂 b"
    _pieces, ends = tokenize(content)
    assert ends == [1, 2, 3, 3, 3, 3, 5]
    markup = tokens.highlight(content, ends, [(2, 1.0), (3, 4.0), (5, 2.0)], 4.0)
    assert markup == 'a <b class="a9" title="4">🙂</b> b'


def test_marks_take_in_joiners_and_skin_tones() -> None:
    content = "👋🏽"
    _, ends = tokenize(content)
    assert tokens.highlight(content, ends, [(0, 2.0)], 2.0) == '<b class="a9" title="2">👋🏽</b>'


def test_white_space_and_controls_are_visible() -> None:
    assert tokens.visible("a\n\tb\xa0") == 'a<i class="nl">\n</i><i class="tb">\t</i>b<i class="nb">\xa0</i>'
    assert "␀" in tokens.visible("\x00")
    assert "\x00" not in tokens.visible("\x00")
    assert 'title="U+202E right-to-left override"' in tokens.visible("\u202e")
    assert tokens.token(" a") == "<i> </i>a"


def test_joiners_that_scripts_need_stay() -> None:
    assert tokens.visible("می\u200cخواهم 👩\u200d👧") == "می\u200cخواهم 👩\u200d👧"


def test_right_to_left_text_is_not_reordered() -> None:
    content = "مرحبا بالعالم"
    assert tokens.highlight(content, [5, 13], [(1, 1.0)], 1.0) == 'مرحبا<b class="a9" title="1"> بالعالم</b>'


def test_window_shows_its_tokens_only_and_marks_the_peak() -> None:
    markup = tokens.highlight("one two three four", [3, 7, 13, 18], [(0, 1.0), (2, 2.0)], 4.0, window=(1, 3), peak=2)
    assert markup == ' two<b class="a5 p" title="2"> three</b>'


@pytest.mark.parametrize(("value", "expected"), [(1e-9, 1), (0.1, 1), (0.12, 2), (0.5, 5), (1.0, 9), (2.0, 9)])
def test_levels_rise_with_strength(value: float, expected: int) -> None:
    assert tokens.level(value, 1.0) == expected


def test_shorten_cuts_between_words() -> None:
    assert tokens.shorten("one two three", 100) == "one two three"
    assert tokens.shorten("one\ntwo  three four", 13) == "one two…"
    assert tokens.shorten("x" * 50, 10) == "x" * 9 + "…"
    assert tokens.shorten("bell \x07, nul \x00", 100) == "bell ␇, nul ␀"


def test_a_window_is_marked_as_if_every_mark_of_the_text_were_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """On short texts of combining characters, divided into tokens anywhere, with every kind of window."""
    chance = random.Random(1)
    cases = []
    for _ in range(3000):
        content = "".join(chance.choice("ab \u0301\u200d👩👧🏽\ufe0f\n<") for _ in range(chance.randint(1, 12)))
        ends = sorted([*chance.choices(range(len(content) + 1), k=chance.randint(0, 9)), len(content)])
        active = [(i, chance.random() + 0.1) for i in range(len(ends)) if chance.random() < 0.6]
        first = chance.randint(0, len(ends))
        window = (first, chance.randint(first, len(ends)))
        cases.append((content, ends, active, 1.0, window, chance.randint(-1, len(ends) - 1)))
    quick = [tokens.highlight(*case) for case in cases]
    monkeypatch.setattr(tokens, "cuts_clean", lambda *_: False)
    assert quick == [tokens.highlight(*case) for case in cases]


@pytest.mark.parametrize("special", ["<", "\n", "\u202e", "\ud83d"])
def test_a_special_character_is_shown_as_one_wherever_it_stands_in_a_window(special: str) -> None:
    for place in range(6):
        content = "abcdef"[:place] + special + "abcdef"[place:]
        for first, last in itertools.combinations(range(8), 2):
            shown = tokens.highlight(content, range(1, 8), [(first, 1.0)], 1.0, (first, last))
            rest = tokens.visible(content[first + 1 : last])
            assert shown == f'<b class="a9" title="1">{tokens.visible(content[first])}</b>{rest}'


@given(st.sets(st.integers(0, 9)), st.integers(0, 9), st.integers(0, 9))
def test_tokens_near_a_window_are_those_within_reach_of_it(active: set[int], a: int, b: int) -> None:
    positions, window = sorted(active), (min(a, b), max(a, b))
    values = [position + 0.5 for position in positions]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "LONGEST_CHARACTER", 2)
        found = tokens.near(np.array(positions, np.int32), np.array(values, np.float32), window)
    both = zip(positions, values, strict=True)
    assert found == [(position, value) for position, value in both if window[0] - 2 <= position < window[1] + 2]


def test_a_text_of_combining_characters_alone_takes_no_more_looks_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for the start of its one character from each token would take a time that grows with the square."""
    looks = 0

    def counted(char: str) -> bool:
        nonlocal looks
        looks += 1
        return extends(char)

    extends = tokens._extends
    monkeypatch.setattr(tokens, "_extends", counted)
    content = "a" + "\u0301" * 2000
    ends = list(range(1, len(content) + 1))
    markup = tokens.highlight(content, ends, [(i, 1.0) for i in range(0, len(ends), 3)], 1.0, peak=600)
    assert tokens.cuts(content, ends)
    assert text_of(markup) == content
    assert looks < 10 * tokens.LONGEST_CHARACTER * len(content)


def test_shorten_reads_only_the_beginning_of_a_book() -> None:
    assert tokens.shorten(" \n" * 5000 + "one two three four" * 9, 12) == "one two…"
    assert tokens.shorten("one" + " " * 5000 + "two", 12) == "one…"
