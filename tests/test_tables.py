"""Tables: what is written is read back, the same whichever part is read; and how it is packed."""

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from synthetic import write

from saecatalog import tables
from saecatalog.schemas import FEATURE_TABLES, SCHEMAS
from saecatalog.tables import Coded, Lists, Tables, TableWriter, write_csv, write_table


def test_every_number_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every bit of numbers that do not compress well, read with plain pandas, in the right type."""
    chance = np.random.default_rng(4)
    scores = chance.integers(0, 2**31 - 2**24, 5000).astype(np.uint32).view(np.float32)
    scores[:4] = [np.inf, np.nan, 1e-45, 0]
    columns = {
        "text": [f"t{i}" for i in range(5000)],
        "category": ["c"] * 5000,
        "feature": np.arange(5000),
        "score": scores,
        "position": chance.integers(-(2**31), 2**31, 5000).astype(np.int32),
    }
    write_table(tmp_path, "text_scores", columns)
    for table in (pd.read_parquet(tmp_path / "text_scores.parquet"), Tables(tmp_path)["text_scores"]):
        assert table["score"].to_numpy().tobytes() == scores.tobytes()
        assert (table["score"].dtype, table["position"].dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(table["position"], columns["position"])
        assert table["text"].tolist() == columns["text"]


def test_long_tables_are_the_same_bytes_in_parts(tmp_path: Path) -> None:
    """Parts of as many rows as pyarrow puts into a row group, each converted on its own."""
    n = tables.ROW_GROUP + 5
    columns = {"cluster": pd.Series(np.arange(n)[::-1] // 7, np.arange(n) + 3), "feature": np.arange(n)}
    for name in ("parts", "whole"):
        (tmp_path / name).mkdir()
    with TableWriter(tmp_path / "parts", ["clusters"]) as writer:
        writer.write("clusters", columns)
    write_table(tmp_path / "whole", "clusters", columns)
    found, wanted = ((tmp_path / name / "clusters.parquet").read_bytes() for name in ("parts", "whole"))
    assert found == wanted


@pytest.mark.parametrize("size", [1, 3, 4, 10])
def test_columns_of_every_kind_are_cut_into_parts(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = np.array([0, 3, 1, 0, 2, 5, 0, 1, 1, 4])
    values, offsets = np.arange(lengths.sum()), np.append(0, np.cumsum(lengths))
    columns = {
        **{name: np.arange(10) for name in ("feature", "rank", "position", "similar_hidden")},
        **{name: pd.Series(np.arange(10) % 4, np.arange(10) + 7) for name in ("window_start", "window_end")},
        **{name: list("abcdefghij") for name in ("text", "category")},
        "token": np.array(list("klmnopqrst"), object),
        "activation": np.arange(10) / 2,
        "band": Coded(["x", "y"], np.arange(10) % 2),
        "active_positions": Lists(values, offsets),
        "active_values": Lists(values / 4, offsets),
    }
    monkeypatch.setattr(tables, "ROW_GROUP", size)
    with TableWriter(tmp_path, ["contexts"]) as writer:
        writer.write("contexts", columns)
    found = pq.read_table(tmp_path / "contexts.parquet").to_pydict()
    assert found["feature"] == list(range(10))
    assert found["window_end"] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert found["text"] == list("abcdefghij")
    assert found["token"] == list("klmnopqrst")
    assert found["band"] == ["x", "y"] * 5
    assert found["active_positions"] == [values[a:b].tolist() for a, b in pairwise(offsets)]
    assert found["active_values"] == [(values[a:b] / 4).tolist() for a, b in pairwise(offsets)]


def test_numbers_take_no_more_room_than_their_bytes_apart(tmp_path: Path) -> None:
    """For each column, the first bytes of all values, then the second bytes ...: compressed here by hand."""
    n, chance = 60_000, np.random.default_rng(5)
    scores, positions = chance.lognormal(1, 0.5, n).astype(np.float32), chance.integers(0, 300, n).astype(np.int32)
    columns = {"text": ["t"] * n, "category": ["c"] * n, "feature": np.zeros(n), "score": scores, "position": positions}
    write_table(tmp_path, "text_scores", columns)
    group = pq.ParquetFile(tmp_path / "text_scores.parquet").metadata.row_group(0)
    for column, values in ((3, scores), (4, positions)):
        apart = np.ascontiguousarray(values.view(np.uint8).reshape(n, 4).T).tobytes()
        assert group.column(column).total_compressed_size < 1.01 * len(pa.Codec("zstd", 5).compress(apart))


def test_pieces_of_a_table_share_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of arrival, even with other tables in between, and never split."""
    monkeypatch.setattr(tables, "GROUP_ROWS", 100)
    sizes = [30, 0, 69, 1, 250, 99, 40]
    starts = np.cumsum([0, *sizes])
    with TableWriter(tmp_path) as writer:
        for start, size in zip(starts, sizes, strict=False):
            writer.write("clusters", {"cluster": np.full(size, 3), "feature": np.arange(start, start + size)})
            writer.write("neighbours", {"feature": [1], "rank": [0], "neighbour": [size], "cosine": [0.5]})
    file = pq.ParquetFile(tmp_path / "clusters.parquet")
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [100, 250, 139]
    assert file.read()["feature"].to_pylist() == list(range(sum(sizes)))
    assert Tables(tmp_path)["neighbours"]["neighbour"].tolist() == sizes


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return write(tmp_path_factory.mktemp("tables"))[0]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_part_has_the_types_and_values_of_the_whole(catalog: Tables, name: str) -> None:
    whole = catalog[name]
    assert list(whole) == list(SCHEMAS[name])
    some = np.arange(len(whole)) % 3 == 1
    pd.testing.assert_frame_equal(catalog.read(name, where=some), whole[some].reset_index(drop=True))
    assert catalog.read(name, where=np.zeros(len(whole), bool)).dtypes.equals(whole.dtypes)
    backwards = list(reversed(SCHEMAS[name]))
    pd.testing.assert_frame_equal(catalog.read(name, backwards), whole[backwards])
    pd.testing.assert_frame_equal(
        catalog.read(name, backwards, where=some), whole.loc[some, backwards].reset_index(drop=True)
    )
    for column in whole:
        pd.testing.assert_frame_equal(catalog.read(name, [column]), whole[[column]])


@pytest.mark.parametrize("name", [*FEATURE_TABLES, "features", "text_scores"])
def test_rows_about_features_have_the_types_of_the_whole(catalog: Tables, name: str) -> None:
    whole, features = catalog[name], [1, 2, 5]
    about = whole[list(FEATURE_TABLES.get(name, ("feature",)))].isin(features).any(axis=1)
    pd.testing.assert_frame_equal(catalog.read(name, features=features), whole[about].reset_index(drop=True))
    some = np.arange(len(whole)) % 2 == 0
    expected = whole[about & some].reset_index(drop=True)
    pd.testing.assert_frame_equal(catalog.read(name, features=features, where=some), expected)
    nothing = catalog.read(name, features=[])
    assert nothing.empty
    assert nothing.dtypes.equals(whole.dtypes)


def test_a_large_piece_is_split_by_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row group says which features it has, so that a reader of one of them can skip the others."""
    monkeypatch.setattr(tables, "GROUP_ROWS", 100)
    monkeypatch.setattr(tables, "GROUP_MOST", 250)
    columns = {"cluster": np.full(251, 3), "feature": np.arange(251)}
    with TableWriter(tmp_path, ["clusters"]) as writer:
        writer.write("clusters", columns)
    (tmp_path / "whole").mkdir()
    write_table(tmp_path / "whole", "clusters", columns)
    for folder in (tmp_path, tmp_path / "whole"):
        metadata = pq.read_metadata(folder / "clusters.parquet")
        groups = [metadata.row_group(g).column(1).statistics for g in range(metadata.num_row_groups)]
        assert [(group.min, group.max) for group in groups] == [(0, 99), (100, 199), (200, 250)]


def test_equal_strings_are_one_object_across_row_groups(tmp_path: Path, catalog: Tables) -> None:
    many = pd.concat([catalog["text_scores"]] * 2000, ignore_index=True)
    write_table(tmp_path, "text_scores", many)
    for frame in (Tables(tmp_path)["text_scores"], Tables(tmp_path).read("text_scores", ["text"], features=[1])):
        assert len({id(text) for text in frame["text"]}) == frame["text"].nunique() < len(frame)


def test_unknown_table_is_an_error(catalog: Tables) -> None:
    with pytest.raises(KeyError):
        catalog["nothing"]


RUN = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", '"=1', "'=1", "''=1", "＝1", "\ufeff=1", "\xa0-1"]
PLAIN = [
    "",
    "the",
    " the",
    "a=1",
    "(a)",
    "1-1",
    "漢字",
    "мир=1",
    "\u0301a",
    "#",
    '"quoted", twice',
    "two\nlines",
    "a\rb",
]


def cells(path: Path) -> list[list[str]]:
    """The rows of a CSV file with the guard of the cells undone, as `write_csv` says."""
    with path.open(encoding="utf-8", newline="") as file:
        return [[cell[cell.startswith("'") :] for cell in row] for row in csv.reader(file)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20), st.booleans())
@example(RUN, False)
@example(PLAIN, False)
def test_every_text_comes_back_from_csv(tmp_path_factory: pytest.TempPathFactory, texts: list[str], more: bool) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    texts = texts + [sign + text for sign in "=-'" for text in texts] if more else texts
    frame = pd.DataFrame({"text": texts, "number": np.arange(len(texts)) - 5.5}, dtype=object).astype({"number": float})
    write_csv(frame, path)
    assert cells(path) == [["text", "number"], *([text, str(i - 5.5)] for i, text in enumerate(texts))]


@pytest.mark.parametrize("text", RUN)
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(tmp_path: Path, text: str) -> None:
    write_csv(pd.DataFrame({"text": [text], "images": [np.array([text, "b"], object)]}), tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{text}", f"'{text} b"]


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_is_written_as_it_is(tmp_path: Path, text: str) -> None:
    write_csv(pd.DataFrame({"text": [text]}), tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [text]


def test_numbers_stay_numbers_in_csv(tmp_path: Path) -> None:
    numbers = {"a": [-1, 2], "b": [-0.5, np.nan], "c": np.array([-np.inf, 1e-30], np.float32), "d": [True, False]}
    lists = [np.array([-1.5, 2]), np.array([], float)]
    write_csv(pd.DataFrame({**numbers, "e": lists}), tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == (
        '"a","b","c","d","e"\n-1,-0.5,-inf,True,"-1.5 2.0"\n2,"",1e-30,False,""\n'
    )


def test_half_a_character_does_not_stop_csv(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"text": ["a\ud83db", "=\udc00"]}, dtype=object), tmp_path / "x.csv")
    assert cells(tmp_path / "x.csv")[1:] == [["a\\ud83db"], ["=\\udc00"]]
