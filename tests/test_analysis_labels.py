"""Labels by hand."""

from pathlib import Path

import cases
import numpy as np
from cases import make_case
from studies import analyse_case, empty_lens, run_analyses

from saecatalog.analysis.labels import readable
from saecatalog.analysis.study import Inputs
from saecatalog.config import AnalysisConfig
from saecatalog.store import read_store
from saecatalog.texts.corpus import Text


def test_labels_tell_what_is_special(tmp_path: Path) -> None:
    """Token 1 carries most of the activation but is frequent; token 5 is rare and always active."""
    tokens = [[9, 1, 2, 1, 5], [3, 1, 4, 1, 6], [1, 7, 1, 8]]
    case = make_case([[[0], [2], [0], [2], [3]], [[0], [2], [0], [0], [0]], [[0]] * 4], tokens=tokens)
    row = analyse_case(tmp_path, case, AnalysisConfig()).tables["features"].iloc[0]
    assert row["token_rule"] == "w1"
    assert row["label"] == "w5 · w1"


def test_labels_name_the_character_of_a_broken_token(tmp_path: Path) -> None:
    content = "Hi 🙂 there"
    case = make_case([[[0], [4], [3], [0]]], tokens=[[0, 1, 2, 3]])
    cases.save_case(tmp_path / "store", case)
    np.save(tmp_path / "store" / "token_ends.npy", np.array([3, 4, 4, 10], np.int32))
    vocabulary = ["Hi ", "<0xF0><0x9F>", "<0x99><0x82>", " there"]
    store = read_store(tmp_path / "store")
    inputs = Inputs([Text("t", "c", "here", content)], store, [], None, empty_lens(1), vocabulary)
    table = run_analyses(inputs, AnalysisConfig(), tmp_path / "tables").tables["features"]
    assert table["label"].tolist() == ["🙂"]


def test_labels_name_a_category_only_where_it_is_clear(tmp_path: Path) -> None:
    inside, outside = [[[9.0, 0.0]]] * 20, [[[0.0, 0.0]]] * 19 + [[[0.0, 9.0]]]
    case = make_case(inside + outside, ["kept-apart"] * 20 + ["rest"] * 20, [[1]] * 40)
    labels = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0)).tables["features"]["label"].tolist()
    assert labels == ["start of text · w1 (in kept apart)", "start of text · w1"]


def test_labels_show_a_sign_for_what_cannot_be_seen_or_turns_the_text_around() -> None:
    shown = {
        " the": "the",
        "\n": "line break",
        "\x07": "␇",
        "a\u202eb": "aU+202Eb",
        "\u200b": "U+200B",
        "👩\u200d👧": "👩\u200d👧",
    }
    assert {token: readable(token) for token in shown} == shown
