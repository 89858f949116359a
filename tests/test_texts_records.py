"""Records: fields, titles, links and chats; an empty text is one record's matter, and what is left out is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from text_forms import RECORDS, as_jsonl, as_parquet, write

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.texts.corpus import Text, read_corpus, read_text_list


def read(folder: Path, *records: dict[str, Any], **settings: Any) -> list[Text]:
    path = write(folder / "x.jsonl", as_jsonl(records))
    return read_corpus(CorpusConfig(paths=(str(path),), concepts=None, **settings))


@pytest.mark.parametrize("empty", ["", " \n ", None])
@pytest.mark.parametrize("ending", RECORDS)
def test_an_empty_text_is_left_out_and_counted(
    tmp_path: Path, ending: str, empty: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    records = [{"text": "one", "n": "1"}, {"text": empty, "n": "2"}, {"text": "two", "n": "3"}]
    path = write(tmp_path / f"x{ending}", RECORDS[ending](records))  # type: ignore[arg-type]
    texts = read_corpus(CorpusConfig(paths=(str(path),), concepts=None))
    assert {text.content for text in texts} == {"one", "two"}
    assert capfd.readouterr().err == f"{path}: left out 1 record without a text\n"


@pytest.mark.parametrize("ending", RECORDS)
def test_a_file_without_any_text_is_refused(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"x{ending}", RECORDS[ending]([{"text": "", "n": "1"}, {"text": " ", "n": "2"}]))
    with pytest.raises(CatalogError, match="missing or empty in 2 records"):
        read_corpus(CorpusConfig(paths=(str(path),), concepts=None))


def test_a_column_of_nulls_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", as_parquet([{"text": None}]))  # type: ignore[dict-item]
    with pytest.raises(CatalogError, match=r"missing or empty in 1 record of this file.*\n.*x\.parquet"):
        read_corpus(CorpusConfig(paths=(str(path),), concepts=None))


def test_titles_and_links_come_with_the_text(tmp_path: Path) -> None:
    record = {"text": "a", "title": " A\ntitle ", "url": "https://example.org/a?b=c#d"}
    (text,) = read(tmp_path, record)
    assert (text.title, text.link) == ("A title", "https://example.org/a?b=c#d")
    other = {"body": "a", "heading": 7, "source": "http://example.org", "kind": "k"}
    names = {"text_field": "body", "title_field": "heading", "link_field": "source", "category_field": "kind"}
    (text,) = read(tmp_path, other, **names)
    assert (text.content, text.title, text.link, text.category) == ("a", "7", "http://example.org", "k")


@pytest.mark.parametrize("title", [None, float("nan"), ["a"], {}, ""])
def test_a_record_may_have_no_title(tmp_path: Path, title: object) -> None:
    (text,) = read(tmp_path, {"text": "a", "title": title, "url": None})
    assert (text.title, text.link) == ("", "")


def test_a_title_is_made_fit_to_be_shown(tmp_path: Path) -> None:
    (text,) = read(tmp_path, {"text": "a", "title": "a\u202eb\0c " + "x" * 999})
    assert text.title.startswith("a b c xxx")
    assert len(text.title) == 300
    assert text.title.endswith("…")


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//example.org", "example.org", "https://",
        "https://a b.example", "http://[", "https://example.org/\u202ea", "ftp://example.org", 5, ["https://a.b"],
        "java\nscript:https://a.b", "\ud83d",
    ],
)  # fmt: skip
def test_other_links_are_left_out_and_counted(tmp_path: Path, link: object, capfd: pytest.CaptureFixture[str]) -> None:
    (text,) = read(tmp_path, {"text": "a", "url": link})
    assert text.link == ""
    assert capfd.readouterr().err.endswith("x.jsonl: left out 1 link other than http and https addresses\n")


TURNS = [{"role": "user", "content": "Hello. 漢"}, {"role": "assistant", "content": "Hi!"}]
SHARED = [{"from": "human", "value": "Hello. 漢"}, {"from": "gpt", "value": "Hi!"}]
PARTS = [{"role": t["role"], "content": [{"type": "text", "text": t["content"]}], "name": None} for t in TURNS]


@pytest.mark.parametrize("field", ["messages", "conversations", "talk"])
@pytest.mark.parametrize("turns", [TURNS, SHARED, PARTS], ids=["openai", "sharegpt", "parts"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet", ".arrow"])
def test_chats_are_read_as_turns(tmp_path: Path, ending: str, turns: Any, field: str) -> None:
    records: Any = [{field: turns, "category": "c", "title": "T"}, {field: [*turns, *turns], "category": "c"}]
    path = write(tmp_path / f"x{ending}", RECORDS[ending](records))
    settings = {"chat_field": "talk"} if field == "talk" else {}
    texts = read_corpus(CorpusConfig(paths=(str(path),), concepts=None, **settings))
    assert sorted((json.loads(text.turns) for text in texts), key=len) == [TURNS, [*TURNS, *TURNS]]
    assert {(text.content, text.category) for text in texts} == {("", "c")}
    assert len({text.id for text in texts}) == 2
    with pytest.raises(CatalogError, match="Chats cannot be read here"):
        read_text_list(path, CorpusConfig(**settings))


def test_a_text_beside_the_turns_counts_and_an_empty_one_does_not(tmp_path: Path) -> None:
    texts = read(tmp_path, {"text": "a", "messages": TURNS}, {"text": None, "messages": TURNS})
    assert sorted((text.content, bool(text.turns)) for text in texts) == [("", True), ("a", False)]


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ("Hello", "not a list of turns"),
        (["Hello"], "not a list of turns"),
        ([{"speaker": "a", "content": "b"}], r"no role.\n.*line 1\n.*has speaker, content"),
        ([{"role": "user", "content": 5}], "not a text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "not a text"),
        ([{"role": "user", "content": "a \ud83d"}], "half of a character"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], "not a text"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "not a text"),
        ([{"role": "assistant", "content": None}], "missing or empty in 1 record"),
        ([{"role": "user", "content": ""}, {"role": "assistant", "content": " "}], "missing or empty in 1 record"),
        ([], "missing or empty in 1 record"),
    ],
)
def test_turns_of_another_form_are_refused(tmp_path: Path, turns: object, words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        read(tmp_path, {"messages": turns})


def test_calls_of_tools_reach_the_chat_template(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    silent = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {"role": "tool", "content": "2", "name": "add", "tool_call_id": None}
    (text,) = read(tmp_path, {"messages": [*TURNS, silent, answer]})
    assert json.loads(text.turns)[2:] == [{**silent, "content": ""}, {"role": "tool", "content": "2", "name": "add"}]


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_a_null_instead_of_a_record_is_left_out(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"x{ending}", {".json": b'["a", null]', ".jsonl": b'"a"\nnull\n'}[ending])
    assert [text.content for text in read_corpus(CorpusConfig(paths=(str(path),), concepts=None))] == ["a"]


@pytest.mark.parametrize("ending", RECORDS)
@pytest.mark.parametrize("field", ["category", "title", "link"])
def test_a_named_field_that_no_record_has_is_told(
    tmp_path: Path, field: str, ending: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / f"x{ending}", RECORDS[ending]([{"text": "a", "kind": "k"}, {"text": "b", "kind": "k"}]))
    settings: dict[str, Any] = {"paths": (str(path),), "concepts": None}
    read_corpus(CorpusConfig(**settings, **{f"{field}_field": "knd"}))
    assert capfd.readouterr().err == f"{path}: no record has the field 'knd' that the setting {field}_field names\n"
    read_corpus(CorpusConfig(**settings, **{f"{field}_field": "kind"}))
    assert "no record" not in capfd.readouterr().err
