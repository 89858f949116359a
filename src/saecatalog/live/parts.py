"""Parts: bytes flow in, the files that a reader's browser loads flow out.

A part is one file for both ways to open a site. Over http its bytes are fetched. In a folder opened by double-click a
page may only load scripts, so the file is one: a call with a string that contains the bytes. Read with the charset
`x-user-defined`, the low byte of each character is a byte of the file. Only four bytes have to be escaped; base64 would
make the files a third larger.
"""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

BACKSLASH = b"\\"
ESCAPES = {b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r"}
"""What cannot stand in a string of a script, besides a backslash, and what is written for it."""

_FILE = re.compile(rb'saePart\("([\w-]+)","(.*)"\)\n', re.DOTALL)


@dataclass(frozen=True)
class Part:
    """One file of the live part."""

    name: str
    bytes: int
    """Of the content."""
    crc32: int
    """Of the content (the CRC-32 of zlib)."""

    @property
    def file(self) -> str:
        """The file's name. It ends in the checksum, so a browser never takes an old file for a new one."""
        return f"{self.name}-{self.crc32:08x}.js"


def write_part(folder: Path, name: str, content: bytes) -> Part:
    """Write a part into a folder."""
    part = Part(name, len(content), zlib.crc32(content))
    (folder / part.file).write_bytes(b'saePart("%s","%s")\n' % (name.encode(), _escaped(content)))
    return part


def read_part(folder: Path, part: Part) -> bytes:
    """The content of a part; raises ValueError, with the reason, if it is not as it was written."""
    found = _FILE.fullmatch((folder / part.file).read_bytes())
    if not found or found[1].decode() != part.name:
        raise ValueError("it is cut off or not a part of this catalog")
    content = _plain(found[2])
    if len(content) != part.bytes or zlib.crc32(content) != part.crc32:
        raise ValueError("its content is damaged")
    return content


def _escaped(content: bytes) -> bytes:
    # Replacements one after another take a tenth of the time of a pattern.
    content = content.replace(BACKSLASH, 2 * BACKSLASH)
    for byte, escape in ESCAPES.items():
        content = content.replace(byte, escape)
    return content


def _plain(escaped: bytes) -> bytes:
    """The inverse. What is between pairs of backslashes, found from the left, has no backslash of its own."""
    pieces = escaped.split(2 * BACKSLASH)
    for byte, escape in ESCAPES.items():
        pieces = [piece.replace(escape, byte) for piece in pieces]
    return BACKSLASH.join(pieces)
