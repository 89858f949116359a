"""The tables that the analyses write and the site reads: one Parquet file each, under a site's `data/`.

What the tables and their columns are is said in `schemas.py`; here they are written and read.
"""

from collections.abc import Iterable, Mapping, Sequence
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
class Names:
    """A column of few different strings: row `i` holds `names[codes[i]]`."""

    names: Sequence[str] | np.ndarray
    codes: np.ndarray


Columns = Mapping[str, Any] | pd.DataFrame
"""A table or a part of one: each column an array, a list, a Series, `Lists` or `Names`, all of one length."""


GROUP_ROWS = 1 << 15
"""Rows of a row group, at least, of a table that is written in pieces; its last one may have fewer."""


def _arrow_column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, Lists):
        return pa.ListArray.from_arrays(pa.array(values.offsets, pa.int32()), pa.array(values.values, kind.value_type))
    if isinstance(values, Names):
        codes = pa.array(values.codes, pa.int32())
        return pa.DictionaryArray.from_arrays(codes, pa.array(values.names, pa.string())).cast(kind)
    # An empty column has lost its type in pandas.
    return pa.array(values if len(values) else [], type=kind, from_pandas=False)


def _arrow_table(name: str, columns: Columns) -> pa.Table:
    schema = arrow_schema(name)
    return pa.Table.from_arrays([_arrow_column(columns[f.name], f.type) for f in schema], schema=schema)


def _packing(name: str) -> dict[str, Any]:
    """How a table's columns are packed, as arguments for pyarrow.

    Strings go into a dictionary. Of numbers, first bytes are written together, then second bytes, and so on, which
    compresses better than a dictionary; but float64 columns are rates of counts, where the same number comes again and
    is found best as it is. The 20,000 rows that pyarrow gives a page are too few for either.
    """
    strings, split = [], {}
    for column, (kind, _) in SCHEMAS[name].items():
        listed = pa.types.is_list(kind)
        held = kind.value_type if listed else kind
        path = f"{column}.list.element" if listed else column
        if pa.types.is_string(held):
            strings.append(path)
        elif held != pa.float64():
            split[path] = "BYTE_STREAM_SPLIT"
    return {
        "compression": "zstd",
        "compression_level": 5,
        "max_rows_per_page": 1 << 20,
        "use_dictionary": strings,
        "column_encoding": split,
    }


class TableWriter:
    """Writes tables into a folder, each in one piece or in many; every table of the schemas is there at the end.

    Small pieces wait until they are `GROUP_ROWS` together, for each row group repeats its strings in a dictionary.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pa.Table]] = {}

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *error: object) -> None:
        for name in SCHEMAS:
            self._flush(name)
            self._file(name).close()

    def write(self, name: str, columns: Columns) -> None:
        """Add rows to `<folder>/<name>.parquet`; raises KeyError where a column of its schema is missing."""
        waiting = self._waiting.setdefault(name, [])
        waiting.append(_arrow_table(name, columns))
        if sum(map(len, waiting)) >= GROUP_ROWS:
            self._flush(name)

    def _flush(self, name: str) -> None:
        """Write the pieces that wait as one row group."""
        pieces = self._waiting.pop(name, [])
        if any(map(len, pieces)):
            self._file(name).write_table(pa.concat_tables(pieces))

    def _file(self, name: str) -> pq.ParquetWriter:
        if name not in self._files:
            path = self.folder / f"{name}.parquet"
            self._files[name] = pq.ParquetWriter(path, arrow_schema(name), **_packing(name))
        return self._files[name]


def write_table(folder: Path, name: str, columns: Columns) -> None:
    """Write one table in one piece, in the place of what is there."""
    pq.write_table(_arrow_table(name, columns), folder / f"{name}.parquet", **_packing(name))


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read a table back; list columns come as numpy arrays."""
    return pq.read_table(folder / f"{name}.parquet").to_pandas()


class Tables(Mapping[str, pd.DataFrame]):
    """The tables of one catalog, each read from its folder at first use: `tables["features"]`.

    Where `features` are given, the `FEATURE_TABLES` hold only the rows about these.
    """

    def __init__(self, folder: Path, features: Iterable[int] | None = None):
        self.folder = folder
        self._about = None if features is None else sorted(set(features))
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in SCHEMAS:
            raise KeyError(name)
        if name not in self._read:
            about = self._about if name in FEATURE_TABLES else None
            self._read[name] = read_table(self.folder, name) if about is None else self.rows_of(name, about)
        return self._read[name]

    def about(self, features: Iterable[int]) -> "Tables":
        """The same tables, but of the `FEATURE_TABLES` only the rows about these features."""
        part = Tables(self.folder, features)
        part._read = {name: table for name, table in self._read.items() if name not in FEATURE_TABLES}
        return part

    def rows_of(self, name: str, features: Iterable[int], columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The rows about some features of a table that may be too large to be read whole, or these columns of them.

        Equal strings are one object.
        """
        wanted = sorted(set(features))
        within = [_is_among(pc.field(column), wanted) for column in FEATURE_TABLES.get(name, ("feature",))]
        return self._frame(name, columns or list(SCHEMAS[name]), filters=reduce(or_, within))

    def part(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        """Some columns of a table; of the `FEATURE_TABLES` only the rows about the features given, if any are."""
        if self._about is None or name not in FEATURE_TABLES:
            return self.columns(name, columns)
        return self.rows_of(name, self._about, columns)

    def columns(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        """Some columns of a table; those of strings are categorical: a text's id is there thousands of times."""
        return self._frame(name, columns)

    def _frame(self, name: str, columns: Sequence[str], **options: Any) -> pd.DataFrame:
        path, texts = self.folder / f"{name}.parquet", [c for c in columns if SCHEMAS[name][c][0] == pa.string()]
        frame = pq.read_table(path, columns=list(columns), read_dictionary=texts, **options).to_pandas()
        # Arrow would keep what reading took, ten times of what was asked for.
        pa.default_memory_pool().release_unused()
        return frame

    def rows_at(self, name: str, chosen: np.ndarray) -> pd.DataFrame:
        """The rows of a table for which `chosen` is true, read a part at a time."""
        with pq.ParquetFile(self.folder / f"{name}.parquet") as file:
            parts, at = [file.schema_arrow.empty_table()], 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if chosen[at : at + rows].any():
                    parts.append(file.read_row_group(group).filter(pa.array(chosen[at : at + rows])))
                at += rows
        frame = pa.concat_tables(parts).to_pandas()
        pa.default_memory_pool().release_unused()
        return frame

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(SCHEMAS)

    def __len__(self) -> int:
        return len(SCHEMAS)

    @cached_property
    def features(self) -> pd.DataFrame:
        """The features table indexed by feature number."""
        return self["features"].set_index("feature", drop=False)


def _is_among(column: pc.Expression, features: list[int]) -> pc.Expression:
    """Whether a column holds one of these features, told so that parts of a file without any need not be read."""
    if not features:
        return pc.scalar(False)
    between = (column >= features[0]) & (column <= features[-1])
    consecutive = features[-1] - features[0] + 1 == len(features)
    return between if consecutive else between & column.isin(features)
