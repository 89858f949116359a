"""The commands `explore` and `concept`: what they print, as lines and as JSON, against the activations themselves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CONCEPTS, D_SAE, SaeKind

from saecatalog.cli import main
from saecatalog.models.vocabulary import text_tokens
from saecatalog.tables import Tables
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import tokenize

ROOT = Path(__file__).parent.parent
GOOD, MISTAKE = 0, 2
TEXTS = ["The cat sat on the mat. 😀👋🏽", "naïve\tcafé?"]
WORDS = [word for text in TEXTS for word in ("--text", text)]


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def flags(workshop: Path, saes: Callable[..., Path]) -> list[str]:
    sae = str(saes("sink", SaeKind("jumprelu")))
    cache = str(workshop / "explore-cache")
    return ["--sae", sae, "--device", "cpu", "--cache", cache, "--quiet"]


@pytest.fixture(scope="module")
def site(workshop: Path, flags: list[str]) -> Path:
    """A built catalog of the same subject."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        words = ["--corpus", str(workshop / "corpus"), "--concepts", "none", "--features", "1"]
        assert main(["build", *flags, *words, "--out", str(workshop / "explore-site")]) == GOOD
    return workshop / "explore-site"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], flags: list[str]) -> Callable[..., Any]:
    """Runs a command with the flag `--json` and returns what it prints, which must be one JSON object."""

    def run(*words: str) -> Any:
        assert main([*words, *flags, "--json"]) == GOOD
        return json.loads(capsys.readouterr().out)

    return run


def test_the_features_of_a_text_are_the_strongest_of_its_tokens(said: Callable[..., Any]) -> None:
    """Against `explore FEATURE` for every feature that is listed, and some that are not."""
    found = said("explore", *WORDS, "--top", "3")
    assert (found["feature"], found["labels"]) == (None, None)
    assert [text["text"] for text in found["texts"]] == TEXTS
    listed = {row["feature"] for text in found["texts"] for token in text["tokens"] for row in token["features"]}
    for feature in {*sorted(listed)[:4], 1, 5}:
        alone = said("explore", str(feature), *WORDS)
        for text, own in zip(found["texts"], alone["texts"], strict=True):
            for token, mine in zip(text["tokens"], own["tokens"], strict=True):
                assert [token[name] for name in ("position", "token", "counted")] == [
                    mine[name] for name in ("position", "token", "counted")
                ]
                values = [row["activation"] for row in token["features"]]
                assert values == sorted(values, reverse=True)
                here = [row["activation"] for row in token["features"] if row["feature"] == feature]
                if here:
                    assert here == [mine["activation"]]
                else:
                    assert len(values) < 3 or mine["activation"] <= values[-1]
                    assert len(values) == 3 or mine["activation"] == 0
            score = [row["score"] for row in text["features"] if row["feature"] == feature]
            counted = [mine["activation"] for mine in own["tokens"] if mine["counted"]]
            assert own["max"] == max(counted)
            assert own["mean"] == pytest.approx(sum(counted) / len(counted), rel=1e-5)
            assert own["n_active"] == sum(value > 0 for value in counted)
            assert score in ([], [own["max"]])


def test_a_massive_activation_counts_in_no_figure_of_a_text(said: Callable[..., Any]) -> None:
    """The model `sink` has a huge residual stream at every question mark."""
    found = said("explore", *WORDS, "--top", str(D_SAE))
    (last,) = [token for token in found["texts"][1]["tokens"] if token["token"] == "?"]
    assert not last["counted"]
    assert last["features"]
    assert all(row["position"] != last["position"] for row in found["texts"][1]["features"])


def test_labels_are_those_of_a_catalog_of_the_same_subject(
    said: Callable[..., Any],
    site: Path,
    flags: list[str],
    saes: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    import pyarrow.parquet as pq

    (table,) = site.rglob("data/features.parquet")
    labels = dict(zip(*pq.read_table(table, columns=["feature", "label"]).to_pydict().values(), strict=True))
    found = said("explore", *WORDS, "--site", str(site))
    assert found["labels"] == str(table.parent.parent)
    rows = [row for text in found["texts"] for row in text["features"]]
    assert any(row["label"] for row in rows)
    assert {row["feature"]: row["label"] for row in rows} == {row["feature"]: labels[row["feature"]] for row in rows}
    other = ["--sae", str(saes("llama", SaeKind("jumprelu")))]
    assert main(["explore", *WORDS, *flags, *other, "--site", str(site)]) == MISTAKE
    assert "has no catalog of" in capsys.readouterr().err


def test_a_damaged_catalog_is_told(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a/b/data").mkdir(parents=True)
    for name in ("files.json", "manifest.json"):
        (tmp_path / "a/b/data" / name).write_text("{}", encoding="utf-8")
    assert main(["explore", *WORDS, *flags, "--site", str(tmp_path)]) == MISTAKE
    said = capsys.readouterr()
    assert "The labels of this catalog cannot be read" in said.err
    assert said.out == ""


def test_lines_show_every_token(said: Callable[..., Any], flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    tokens = [token["token"] for text in said("explore", "1", *WORDS)["texts"] for token in text["tokens"]]
    for words in (["explore", "1"], ["explore", "--top", "2"]):
        assert main([*words, *WORDS, *flags]) == GOOD
        lines = capsys.readouterr().out.splitlines()
        assert sum("massive activation, excluded" in line for line in lines) == 1
        shown = [line[7:].split("  ")[0].strip() for line in lines if line[:5].strip().isdigit()]
        assert shown == [repr(token)[1:-1].strip() for token in tokens]


def test_a_token_that_is_part_of_a_character_is_shown_as_bytes(subjects: Callable[..., Any]) -> None:
    tokenizer = subjects("llama", SaeKind("jumprelu")).tokenizer
    for content in (*TEXTS, "é", "a👨‍👩‍👧‍👦b", "日本語"):
        tokens = tokenize([Text("a", "a", "a", content)], tokenizer)
        found = text_tokens(content, tokens.ends.tolist(), tokens.ids.tolist(), tokenizer)
        assert len(found) == len(tokens.ids)
        as_bytes = b"".join(
            bytes.fromhex(part[2:]) if part.startswith("0x") else part.encode()
            for token in found
            for part in token.replace("<0x", ">0x").split(">")
        )
        assert as_bytes.decode() == content


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explore"], "No text was given"),
        (["explore", str(D_SAE), "--text", "a"], f"0 to {D_SAE - 1}"),
        (["explore", "-1", "--text", "a"], f"0 to {D_SAE - 1}"),
        (["explore", "--text", "a", "--top", "0"], "--top 0"),
        (["explore", "--text", ""], "no tokens"),
        (["explore", "--text", "a\udcff"], "undecodable byte"),
        (["explore", "--text", "a\udcff", "--special-tokens"], "undecodable byte"),
        (["explore", "1", "--text", "a", "--top", "3"], "--top 3"),
        (["explore", "1", "--text", "a", "--site", "site"], "--site site"),
    ],
)
def test_mistakes(words: list[str], said: str, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, *flags, "--json"]) == MISTAKE
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""


def test_concept_as_json_is_what_the_lines_say(
    said: Callable[..., Any], site: Path, flags: list[str], workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`site` has made the harvest of the corpus."""
    words = [
        "concept",
        str(workshop / "concepts/animals.txt"),
        "--corpus",
        str(workshop / "corpus"),
        "--concepts",
        "none",
    ]
    found = said(*words, "--top", "4")
    assert (found["concept"], found["n_texts"]) == ("animals", len(CONCEPTS["animals"]))
    assert list(found["rankings"]) == ["contrast", "consistent", "strong"]
    means = [row["mean_all"] for row in found["rankings"]["strong"]]
    assert means == sorted(means, reverse=True)
    assert len(means) == 4
    assert main([*words, "--top", "4", *flags]) == GOOD
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    listed = [int(line[0]) for line in lines if line and line[0].isdigit()]
    assert listed == [row["feature"] for rows in found["rankings"].values() for row in rows]
    assert found["labels"] is None
    labelled = said(*words, "--top", "4", "--site", str(site))
    names = (
        Tables(Path(labelled["labels"]) / "data").read("features", ["feature", "label"]).set_index("feature")["label"]
    )
    for kind, rows in labelled["rankings"].items():
        assert [row["label"] for row in rows] == [names[row["feature"]] for row in found["rankings"][kind]]
    assert main([*words, "--top", "4", "--site", str(site), *flags]) == GOOD
    lines = capsys.readouterr().out.splitlines()
    strongest = labelled["rankings"]["strong"][0]
    assert any(
        line.split()[0] == str(strongest["feature"]) and line.endswith(strongest["label"]) for line in lines if line
    )
    assert main([*words, "--site", str(workshop / "corpus"), *flags]) == MISTAKE
    assert "has no catalog of" in capsys.readouterr().err
