"""Streams: standard input, and lines that are cut anywhere."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_forms import PACKED, RECORDS, as_jsonl, standard_input, write

from saecatalog.config import CorpusConfig, load_config
from saecatalog.errors import CatalogError
from saecatalog.manifest import corpus_name
from saecatalog.texts.corpus import read_corpus
from saecatalog.texts.streams import _split

RECORD = [{"text": "one"}, {"text": "Zwei ü"}]


def read(data: bytes, path: str = "-", form: str = "auto", limit: int = 0) -> str:
    """What is said about texts from standard input, and what is read or the error."""
    config = CorpusConfig(paths=(path,), concepts=None, format=form, limit_tokens=limit or None)
    with standard_input(data), redirect_stderr(io.StringIO()) as said:
        try:
            found = json.dumps([[t.category, t.content, t.source] for t in read_corpus(config)])
        except CatalogError as error:
            found = str(error)
    return said.getvalue() + found


INPUTS: dict[str, tuple[bytes, str]] = {
    "lines": ("one\nZwei ü\n".encode(), "auto"),
    "lines of another system": ("one\r\nZwei ü".encode(), "auto"),
    "lines in UTF-16": ("one\nZwei ü".encode("utf-16"), "auto"),
    "jsonl": (as_jsonl(RECORD), "auto"),
    "json": (RECORDS[".json"](RECORD), "auto"),
    "parquet": (RECORDS[".parquet"](RECORD), "auto"),
    "arrow": (RECORDS[".arrow"](RECORD), "auto"),
    "csv": (RECORDS[".csv"](RECORD), "csv"),
    "jsonl compressed": (PACKED[".gz"](as_jsonl(RECORD)), "auto"),
    "csv compressed": (PACKED[".zst"](RECORDS[".csv"](RECORD)), "csv"),
    "blocks": ("one\n\nZwei ü".encode(), "blocks"),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_standard_input_is_read_in_any_format(kind: str, path: str) -> None:
    data, form = INPUTS[kind]
    for limit in (0, 100):
        found = read(data, path, form, limit)
        assert '"stdin", "one", "standard input, ' in found
        assert "Zwei \\u00fc" in found
        assert ("standard input is read as" in found) is (form == "auto")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "The category 'stdin' has no texts"), (b'{"txt": "a"}', "no text field"), (b"\xff", "is not UTF-8")],
)
def test_mistakes_in_standard_input_name_it(data: bytes, words: str) -> None:
    found = read(data)
    assert words in found
    assert "where: standard input" in found or "where: -" in found


@pytest.mark.parametrize("again", ["-", "/dev/stdin"])
def test_standard_input_given_twice_is_refused(again: str) -> None:
    with pytest.raises(CatalogError, match="twice"):
        read_corpus(CorpusConfig(paths=("-", again), concepts=None))


def test_standard_input_may_be_a_list_of_texts() -> None:
    code = "from saecatalog.texts.corpus import *; print(read_text_list(Path('-')))"
    run = subprocess.run([sys.executable, "-c", code], input="one\ntwo\n", capture_output=True, text=True)
    assert run.stdout == "['one', 'two']\n", run.stderr


def test_a_process_without_standard_input_is_told_so() -> None:
    code = 'from saecatalog.texts.corpus import *; read_corpus(CorpusConfig(paths=("-",), concepts=None))'
    run = subprocess.run(["sh", "-c", f"exec '{sys.executable}' -c '{code}' <&-"], capture_output=True, text=True)
    assert "CatalogError: There is no standard input." in run.stderr


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_the_name_of_a_corpus_from_standard_input_stays_the_same(path: str) -> None:
    assert corpus_name(CorpusConfig(paths=(path,))) == "stdin"


def test_a_path_in_a_settings_file_may_be_standard_input_or_a_dataset(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", b'[corpus]\npaths = ["-", "hf:a/b", "texts"]\n')
    assert load_config(path).corpus.paths == ("-", "hf:a/b", str(tmp_path / "texts"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda p: p.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_other_pipes_and_devices_are_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x.txt")
    assert "a pipe, a socket or a device" in read(b"", str(tmp_path / "x.txt"))


@given(st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"bc", b"\x0b\x0c\x1c"])), st.data())
def test_lines_do_not_depend_on_where_the_file_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert list(_split(chunks)) == whole.splitlines(keepends=True)
