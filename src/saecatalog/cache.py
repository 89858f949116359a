"""The cache: outputs of the stages, each a folder named by its key, with the checksum of every file in it.

A stage's name, a key and a function that makes the output flow in; a checked folder flows out. A file is checked
before it is first used. If it is not as it was written, the whole output is dropped and made again.

    <cache>/<stage>/<key>/   an output, complete: it is made in a temporary folder and then moved here
    <cache>/tmp/             unfinished work, see `workspace`
    <cache>/locks/           one file for each output that a process is making or opening
    <cache>/CACHEDIR.TAG     tells backup programs, and `clean`, that this is a cache (https://bford.info/cachedir/)
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import xxhash

from saecatalog.errors import CatalogError
from saecatalog.json_files import write_json
from saecatalog.progress import notice
from saecatalog.workspace import Workspace, describe, locked
from saecatalog.write_errors import writing

CHECKSUMS = "checksums.json"
"""In each output: the XXH3 hashes of every other file, and of this list."""

KEY = re.compile(r"[0-9a-f]{24}(\.json)?|SmolLM2-135M-Instruct[-.\w]*")
"""How outputs are named; in earlier versions, some were JSON files or had the name of the default model.

Other folders in the cache may be somebody's own, so they are never removed.
"""

KEPT = {"models": 2, "live": 3}
KEPT_ELSEWHERE = 12
"""Number of outputs of a stage to keep; the least recently used ones are removed."""

WORK, LOCKS = "tmp", "locks"

TAG = "CACHEDIR.TAG"
TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Cache of saecatalog. `saecatalog clean` empties it.\n"


class Cache:
    """A folder of outputs. `close` it, or use it in a `with` block, to remove its temporary files."""

    def __init__(self, root: Path, tell: Callable[[str], object] = notice):
        self.root, self.tell = root, tell

    @cached_property
    def workspace(self) -> Workspace:
        """This process's temporary folder in the cache."""
        with self.writing():
            opened = Workspace(self.root / WORK).open()
            try:
                self._tag(opened.path)
            except BaseException:
                opened.close()
                raise
            return opened

    def _tag(self, temporary: Path) -> None:
        # In one step, as without a whole tag `clean` would refuse to free a disk that is full.
        if not self._tagged():
            (temporary / TAG).write_text(TAG_TEXT, encoding="utf-8")
            (temporary / TAG).replace(self.root / TAG)

    def _tagged(self) -> bool:
        tag = self.root / TAG
        return tag.is_file() and tag.read_bytes() == TAG_TEXT.encode()

    def close(self) -> None:
        if "workspace" in vars(self):
            self.workspace.close()
            del self.workspace

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def writing(self) -> AbstractContextManager[None]:
        """Say clearly that the cache is full or cannot be written."""
        return writing(self.root, "--cache")

    def output(
        self, stage: str, key: str, make: Callable[[Path], None], shared: "SharedOutputs | None" = None
    ) -> "Output":
        """An output of a stage; `make` fills an empty folder and is called only if it is needed.

        `shared` has outputs that other machines have made, and gets those that this one makes.
        """
        return Output(self, stage, key, make, shared)

    @contextmanager
    def collection(self, stage: str, key: str) -> Iterator[Path]:
        """A folder to which files are added from time to time; no other process has it at the same time."""
        path = self.root / stage / key
        with self.exclusive(stage, key), self.writing():
            path.mkdir(parents=True, exist_ok=True)
            path.touch()
            yield path
        self.trim(stage)

    @contextmanager
    def exclusive(self, stage: str, key: str) -> Iterator[None]:
        """Hold the lock on an output, and keep it from being removed until the cache is closed."""
        name = f"{stage}-{key}"
        with ExitStack() as held:
            with self.writing():
                (self.workspace.path / "uses").mkdir(exist_ok=True)
                (self.workspace.path / "uses" / name).touch()
                lock = locked(self.root / LOCKS / f"{name}.lock", lambda: self._tell_who_is_at(stage, name))
                held.enter_context(lock)
            yield

    def _tell_who_is_at(self, stage: str, name: str) -> None:
        who = [describe(path.name) for path in self._users(name) if path != self.workspace.path]
        self.tell(f"waiting for another build, which has the stage '{stage}' in hand: {' or '.join(who) or 'unknown'}")

    def trim(self, stage: str) -> None:
        """Remove the least recently used outputs of a stage beyond the number to keep, unless they are in use."""
        for path in list(self.outputs(stage))[KEPT.get(stage, KEPT_ELSEWHERE) :]:
            self.remove(path)

    def outputs(self, stage: str) -> dict[Path, float]:
        """The outputs of a stage and when each was last used, the most recent one first."""
        used = {path: _last_used(path) for path in (self.root / stage).glob("*") if KEY.fullmatch(path.name)}
        return dict(sorted(used.items(), key=lambda output: output[1], reverse=True))

    def clean(self, older_than: float, keep: int) -> Iterator["Cleaned"]:
        """Remove the outputs not used for `older_than` seconds, but of each stage not the `keep` last used ones.

        Raises CatalogError if the folder is not a cache of this program.
        """
        if not self._tagged():
            fix = "Give the folder that was the --cache of a build."
            raise CatalogError("This folder is not a cache of this program.", f"{self.root}: no {TAG}", fix)
        stages = [path.name for path in sorted(self.root.iterdir()) if path.is_dir() and path.name not in (WORK, LOCKS)]
        for stage in stages:
            found = self.outputs(stage)
            if not found:
                continue
            old = [path for path, used in list(found.items())[keep:] if time.time() - used >= older_than]
            sizes = {path: _size(path) for path in old}
            removed = [path for path in old if self.remove(path)]
            yield Cleaned(stage, len(removed), len(found) - len(removed), sum(sizes[path] for path in removed))

    def remove(self, path: Path) -> bool:
        """Remove an output unless a living process uses it; whether it was removed."""
        name = f"{path.parent.name}-{path.name}"
        if self._users(name):
            return False
        with self.writing(), locked(self.root / LOCKS / f"{name}.lock"):
            # A process marks an output as used before it waits for the lock.
            unused = path.exists() and not self._users(name)
            if unused:
                self.workspace.discard(path)
        return unused

    def _users(self, name: str) -> list[Path]:
        """The workspaces of the living processes that have used an output since they started."""
        living = [self.workspace.path, *self.workspace.others()]
        return [path for path in living if (path / "uses" / name).exists()]


class SharedOutputs(Protocol):
    """Outputs that several machines share."""

    def fetch(self, stage: str, key: str, folder: Path) -> bool:
        """Fill an empty folder with an output, checked, and its checksums; False if there is none that is whole."""
        ...

    def add(self, stage: str, key: str, folder: Path) -> None:
        """Keep a finished output with its checksums."""
        ...


@dataclass(frozen=True)
class Cleaned:
    """What was removed of a stage."""

    stage: str
    removed: int
    """Number of outputs."""
    left: int
    size: int
    """Total size of the removed outputs, in bytes."""


class Output:
    """The output of a stage for one key. It is made, or made again, when a file of it is asked for."""

    def __init__(
        self,
        cache: Cache,
        stage: str,
        key: str,
        make: Callable[[Path], None],
        shared: "SharedOutputs | None" = None,
    ):
        self.cache, self.stage, self.key, self._make, self._shared = cache, stage, key, make, shared
        self.path = cache.root / stage / key
        self._checked: set[str] = set()
        self._whole = False

    def file(self, name: str) -> Path:
        """One file of the output, checked."""
        if name not in self._checked:
            self._provide([name])
        return self.path / name

    def json(self, name: str) -> Any:
        """The content of a JSON file of the output, checked."""
        return json.loads(self.file(name).read_text(encoding="utf-8"))

    @property
    def folder(self) -> Path:
        """The folder of the output, with every file checked."""
        if not self._whole:
            self._provide(None)
            self._whole = True
        return self.path

    def drop(self) -> None:
        """Remove the output, so that it is made again on next use."""
        with self.cache.exclusive(self.stage, self.key), self.cache.writing():
            self._drop()

    def _provide(self, names: list[str] | None) -> None:
        with self.cache.exclusive(self.stage, self.key):
            if self.path.exists() and (broken := self._broken(names)):
                self.cache.tell(f"the cache's {self.path / broken} is damaged; it is made again")
                with self.cache.writing():
                    self._drop()
            if self.path.exists():
                with self.cache.writing():
                    os.utime(self.path)
            else:
                self._fill()

    def _drop(self) -> None:
        self._checked, self._whole = set(), False
        if self.path.exists():
            self.cache.workspace.discard(self.path)

    def _fill(self) -> None:
        """Make the output in a temporary folder and move it to its place."""
        with self.cache.writing():
            folder = self.cache.workspace.folder(f"{self.stage}-{self.key}")
            if self._shared is None or not self._shared.fetch(self.stage, self.key, folder):
                folder = self.cache.workspace.folder(folder.name)
                self._make(folder)
                write_json(folder / CHECKSUMS, sealed(checksums(folder)))
                if self._shared is not None:
                    self._shared.add(self.stage, self.key, folder)
            sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))["files"]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(self.path)
            self._checked.update(sums)
            self.cache.trim(self.stage)

    def _broken(self, names: list[str] | None) -> str | None:
        """The first file that is not as it was written, of those named or of all; None if there is none."""
        try:
            listed = json.loads((self.path / CHECKSUMS).read_text(encoding="utf-8"))
            sums = listed["files"]
            if listed != sealed(sums):
                return CHECKSUMS
            present = {p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()}
            if odd := present ^ {*sums, CHECKSUMS}:
                return min(odd)
            for name in sorted(sums) if names is None else names:
                if name not in self._checked and checksum(self.path / name) != sums[name]:
                    return name
                self._checked.add(name)
        except PermissionError:
            raise
        except (OSError, ValueError, TypeError, KeyError):
            return CHECKSUMS
        return None


def _last_used(path: Path) -> float:
    """When an output was last used; 0 if another process has just removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _size(path: Path) -> int:
    """The size of a file, or of all files below a folder, in bytes."""
    return sum(p.lstat().st_size for p in [path, *path.rglob("*")] if p.is_file())


def checksums(folder: Path) -> dict[str, str]:
    """The checksum of every file below a folder."""
    return {p.relative_to(folder).as_posix(): checksum(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def sealed(sums: dict[str, str]) -> dict[str, object]:
    """Checksums of files, and one of these checksums."""
    return {"files": sums, "list": xxhash.xxh3_128(json.dumps(sums, sort_keys=True).encode()).hexdigest()}


def checksum(path: Path) -> str:
    """The XXH3 hash of a file, 128 bits as hexadecimal digits: it finds damage, not forgery."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
