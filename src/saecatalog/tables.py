"""Writes and reads the tables: one Parquet file each, written by the analyses and published in a site's `data/`.

A table can also be written as CSV, for spreadsheets. `schemas.py` defines the tables and their columns.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from saecatalog.schemas import FEATURE_TABLES, SCHEMAS, arrow_schema


@dataclass(frozen=True)
class Lists:
    """A column of lists: row `i` holds `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Coded:
    """A column with few distinct strings: row `i` holds `names[codes[i]]`."""

    names: Sequence[str] | np.ndarray
    codes: np.ndarray


Columns = Mapping[str, Any] | pd.DataFrame
"""A table or a part of one: each column is an array, a list, a Series, `Lists` or `Coded`, and all have one length."""


GROUP_ROWS = 1 << 15
"""The least number of rows in a row group of a table that is written in pieces; the last group may have fewer."""
GROUP_MOST = 1 << 16
"""The most rows in a row group; more are written as groups of `GROUP_ROWS`. Each group says from which to which feature
it goes, so that whoever reads one feature of a large table, even over a network, reads a small part of the file."""


ROW_GROUP = 1 << 20
"""The most rows of a row group, which is pyarrow's default. Longer columns are converted and written in such parts."""


def _rows(values: Any, start: int, stop: int) -> Any:
    """Some rows of a column."""
    if isinstance(values, Lists):
        offsets = values.offsets[start : stop + 1]
        return Lists(values.values[offsets[0] : offsets[-1]], offsets - offsets[0])
    if isinstance(values, Coded):
        return Coded(values.names, values.codes[start:stop])
    return values.iloc[start:stop] if isinstance(values, pd.Series) else values[start:stop]


def _length(values: Any) -> int:
    if isinstance(values, Lists):
        return len(values.offsets) - 1
    return len(values.codes) if isinstance(values, Coded) else len(values)


def _parts(name: str, columns: Columns) -> Iterator[Columns]:
    """The rows of a table, at most ROW_GROUP at a time: to convert all at once would need as much memory again."""
    length = _length(columns[next(iter(SCHEMAS[name]))])
    if length <= ROW_GROUP:
        yield columns
        return
    for start in range(0, length, ROW_GROUP):
        yield {column: _rows(columns[column], start, start + ROW_GROUP) for column in SCHEMAS[name]}


def _arrow_column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, Lists):
        return pa.ListArray.from_arrays(pa.array(values.offsets, pa.int32()), pa.array(values.values, kind.value_type))
    if isinstance(values, Coded):
        codes = pa.array(values.codes, pa.int32())
        return pa.DictionaryArray.from_arrays(codes, pa.array(values.names, pa.string())).cast(kind)
    # pandas loses the type of an empty column.
    return pa.array(values if len(values) else [], type=kind, from_pandas=False)


def _arrow_table(name: str, columns: Columns) -> pa.Table:
    schema = arrow_schema(name)
    return pa.Table.from_arrays([_arrow_column(columns[f.name], f.type) for f in schema], schema=schema)


def _packing(name: str) -> dict[str, Any]:
    """How a table's columns are encoded and compressed, as arguments for pyarrow.

    Strings use a dictionary. Numbers are split by byte (all first bytes, then all second bytes, and so on), which
    compresses better than a dictionary; booleans cannot be split. Columns of float64 are left as they are: they are
    rates of counts, whose repeated values compress best unsplit. All need pages of more rows than pyarrow's default.
    """
    strings, split = [], {}
    for column, (kind, _) in SCHEMAS[name].items():
        listed = pa.types.is_list(kind)
        held = kind.value_type if listed else kind
        path = f"{column}.list.element" if listed else column
        if pa.types.is_string(held):
            strings.append(path)
        elif held not in (pa.float64(), pa.bool_()):
            split[path] = "BYTE_STREAM_SPLIT"
    return {
        "compression": "zstd",
        "compression_level": 5,
        "max_rows_per_page": 1 << 20,
        "use_dictionary": strings,
        "column_encoding": split,
    }


def _group_rows(table: pa.Table) -> int | None:
    """The size of the row groups that a table is written in; None is a single one."""
    return GROUP_ROWS if len(table) > GROUP_MOST else None


class TableWriter:
    """Writes tables into a folder, each in one piece or in many. On exit, every table of `names` exists.

    Small pieces are collected until they have `GROUP_ROWS` rows, because each row group repeats its string dictionary.
    """

    def __init__(self, folder: Path, names: Iterable[str] = SCHEMAS):
        self.folder, self.names = folder, tuple(names)
        self._files: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pa.Table]] = {}

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *error: object) -> None:
        for name in self.names:
            self._flush(name)
            self._file(name).close()

    def write(self, name: str, columns: Columns) -> None:
        """Add rows to `<folder>/<name>.parquet`; raises KeyError if a column of its schema is missing."""
        for part in _parts(name, columns):
            waiting = self._waiting.setdefault(name, [])
            waiting.append(_arrow_table(name, part))
            if sum(map(len, waiting)) >= GROUP_ROWS:
                self._flush(name)

    def _flush(self, name: str) -> None:
        """Write the collected pieces as one row group, or as several if they have too many rows."""
        pieces = self._waiting.pop(name, [])
        if any(map(len, pieces)):
            table = pa.concat_tables(pieces)
            self._file(name).write_table(table, _group_rows(table))

    def _file(self, name: str) -> pq.ParquetWriter:
        if name not in self._files:
            path = self.folder / f"{name}.parquet"
            self._files[name] = pq.ParquetWriter(path, arrow_schema(name), **_packing(name))
        return self._files[name]


def write_table(folder: Path, name: str, columns: Columns) -> None:
    """Write one table in one piece, replacing the file if there is one."""
    table = _arrow_table(name, columns)
    pq.write_table(table, folder / f"{name}.parquet", _group_rows(table), **_packing(name))


# Spreadsheets skip white space, quotes and marks before a formula, and take wide and small forms of the signs.
_RUNS = re.compile(r"['\t\r\n]|[\W_]*?[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212]")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV in UTF-8, with every text in quotes; lists become values separated by spaces.

    Spreadsheets run text that looks like a formula. So a text with `=`, `+`, `-` or `@` before its first letter or
    digit, or with a tab, a line break or an apostrophe at its start, gets an apostrophe (`'`) in front. To undo this,
    remove the first character of each text that begins with an apostrophe. Numbers and lists of numbers stay as they
    are. Half a surrogate pair, which UTF-8 cannot hold, becomes its escape, such as `\\ud83d`.
    """
    other = [str(name) for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    cells = {name: pd.Series(_cells(table[name]), table.index, dtype=object) for name in other}
    table.assign(**cells).to_csv(
        path, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC, errors="backslashreplace"
    )


def _cells(column: pd.Series) -> list[Any]:
    """The cells of a column of texts or lists, as `write_csv` writes them."""
    if len(column) and hasattr(column.iloc[0], "tolist"):
        return [_joined(row.tolist()) for row in column]
    guarded = {text: _guarded(text) for text in column.unique()}
    return [guarded[text] for text in column]


def _joined(values: list[Any]) -> str:
    words = " ".join(map(str, values))
    return _guarded(words) if values and isinstance(values[0], str) else words


def _guarded(text: str) -> str:
    return f"'{text}" if _RUNS.match(text) else text


class Tables(Mapping[str, pd.DataFrame]):
    """The tables of one catalog, in a folder: `tables["features"]` is `read("features")`, cached on first use."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._read:
            self._read[name] = self.read(name)
        return self._read[name]

    def read(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        features: Iterable[int] | None = None,
        where: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """A table, or a part of it: some columns, the rows of some features, or the rows where `where` is true.

        `FEATURE_TABLES` lists the columns that say which features a row is about; for other tables it is `feature`.
        `where` has one value for each row of the file; row groups without a true value are not read. A column has the
        same type in every part: numbers as in the schema, lists as arrays, and strings as objects (equal strings are
        the same object). Raises KeyError if there is no such table or column.
        """
        schema, path = SCHEMAS[name], self.folder / f"{name}.parquet"
        columns = list(schema if columns is None else columns)
        # A file repeats the id of a text thousands of times: read as a code, it becomes one object.
        coded = [column for column in columns if schema[column][0] == pa.string()]
        rows = None if features is None else _about(name, sorted(set(features)))
        if where is None:
            found = pq.read_table(path, columns=columns, read_dictionary=coded, filters=rows)
        else:
            found = _rows_where(path, columns, coded, where)
            found = found if rows is None else found.filter(rows)
        frame = in_pandas(found)
        # Arrow would keep the memory that reading took, ten times the size of the result.
        pa.default_memory_pool().release_unused()
        return frame

    def __iter__(self) -> Iterator[str]:
        return iter(SCHEMAS)

    def __len__(self) -> int:
        return len(SCHEMAS)

    @cached_property
    def features(self) -> pd.DataFrame:
        """The features table indexed by feature number."""
        return self["features"].set_index("feature", drop=False)


def in_pandas(table: pa.Table) -> pd.DataFrame:
    """A table as a frame: numbers unchanged, lists as arrays, strings as objects (equal strings are one object)."""
    texts = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_dictionary(f.type)]
    frame: pd.DataFrame = table.to_pandas(categories=texts)
    return frame.astype(dict.fromkeys(texts, object))


def _rows_where(path: Path, columns: list[str], coded: list[str], where: np.ndarray) -> pa.Table:
    """The rows for which `where` is true, read a row group at a time."""
    with pq.ParquetFile(path, read_dictionary=coded) as file:
        parts, at = [file.schema_arrow.empty_table().select(columns)], 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if where[at : at + rows].any():
                # Columns come in the order of the file, not in the requested order.
                read = file.read_row_group(group, columns).select(columns)
                parts.append(read.filter(pa.array(where[at : at + rows])))
            at += rows
    return pa.concat_tables(parts)


def _about(name: str, features: list[int]) -> pc.Expression:
    """Whether a row of a table is about one of these features."""
    return reduce(or_, (_is_among(pc.field(c), features) for c in FEATURE_TABLES.get(name, ("feature",))))


def _is_among(column: pc.Expression, features: list[int]) -> pc.Expression:
    """Whether a column has one of these features, written so that parts of a file without any of them are skipped."""
    if not features:
        return pc.scalar(False)
    between = (column >= features[0]) & (column <= features[-1])
    consecutive = features[-1] - features[0] + 1 == len(features)
    return between if consecutive else between & column.isin(features)
