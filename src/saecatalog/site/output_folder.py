"""The folder of a site while it is written: one process has it at a time, and a reader always finds whole catalogs.

A finished catalog in a temporary folder flows in and takes the place of the old one. Where the file system can exchange
two folders, that is a single step. Elsewhere it is done file by file, see `_replace_files`.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from saecatalog.progress import notice
from saecatalog.site.inventory import TEMPORARY, files_below
from saecatalog.workspace import Workspace, describe, locked
from saecatalog.write_errors import writing

CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Answers of systems and file systems that cannot exchange two folders."""


@contextmanager
def output_folder(out: Path) -> Iterator[Workspace]:
    """A temporary folder inside the output folder, which no other process writes to meanwhile.

    The output folder is made if it is missing, and removed again if nothing was put into it.
    """
    made = not out.exists()
    with writing_to(out), Workspace(out / TEMPORARY) as workspace:
        try:
            with locked(out / TEMPORARY / "lock", lambda: _tell_who_writes(out, workspace)):
                yield workspace
        finally:
            workspace.close()
            # Another process may wait here, or somebody may have put a file here.
            with suppress(OSError):
                (out / TEMPORARY).rmdir()
                if made:
                    out.rmdir()


def writing_to(out: Path) -> AbstractContextManager[None]:
    """Say clearly that the output folder is full or cannot be written."""
    return writing(out, "--out")


def _tell_who_writes(out: Path, workspace: Workspace) -> None:
    who = " or ".join(describe(path.name) for path in workspace.others())
    notice(f"waiting for another build, which writes to {out}: {who or 'unknown'}")


def put(new: Path, target: Path, last: Callable[[str], int]) -> None:
    """Put a finished folder in the place of `target`, whether that exists or not.

    `last` gives the order in which files are replaced where folders cannot be exchanged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        new.rename(target)
    elif not exchange(new, target):
        replace_files(new, target, last)


def exchange(a: Path, b: Path) -> bool:
    """Exchange two folders in one step; false if the system or the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    names = os.fsencode(a), os.fsencode(b)
    if sys.platform == "darwin":
        failed = libc is None or libc.renamex_np(*names, 2)
    elif hasattr(libc, "renameat2"):
        here = -100  # AT_FDCWD: relative paths begin at the working folder
        failed = libc is None or libc.renameat2(here, names[0], here, names[1], 2)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in CANNOT_EXCHANGE:
        raise OSError(number, os.strerror(number), str(b))
    return not failed


def replace_files(new: Path, target: Path, last: Callable[[str], int]) -> None:
    """Replace a folder's files one by one: each file is whole at every moment, and no page is missing in between.

    Files come in the order of `last`, so that what pages need is there before them. Files that are no longer part
    of the catalog are removed before the files whose `last` is highest are replaced: those say that it is complete.
    """
    wanted, before = files_below(new), files_below(target)
    ordered = sorted(wanted, key=lambda file: (last(file), file))
    final = [file for file in ordered if last(file) == last(ordered[-1])]
    for file in ordered[: -len(final)]:
        _replace(new / file, target / file)
    for file in sorted(before.keys() - wanted.keys()):
        (target / file).unlink()
        with suppress(OSError):
            (target / file).parent.rmdir()
    for file in final:
        _replace(new / file, target / file)


def _replace(new: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new.replace(target)
