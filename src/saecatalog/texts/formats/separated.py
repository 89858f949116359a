"""CSV and TSV: a record is a row, and the first row names the columns."""

import codecs
import csv
import sys
from collections.abc import Iterable, Iterator
from random import Random

from saecatalog.errors import CatalogError
from saecatalog.texts.formats.pieces import Piece, Pieces, Scattered, seek
from saecatalog.texts.records import Fields
from saecatalog.texts.sampling import LINES
from saecatalog.texts.streams import CHUNK, Input

SEPARATORS = {"semicolons": ";", "tabs": "\t", "commas": ","}


def rows(delimiter: str) -> Pieces:
    """The rows of a table of text; its first row names the columns."""

    def pieces(file: Input, fields: Fields) -> Iterator[Piece]:
        found = _cells(file.lines(), delimiter, file.where)
        header = _header(found, fields, file.where)
        for number, row in found:
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
    for name, sign in SEPARATORS.items() if len(header) == 1 else ():
        if fields.among(part.strip().strip('"') for part in header[0].split(sign)) and sign in header[0]:
            fix = "Use --corpus-format tsv for tabs, or csv for commas; write a file with semicolons anew."
            raise CatalogError(f"The columns of this file are separated by {name}.", f"{where}, line 1", fix)
    fields.check(header, f"{where}, line 1")
    return header


def _record_of(row: list[str], header: list[str], where: str) -> dict[str, str]:
    if len(row) != len(header):
        what = f"This row has {len(row)} field{'s' * (len(row) != 1)}; the first row has {len(header)}."
        raise CatalogError(what, where, "Put fields that contain the separator in quotes.")
    return dict(zip(header, row, strict=True))


def sought_rows(delimiter: str) -> Scattered:
    """Rows from anywhere, if the file has no quotes, between which a row could go on over several lines."""

    def pieces(file: Input, fields: Fields, allowance: int, chance: Random) -> Iterator[Piece] | None:
        if not file.seekable or any(b'"' in chunk for chunk in file.chunks()):
            return None
        return _seek_rows(file, fields, delimiter, allowance, chance)

    return pieces


def _seek_rows(file: Input, fields: Fields, delimiter: str, allowance: int, chance: Random) -> Iterator[Piece]:
    header = _header(_cells(file.lines(), delimiter, file.where), fields, file.where)
    first = _first_line(file)
    for start, line in seek(file, LINES, allowance, chance):
        if line and start != first:
            place = f"byte {start}"
            yield Piece(place, _record_of(line.split(delimiter), header, f"{file.where}, {place}"))


def _first_line(file: Input) -> int:
    """Where the first line that is not empty begins; at the beginning, it includes the byte-order mark."""
    with file.random_access() as opened:
        head = opened.read(CHUNK)
    rest = head.removeprefix(codecs.BOM_UTF8)
    return len(head) - len(rest.lstrip(b"\r\n")) if rest[:1] in (b"\r", b"\n") else 0
