"""Folders of `save_to_disk`: made by the library itself, read like any other file of records."""

import json
from pathlib import Path

import pytest
from text_forms import write

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.texts.corpus import Text, read_corpus, read_text_list

TEXTS = [f"text {n}" for n in range(9)]


def read(path: Path) -> list[Text]:
    return read_corpus(CorpusConfig(paths=(str(path),), concepts=None))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of three files, `one`, and one of two splits, `two`."""
    from datasets import Dataset, DatasetDict

    folder = tmp_path_factory.mktemp("saved")
    rows = Dataset.from_dict({"text": [*TEXTS, None], "url": ["https://example.org"] * 10})
    rows.select(range(10)).save_to_disk(str(folder / "one"), num_shards=3)
    DatasetDict(train=rows.select([0, 2]), test=rows.select([5])).save_to_disk(str(folder / "two"))
    return folder


def test_a_saved_dataset_is_a_category(saved: Path) -> None:
    texts = read(saved / "one")
    assert {text.category for text in texts} == {"one"}
    assert sorted(text.content for text in texts) == TEXTS
    assert {text.link for text in texts} == {"https://example.org"}
    assert "data-00001-of-00003.arrow, row 1" in {text.source for text in texts}
    assert sorted(read_text_list(saved / "one")) == TEXTS


def test_each_split_of_a_saved_dataset_is_a_category(saved: Path) -> None:
    found = {(text.category, text.content) for text in read(saved / "two")}
    assert found == {("train", TEXTS[0]), ("train", TEXTS[2]), ("test", TEXTS[5])}


def test_in_a_corpus_of_folders_a_saved_dataset_is_one_category(saved: Path) -> None:
    counts = {name: sum(text.category == name for text in read(saved)) for name in ("one", "two")}
    assert counts == {"one": 9, "two": 3}


def test_files_that_the_dataset_does_not_list_are_not_its_rows(saved: Path) -> None:
    """`datasets` leaves the results of `map` beside the rows."""
    (saved / "one" / "cache-0123.arrow").write_bytes(b"not even an Arrow file")
    try:
        assert len(read(saved / "one")) == 9
    finally:
        (saved / "one" / "cache-0123.arrow").unlink()


@pytest.mark.parametrize("state", ["{", "[]", '{"_data_files": [{"filename": "../a.arrow"}]}', '{"_data_files": [5]}'])
def test_a_damaged_description_is_named(tmp_path: Path, state: str) -> None:
    write(tmp_path / "d" / "state.json", state.encode())
    write(tmp_path / "d" / "dataset_info.json", json.dumps({}).encode())
    with pytest.raises(CatalogError, match=r"does not describe a dataset.*\n.*state\.json"):
        read(tmp_path / "d")
