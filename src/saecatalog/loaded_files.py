"""Whether files are as they were when something was loaded from them: folders flow in, a record of their files flows
out, and later a yes or no.

A record holds sizes, times and inodes. The system renews a file's change time at every write, so a file that has not
changed in any of them has the same content. If a file was written moments before it was loaded, its times may not tell,
so its content is compared. A file that was written while it was loaded is never trusted.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from saecatalog.cache import checksum

Record = dict[str, Any]

DOUBT = 2 * 10**9
"""Nanoseconds: some file systems count time in steps of two seconds."""


def record(places: Iterable[Path], since: int, names: Iterable[str] = ()) -> Record:
    """The state of files and of the files directly in folders; `since` is `time.time_ns()` before they were loaded.

    `names` were given by the user or by a file, and mean a folder if there is one.
    """
    named = sorted(str(place.absolute()) for place in places)
    states = _states(named)
    recent = {path: checksum(Path(path)) for path, state in states.items() if _written(state) >= since - DOUBT}
    # A place without files was not where something was loaded from, so nothing is known about that.
    complete = bool(named) and all(_states([place]) for place in named)
    folders = {name: _folder(name) for name in names}
    return {
        "places": named,
        "complete": complete,
        "loaded_at": since,
        "files": states,
        "recent": recent,
        "names": folders,
    }


def unchanged(recorded: Record) -> bool:
    """Whether all files of a record are as they were when they were loaded, and none was added or removed."""
    before = recorded["files"]
    return (
        recorded["complete"]
        and max(map(_written, before.values())) < recorded["loaded_at"]
        and _states(recorded["places"]) == before
        and all(checksum(Path(path)) == sum_ for path, sum_ in recorded["recent"].items())
        and all(_folder(name) == folder for name, folder in recorded["names"].items())
    )


def now() -> int:
    return time.time_ns()


def _folder(name: str) -> str:
    """The folder that a name means, "" if there is none. It depends on the working folder."""
    return str(Path(name).resolve()) if Path(name).is_dir() else ""


def _written(state: list[int]) -> int:
    """The later of a file's times."""
    return max(state[1:3])


def _states(places: Iterable[str]) -> dict[str, list[int]]:
    """Size, modification time, change time and inode of each file."""
    states = {}
    for place in map(Path, places):
        for path in sorted(place.iterdir()) if place.is_dir() else [place]:
            if path.is_file():
                found = path.stat()
                states[str(path)] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    return states
