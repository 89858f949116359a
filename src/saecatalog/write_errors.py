"""Failed writes: an error of the system flows in, one that says which folder is full or closed flows out."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saecatalog.errors import CatalogError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""Answers of systems if a file is where a folder should be, or the reverse."""

DISK_FULL = "The disk with this folder is full."
READ_ONLY = "This folder cannot be written."
WRONG_KIND = "Something of another kind is in the way of this file or folder."
FIXES = {DISK_FULL: "Free some space", READ_ONLY: "Allow it", WRONG_KIND: "Move it away"}

FULL_WORDS = re.compile(r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written")
"""How libraries say that the disk is full if their errors have no number: safetensors, and numpy."""


@contextmanager
def writing(folder: Path, flag: str) -> Iterator[None]:
    """Turn the errors of writing into a folder into a CatalogError that names it, and the flag that chooses another.

    A full disk elsewhere is an error that names the file there. Errors of reading, and mistakes of the program, pass
    unchanged.
    """
    try:
        yield
    except CatalogError:
        raise
    except Exception as error:
        what = _said(error, folder)
        if what is None:
            raise
        if what is DISK_FULL and not _is_about(error, folder):
            raise disk_full(error) from error
        where = _named(error) or str(folder) if what is WRONG_KIND else str(folder)
        fix = f"{FIXES[what]}, or choose another folder with {flag}. The existing site is unchanged."
        raise CatalogError(what, where, fix) from error


def _said(error: Exception, folder: Path) -> str | None:
    """What is wrong with the folder, or None if the error is about something else."""
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL or (number is None and FULL_WORDS.search(str(error))):
        return DISK_FULL
    if isinstance(error, OSError) and number in CLOSED | IN_THE_WAY and _is_about(error, folder):
        return READ_ONLY if number in CLOSED else WRONG_KIND
    return None


def disk_full(error: Exception) -> CatalogError:
    """The error for a full disk that is neither the cache's nor the output folder's."""
    return CatalogError("A disk is full.", _named(error) or str(error), "Free some space there.")


def _named(error: Exception) -> str:
    """The file that an error names, of two the one to be written; "" if there is none."""
    return str(getattr(error, "filename2", None) or getattr(error, "filename", None) or "")


def _is_about(error: Exception, folder: Path) -> bool:
    """Whether the file that the error names lies in the folder or is where the folder would be made.

    True if the error names none.
    """
    if not _named(error):
        return True
    named, folder = Path(_named(error)).resolve(), folder.resolve()
    return named.is_relative_to(folder) or folder.is_relative_to(named)
