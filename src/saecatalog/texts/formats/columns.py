"""Parquet and Arrow: a record is a row, of which only the columns that matter are read."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from saecatalog.errors import CatalogError
from saecatalog.texts.formats.pieces import Piece
from saecatalog.texts.records import SHARED_CHATS, Fields
from saecatalog.texts.sampling import scattered
from saecatalog.texts.streams import Input

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROW_GROUPS = 16
"""Groups of rows of a Parquet file from which a sample is taken; each has to be read to its last sampled row."""
BATCH_ROWS = 512
"""Rows of a Parquet file decoded at a time."""


@dataclass(frozen=True)
class Row:
    """A row of a table of Arrow."""

    table: "pa.Table | pa.RecordBatch"
    number: int
    names: list[str]


def parse_row(row: Any, where: str) -> object:
    """The fields of a row; raises CatalogError if one is not UTF-8."""
    if not isinstance(row, Row):
        return row
    try:
        return {name: row.table[name][row.number].as_py() for name in row.names}
    except UnicodeDecodeError:
        raise CatalogError("The text of this row is not UTF-8.", where, "Write the file anew.") from None


@contextmanager
def _arrow_errors(file: Input, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        why = (str(error).splitlines() or [""])[0]
        raise CatalogError(f"This file is not a valid {kind} file.", file.where, why) from None


@contextmanager
def _parquet(file: Input, fields: Fields) -> Iterator[tuple["pq.ParquetFile", list[str]]]:
    """A Parquet file, and the names of the columns to read."""
    import pyarrow.parquet as pq

    with file.random_access() as opened, _arrow_errors(file, "Parquet"):
        parquet = pq.ParquetFile(opened, pre_buffer=False, buffer_size=1 << 20)
        fields.check(parquet.schema_arrow.names, file.where)
        yield parquet, fields.among(parquet.schema_arrow.names)


def parquet_rows(file: Input, fields: Fields) -> Iterator[Piece]:
    with _parquet(file, fields) as (parquet, names):
        number = 0
        for batch in parquet.iter_batches(BATCH_ROWS, columns=names):
            for row in range(batch.num_rows):
                number += 1
                yield Piece(f"row {number}", Row(batch, row, names))


def scattered_parquet(file: Input, fields: Fields, allowance: int, chance: Random) -> Iterator[Piece]:
    """Rows drawn from some of the groups of rows, in a random order."""
    found = []
    with _parquet(file, fields) as (parquet, names):
        groups = list(_some_groups(parquet, chance))
        rows = sum(n for _, _, n in groups)
        wanted = min(math.ceil(allowance / _row_size(parquet, fields, groups)), rows)
        drawn = sorted(chance.sample(range(rows), wanted))
        before = 0
        for group, first, n in groups:
            numbers = {number - before for number in drawn if before <= number < before + n}
            found += list(_rows_of_group(parquet, group, first, numbers, names, file.where))
            before += n
    chance.shuffle(found)
    yield from found


def _some_groups(parquet: "pq.ParquetFile", chance: Random) -> Iterator[tuple[int, int, int]]:
    """Groups of rows spread over the file: their numbers, their first rows, and their numbers of rows."""
    sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    for _, group in zip(range(ROW_GROUPS), scattered(len(sizes), chance), strict=False):
        yield group, sum(sizes[:group]), sizes[group]


def _row_size(parquet: "pq.ParquetFile", fields: Fields, groups: list[tuple[int, int, int]]) -> float:
    """Bytes of text in a row, uncompressed, at least 1."""
    size = rows = 0
    for group, _, n in groups:
        metadata = parquet.metadata.row_group(group)
        columns = [metadata.column(i) for i in range(metadata.num_columns)]
        texts = [
            column
            for column in columns
            if column.path_in_schema.split(".")[0] in (fields.text, fields.chat, SHARED_CHATS)
        ]
        size += sum(column.total_uncompressed_size for column in texts)
        rows += n
    return max(size / max(rows, 1), 1)


def _rows_of_group(
    parquet: "pq.ParquetFile", group: int, first: int, numbers: set[int], names: list[str], where: str
) -> Iterator[Piece]:
    """Some rows of a group, decoded; it is read to the last of them."""
    start, missing = 0, len(numbers)
    batches = parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=names) if numbers else ()
    for batch in batches:
        for row in range(batch.num_rows):
            if start + row in numbers:
                missing -= 1
                place = f"row {first + start + row + 1}"
                yield Piece(place, parse_row(Row(batch, row, names), f"{where}, {place}"))
        start += batch.num_rows
        if not missing:
            return


@contextmanager
def _arrow(file: Input, fields: Fields) -> Iterator[tuple["pa.Table", list[str]]]:
    """The table of an Arrow file or stream, and the names of the columns to read; it is mapped, not read."""
    import pyarrow as pa

    plain = not (file.stdin or file.packed)
    with file.random_access() as opened, _arrow_errors(file, "Arrow"):
        source = pa.memory_map(str(file.path)) if plain else pa.PythonFile(opened, "r")
        is_file = opened.read(6) == b"ARROW1"
        opened.seek(0)
        table = pa.ipc.open_file(source).read_all() if is_file else pa.ipc.open_stream(source).read_all()
        table.validate()
        fields.check(table.column_names, file.where)
        yield table, fields.among(table.column_names)


def arrow_rows(file: Input, fields: Fields) -> Iterator[Piece]:
    with _arrow(file, fields) as (table, names):
        number = 0
        for batch in table.to_batches():
            for row in range(batch.num_rows):
                number += 1
                yield Piece(f"row {number}", Row(batch, row, names))


def scattered_arrow(file: Input, fields: Fields, allowance: int, chance: Random) -> Iterator[Piece]:
    with _arrow(file, fields) as (table, names):
        for row in scattered(table.num_rows, chance):
            yield Piece(f"row {row + 1}", Row(table, row, names))
