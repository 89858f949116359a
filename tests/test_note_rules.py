"""Rules in notes: how they are read, what is refused, and which tokens they match."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import SCRIPT, write
from test_site_pages import TEMPLATES

from saecatalog.analysis import note_detection
from saecatalog.analysis.note_detection import check_tokens, matches, touched
from saecatalog.analysis.readings import Corpus
from saecatalog.errors import CatalogError
from saecatalog.note_rules import LONGEST_REGEX, MOST_TOKENS, NoteRule, split_rule
from saecatalog.notes import Subjects, read_notes
from saecatalog.site.render import render_catalog

CATEGORIES = ["news", "Python code"]


def read(front: str, kind: str = "feature", body: str = "Words.") -> tuple[NoteRule | None, str]:
    return split_rule(f"---\n{front}\n---\n{body}", kind, CATEGORIES, "5.md")


@pytest.mark.parametrize(
    ("front", "wanted"),
    [
        ('rule:\n  tokens: [" thanks", " thank"]', {"tokens": (" thanks", " thank")}),
        ('rule: {tokens: " thanks"}', {"tokens": (" thanks",)}),
        ('rule: {tokens: ["a", "a", "\\n"]}', {"tokens": ("a", "\n")}),
        ("rule: {tokens: [no, 12, 2020-01-01]}", {"tokens": ("no", "12", "2020-01-01")}),
        (r"rule: {regex: '\bthank(s|ful)?\b'}", {"regex": r"\bthank(s|ful)?\b"}),
        ("rule: {category: python-code}", {"category": "Python code"}),
        ("# a comment\nrule:\n  regex: 'a'\n  category: news", {"regex": "a", "category": "news"}),
    ],
)
def test_a_rule_is_read_as_written(front: str, wanted: dict[str, object]) -> None:
    rule, rest = read(front)
    assert rule is not None
    assert {name: value for name, value in vars(rule).items() if value and name != "line"} == wanted
    assert rest == "Words."


@pytest.mark.parametrize("note", ["Words.", "--- not a fence", "Words.\n---\nrule: x\n---", "---\nA line above."])
def test_other_notes_stay_as_they_are(note: str) -> None:
    assert split_rule(note, "feature", CATEGORIES, "5.md") == (None, note)


MISTAKES = [
    ("rule:", 2, "has no fields"),
    ("", 2, "is empty"),
    ("rule: {}", 2, "is empty"),
    ("rule: [a", 2, "is not YAML"),
    ("rule:\n  tokens: [a]\n regex: b", 4, "is not YAML"),
    ("rule: !!python/object:os.system {}", 2, "is empty"),
    ("rules: {regex: a}", 2, "unknown field 'rules'. | Did you mean rule?"),
    ("rule:\n  regexp: a", 3, "unknown field 'regexp'. | Did you mean regex?"),
    ("rule:\n  regex: a\n  regex: b", 4, "has 'regex' twice"),
    ("rule: {regex: a}\nrule: {regex: b}", 3, "has 'rule' twice"),
    ("Words, not fields", 2, "no fields. | A rule is"),
    ("rule: thanks", 2, "no fields"),
    ("rule: {tokens: []}", 2, "needs 1 to 20 'tokens', not 0"),
    (f"rule: {{tokens: [{', '.join(f't{i}' for i in range(MOST_TOKENS + 1))}]}}", 2, "not 21"),
    ("rule: {tokens: [[a]]}", 2, "each of the 'tokens'"),
    ("rule: {tokens: [a, '']}", 2, "each of the 'tokens'"),
    ("rule:\n  regex: '('", 3, "a 'regex' that is not valid: missing )"),
    (f"rule: {{regex: {'a' * (LONGEST_REGEX + 1)}}}", 2, "more than 500 characters"),
    ("rule: {regex: {a: b}}", 2, "needs a text in quotes for 'regex'"),
    ("rule: {regex: }", 2, "needs a text in quotes for 'regex'"),
    ("rule:\n  regex: a\n  category: new", 4, "category 'new', which this catalog does not have. | Did you mean news?"),
    ("rule: {category: poems}", 2, "which this catalog does not have. | Use one of: news, Python code."),
]


@pytest.mark.parametrize(("front", "line", "words"), MISTAKES)
def test_a_mistake_is_named_with_its_line_and_what_to_do(front: str, line: int, words: str) -> None:
    with pytest.raises(CatalogError) as caught:
        read(front)
    assert caught.value.where == f"5.md, line {line}"
    said = f"{caught.value.what} | {caught.value.fix}"
    assert words in said
    assert caught.value.fix


def test_a_rule_without_an_end_and_one_about_no_feature_are_refused() -> None:
    with pytest.raises(CatalogError, match="no last line"):
        split_rule("---\nrule: {regex: a}\nWords", "feature", CATEGORIES, "5.md")
    with pytest.raises(CatalogError, match="this note is about a category"):
        read("rule: {regex: a}", kind="category")


def test_mistakes_of_several_notes_are_reported_together(tmp_path: Path) -> None:
    for number, front in ((1, "rule: {regex: '('}"), (2, "rule: {tokens: []}"), (3, "rule: {regex: a}")):
        (tmp_path / f"{number}.md").write_text(f"---\n{front}\n---\nWords.", encoding="utf-8")
    with pytest.raises(CatalogError, match="2 problems") as caught:
        read_notes(str(tmp_path), Subjects(9, CATEGORIES, []))
    assert f"{tmp_path / '1.md'}, line 2: " in caught.value.fix
    assert f"{tmp_path / '2.md'}, line 2: " in caught.value.fix


def test_a_note_holds_its_rule_and_the_rest(tmp_path: Path) -> None:
    (tmp_path / "3.md").write_text('---\nrule: {tokens: [" a"], category: news}\n---\n\nWords.\n', encoding="utf-8")
    notes = read_notes(str(tmp_path), Subjects(9, CATEGORIES, []))
    columns = notes.columns()
    assert columns["rule"] == ['{"tokens": [" a"], "category": "news"}']
    assert columns["markdown"] == ["\nWords.\n"]
    assert notes.rule_places == {3: f"{tmp_path / '3.md'}, line 2"}
    assert notes.rules[3].words() == '" a", in category news'


def test_a_rule_in_words_shows_what_cannot_be_seen() -> None:
    rule = NoteRule(("\n", " \u202ea", "b"), "x\ty")
    assert rule.words() == '"\\n", " U+202Ea" or "b", in a match of x\\ty'


# Matching


TEXTS = ["thanks a lot", "no thanks", "a é b"]
PIECES = [["th", "anks", " a", " lot"], ["no", " th", "anks"], ["a", " ", "<0xC3>", "<0xA9>", " b"]]
ENDS = [[2, 6, 8, 12], [2, 5, 9], [1, 2, 3, 3, 5]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    vocabulary = sorted({piece for pieces in PIECES for piece in pieces} | {"unused"})
    return Corpus(
        np.array([vocabulary.index(piece) for pieces in PIECES for piece in pieces], np.int32),
        np.array([end for ends in ENDS for end in ends], np.int32),
        np.repeat(np.arange(3), [len(ends) for ends in ENDS]).astype(np.int32),
        np.concatenate([np.arange(len(ends)) for ends in ENDS]).astype(np.int32),
        TEXTS,
        ["news", "news", "Python code"],
        vocabulary,
    )


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (NoteRule(tokens=("anks", " a")), "0110 001 00000"),
        (NoteRule(tokens=("unused",)), "0000 000 00000"),
        (NoteRule(regex="thanks"), "1100 011 00000"),
        (NoteRule(regex="hank"), "1100 011 00000"),
        (NoteRule(regex="^."), "1000 100 10000"),
        (NoteRule(regex="é"), "0000 000 00110"),
        (NoteRule(regex=r"\b|(?=a)|$"), "0000 000 00000"),
        (NoteRule(regex=r"(?i)\p{L}+$"), "0001 011 00001"),
        (NoteRule(category="news"), "1111 111 00000"),
        (NoteRule(regex="a", category="Python code"), "0000 000 10000"),
        (NoteRule(tokens=("anks",), regex="^th", category="news"), "0000 000 00000"),
        (NoteRule(tokens=("anks",), regex="^th.*s", category="news"), "0100 000 00000"),
    ],
)
def test_a_rule_matches_these_tokens(corpus: Corpus, rule: NoteRule, wanted: str) -> None:
    assert matches(rule, corpus, "5.md").astype(int).tolist() == [int(x) for x in wanted if x != " "]


SPANS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda s: (min(s), max(s))), max_size=4)


@given(SPANS, st.lists(st.integers(0, 12), min_size=1, max_size=8))
def test_a_token_is_touched_if_it_shares_a_character(spans: list[tuple[int, int]], ends: list[int]) -> None:
    ends = sorted(ends)
    begins = [0, *ends[:-1]]
    wanted = []
    for begin, end in zip(begins, ends, strict=True):
        characters = set(range(begin, end)) or {end - 1} - {-1}
        wanted.append(any(characters & set(range(*span)) for span in spans))
    assert touched(spans, np.array(ends), 12).tolist() == wanted


def test_a_token_that_the_model_lacks_is_named_with_the_closest() -> None:
    with pytest.raises(CatalogError) as caught:
        check_tokens(NoteRule((" thnaks",)), [" thanks", "other"], "5.md, line 2")
    assert caught.value.where == "5.md, line 2"
    assert 'Did you mean " thanks"?' in caught.value.fix
    check_tokens(NoteRule((" thanks",)), [" thanks"], "5.md, line 2")


def test_a_pattern_that_takes_for_ever_is_an_error(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(note_detection, "SECONDS", 0.2)
    slow = Corpus(corpus.ids, corpus.ends, corpus.texts, corpus.positions, ["a" * 5000] * 3, corpus.categories, [])
    with pytest.raises(CatalogError, match="takes more than"):
        matches(NoteRule(regex="(a+)+b"), slow, "5.md, line 2")


# Pages


def test_pages_say_how_a_rule_does_on_the_held_out_half(tmp_path: Path) -> None:
    note = {"kind": "feature", "name": "2", "markdown": "Words.", "images": [], "images_sha256": [], "rule": "{}"}
    tables, manifest = write(tmp_path / "tables", notes=[note])
    paths = {number: f"features/{number}.html" for number in (1, 2, 3)}
    render_catalog(tables, manifest, TEMPLATES, tmp_path / "site", only=paths.values())
    pages = {number: (tmp_path / "site" / path).read_text(encoding="utf-8") for number, path in paths.items()}
    said = {number: HTMLParser(page).css_first(".title .hint").text() for number, page in pages.items()}
    assert said[2] == (
        "Its rule on the held-out half of the texts: precision 67 %, recall 50 %, F1 0.57, 60 % of the activation (it "
        "matches 6 tokens, 4 of 8 active tokens); AUROC 0.73, rules of other features 0.50 (95 % up to 0.60); on texts "
        "0.75."
    ).replace(" %", "\u00a0%", 3)
    assert "AUROC 0.55, no better than rules of other features 0.50" in said[1]
    assert said[3] == "Its rule cannot be tested: the feature is not active on the held-out half of the texts."
    assert SCRIPT not in pages[2]
    rule = HTMLParser(pages[2]).css_first("#note .hint").text()
    assert rule.startswith(f'The author’s rule, " {SCRIPT}" or "U+202Etxt", on the held-out half')
    assert 'id="note"' not in pages[1]
