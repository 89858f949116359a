"""Texts: all formats give the same texts, ids do not depend on a text's place, and errors say where the mistake is."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from saecatalog.config import CorpusConfig
from saecatalog.corpus import Text, corpus_hash, read_concepts, read_corpus, read_text_list
from saecatalog.errors import CatalogError

TEXTS = ["First text.", "Zweiter Text mit ü.", "第三の文。"]


def read(*paths: Path, **settings: str) -> list[Text]:
    return read_corpus(replace(CorpusConfig(paths=tuple(map(str, paths)), concepts=None), **settings))


def put(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def fill(folder: Path, form: str) -> Path:
    """A corpus of one category `c` with TEXTS, in one of the formats."""
    records = [{"text": t, "category": "c"} for t in TEXTS]
    if form == "lines":
        return put(folder / "c.txt", "\n".join(TEXTS) + "\n\n")
    if form == "blocks":
        return put(folder / "c.blocks.txt", "\n\n\n".join(TEXTS))
    if form == "jsonl":
        return put(folder / "any.jsonl", "\n".join(json.dumps(r) for r in records))
    if form == "parquet":
        pd.DataFrame(records).to_parquet(folder / "any.parquet")
        return folder / "any.parquet"
    for number, text in enumerate(TEXTS):
        put(folder / "c" / "deep" / f"{number}.md", text + "\n")
    return folder


@pytest.mark.parametrize("form", ["lines", "blocks", "jsonl", "parquet", "folder"])
def test_every_format_gives_the_same_texts(tmp_path: Path, form: str) -> None:
    texts = read(fill(tmp_path, form))
    expected = read(put(tmp_path / "reference" / "c.txt", "\n".join(TEXTS)))
    assert {(t.id, t.category, t.content) for t in texts} == {(t.id, t.category, t.content) for t in expected}
    assert {t.content for t in texts} == set(TEXTS)


def test_folder_of_files_as_one_category(tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS):
        put(tmp_path / "mine" / f"{number}.txt", f"{text}\nsecond line")
    texts = read(tmp_path / "mine", format="files")
    assert {t.category for t in texts} == {"mine"}
    assert sorted(t.content for t in texts) == sorted(f"{t}\nsecond line" for t in TEXTS)


def test_ids_do_not_depend_on_the_order_of_lines_or_files(tmp_path: Path) -> None:
    a = read(put(tmp_path / "a" / "x.txt", "one\ntwo"), put(tmp_path / "a" / "y.txt", "three"))
    b = read(put(tmp_path / "b" / "y.txt", "three"), put(tmp_path / "b" / "x.txt", "two\none"))
    assert [(t.id, t.content) for t in a] == [(t.id, t.content) for t in b]
    assert corpus_hash(a) == corpus_hash(b)


def test_the_same_text_twice_is_two_texts_with_two_ids(tmp_path: Path) -> None:
    texts = read(put(tmp_path / "x.txt", "same\nsame\nother"))
    assert len({t.id for t in texts}) == 3
    assert sorted(t.source for t in texts) == ["x.txt, line 1", "x.txt, line 2", "x.txt, line 3"]


def test_sources_name_the_line(tmp_path: Path) -> None:
    blocks = read(put(tmp_path / "x.blocks.txt", "\n\n  indented\nmore\n\n\n\nsecond\n"))
    assert {t.content: t.source for t in blocks} == {
        "  indented\nmore": "x.blocks.txt, line 3",
        "second": "x.blocks.txt, line 8",
    }


def test_windows_line_ends_and_byte_order_mark_are_not_part_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert sorted(t.content for t in read(tmp_path / "x.txt")) == ["one", "two"]


def test_readme_and_hidden_files_and_concepts_are_no_categories(tmp_path: Path) -> None:
    put(tmp_path / "x.txt", "one")
    put(tmp_path / "README.md", "about")
    put(tmp_path / ".hidden", "no")
    put(tmp_path / "concepts" / "weather.txt", "rain")
    config = CorpusConfig(paths=(str(tmp_path),), concepts=str(tmp_path / "concepts"))
    assert [t.category for t in read_corpus(config)] == ["x"]
    assert [(t.category, t.content) for t in read_concepts(config)] == [("weather", "rain")]


def test_no_concepts_folder_means_no_concepts(tmp_path: Path) -> None:
    assert read_concepts(CorpusConfig(concepts=str(tmp_path / "none"))) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.txt", b"", "empty"),
        ("x.txt", b"\n \n", "The category 'x' has no text"),
        ("x.txt", b"good\nbad \xff byte", "x.txt, line 2"),
        ("x.jsonl", b'{"text": "a"}\n{"text": ', "x.jsonl, line 2"),
        ("x.jsonl", b'{"txet": "a"}', "no text field 'text'"),
        ("x.jsonl", b"[1]", "x.jsonl, line 1"),
        ("x.parquet", b"not parquet", "not a valid Parquet file"),
    ],
)
def test_mistakes_in_files_name_the_place(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        read(tmp_path / name)
    assert words in str(caught.value)


def test_a_missing_path_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="corpus file or folder does not exist") as caught:
        read(tmp_path / "none")
    assert "none" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="contains no texts"):
        read(tmp_path / "empty")


@pytest.mark.parametrize("other", ["news", "News"])
def test_two_categories_with_one_name(tmp_path: Path, other: str) -> None:
    put(tmp_path / "a" / "news.txt", "one")
    put(tmp_path / "b" / f"{other}.txt", "two")
    with pytest.raises(CatalogError, match="same name") as caught:
        read(tmp_path / "a", tmp_path / "b")
    assert "a/news.txt" in str(caught.value)
    assert f"b/{other}.txt" in str(caught.value)


def test_a_field_may_name_one_category_in_two_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / f"{name}.jsonl", json.dumps({"text": name, "category": "shared"}))
    assert [t.category for t in read(tmp_path / "a.jsonl", tmp_path / "b.jsonl")] == ["shared", "shared"]


def test_text_list_reads_one_text_per_line(tmp_path: Path) -> None:
    assert read_text_list(put(tmp_path / "x.txt", "one\n\ntwo\n")) == ["one", "two"]
