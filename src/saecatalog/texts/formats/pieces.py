"""What every reader gives: pieces of a file, in their order, or from places spread over it."""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from saecatalog.texts.records import Fields
from saecatalog.texts.sampling import seek_records
from saecatalog.texts.streams import Input, text_of


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
    rows: bool = False
    """Whether they are the rows of a dataset, which is cut into files by size alone."""


def seek(file: Input, separator: re.Pattern[bytes], allowance: int, chance: Random) -> Iterator[tuple[int, str]]:
    """Texts between separators, from places spread over a file, and the bytes at which they start."""
    # What is not UTF-8 is named as in a file that is read from its beginning.
    next(file.chunks(), b"")
    with file.random_access() as opened:
        for start, found in seek_records(opened, int(file.size), separator, allowance, chance):
            data = found.removeprefix(codecs.BOM_UTF8) if start == 0 else found
            yield start, text_of(data, f"{file.where}, byte {start}")
