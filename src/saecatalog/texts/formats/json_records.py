"""JSON: a record is a line of a file, or an entry of an array, which is read without holding the whole of it."""

import json
from collections.abc import Iterator

from saecatalog.errors import CatalogError
from saecatalog.texts.formats.pieces import Piece
from saecatalog.texts.records import Fields
from saecatalog.texts.streams import Input

LONGEST_OBJECT = 1 << 20
"""Characters of a file that are searched for what it holds if it does not hold an array."""


def parse_line(line: str, where: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise CatalogError("This line is not valid JSON.", where, f"{error.msg} (column {error.colno}).") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of brackets.
        raise CatalogError("This line cannot be read.", where, f"{error}.") from None


class Scanner:
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


def array(file: Input, fields: Fields) -> Iterator[Piece]:
    """The records or strings of a JSON array."""
    scanner = Scanner(file.characters(), file.where)
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


def _no_array(scanner: Scanner) -> CatalogError:
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
