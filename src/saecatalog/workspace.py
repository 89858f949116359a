"""Unfinished work: each process has a temporary folder of its own in one place, and locks keep processes apart.

A process holds the lock on its folder for as long as it lives, and the system releases it even if the process is
killed. So a folder whose lock is free was left by a dead process, and the next process removes it.
"""

import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

STARTED = time.strftime("%Y%m%dT%H%M%S")
"""When this process started."""

OWNER = re.compile(r"(?P<host>.+)-(?P<process>\d+)-(?P<started>\d{8}T\d{6})-\d+")
"""The name of a process's folder: host, process id, start time, and a number, as a process may have several."""

_numbers = count(1)


class Workspace:
    """This process's folder in `place`, made by `open` and removed by `close`."""

    def __init__(self, place: Path):
        self.place = place
        host = re.sub(r"[^\w.]", "_", socket.gethostname()) or "host"
        self.name = f"{host}-{os.getpid()}-{STARTED}-{next(_numbers)}"
        self.path = place / self.name
        self._held = ExitStack()

    def open(self) -> "Workspace":
        """Make the folder, and remove the folders of dead processes. Raises OSError if the place cannot be written."""
        # The lock comes first: no folder is ever without one.
        self._held.enter_context(locked(_lock_of(self.path)))
        self.path.mkdir()
        # A process that is interrupted while it opens its folder can leave one whose lock file is gone.
        for name in {path.name.removesuffix(".lock") for path in self.place.iterdir()} - {self.name}:
            if OWNER.fullmatch(name):
                _remove_if_dead(_lock_of(self.place / name))
        return self

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._held.close()

    def __enter__(self) -> "Workspace":
        return self.open()

    def __exit__(self, *error: object) -> None:
        self.close()

    def folder(self, name: str) -> Path:
        """A new empty folder in the workspace; one of the same name is removed."""
        path = self.path / name
        self.remove(name)
        path.mkdir(parents=True)
        return path

    def remove(self, name: str) -> None:
        """Remove a folder of the workspace, if it is there."""
        if (self.path / name).exists():
            shutil.rmtree(self.path / name)

    def discard(self, path: Path) -> None:
        """Remove a file or folder outside of the workspace. It disappears at once: it is moved here before that."""
        path.rename(self.folder("discarded") / path.name)
        self.remove("discarded")

    def others(self) -> Iterator[Path]:
        """The folders of the other living processes."""
        return (p for p in self.place.iterdir() if OWNER.fullmatch(p.name) and p.is_dir() and p.name != self.name)


def describe(owner: str) -> str:
    """The owner of a workspace as words: `process 12 on host, started 2026-01-31 12:00:00`."""
    found = OWNER.fullmatch(owner)
    if found is None:
        return owner
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.strptime(found["started"], "%Y%m%dT%H%M%S"))
    return f"process {found['process']} on {found['host']}, started {started}"


@contextmanager
def locked(path: Path, busy: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock that is the file `path`; it is waited for, and `busy` is called if it is not free at once.

    The file is removed in the end, before the lock is released; processes that waited for it make a new one.
    """
    lock = _acquired(path)
    if lock is None:
        busy()
        while lock is None:
            time.sleep(0.1)
            lock = _acquired(path)
    with _releasing(path, lock):
        yield


@contextmanager
def _releasing(path: Path, lock: "BaseFileLock") -> Iterator[None]:
    try:
        yield
    finally:
        # On Windows the open file cannot be removed, but there the release does it.
        with suppress(OSError):
            path.unlink()
        lock.release()


def _acquired(path: Path) -> "BaseFileLock | None":
    """The lock, held, or None if another process holds it."""
    # Imported late: it takes as long as a tenth of a build with nothing to do.
    from filelock import FileLock, Timeout

    lock = FileLock(path, is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, FileNotFoundError):
        # The holder removed the folder of the lock at this moment.
        return None
    return lock


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove_if_dead(lock_file: Path) -> None:
    """Remove a process's folder and its lock file if no process holds the lock."""
    lock = _acquired(lock_file)
    if lock is not None:
        with _releasing(lock_file, lock):
            shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
