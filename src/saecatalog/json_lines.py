"""Files with one JSON object a line, as Neuronpedia exports them: paths flow in, checked objects flow out.

A file may be compressed, and a folder stands for the files in it. Every mistake is reported with its file and line.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson

from saecatalog.errors import CatalogError
from saecatalog.texts.streams import Input
from saecatalog.texts.text_files import files_below, is_folder, printable

ENDINGS = (".jsonl", ".jsonl.gz")
"""The names of files that are read if a folder is given."""


@dataclass(frozen=True)
class Field:
    """What the value of a field must be: in words, and as a check of the JSON value."""

    words: str
    fits: Callable[[Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _index(value: Any) -> bool:
    return isinstance(value, str | int) and str(value).isascii() and str(value).isdecimal() and len(str(value)) < 10


TEXT = Field("a string", lambda value: isinstance(value, str))
NUMBER = Field("a number", _number)
SHARE = Field("a number from 0 to 1", lambda value: _number(value) and 0 <= value <= 1)
INDEX = Field("a feature number", _index)
NAMES = {"modelId": TEXT, "layer": TEXT, "index": INDEX}
"""The fields that say which feature a row is about."""
TEXTS = Field("a list of strings", lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value))
NUMBERS = Field("a list of numbers", lambda value: isinstance(value, list) and all(map(_number, value)))


def optional(field: Field) -> Field:
    """The same field, which may also be missing or null."""
    return Field(f"{field.words} or null", lambda value: value is None or field.fits(value))


@dataclass(frozen=True)
class Line:
    """One object, and the file and line that hold it."""

    row: dict[str, Any]
    where: str

    def check(self, fields: dict[str, Field]) -> None:
        """Raise CatalogError for the first field that does not fit."""
        for name, field in fields.items():
            value = self.row.get(name)
            if not field.fits(value):
                found = "is missing" if name not in self.row else f"is {_short(value)}"
                self.fail(f"The field '{name}' {found}.", f"It should be {field.words}.")

    def check_source(self, expected: str) -> None:
        """Raise CatalogError if the row is of another SAE than `expected`, such as `gpt2-small/6-res-jb`."""
        found = f"{self.row['modelId']}/{self.row['layer']}"
        if found != expected:
            self.fail(
                f"This row is of the SAE '{found}'; the catalog's is '{expected}'.", "Give files of the same SAE."
            )

    def feature(self, d_sae: int) -> int:
        """The feature that the row is about; raises CatalogError if it is outside the dictionary."""
        index = int(self.row["index"])
        if index >= d_sae:
            self.fail(f"The SAE has no feature {index}.", f"Its features are numbered from 0 to {d_sae - 1}.")
        return index

    def fail(self, what: str, fix: str) -> NoReturn:
        raise CatalogError(what, self.where, fix)


def read_lines(paths: Iterable[Path], kind: str) -> Iterator[Line]:
    """The objects of some files and folders, in the order of the paths; blank lines are skipped.

    `kind` says in an error what a path should have been. Raises CatalogError for a path that cannot be read, a folder
    without such a file, and a line that is not a JSON object.
    """
    for path in paths:
        for file in _files(path, kind):
            yield from _lines(file)


def _files(path: Path, kind: str) -> list[Path]:
    if not is_folder(path, kind):
        return [path]
    found = [file for file in files_below(path) if file.name.endswith(ENDINGS)]
    if not found:
        raise CatalogError(f"This folder has no {kind}.", printable(path), f"Its files end in {' or '.join(ENDINGS)}.")
    return found


def _lines(path: Path) -> Iterator[Line]:
    file = Input(path)
    with file.open() as opened:
        for number, line in enumerate(opened, 1):
            if line.strip():
                where = f"{file.where}, line {number}"
                yield Line(_object(line, where), where)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise CatalogError("This line is not valid JSON.", where, f"Write one object a line: {error}.") from None
    if not isinstance(row, dict):
        raise CatalogError("This line is not a JSON object.", where, "Write one object a line.")
    return row


def _short(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else text[:59] + "…"
