"""What lets the analyses go through more than fits in memory: their parts against plain numpy, and no traces left."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from test_analysis import analyse_case, make_case

from saecatalog import tables, threads
from saecatalog.analysis import activations, coactivation, disk_arrays, statistics, token_view
from saecatalog.analysis.activations import Block, first_largest, order_within, runs, strongest_first
from saecatalog.analysis.disk_arrays import Appended, by_column, scratch_array
from saecatalog.analysis.run import Findings
from saecatalog.config import AnalysisConfig
from saecatalog.schemas import SCHEMAS
from saecatalog.tables import Tables, TableWriter, write_table
from saecatalog.threads import in_order
from saecatalog.verify.reference import Case

CATEGORIES, TEXTS, WIDTH = 3, 24, 70


@pytest.fixture(scope="module")
def case() -> Case:
    """Texts of several lengths whose features fire from on nearly every token to on none, with equal values."""
    chance = np.random.default_rng(11)
    often = np.append(np.geomspace(0.95, 0.005, WIDTH - 1), 0)
    lengths = [int(n) for n in chance.integers(1, 60, TEXTS)]
    values = [np.round(chance.exponential(2, (n, WIDTH)), 1) * (chance.random((n, WIDTH)) < often) for n in lengths]
    tokens = [chance.zipf(1.5, n).clip(1, 40).tolist() for n in lengths]
    found = make_case(values, [f"c{text % CATEGORIES}" for text in range(TEXTS)], tokens)
    found.norms[3][:1] = 100.0
    return found


def concepts_of(case: Case) -> Case:
    return make_case([rows * 2 for rows in case.activations[:6]], ["a", "b"] * 3, case.tokens[:6])


def files_of(findings: Findings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in findings.tables.folder.iterdir()}


# Nothing depends on how the work is cut


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("size", [1, 50, 333])
def test_sizes_of_parts_change_no_figure(
    case: Case, size: int, dense: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = analyse_case(tmp_path / "whole", case, AnalysisConfig(), concepts_of(case)).tables
    monkeypatch.setattr(activations, "BLOCK_ENTRIES", size)
    monkeypatch.setattr(activations, "BLOCK_FEATURES", 9)
    monkeypatch.setattr(disk_arrays, "PART_ENTRIES", size)
    monkeypatch.setattr(statistics, "PART", size)
    monkeypatch.setattr(coactivation, "BLOCK", 16)
    monkeypatch.setattr(coactivation, "GATHERED", size)
    monkeypatch.setattr(coactivation, "DENSE_ROWS", size)
    monkeypatch.setattr(coactivation, "GATHERING", 1e9 if dense else 1e-9)
    monkeypatch.setattr(tables, "GROUP_ROWS", size)
    found = analyse_case(tmp_path / "parts", case, AnalysisConfig(), concepts_of(case)).tables
    assert len(wanted["coactivation"]) > 100
    for name in SCHEMAS:
        pd.testing.assert_frame_equal(by_feature(name, found[name]), by_feature(name, wanted[name]), obj=name)


def by_feature(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table in an order that hangs on no block: the text scores come block by block."""
    return table.sort_values(["feature", "text"], ignore_index=True) if name == "text_scores" else table


def test_threads_change_no_byte(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "BLOCK_FEATURES", 7)
    monkeypatch.setattr(coactivation, "BLOCK", 16)
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "n_threads", lambda count=count: count)
        found.append(files_of(analyse_case(tmp_path / str(count), case, AnalysisConfig(), concepts_of(case))))
    assert found[0] == found[1] == found[2]


# No traces


def test_nothing_but_tables_is_left(case: Case, tmp_path: Path) -> None:
    found = files_of(analyse_case(tmp_path, case, AnalysisConfig()))
    assert sorted(found) == sorted(f"{name}.parquet" for name in SCHEMAS)


def test_an_error_leaves_no_scratch_files(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it happens: scratch files have no names from the beginning."""
    seen: list[set[str]] = []

    def broken(*arguments: object) -> None:
        seen.append({path.suffix for path in (tmp_path / "tables").iterdir()})
        raise OSError("no space left")

    monkeypatch.setattr(tables, "GROUP_ROWS", 1)
    monkeypatch.setattr(coactivation, "count_dense", broken)
    monkeypatch.setattr(coactivation, "count_gathered", broken)
    with pytest.raises(OSError, match="no space left"):
        analyse_case(tmp_path, case, AnalysisConfig())
    assert seen[0] == {".parquet"}
    assert {path.suffix for path in (tmp_path / "tables").iterdir()} == {".parquet"}


def test_scratch_arrays_are_zeros_in_files_without_names(tmp_path: Path) -> None:
    array = scratch_array(tmp_path, np.float32, 3, 5)
    empty = scratch_array(tmp_path, np.int32, 0, 4)
    assert (array.dtype, array.shape, array.sum()) == (np.float32, (3, 5), 0)
    assert (empty.dtype, empty.shape) == (np.int32, (0, 4))
    array[1] = 7
    assert array.sum() == 35
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.lists(st.integers(-9, 9), max_size=4), max_size=5))
def test_appended_arrays(parts: list[list[int]]) -> None:
    appended = Appended(None, np.int32)
    for part in parts:
        appended.append(np.array(part, np.int64))
    whole = appended.close()
    assert whole.dtype == np.int32
    assert whole.tolist() == [value for part in parts for value in part]


# Parts against plain numpy


@given(st.integers(0, 12), st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_a_matrix_by_columns(n: int, width: int, seed: int, part: int) -> None:
    chance = np.random.default_rng(seed)
    dense = (chance.integers(1, 9, (n, width)) * (chance.random((n, width)) < 0.4)).astype(np.float32)
    keep = chance.random(n) < 0.7 if seed % 2 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_arrays, "PART_ENTRIES", part)
        found = by_column(sparse.csr_matrix(dense), keep)
    if keep is not None:
        dense = dense * keep[:, None]
    wanted = sparse.csc_matrix(dense)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


VALUES = st.sampled_from([0.0, 1e-30, 0.25, 0.25, 1.0, 3.5, 3.5000002, 1e30])


@given(st.lists(st.tuples(st.integers(0, 4), VALUES, st.integers(0, 2**32 - 1)), max_size=40))
def test_orders_within_columns(entries: list[tuple[int, float, int]]) -> None:
    entries.sort(key=lambda entry: entry[0])
    columns = np.array([entry[0] for entry in entries], np.int32)
    values = np.array([entry[1] for entry in entries], np.float32)
    keys = np.array([entry[2] for entry in entries], np.uint32)
    assert strongest_first(columns, values).tolist() == np.lexsort((-values, columns)).tolist()
    assert order_within(columns, keys).tolist() == np.lexsort((keys, columns)).tolist()
    wanted = [start + int(values[columns == columns[start]].argmax()) for start in runs(columns)]
    assert first_largest(values, runs(columns)).tolist() == wanted


def test_an_order_that_does_not_fit_is_refused() -> None:
    with pytest.raises(AssertionError):
        order_within(np.repeat(2**22, 2**11).astype(np.int64), np.zeros(2**11, np.uint32))


@given(st.lists(VALUES, min_size=1, max_size=40), st.floats(0, 1), st.integers(1, 50))
def test_quantiles_against_numpy(values: list[float], q: float, part: int) -> None:
    array = np.array(values, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "PART", part)
        found = statistics.quantile(array, q)
    np.testing.assert_allclose(found, float(np.quantile(array, q)), rtol=1e-6)


def test_the_quantile_of_many_numbers() -> None:
    array = np.random.default_rng(2).lognormal(size=10_001).astype(np.float32)
    for q in (0.0, 0.5, 0.9, 1.0):
        assert statistics.quantile(array, q) == float(np.quantile(array, q))
    assert statistics.quantile(array[:0], 0.9) == 0


@given(st.integers(1, 200), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_pairs_of_tokens_left_out_are_no_rules(n: int, vocabulary: int, seed: int) -> None:
    """The same rules come out when every pair of tokens is counted."""
    chance = np.random.default_rng(seed)
    ids = chance.integers(0, vocabulary, n).astype(np.int32)
    pairs, code = np.unique(np.stack([np.roll(ids, 1), ids], 1), axis=0, return_inverse=True)
    singles = token_view.Codes(ids, np.bincount(ids, minlength=vocabulary))
    bigrams = token_view.Codes(code.ravel().astype(np.int32), np.bincount(code.ravel()))
    # Features that hang on a token, on a pair of tokens, and on neither, each more or less.
    hang = [ids == 0, code.ravel() == 0, code.ravel() == code.max(), np.ones(n, bool)]
    active = np.stack([chance.random(n) < np.where(on, 0.9, share) for on in hang for share in (0, 0.02, 0.3)])
    tokens = np.nonzero(active)[1]
    block = Block(0, np.append(0, active.sum(1).cumsum()), tokens.astype(np.int32), np.ones(len(tokens), np.float32))
    words = np.array([f"w{i}" for i in range(vocabulary)], object)
    single = token_view.count_codes(block.columns, block.tokens, block.values, singles)
    every = token_view.count_codes(block.columns, block.tokens, block.values, bigrams)
    likely = token_view.count_bigrams(block, single, bigrams)
    wanted = token_view.rule_rows(block, single, every, pairs, words)
    pd.testing.assert_frame_equal(token_view.rule_rows(block, single, likely, pairs, words), wanted)


# Threads


def test_results_come_in_order_and_little_is_begun_ahead() -> None:
    taken = []
    last_first = threading.Event()

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        # The first waits for the second, so that they end the other way round.
        if item == 0:
            assert last_first.wait(10)
        if item == 1:
            last_first.set()
        return item * item

    results = in_order(work, items(), threads=2)
    assert next(results) == 0
    assert len(taken) <= 4
    assert list(results) == [item * item for item in range(1, 20)]


def test_an_error_in_a_thread_is_raised() -> None:
    def work(item: int) -> int:
        return 1 // (3 - item)

    results = in_order(work, range(9), threads=2)
    assert [next(results), next(results), next(results)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


# Data files


def test_every_number_comes_back_as_it_was(tmp_path: Path) -> None:
    """All bits of numbers that no compression likes, by plain pandas, and in a type that says what it is."""
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


def test_numbers_take_no_more_room_than_their_bytes_apart(tmp_path: Path) -> None:
    """Of each column the first bytes of all, then the second: compressed here by hand."""
    n, chance = 60_000, np.random.default_rng(5)
    scores, positions = chance.lognormal(1, 0.5, n).astype(np.float32), chance.integers(0, 300, n).astype(np.int32)
    columns = {"text": ["t"] * n, "category": ["c"] * n, "feature": np.zeros(n), "score": scores, "position": positions}
    write_table(tmp_path, "text_scores", columns)
    group = pq.ParquetFile(tmp_path / "text_scores.parquet").metadata.row_group(0)
    for column, values in ((3, scores), (4, positions)):
        apart = np.ascontiguousarray(values.view(np.uint8).reshape(n, 4).T).tobytes()
        assert group.column(column).total_compressed_size < 1.01 * len(pa.Codec("zstd", 5).compress(apart))


def test_pieces_of_a_table_share_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order they came, also where other tables come between, and never cut."""
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


def test_text_scores_come_text_by_text_in_blocks_of_features(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that texts take little room, and a reader of few features skips the row groups of others."""
    monkeypatch.setattr(activations, "BLOCK_FEATURES", 9)
    monkeypatch.setattr(tables, "GROUP_ROWS", 1)
    folder = analyse_case(tmp_path, case, AnalysisConfig()).tables.folder
    file = pq.ParquetFile(folder / "text_scores.parquet")
    assert file.num_row_groups == -(-WIDTH // 9)
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group).to_pandas()
        assert set(rows["feature"]) <= set(range(group * 9, group * 9 + 9))
        assert list(zip(rows["text"], rows["feature"], strict=True)) == sorted(
            zip(rows["text"], rows["feature"], strict=True)
        )
        told = file.metadata.row_group(group).column(2).statistics
        assert (told.min, told.max) == (rows["feature"].min(), rows["feature"].max())
