"""The bytes of a text file: a path or standard input flows in, UTF-8 flows out in pieces, decompressed.

Nothing here holds a whole file. Compression is told by a file's first bytes, UTF-16 and UTF-32 by a byte-order mark.
"""

import codecs
import gzip
import math
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from saecatalog.errors import CatalogError
from saecatalog.texts.text_files import marked_encoding, other_encoding, printable, unreadable
from saecatalog.write_errors import FULL

CHUNK = 1 << 20
"""Bytes read at a time."""

COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
"""The endings of names of compressed files, and how they are compressed."""
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""How compressed files begin."""

STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
"""The paths that mean standard input."""


def is_stdin(path: Path | str) -> bool:
    """Whether a path means standard input."""
    return str(path) in STDIN


@dataclass(frozen=True)
class Input:
    """A file that exists, or standard input, which can be read once."""

    path: Path

    @cached_property
    def stdin(self) -> bool:
        return is_stdin(self.path)

    @cached_property
    def where(self) -> str:
        """The path, for messages."""
        return "standard input" if self.stdin else printable(self.path)

    @cached_property
    def name(self) -> str:
        """The file's own name, links followed, without an ending that says that it is compressed."""
        name = "stdin" if self.stdin else self.path.resolve().name
        ending = next((e for e in COMPRESSED if name.lower().endswith(e)), "")
        return name[: len(name) - len(ending)]

    @cached_property
    def shown(self) -> str:
        """The name in the source of a text."""
        return "standard input" if self.stdin else printable(self.path.name)

    @cached_property
    def head(self) -> bytes:
        """The first four bytes; none of standard input, whose bytes can be read once."""
        if self.stdin:
            return b""
        with _reading(self), self.path.open("rb") as file:
            return file.read(4)

    @property
    def packed(self) -> str:
        """How the file is compressed, "" if it is not."""
        return _packed(self.head)

    @cached_property
    def size(self) -> float:
        """Bytes of text; infinity if it is not known before everything has been read."""
        return math.inf if self.stdin or self.packed else self.path.stat().st_size

    @property
    def seekable(self) -> bool:
        """Whether the UTF-8 of any place of the file can be read by itself."""
        return not (self.stdin or self.packed or marked_encoding(self.head))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes as they are, decompressed."""
        with _reading(self), _raw(self.path, self.stdin) as raw:
            begins = raw.peek(4)
            packed = _packed(begins)
            wanted = COMPRESSED.get(self.path.suffix.lower(), packed)
            if wanted != packed and begins:
                what = f"This file is not compressed with {wanted}, as its name says."
                raise CatalogError(what, self.where, "Rename it, or write it anew.")
            if packed == "gzip":
                with gzip.open(raw) as file:
                    yield file  # type: ignore[misc]
            elif packed == "zstd":
                import pyarrow as pa

                with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as file:
                    yield file
            else:
                yield raw

    @contextmanager
    def random_access(self) -> Iterator[BinaryIO]:
        """The bytes in a file of which any place can be read; a compressed one is first unpacked on the disk."""
        if not (self.stdin or self.packed):
            with _reading(self), self.path.open("rb") as file:
                yield file
            return
        with tempfile.TemporaryFile() as unpacked:
            with self.open() as file:
                shutil.copyfileobj(file, unpacked, CHUNK)
            unpacked.seek(0)
            yield unpacked

    def chunks(self) -> Iterator[bytes]:
        """The content in UTF-8, without a byte-order mark; the last piece may end within a character.

        Raises CatalogError for a damaged file, and for one in another encoding without a mark.
        """
        with self.open() as file:
            pieces = iter(lambda: file.read(CHUNK), b"")
            first = next(pieces, b"")
            encoding = marked_encoding(first)
            if not encoding and (likely := other_encoding(first)):
                fix = f"Save it as UTF-8, for example with: iconv -f {likely} -t UTF-8"
                raise CatalogError(f"This corpus file is {likely}, not UTF-8.", self.where, fix)
            if encoding:
                yield from self._as_utf8(chain([first], pieces), encoding)
            else:
                yield first.removeprefix(codecs.BOM_UTF8)
                yield from pieces

    def _as_utf8(self, pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            for piece in pieces:
                yield decoder.decode(piece).encode()
            yield decoder.decode(b"", final=True).encode()
        except UnicodeError as error:
            what = f"This corpus file begins like {encoding}, but is not."
            raise CatalogError(what, self.where, f"{str(error).capitalize()}.") from None

    def lines(self) -> Iterator[str]:
        """The lines, each with its end as it is in the file: `\\n`, `\\r\\n` or `\\r`.

        Raises CatalogError, with the line, for what is not UTF-8, and for a byte 0.
        """
        for number, line in enumerate(_split(self.chunks()), 1):
            yield text_of(line, f"{self.where}, line {number}")

    def characters(self) -> Iterator[str]:
        """The text in pieces; raises CatalogError, with the line, for what is not UTF-8, and for a byte 0."""
        number = 1
        try:
            for text in codecs.iterdecode(self.chunks(), "utf-8"):
                yield checked(text, self.where)
                number += text.count("\n")
        except UnicodeDecodeError as error:
            number += error.object[: error.start].count(b"\n")
            raise not_utf8(f"{self.where}, line {number}") from None


def text_of(line: bytes, where: str) -> str:
    """Decode a piece of a file; raises CatalogError if it is no text."""
    try:
        return checked(line.decode(), where)
    except UnicodeDecodeError:
        raise not_utf8(where) from None


def checked(text: str, where: str) -> str:
    """The text; raises CatalogError if a character 0 is in it."""
    if "\0" in text:
        what = "This corpus file has a byte 0, so it seems to be a binary file."
        raise CatalogError(what, where, "Use a text file; remove the byte if it is one.")
    return text


def not_utf8(where: str) -> CatalogError:
    return CatalogError("This corpus file is not UTF-8.", where, "Save it as UTF-8 (for example with iconv).")


def _packed(head: bytes) -> str:
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")


def beginning_of_stdin() -> bytes:
    """Some of the first bytes of standard input, decompressed if gzip did it; they are still to be read."""
    begins = _stdin().peek(CHUNK)
    return zlib.decompressobj(wbits=31).decompress(begins, CHUNK) if _packed(begins) == "gzip" else begins


def _stdin() -> BufferedReader:
    """Raises CatalogError if the process has no standard input."""
    if sys.stdin is None:
        raise CatalogError("There is no standard input.", "standard input", "Send texts to it, or name a file.")
    return cast(BufferedReader, sys.stdin.buffer)


@contextmanager
def _raw(path: Path, stdin: bool) -> Iterator[BufferedReader]:
    if stdin:
        yield _stdin()
    else:
        with path.open("rb") as file:
            yield file


@contextmanager
def _reading(file: Input) -> Iterator[None]:
    """Turn the errors of the system and of the decompressors into a CatalogError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(file, error) from None
    except OSError as error:
        if error.errno in FULL:
            raise
        # Arrow reports what it cannot decompress as an error of the system without a number.
        raise (_damaged(file, error) if error.errno is None else unreadable(file.path, error)) from None


def _damaged(file: Input, error: Exception) -> CatalogError:
    why = (str(error).splitlines() or ["it cannot be decompressed"])[0].rstrip(".")
    return CatalogError("This compressed file is damaged or cut off.", file.where, f"Write it anew: {why}.")


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file; a line may go on over many chunks, and its end may be cut in two."""
    held: list[bytes] = []
    for chunk in chunks:
        # Of a line that has no end yet, what is held is not looked at again.
        if not re.search(rb"[\r\n]", chunk) and not (held and held[-1].endswith(b"\r")):
            held.append(chunk)
            continue
        *whole, last = b"".join([*held, chunk]).splitlines(keepends=True)
        yield from whole
        held = [last]
    yield from b"".join(held).splitlines(keepends=True)
