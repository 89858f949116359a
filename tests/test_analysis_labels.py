"""Labels by hand."""

from pathlib import Path
from typing import Any

import cases
import numpy as np
import pandas as pd
import pytest
from cases import make_case
from studies import analyse_case, empty_lens, run_analyses

from saecatalog.analysis.labels import in_words, make_label, quoted
from saecatalog.analysis.rules import Rule
from saecatalog.analysis.study import Inputs
from saecatalog.config import AnalysisConfig
from saecatalog.store import read_store
from saecatalog.texts.corpus import Text

VOCABULARY = [
    "\n",
    ".",
    " The",
    " take",
    " took",
    " taken",
    " of",
    " cat",
    "ing",
    "7",
    " direct",
    " directed",
    " x",
    " y",
]


def labelled(folder: Path, texts: list[list[int]], fires: Any) -> pd.Series:
    """The row of a feature that fires with 1 where `fires(tokens, position)` is true; all tokens are spelled out."""
    values = [[[float(fires(tokens, i))] for i in range(len(tokens))] for tokens in texts]
    case = make_case(values, ["a"] * len(texts), tokens=texts)
    cases.save_case(folder / "store", case)
    pieces = [[VOCABULARY[token] for token in tokens] for tokens in texts]
    ends = [np.cumsum([len(piece) for piece in found]) for found in pieces]
    np.save(folder / "store" / "token_ends.npy", np.concatenate(ends).astype(np.int32))
    contents = [Text(f"t{n:03}", "a", "here", "".join(found)) for n, found in enumerate(pieces)]
    inputs = Inputs(contents, read_store(folder / "store"), [], None, empty_lens(1), VOCABULARY)
    return run_analyses(inputs, AnalysisConfig(), folder / "tables").tables["features"].iloc[0]


def corpus(n: int = 40, length: int = 25) -> list[list[int]]:
    chance = np.random.default_rng(3)
    return chance.integers(0, len(VOCABULARY), (n, length)).tolist()


FIRES: dict[str, tuple[str, Any]] = {
    # " of" with "ing" or "7" behind it is another word.
    "“of”": ("word", lambda t, i: t[i] == 6 and t[i + 1 : i + 2] not in ([8], [9])),
    "“The”": ("token", lambda t, i: t[i] == 2),
    "after “of”": ("after", lambda t, i: i > 0 and t[i - 1] == 6),
    "before “the”": ("before", lambda t, i: i + 1 < len(t) and t[i + 1] == 2),
    "“cat” after “of”": ("pair", lambda t, i: i > 0 and t[i] == 7 and t[i - 1] == 6),
    "start of text": ("position", lambda t, i: i == 0),
    "first 4 tokens of a text": ("position", lambda t, i: i < 4),
    "after line break": ("after", lambda t, i: i > 0 and t[i - 1] == 0),
}


@pytest.mark.parametrize("label", FIRES)
def test_labels_say_what_kind_of_token_it_is(tmp_path: Path, label: str) -> None:
    kind, fires = FIRES[label]
    row = labelled(tmp_path, corpus(200), fires)
    assert (row["label"], row["label_kind"], row["label_half"]) == (label, kind, "first")
    assert row["label_f1"] == row["label_share"] == row["clearness"] == 1
    assert 0.5 < row["clearness_low"] < 1 == row["clearness_high"]


def test_labels_say_that_no_rule_holds(tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    rare = labelled(tmp_path / "rare", corpus(80), lambda t, i: chance.random() < 0.05)
    assert rare["label_kind"] == rare["label_group"] == "mixed"
    assert rare["label"].startswith("mixed: “")
    dense = labelled(tmp_path / "dense", corpus(80), lambda t, i: chance.random() < 0.5)
    assert dense["label"] == "dense, mixed"
    assert dense["clearness"] < 0.1, "a rule that matches nearly everything has half of its tokens right by chance"


def test_labels_name_what_is_too_rare_to_check(tmp_path: Path) -> None:
    seen = {"n": 0}

    def fires(tokens: list[int], i: int) -> bool:
        seen["n"] += tokens[i] == 3
        return tokens[i] == 3 and seen["n"] <= 6

    row = labelled(tmp_path, [[3, 1, 2] for _ in range(6)] + [[1, 2, 6]] * 6, fires)
    assert (row["label"], row["label_half"]) == ("rare: “take”", "all")
    assert np.isnan(row["clearness"])


def test_a_silent_feature_has_no_rule(tmp_path: Path) -> None:
    row = labelled(tmp_path, corpus(4), lambda t, i: False)
    assert (row["label"], row["label_kind"], row["label_group"], row["label_rule"]) == ("silent", "silent", "", "")


def test_labels_name_the_character_of_a_broken_token(tmp_path: Path) -> None:
    content = "Hi 🙂 there"
    case = make_case([[[0], [4], [3], [0]]], tokens=[[0, 1, 2, 3]])
    cases.save_case(tmp_path / "store", case)
    np.save(tmp_path / "store" / "token_ends.npy", np.array([3, 4, 4, 10], np.int32))
    vocabulary = ["Hi ", "<0xF0><0x9F>", "<0x99><0x82>", " there"]
    store = read_store(tmp_path / "store")
    inputs = Inputs([Text("t", "c", "here", content)], store, [], None, empty_lens(1), vocabulary)
    table = run_analyses(inputs, AnalysisConfig(), tmp_path / "tables").tables["features"]
    assert "<0x" not in table["label"][0]


def test_labels_name_a_category_only_where_it_is_clear(tmp_path: Path) -> None:
    inside, outside = [[[9.0, 0.0]]] * 20, [[[0.0, 0.0]]] * 19 + [[[0.0, 9.0]]]
    case = make_case(inside + outside, ["kept-apart"] * 20 + ["rest"] * 20, [[1]] * 40)
    labels = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0)).tables["features"]["label"].tolist()
    assert labels[0] == "texts in Kept apart"
    assert "Kept apart" not in labels[1]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule("word", ("take", "took", "taken")), "“take”, “took” or “taken”"),
        (Rule("token", (" The", "The")), "“The”"),
        (Rule("token", ("\u202e",)), "“U+202E”"),
        (Rule("stem", ("direct",)), "words that begin with “direct”"),
        (Rule("class", ("numbers",)), "numbers"),
        (Rule("script", ("CJK",)), "Chinese characters"),
        (Rule("script", ("CYRILLIC",)), "Cyrillic letters"),
        (Rule("after", ("<start>", ".")), "after the start of a text or “.”"),
        (Rule("before", ("<end>",)), "before the end of a text"),
        (Rule("word", tuple(c * 90 for c in "abcd")), "“aaaaaaaaaaaaaaaaaaaaaaa…”, “bbbbbbbbbbbbbbbbbbbbbbb…” …"),
    ],
)
def test_rules_in_words(rule: Rule, words: str) -> None:
    assert in_words(rule) == words
    assert make_label(rule, 0.2, False, 0.01, []) == f"weak: {words}"


def test_labels_show_a_sign_for_what_cannot_be_seen_or_turns_the_text_around() -> None:
    shown = {
        " the": "“the”",
        "\n": "line break",
        " ": "space",
        "": "empty",
        "\x07": "“␇”",
        "a\u202eb": "“aU+202Eb”",
        "\u200b": "“U+200B”",
        "👩\u200d👧": "“👩\u200d👧”",
    }
    assert {token: quoted(token) for token in shown} == shown
