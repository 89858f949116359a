"""Plain text: a text is a line, a block of lines, or the whole file."""

import re
from collections.abc import Callable, Iterable, Iterator
from random import Random

from saecatalog.texts.formats.pieces import Piece, Scattered, seek
from saecatalog.texts.records import Fields
from saecatalog.texts.streams import Input


def lines(file: Input, fields: Fields) -> Iterator[Piece]:
    for number, line in enumerate(file.lines(), 1):
        if line.strip():
            yield Piece(f"line {number}", line.strip())


def blocks(file: Input, fields: Fields) -> Iterator[Piece]:
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
    if content := tidy_block("".join(lines)):
        yield Piece(place, content)


def whole(file: Input, fields: Fields) -> Iterator[Piece]:
    yield from _block(file.lines(), "")


def unix(text: str) -> str:
    """The text with `\\n` for every kind of line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def sought(separator: re.Pattern[bytes], tidy: Callable[[str], str]) -> Scattered:
    """A way to read the texts between separators from anywhere in a file."""

    def pieces(file: Input, fields: Fields, allowance: int, chance: Random) -> Iterator[Piece] | None:
        if not file.seekable:
            return None
        found = seek(file, separator, allowance, chance)
        tidied = ((start, tidy(text)) for start, text in found)
        return (Piece(f"byte {start}", text) for start, text in tidied if text)

    return pieces


def tidy_block(text: str) -> str:
    """A block without blank lines before it and white space after it; "" for one of white space."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", unix(text)).rstrip()
