"""Formats of text files: an `Input` flows in, its pieces flow out, each a text or a record with its place.

`FORMATS` is the only list of them. A reader gives all pieces in their order, and, if the file can be read from
anywhere, pieces from places spread over it.
"""

import codecs
import csv
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from saecatalog.errors import CatalogError
from saecatalog.records import SHARED_CHATS, Fields
from saecatalog.sampling import BLANK_LINES, LINES, scattered, seek_records
from saecatalog.streams import CHUNK, COMPRESSED, Input, beginning_of_stdin, text_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROW_GROUPS = 16
"""Groups of rows of a Parquet file from which a sample is taken; each has to be read to its last sampled row."""
BATCH_ROWS = 512
"""Rows of a Parquet file decoded at a time."""
LONGEST_OBJECT = 1 << 20
"""Characters of a JSON file that are searched for what it holds if it does not hold an array."""


@dataclass(frozen=True)
class Piece:
    """A text, or a record, as its format holds it."""

    place: str
    """Where in the file; "" if it is the whole file."""
    value: Any


Pieces = Callable[[Input, Fields], Iterator[Piece]]
Scattered = Callable[[Input, Fields, int, Random], Iterator[Piece] | None]


def _as_it_is(value: Any, where: str) -> object:
    return value


@dataclass(frozen=True)
class Reader:
    """How to read the files of a format."""

    suffixes: tuple[str, ...]
    """Endings of the names of such files."""
    pieces: Pieces
    """All pieces of a file in their order."""
    scattered: Scattered = lambda file, fields, allowance, chance: None
    """All pieces, or as many as have `allowance` characters, from places spread over the file at random.

    None for a file that can only be read from its beginning.
    """
    parse: Callable[[Any, str], object] = _as_it_is
    """A string, or an object with fields, from the value of a piece and where it is; raises CatalogError."""
    records: bool = True
    """Whether the pieces are records, so that a file of a category's folder holds many texts."""


def _lines(file: Input, fields: Fields) -> Iterator[Piece]:
    for number, line in enumerate(file.lines(), 1):
        if line.strip():
            yield Piece(f"line {number}", line.strip())


def _blocks(file: Input, fields: Fields) -> Iterator[Piece]:
    held: list[str] = []
    start = 1
    for number, line in enumerate(file.lines(), 1):
        if line.strip(" \t\r\n"):
            start = start if held else number
            held.append(line)
        elif held:
            yield from _block(held, f"line {start}")
            held = []
    yield from _block(held, f"line {start}")


def _block(lines: Iterable[str], place: str) -> Iterator[Piece]:
    if content := _tidy_block("".join(lines)):
        yield Piece(place, content)


def _whole(file: Input, fields: Fields) -> Iterator[Piece]:
    yield from _block(file.lines(), "")


def unix(text: str) -> str:
    """The text with `\\n` for every kind of line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _sought(separator: re.Pattern[bytes], tidy: Callable[[str], str]) -> Scattered:
    """A way to read the texts between separators from anywhere in a file."""

    def pieces(file: Input, fields: Fields, allowance: int, chance: Random) -> Iterator[Piece] | None:
        if not file.seekable:
            return None
        found = _seek(file, separator, allowance, chance)
        tidied = ((start, tidy(text)) for start, text in found)
        return (Piece(f"byte {start}", text) for start, text in tidied if text)

    return pieces


def _seek(file: Input, separator: re.Pattern[bytes], allowance: int, chance: Random) -> Iterator[tuple[int, str]]:
    """Texts between separators, from places spread over a file, and the bytes at which they start."""
    # What is not UTF-8 is named as in a file that is read from its beginning.
    next(file.chunks(), b"")
    with file.random_access() as opened:
        for start, found in seek_records(opened, int(file.size), separator, allowance, chance):
            data = found.removeprefix(codecs.BOM_UTF8) if start == 0 else found
            yield start, text_of(data, f"{file.where}, byte {start}")


def _tidy_block(text: str) -> str:
    """A block without blank lines before it and white space after it; "" for one of white space."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", unix(text)).rstrip()


def _parse_line(line: str, where: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise CatalogError("This line is not valid JSON.", where, f"{error.msg} (column {error.colno}).") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of brackets.
        raise CatalogError("This line cannot be read.", where, f"{error}.") from None


def _rows(delimiter: str) -> Pieces:
    """The rows of a table of text; its first row names the columns."""

    def pieces(file: Input, fields: Fields) -> Iterator[Piece]:
        rows = _cells(file.lines(), delimiter, file.where)
        header = _header(rows, fields, file.where)
        for number, row in rows:
            place = f"line {number}"
            yield Piece(place, _record_of(row, header, f"{file.where}, {place}"))

    return pieces


def _cells(lines: Iterable[str], delimiter: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, and the lines in which they begin."""
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            fix = f"Put the field in quotes, and double each quote in it ({error})."
            raise CatalogError("This row cannot be read.", f"{where}, line {number}", fix) from None
        if row is None:
            return
        if row:
            yield number, row


def _header(rows: Iterator[tuple[int, list[str]]], fields: Fields, where: str) -> list[str]:
    _, row = next(rows, (1, []))
    header = [name.strip() for name in row]
    twice = [name for name in fields.among(header) if header.count(name) > 1]
    if twice:
        raise CatalogError(f"This file has two columns '{twice[0]}'.", f"{where}, line 1", "Rename one of them.")
    fields.check(header, f"{where}, line 1")
    return header


def _record_of(row: list[str], header: list[str], where: str) -> dict[str, str]:
    if len(row) != len(header):
        what = f"This row has {len(row)} field{'s' * (len(row) != 1)}; the first row has {len(header)}."
        raise CatalogError(what, where, "Put fields that contain the separator in quotes.")
    return dict(zip(header, row, strict=True))


def _sought_rows(delimiter: str) -> Scattered:
    """Rows from anywhere, if the file has no quotes, between which a row could go on over several lines."""

    def pieces(file: Input, fields: Fields, allowance: int, chance: Random) -> Iterator[Piece] | None:
        if not file.seekable or any(b'"' in chunk for chunk in file.chunks()):
            return None
        return _seek_rows(file, fields, delimiter, allowance, chance)

    return pieces


def _seek_rows(file: Input, fields: Fields, delimiter: str, allowance: int, chance: Random) -> Iterator[Piece]:
    header = _header(_cells(file.lines(), delimiter, file.where), fields, file.where)
    first = _first_line(file)
    for start, line in _seek(file, LINES, allowance, chance):
        if line and start != first:
            place = f"byte {start}"
            yield Piece(place, _record_of(line.split(delimiter), header, f"{file.where}, {place}"))


def _first_line(file: Input) -> int:
    """Where the first line that is not empty begins; at the beginning, it includes the byte-order mark."""
    with file.random_access() as opened:
        head = opened.read(CHUNK)
    rest = head.removeprefix(codecs.BOM_UTF8)
    return len(head) - len(rest.lstrip(b"\r\n")) if rest[:1] in (b"\r", b"\n") else 0


class _Scanner:
    """Reads one JSON value after another from pieces of text, holding little more than one of them."""

    def __init__(self, pieces: Iterator[str], where: str):
        self.pieces, self.where = pieces, where
        self.text, self.place, self.number = "", 0, 0
        self.decoder = json.JSONDecoder()

    def next(self) -> str:
        """The next character that is not white space, "" at the end; it is not taken."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in " \t\r\n":
                self.place += 1
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                return ""

    def more(self) -> bool:
        """Get more text; whether there was any."""
        piece = next(self.pieces, "")
        self.text, self.place = self.text[self.place :] + piece, 0
        return bool(piece)

    def value(self) -> object:
        """The next value. Raises CatalogError if it is not valid."""
        self.number += 1
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.place)
            except json.JSONDecodeError as error:
                # A value that is cut off fails at the end of what was read, or at the start of its last string.
                cut = error.pos >= len(self.text) - 8 or error.msg.startswith("Unterminated string")
                if not (cut and self._much_more()):
                    raise self.invalid(f"{error.msg}.") from None
            except (ValueError, RecursionError) as error:
                raise self.invalid(f"{error}.") from None
            else:
                self.place = end
                return value

    def _much_more(self) -> bool:
        """Double the text, so that a long value is not looked at too often; whether there was more."""
        wanted = 2 * (len(self.text) - self.place)
        parts = [self.text[self.place :]]
        size = len(parts[0])
        while size < wanted and (piece := next(self.pieces, "")):
            parts.append(piece)
            size += len(piece)
        self.text, self.place = "".join(parts), 0
        return len(parts) > 1

    def invalid(self, why: str) -> CatalogError:
        return CatalogError("This file is not valid JSON.", f"{self.where}, record {self.number}", why)


def _array(file: Input, fields: Fields) -> Iterator[Piece]:
    """The records or strings of a JSON array."""
    scanner = _Scanner(file.characters(), file.where)
    if scanner.next() != "[":
        raise _no_array(scanner)
    scanner.place += 1
    if scanner.next() != "]":
        while True:
            yield Piece(f"record {scanner.number + 1}", scanner.value())
            if scanner.next() != ",":
                break
            scanner.place += 1
            scanner.next()
    if scanner.next() != "]":
        raise scanner.invalid("The array goes on without a comma, or is cut off.")
    scanner.place += 1
    if scanner.next():
        raise scanner.invalid("Something follows the array.")


def _no_array(scanner: _Scanner) -> CatalogError:
    """The error for a JSON file that holds something else, which says what it is."""
    while len(scanner.text) < LONGEST_OBJECT and scanner.more():
        pass
    fix = "Write an array of objects, or one object a line in a file that ends in .jsonl."
    try:
        value, end = scanner.decoder.raw_decode(scanner.text, scanner.place)
    except (ValueError, RecursionError):
        value, end = None, 0
    if isinstance(value, dict) and scanner.text[end:].lstrip().startswith("{"):
        fix = "It has one object after another: let its name end in .jsonl, or use --corpus-format jsonl."
    elif isinstance(value, dict):
        lists = [name for name, part in value.items() if isinstance(part, list)]
        fix = f"It holds one object{', with the lists ' + ', '.join(lists) if lists else ''}. {fix}"
    return CatalogError("This JSON file does not hold an array.", scanner.where, fix)


@dataclass(frozen=True)
class Row:
    """A row of a table of Arrow."""

    table: "pa.Table | pa.RecordBatch"
    number: int
    names: list[str]


def _parse_row(row: Any, where: str) -> object:
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


def _parquet_rows(file: Input, fields: Fields) -> Iterator[Piece]:
    with _parquet(file, fields) as (parquet, names):
        number = 0
        for batch in parquet.iter_batches(BATCH_ROWS, columns=names):
            for row in range(batch.num_rows):
                number += 1
                yield Piece(f"row {number}", Row(batch, row, names))


def _scattered_parquet(file: Input, fields: Fields, allowance: int, chance: Random) -> Iterator[Piece]:
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
                yield Piece(place, _parse_row(Row(batch, row, names), f"{where}, {place}"))
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


def _arrow_rows(file: Input, fields: Fields) -> Iterator[Piece]:
    with _arrow(file, fields) as (table, names):
        number = 0
        for batch in table.to_batches():
            for row in range(batch.num_rows):
                number += 1
                yield Piece(f"row {number}", Row(batch, row, names))


def _scattered_arrow(file: Input, fields: Fields, allowance: int, chance: Random) -> Iterator[Piece]:
    with _arrow(file, fields) as (table, names):
        for row in scattered(table.num_rows, chance):
            yield Piece(f"row {row + 1}", Row(table, row, names))


FORMATS: dict[str, Reader] = {
    "lines": Reader((".txt",), _lines, _sought(LINES, str.strip), records=False),
    "blocks": Reader((".blocks.txt", ".md"), _blocks, _sought(BLANK_LINES, _tidy_block), records=False),
    "files": Reader((), _whole, records=False),
    "jsonl": Reader((".jsonl", ".ndjson"), _lines, _sought(LINES, str.strip), _parse_line),
    "json": Reader((".json",), _array),
    "csv": Reader((".csv",), _rows(","), _sought_rows(",")),
    "tsv": Reader((".tsv",), _rows("\t"), _sought_rows("\t")),
    "parquet": Reader((".parquet",), _parquet_rows, _scattered_parquet, _parse_row),
    "arrow": Reader((".arrow", ".feather"), _arrow_rows, _scattered_arrow, _parse_row),
}
"""The formats by name."""


def by_name(name: str) -> tuple[str, str]:
    """The format that a file's name says, and the ending that says it, the longest that fits; "" for none."""
    endings = [(ending, form) for form, reader in FORMATS.items() for ending in reader.suffixes]
    fitting = [(ending, form) for ending, form in endings if name.lower().endswith(ending)]
    ending, form = max(fitting, key=lambda pair: len(pair[0]), default=("", ""))
    return form, ending


def by_content(begins: bytes) -> str:
    """The format that the first bytes of standard input seem to have; that of lines if they say nothing."""
    magic = {b"PAR1": "parquet", b"ARRO": "arrow"}
    text = begins.removeprefix(codecs.BOM_UTF8)
    if re.match(rb'\s*\{\s*(["}]|\Z)', text):
        return "jsonl"
    return magic.get(begins[:4]) or ("json" if re.match(rb'\s*\[\s*(["{\]]|\Z)', text) else "lines")


def format_of(file: Input, otherwise: str = "") -> str:
    """The format of a file; raises CatalogError if its name does not say it and there is no other way to read it."""
    form = by_content(beginning_of_stdin()) if file.stdin else by_name(file.name)[0] or otherwise
    if not form:
        known = ", ".join(sorted(ending for reader in FORMATS.values() for ending in reader.suffixes))
        fix = f"Known are {known}, each also with {', '.join(COMPRESSED)}. Rename it, or use --corpus-format."
        raise CatalogError("The name of this file does not say the format of its texts.", file.where, fix)
    return form


def stem(file: Input) -> str:
    """The file's name without the endings that say how to read it."""
    ending = by_name(file.name)[1]
    return file.name[: len(file.name) - len(ending)] if ending else Path(file.name).stem
