"""Texts of any form, end to end with a tiny model: a site is built and can be verified, or there is one error."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import SaeKind
from text_forms import PACKED, as_csv, as_jsonl, standard_input, write

from saecatalog.cli import main

ROOT = Path(__file__).parent.parent
GOOD, MISTAKE = 0, 2

pytestmark = pytest.mark.slow


@pytest.fixture
def flags(workshop: Path, saes: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(ROOT)
    sae = str(saes("llama", SaeKind("jumprelu")))
    places = ["--cache", str(workshop / "any-text-cache"), "--out", str(tmp_path / "site"), "--concepts", "none"]
    return ["--sae", sae, "--device", "cpu", "--quiet", *places]


def texts_of(site: Path) -> list[dict[str, object]]:
    (table,) = site.rglob("data/texts.parquet")
    rows: list[dict[str, object]] = pq.read_table(table).to_pylist()
    return rows


def test_standard_input_becomes_a_site(flags: list[str], tmp_path: Path) -> None:
    data = as_csv([{"text": 'The cat,\n"sat".', "category": "a"}, {"text": "A dog ran.", "category": "b"}])
    with standard_input(data):
        assert main(["build", *flags, "--corpus", "-", "--corpus-format", "csv"]) == GOOD
    assert {(row["category"], row["source"]) for row in texts_of(tmp_path / "site")} == {
        ("a", "standard input, line 2"),
        ("b", "standard input, line 4"),
    }


def test_a_sample_is_built_verified_and_built_again(flags: list[str], tmp_path: Path) -> None:
    records = [{"text": f"The cat counted {n} dogs.", "category": "ab"[n % 2]} for n in range(3000)]
    corpus = str(write(tmp_path / "texts.jsonl", as_jsonl(records)))
    words = [*flags, "--corpus", corpus, "--limit-tokens", "300", "--seed", "7"]
    assert main(["build", *words]) == GOOD
    (manifest,) = (tmp_path / "site").rglob("data/manifest.json")
    settings = json.loads(manifest.read_text(encoding="utf-8"))["settings"]
    assert (settings["limit_tokens"], settings["seed"]) == (300, 7)
    rows = texts_of(tmp_path / "site")
    assert {row["category"] for row in rows} == {"a", "b"}
    assert all(", byte " in str(row["source"]) for row in rows)
    assert main(["verify", str(tmp_path / "site"), "--sample", "2", "--quiet"]) == GOOD
    assert main(["build", *words]) == GOOD
    assert texts_of(tmp_path / "site") == rows


def test_explore_and_concept_read_any_file_of_texts(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "x.csv.gz", PACKED[".gz"](as_csv([{"body": "The cat.", "n": "1"}])))
    subject = flags[:5]
    assert main(["explore", "3", "--file", str(path), *subject]) == MISTAKE
    assert "there are: 'body', 'n'" in capsys.readouterr().err
    settings = write(tmp_path / "c.toml", b'[corpus]\npaths = ["x.csv.gz"]\ntext_field = "body"\n')
    assert main(["concept", str(path), "--catalog", str(settings), *flags[:5], *flags[5:7]]) == GOOD
    assert "x.csv: 1 texts, compared with 1 in the corpus" in capsys.readouterr().out


def test_titles_and_links_of_records_are_in_the_data(flags: list[str], tmp_path: Path) -> None:
    records = [{"text": "The cat.", "title": "Cats", "url": "https://example.org/"}, {"text": "A dog ran."}]
    corpus = str(write(tmp_path / "x.jsonl", as_jsonl(records)))
    assert main(["build", *flags, "--corpus", corpus]) == GOOD
    found = {(row["title"], row["link"]) for row in texts_of(tmp_path / "site")}
    assert found == {("Cats", "https://example.org/"), ("", "")}


def test_the_name_of_a_corpus_does_not_pass_to_another(flags: list[str], tmp_path: Path) -> None:
    """A settings file names its own corpus; texts of a flag are another one, and so another catalog."""
    (tmp_path / "mine.txt").write_text("The cat sat.\nA dog ran.\n", encoding="utf-8")
    (tmp_path / "theirs.txt").write_text("It rained.\nThe sun shone.\n", encoding="utf-8")
    settings = tmp_path / "settings.toml"
    settings.write_text("[corpus]\nname = 'My own'\npaths = ['mine.txt']\n", encoding="utf-8")
    assert main(["build", str(settings), *flags]) == GOOD
    assert main(["build", str(settings), *flags, "--corpus", str(tmp_path / "theirs.txt")]) == GOOD
    manifests = [json.loads(path.read_bytes()) for path in (tmp_path / "site").rglob("data/manifest.json")]
    assert sorted(manifest["corpus"]["name"] for manifest in manifests) == ["My own", "theirs"]
