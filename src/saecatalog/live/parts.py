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

ESCAPES = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r"}
"""What cannot stand in a string of a script, and what is written for it."""

_TO_ESCAPE = re.compile(rb'[\\"\n\r]')
_ESCAPED = re.compile(rb'\\([\\"nr])')
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
    escaped = _TO_ESCAPE.sub(lambda found: ESCAPES[found.group()], content)
    (folder / part.file).write_bytes(b'saePart("%s","%s")\n' % (name.encode(), escaped))
    return part


def read_part(folder: Path, part: Part) -> bytes:
    """The content of a part; raises ValueError, with the reason, if it is not as it was written."""
    found = _FILE.fullmatch((folder / part.file).read_bytes())
    if not found or found[1].decode() != part.name:
        raise ValueError("it is cut off or not a part of this catalog")
    plain = {escape[1:]: byte for byte, escape in ESCAPES.items()}
    content = _ESCAPED.sub(lambda escaped: plain[escaped[1]], found[2])
    if len(content) != part.bytes or zlib.crc32(content) != part.crc32:
        raise ValueError("its content is damaged")
    return content
