"""Formats: the same records give the same texts in each of them, and a mistake is named with its place."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.feather import write_feather
from text_forms import PACKED, RECORDS, TEXTS, as_arrow, as_csv, as_json, as_jsonl, as_parquet, write

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.texts.corpus import Text, read_corpus, read_text_list
from saecatalog.texts.formats.json_records import Scanner
from saecatalog.texts.formats.known import FORMATS, by_content

# What a spreadsheet writes between quotes: line breaks, quotes and separators; no half characters, and no byte 0.
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).filter(str.strip)
names = st.sampled_from(["news", "poetry", "Straße"])
some_records = st.lists(
    st.fixed_dictionaries({"text": words, "category": names, "title": names}), min_size=1, max_size=6
)
lines = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1).map(str.strip), min_size=1
).map(lambda found: [line for line in found if line] or ["x"])


def read(path: Path, **settings: Any) -> list[Text]:
    return read_corpus(CorpusConfig(paths=(str(path),), concepts=None, **settings))


def parts(texts: list[Text]) -> list[tuple[str, str, str, str]]:
    return [(text.id, text.category, text.content, text.title) for text in texts]


def test_every_ending_is_tested() -> None:
    assert {ending for reader in FORMATS.values() for ending in reader.suffixes} == {*RECORDS, *TEXTS}


@given(records=some_records)
def test_the_same_records_are_the_same_texts_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("forms")
    wanted = parts(read(write(folder / "x.jsonl", as_jsonl(records))))
    assert sorted(content for _, _, content, _ in wanted) == sorted(r["text"].strip("\n").rstrip() for r in records)
    for ending, form in RECORDS.items():
        assert parts(read(write(folder / f"x{ending}", form(records)))) == wanted, ending


@given(texts=lines)
def test_the_same_lines_are_the_same_texts_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("forms")
    wanted = parts(read(write(folder / "c.jsonl", as_jsonl([{"text": text} for text in texts]))))
    assert sorted(content for _, _, content, _ in wanted) == sorted(texts)
    for ending, form in TEXTS.items():
        assert parts(read(write(folder / f"c{ending}", form(texts)))) == wanted, ending
    for number, text in enumerate(texts):
        write(folder / "c" / f"{number}.rst", text.encode())
    assert parts(read(write(folder / "only" / ".hidden", b"").parents[1] / "c", format="files")) == wanted


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("ending", [*RECORDS, *TEXTS])
def test_compressed_files_have_the_texts_of_plain_ones(tmp_path: Path, ending: str, packing: str) -> None:
    texts = ["Grüße.", "第三の文。", 'a "quoted", word']
    plain = RECORDS[ending]([{"text": text} for text in texts]) if ending in RECORDS else TEXTS[ending](texts)
    wanted = parts(read(write(tmp_path / "plain" / "c.jsonl", as_jsonl([{"text": text} for text in texts]))))
    path = write(tmp_path / f"c{ending}{packing}", PACKED[packing](plain))
    assert parts(read(path)) == wanted
    assert parts(read(path, limit_tokens=1000)) == wanted
    assert sorted(read_text_list(path)) == sorted(texts)
    assert {text.source.partition(",")[0] for text in read(path)} == {f"c{ending}{packing}"}


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_files_that_were_compressed_in_parts_are_read_to_the_end(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / f"c.txt{packing}", b"".join(PACKED[packing](b"line %d\n" % n * 999) for n in range(3)))
    assert {text.content for text in read(path)} == {"line 0", "line 1", "line 2"}


def test_a_compressed_file_in_a_category_is_a_text_or_records(tmp_path: Path) -> None:
    write(tmp_path / "c" / "one.py.gz", PACKED[".gz"](b"def one():\n    pass\n"))
    write(tmp_path / "c" / "more.csv", as_csv([{"text": "two"}, {"text": "three"}]))
    assert {text.content for text in read(tmp_path)} == {"def one():\n    pass", "two", "three"}


MISTAKES: dict[str, tuple[str, bytes, str]] = {
    "unknown ending": ("x.docx", b"x", r"does not say the format.*\n.*x\.docx\n.*\.arrow, .*\.zst.*--corpus-format"),
    "no ending": ("x", b"x", "does not say the format"),
    "unknown ending, compressed": ("x.docx.gz", PACKED[".gz"](b"x"), "does not say the format"),
    "cut off": ("x.txt.gz", PACKED[".gz"](b"x" * 999)[:-9], r"damaged or cut off.\n.*x\.txt\.gz"),
    "damaged": ("x.txt.gz", PACKED[".gz"](b"xyz" * 999)[:20] + b"?" * 30, "damaged or cut off"),
    "damaged zstd": ("x.txt.zst", PACKED[".zst"](b"xyz" * 999)[:9] + b"?" * 30, "damaged or cut off"),
    "not compressed": ("x.txt.gz", b"plain", "is not compressed with gzip"),
    "compressed otherwise": ("x.txt.zst", PACKED[".gz"](b"x"), "is not compressed with zstd"),
    "no text column": ("x.csv", b"body,kind\na,b\n", r"no text field 'text'.*\n.*x\.csv, line 1\n.*'body', 'kind'"),
    "semicolons": ("x.csv", b'n; "text"\n1;a\n', "separated by semicolons"),
    "tabs in CSV": ("x.csv", b"n\ttext\n1\ta\n", r"separated by tabs.*\n.*\n.*--corpus-format tsv"),
    "commas in TSV": ("x.tsv", b"n,text\n1,a\n", "separated by commas"),
    "column twice": ("x.csv", b"text,text\na,b\n", "two columns 'text'"),
    "comma without quotes": ("x.csv", b"id,text\n1,fine\n2,a, b\n", r"3 fields; the first row has 2.\n.*line 3"),
    "short row": ("x.tsv", b"text\tkind\nalone\n", r"1 field; the first row has 2.\n.*line 2"),
    "text after quotes": ("x.tsv", b'text\n"so" he said\n', r"cannot be read.\n.*x\.tsv, line 2"),
    "open quotes": ("x.csv", b'text\n"one\n"two\nthree\n', r"cannot be read.\n.*line 2"),
    "other columns": ("x.parquet", as_parquet([{"body": "a", "n": 1}]), r"no text field 'text'.*\n.*\n.*'body', 'n'"),  # type: ignore[dict-item]
    "other arrow columns": ("x.arrow", as_arrow([{"txt": "a"}]), "'txt'. Did you mean txt"),
    "no arrow": ("x.arrow", b"nothing of the kind", "not a valid Arrow file"),
    "cut arrow": ("x.arrow", as_arrow([{"text": "a" * 999}])[:600], "not a valid Arrow file"),
    "other fields": ("x.jsonl", b'{"txet": "a", "n": 1}', r"no text field 'text'.*\n.*line 1\n.*'txet', 'n'"),
    "a number": ("x.jsonl", b'{"text": 5}', "not a string but a number"),
    "lists": ("x.parquet", as_parquet([{"text": ["a"]}]), "not a string but a list"),  # type: ignore[dict-item]
    "an object": ("x.json", b'{"data": [1], "n": 2, "rows": []}', "one object, with the lists data, rows"),
    "lines": ("x.json", as_jsonl([{"text": "a"}, {"text": "b"}]), "one object after another.*jsonl"),
    "a number for an array": ("x.json", b"5", "does not hold an array"),
    "numbers": ("x.json", b'["a", 5]', r"neither an object with fields nor a string.\n.*record 2"),
    "cut array": ("x.json", b'[{"text": "a"}, {"text": "b', r"not valid JSON.\n.*record 2"),
    "open array": ("x.json", b'["a", "b"', "cut off"),
    "two arrays": ("x.json", b'["a"]["b"]', "Something follows"),
    "half a character": ("x.json", b'["a \\ud83d"]', r"half of a character.*\n.*record 1"),
    "all null": ("x.jsonl", b'{"text": null}\n{"text": " "}', r"missing or empty in 2 records"),
    "not UTF-8": ("x.csv", b"text\ngood\nb\xffd\n", r"not UTF-8.\n.*x\.csv, line 3"),
    "not UTF-8 in JSON": ("x.json", b'["good",\n"b\xffd"]', r"not UTF-8.\n.*x\.json, line 2"),
    "half of UTF-16": ("x.txt", "ab".encode("utf-16")[:-1], "begins like UTF-16, but is not"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("limit", [None, 1000])
def test_a_mistake_is_named_with_its_place_and_what_is_there(tmp_path: Path, mistake: str, limit: int | None) -> None:
    name, data, message = MISTAKES[mistake]
    with pytest.raises(CatalogError) as caught:
        read(write(tmp_path / name, data), limit_tokens=limit)
    assert re.search(message, str(caught.value)), caught.value


@pytest.mark.parametrize("text", ["Grüße an alle", "Привет", "第三の文。"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".json", ".csv"])
def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path, ending: str, encoding: str, text: str) -> None:
    plain = RECORDS[ending]([{"text": text}, {"text": "two"}]) if ending in RECORDS else TEXTS[ending]([text, "two"])
    assert {t.content for t in read(write(tmp_path / f"c{ending}", plain.decode().encode(encoding)))} == {text, "two"}


def test_rows_of_quoted_lines_keep_their_lines_and_the_line_they_begin_in(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b'n, text ,category\r\n1,"one\r\n""two"", three",a\r\n\r\n2,four,b\r\n')
    assert {(t.content, t.category, t.source) for t in read(path)} == {
        ('one\r\n"two", three', "a", "x.csv, line 2"),
        ("four", "b", "x.csv, line 5"),
    }


def test_columns_may_have_any_types_of_text(tmp_path: Path) -> None:
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        table = pa.table({"text": pa.array(["one", None, "two"]).cast(kind), "category": [1, 1, 2]})
        pq.write_table(table, tmp_path / "x.parquet")
        write_feather(table, tmp_path / "x.feather", compression="lz4")
        for path in (tmp_path / "x.parquet", tmp_path / "x.feather"):
            assert {(t.content, t.category) for t in read(path)} == {("one", "1"), ("two", "2")}


@given(
    data=st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
)
def test_an_array_is_read_in_pieces_of_any_size(data: object) -> None:
    written = json.dumps([{"text": "a", "more": data}] * 3)
    for size in (1, 2, 7):
        scanner = Scanner(iter([written[i : i + size] for i in range(0, len(written), size)]), "x")
        assert scanner.next() == "["
        scanner.place += 1
        scanner.next()
        assert scanner.value() == {"text": "a", "more": data}


@pytest.mark.parametrize(
    ("begins", "form"),
    [
        (b'{"text": "a"}', "jsonl"), (b'\xef\xbb\xbf {\n"text"', "jsonl"), (b'["a"', "json"), (b"[1] below", "lines"),
        (b"{x} is a set", "lines"), (as_json([{"text": "a"}]), "json"), (b"PAR1", "parquet"), (b"ARROW1", "arrow"),
        (b"Some words", "lines"), (b"", "lines"),
    ],
)  # fmt: skip
def test_the_format_of_standard_input_is_told_by_how_it_begins(begins: bytes, form: str) -> None:
    assert by_content(begins) == form
