"""The folder of a site while it is written: one process has it at a time, and a reader always finds whole catalogs.

A finished catalog in a temporary folder flows in and takes the place of the old one. Where the file system can exchange
two folders, that is a single step. Elsewhere it is done file by file, see `replace_files`.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.json_files import write_json
from saecatalog.progress import notice
from saecatalog.site.inventory import FILE_LIST, TEMPORARY, files_below, listed
from saecatalog.workspace import Workspace, describe, locked
from saecatalog.write_errors import writing

LOCK = "lock"
"""In the temporary place of the output folder: who holds it may write to the folder."""

CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Answers of systems and file systems that cannot exchange two folders."""


@contextmanager
def output_folder(out: Path) -> Iterator[Workspace]:
    """A temporary folder inside the output folder, which no other process writes to meanwhile.

    The output folder is made if it is missing, and removed again if nothing was put into it. Raises CatalogError if it
    is a file or cannot be written.
    """
    made = not out.exists()
    if not made and not out.is_dir():
        raise CatalogError("The output folder is a file.", str(out), "Give another --out, or move the file away.")
    with writing_to(out), Workspace(out / TEMPORARY) as workspace:
        try:
            with locked(out / TEMPORARY / LOCK, lambda: _tell_who_writes(out, workspace)):
                yield workspace
        finally:
            workspace.close()
            # Another process may wait here, or somebody may have put a file here.
            with suppress(OSError):
                if not any(workspace.others()):
                    # It is left only if a signal came while it was released.
                    (out / TEMPORARY / LOCK).unlink(missing_ok=True)
                (out / TEMPORARY).rmdir()
                if made:
                    out.rmdir()


def writing_to(out: Path) -> AbstractContextManager[None]:
    """Say clearly that the output folder is full or cannot be written."""
    return writing(out, "--out")


def _tell_who_writes(out: Path, workspace: Workspace) -> None:
    who = " or ".join(describe(path.name) for path in workspace.others())
    notice(f"waiting for another build, which writes to {out}: {who or 'unknown'}")


def put(new: Path, target: Path, turn: Callable[[str], int]) -> None:
    """Put a finished catalog in the place of `target`, whether that exists or not.

    `turn` gives the order in which files are replaced where folders cannot be exchanged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        new.rename(target)
    elif not exchange(new, target):
        replace_files(new, target, FILE_LIST, files_below(target), turn)


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


def replace_files(new: Path, target: Path, list_: str, old: Collection[str], turn: Callable[[str], int]) -> None:
    """Put the files of `new` into `target` one by one, and remove those of the `old` ones that are not among them.

    Each file is whole at every moment. They come in the order of `turn`, so that what pages load is there before
    them. `list_` is the file that lists the others. It comes last; until then it lists old and new files and has no
    key, so that the next build knows all of them as this program's, and that they are unfinished.
    """
    wanted = files_below(new).keys() - {list_}
    _announce(wanted, target / list_, new / f"{list_}.part")
    for file in sorted(wanted, key=lambda file: (turn(file), file)):
        _replace(new / file, target / file)
    for file in sorted(set(old) - wanted - {list_}):
        (target / file).unlink(missing_ok=True)
        with suppress(OSError):
            (target / file).parent.rmdir()
    _replace(new / list_, target / list_)


def _announce(wanted: Collection[str], list_file: Path, part: Path) -> None:
    before = listed(list_file)
    write_json(part, {"files": {**before, **{file: before.get(file) for file in wanted}}})
    _replace(part, list_file)


def _replace(new: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new.replace(target)
