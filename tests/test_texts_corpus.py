"""Texts: all formats give the same texts, ids do not depend on a text's place, and errors say where the mistake is."""

import json
import os
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.texts.corpus import Text, corpus_hash, read_concepts, read_corpus, read_text_list

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


def test_texts_name_their_file_but_rows_of_a_dataset_do_not(tmp_path: Path) -> None:
    """So that texts of one file can count as one source; two files of one name in a category's folder are two."""
    for name in ("poems/a.txt", "poems/old/a.txt", "notes.blocks.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"first of {name}\n\nsecond", encoding="utf-8")
    pd.DataFrame({"text": ["x", "y"]}).to_parquet(tmp_path / "rows.parquet")
    found = {(text.category, text.file) for text in read(tmp_path)}
    poems = {("poems", "poems/a.txt"), ("poems", "poems/old/a.txt")}
    assert found == {*poems, ("notes", "notes.blocks.txt"), ("rows", "")}


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
        ("x.txt", b"good\rbad \xff byte", "x.txt, line 2"),
        ("x.txt", "Grüße\nan alle".encode("utf-16-le"), "is UTF-16LE, not UTF-8"),
        ("x.txt", "Grüße\nan alle".encode("utf-16-be"), "is UTF-16BE, not UTF-8"),
        ("x.txt", "Grüße an alle".encode("utf-32-le"), "is UTF-32LE, not UTF-8"),
        ("x.txt", b"one\ntw\0o", "x.txt, line 2"),
        ("x.txt", b"one\ntw\0o", "byte 0"),
        ("x.jsonl", b'{"text": "a"}\n{"text": "b \\ud83d"}', "x.jsonl, line 2"),
        ("x.jsonl", b'{"text": "b \\ud83d"}', "\\ud83d"),
        ("x.jsonl", b'{"text": "a", "category": "\\udc00"}', "x.jsonl, line 1"),
        ("x.jsonl", b'{"text": "a", "category": "two\\nlines"}', "cannot be shown: \\n"),
        ("x.jsonl", b'{"text": "a", "category": "txt.\\u202eexe"}', "cannot be shown: \\u202e"),
        ("x.jsonl", b'{"text": "a", "category": ["b"]}', "is not a name"),
        ("x.jsonl", b'{"text": "a", "category": "%s"}' % (b"b" * 1001), "more than 1,000 characters"),
        ("x.jsonl", b'{"text": %s}' % (b"1" * 5000), "x.jsonl, line 1"),
        ("x.jsonl", b"[" * 100_000, "x.jsonl, line 1"),
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
    for path in (put(tmp_path / "y.txt", "\n \n"), put(tmp_path / "y.json", "[]"), put(tmp_path / "y.csv", "text\n")):
        with pytest.raises(CatalogError, match="has no texts"):
            read_text_list(path)


def test_every_kind_of_line_end_ends_a_line(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"one\rtwo\r\nthree\nfour\r")
    (tmp_path / "y.blocks.txt").write_bytes(b"one\r\rtwo\rmore")
    texts = read(tmp_path)
    assert {t.content for t in texts if t.category == "x"} == {"one", "two", "three", "four"}
    assert {t.content: t.source for t in texts if t.category == "y"} == {
        "one": "y.blocks.txt, line 1",
        "two\nmore": "y.blocks.txt, line 3",
    }


def test_text_that_is_no_utf8_in_a_parquet_file_names_its_row(tmp_path: Path) -> None:
    good = pa.array([b"one", b"\xed\xa0\xbd"], pa.binary())
    bad = pa.StringArray.from_buffers(2, *good.buffers()[1:])
    pq.write_table(pa.table({"text": bad}), tmp_path / "x.parquet")
    with pytest.raises(CatalogError, match=r"not UTF-8\.\n.*x\.parquet, row 2"):
        read(tmp_path / "x.parquet")


def test_each_real_file_is_read_once_however_many_links_lead_to_it(tmp_path: Path) -> None:
    put(tmp_path / "a" / "deep" / "one.txt", "one")
    put(tmp_path / "b" / "two.txt", "two")
    put(tmp_path / "elsewhere" / "three.txt", "three")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (tmp_path / "a").rename(corpus / "a")
    (tmp_path / "b").rename(corpus / "b")
    (corpus / "a" / "again.txt").symlink_to("deep/one.txt")
    (corpus / "a" / "same").symlink_to("deep")
    (corpus / "a" / "far").symlink_to(tmp_path / "elsewhere")
    (corpus / "a" / "round").symlink_to("../b")
    (corpus / "b" / "round").symlink_to("../a")
    found = [(t.category, t.content) for t in read(corpus)]
    assert sorted(found) == [(c, t) for c in "ab" for t in ("one", "three", "two")]


LINKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "to its own folder": (lambda p: p.symlink_to("."), "a folder that contains it"),
    "to a folder above": (lambda p: p.symlink_to("../.."), "a folder that contains it"),
    "to itself": (lambda p: p.symlink_to(p), "cannot be read"),
    "to nothing": (lambda p: p.symlink_to("nothing"), "leads to 'nothing', which does not exist"),
    "pipe": (os.mkfifo, "a pipe, a socket or a device"),
    "device": (lambda p: p.symlink_to("/dev/zero"), "a pipe, a socket or a device"),
}


@pytest.mark.parametrize("inside", ["loop", "c/loop"])
@pytest.mark.parametrize("kind", LINKS)
def test_links_in_circles_or_to_nothing_and_pipes_are_refused(tmp_path: Path, kind: str, inside: str) -> None:
    make, words = LINKS[kind]
    put(tmp_path / "corpus" / "x.txt", "one")
    put(tmp_path / "corpus" / "c" / "y.txt", "two")
    make(tmp_path / "corpus" / inside)
    # What hangs would hang for ever.
    signal.alarm(20)
    try:
        with pytest.raises(CatalogError, match=words) as caught:
            read(tmp_path / "corpus")
    finally:
        signal.alarm(0)
    assert f"corpus/{inside}" in caught.value.where


def test_a_pipe_given_as_a_corpus_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for reader in (read, read_text_list):
        with pytest.raises(CatalogError, match="a pipe, a socket or a device"):
            reader(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["x" * 5000, "null\0byte"])
def test_an_impossible_path_is_named(name: str) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        read(Path(name))


@pytest.mark.parametrize("again", ["corpus", "corpus/x.jsonl", "link"])
def test_a_path_given_twice_is_refused(tmp_path: Path, again: str) -> None:
    put(tmp_path / "corpus" / "x.jsonl", '{"text": "one", "category": "c"}')
    (tmp_path / "link").symlink_to("corpus")
    with pytest.raises(CatalogError, match="contains this file or folder twice") as caught:
        read(tmp_path / "corpus", tmp_path / again)
    assert "x.jsonl and " in caught.value.where


AS_NOBODY = """
import os
from saecatalog.config import CorpusConfig
from saecatalog.texts.corpus import read_corpus
from saecatalog.errors import CatalogError
b"x".decode("utf-8-sig")  # loads the codec, which another user may not read
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    print(len(read_corpus(CorpusConfig(paths=("corpus",), concepts=None))))
except CatalogError as error:
    print(error)
"""


@pytest.mark.parametrize("secret", ["c/secret", "secret", "c/secret.txt", "."])
def test_what_may_not_be_read_is_named_and_never_taken_as_empty(tmp_path: Path, secret: str) -> None:
    """Read in a process of another user if this one is root, whom permissions do not bind."""
    put(tmp_path / "corpus" / "c" / "open.txt", "one")
    hidden = tmp_path / "corpus" / secret
    put(hidden if hidden.suffix else hidden / "more.txt", "two")
    tmp_path.chmod(0o711)
    hidden.chmod(0)
    run = subprocess.run([sys.executable, "-c", AS_NOBODY], cwd=tmp_path, capture_output=True, text=True)
    hidden.chmod(0o755)
    if "os.set" in run.stderr:
        pytest.skip("this process cannot start one of another user")
    assert "may not be read" in run.stdout, run.stderr
    assert f"where: {Path('corpus') / secret}\n" in run.stdout


def test_a_name_in_either_unicode_form_is_one_category(tmp_path: Path) -> None:
    records = [{"text": form, "category": unicodedata.normalize(form, " café ")} for form in ("NFC", "NFD")]
    texts = read(put(tmp_path / "x.jsonl", "\n".join(map(json.dumps, records))))
    assert [t.category for t in texts] == ["café", "café"]


@pytest.mark.parametrize("name", ["caf\u00e9 ", "Cafe\u0301", "\uff23afe"])
def test_names_that_would_share_a_page_are_refused(tmp_path: Path, name: str) -> None:
    records = [{"text": "a", "category": "café"}, {"text": "b", "category": name}]
    texts = put(tmp_path / "x.jsonl", "\n".join(map(json.dumps, records)))
    if unicodedata.normalize("NFC", name).strip() == "café":
        assert len(read(texts)) == 2
    else:
        with pytest.raises(CatalogError, match="the same name, but for case, accents and signs"):
            read(texts)


@pytest.mark.parametrize("name", [b"un\xffdecodable.txt", b"two\nlines.txt"])
def test_a_file_name_that_cannot_be_shown_is_refused(tmp_path: Path, name: bytes) -> None:
    put(tmp_path / "good.txt", "one")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("two")
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(CatalogError, match="The name of this category") as caught:
        read(tmp_path)
    str(caught.value).encode()
    assert caught.value.where.isprintable()


def test_an_undecodable_name_inside_a_category_is_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/c/\xff.txt")).write_text("two")
    except OSError:
        pytest.skip("this file system has no such names")
    assert [t.source for t in read(tmp_path)] == ["\\udcff.txt"]
