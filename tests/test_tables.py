"""Data files: what is written comes back, and how it is packed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saecatalog import tables
from saecatalog.tables import TableWriter, read_table, write_table


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
    for table in (pd.read_parquet(tmp_path / "text_scores.parquet"), read_table(tmp_path, "text_scores")):
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
    assert read_table(tmp_path, "neighbours")["neighbour"].tolist() == sizes
