"""Finds the files that a user gives, and decodes notes and settings: paths flow in, files and strings flow out.

Corpora, concepts and notes are all found through this module, so that a folder with a loop and a file that cannot be
read are reported in the same way. The texts of corpora are decoded in `streams`, piece by piece.
"""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from saecatalog.errors import CatalogError

BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
"""How files in other encodings begin; the longer marks come first, because the shorter ones begin them."""
SAMPLE = 1 << 16
"""Bytes of a file from which its encoding is guessed."""
HALF = re.compile("[\ud800-\udfff]")
"""Half of a character that UTF-16 writes in two parts, or an undecodable byte of an argument: it is no text."""


def is_folder(path: Path, kind: str = "file or folder") -> bool:
    """Whether a path is a folder; False for a file. `kind` says in an error what it should have been.

    Raises CatalogError if it does not exist, may not be read, is a link that leads nowhere, or is a pipe, a socket or a
    device, which could block for ever.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            target = printable(os.readlink(path))
            fix = "Remove the link, or restore its target."
            raise CatalogError(f"This link leads to '{target}', which does not exist.", printable(path), fix) from None
        raise CatalogError(f"This {kind} does not exist.", printable(path), "Check the path.") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        what = "This is a pipe, a socket or a device, not a file or folder."
        raise CatalogError(what, printable(path), "Copy its contents into a file.")
    return stat.S_ISDIR(mode)


def entries(folder: Path) -> list[Path]:
    """What a folder holds, hidden files included, sorted; raises CatalogError if it may not be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from None


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and in its folders, sorted, without hidden files and folders.

    Links are followed, and each folder is read once, even if several links lead to it. Raises CatalogError for a link
    to a folder that contains the link, and as `is_folder` and `entries` do.
    """
    found: list[Path] = []
    seen: set[Path] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        folder = real(here)
        inside = [] if folder in seen else [path for path in entries(here) if not path.name.startswith(".")]
        seen.add(folder)
        for path in inside:
            if not is_folder(path):
                found.append(path)
            else:
                check_no_loop(path)
                waiting.append(path)
    return sorted(found)


def once(paths: Iterable[Path]) -> list[Path]:
    """The paths of different files, sorted; of several paths to one file, its own is kept before links to it."""
    found: dict[Path, Path] = {}
    for path in sorted(paths, key=lambda p: (p.is_symlink(), p)):
        found.setdefault(real(path), path)
    return sorted(found.values())


def check_no_loop(path: Path) -> None:
    """Raise CatalogError if a path is a link to a folder that contains it."""
    if path.is_symlink() and real(path.parent).is_relative_to(real(path)):
        what = "This link leads to a folder that contains it, so reading would never end."
        raise CatalogError(what, printable(path), "Remove the link.")


def real(path: Path) -> Path:
    """A path without links; raises CatalogError for links that lead to each other."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise unreadable(path, error) from None


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises CatalogError if it may not be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def decode(data: bytes, path: Path, kind: str) -> str:
    """The text of a file, without a byte-order mark, and with `\\n` for every kind of line end.

    `kind` says what the file is, such as `corpus file`. Raises CatalogError, with the line, for another encoding and
    for a file that is no text.
    """
    encoding = marked_encoding(data) or other_encoding(data)
    if encoding:
        fix = f"Save it as UTF-8, for example with: iconv -f {encoding} -t UTF-8"
        raise CatalogError(f"This {kind} is {encoding}, not UTF-8.", printable(path), fix)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{printable(path)}, line {_line(data, error.start)}"
        raise CatalogError(f"This {kind} is not UTF-8.", where, "Save it as UTF-8 (for example with iconv).") from None
    if "\0" in text:
        where = f"{printable(path)}, line {_line(data, data.index(0))}"
        fix = "Use a text file; remove the byte if it is one."
        raise CatalogError(f"This {kind} has a byte 0, so it seems to be a binary file.", where, fix)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def marked_encoding(data: bytes) -> str:
    """UTF-16 or UTF-32 if a file begins with a byte-order mark of it, else ""."""
    return next((name for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), "")


def other_encoding(data: bytes) -> str:
    """The encoding that a file without a mark seems to have if it is not UTF-8, by where its bytes are 0; else ""."""
    sample = data[: min(len(data), SAMPLE) // 4 * 4]
    # Which of the four bytes of a group are 0 in a tenth of the groups: letters, or spaces and line ends, have them.
    zeros = "".join("0" if sample[place::4].count(0) * 40 > len(sample) else "x" for place in range(4))
    return {"x000": "UTF-32LE", "000x": "UTF-32BE", "x0x0": "UTF-16LE", "0x0x": "UTF-16BE"}.get(zeros, "")


def _line(data: bytes, place: int) -> int:
    """The number of the line with this byte."""
    return len((data[:place] + b"x").splitlines())


def printable(name: object) -> str:
    """A path or name for a message: controls, marks that reorder text, and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def unreadable(path: Path, error: Exception) -> CatalogError:
    """The error for a path that the system refuses."""
    if isinstance(error, PermissionError):
        return CatalogError("This file or folder may not be read.", printable(path), "Change its permissions.")
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CatalogError("This file or folder cannot be read.", printable(path), f"The system says: {why}.")
