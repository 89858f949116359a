"""Shards: what the model computed for windows of tokens, saved while the harvest runs.

Pieces flow in, files flow out. A window is identified by its token ids, not by its text or position. An interrupted
harvest therefore resumes, and after texts are added only the new windows are run. The name of a shard is its checksum,
so a shard that is made twice is one file, whoever makes it. A window that is in several shards is used once.
"""

import io
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import xxhash
from jaxtyping import UInt8

from saecatalog.errors import CatalogError
from saecatalog.progress import notice
from saecatalog.store import Piece

SHARD_TOKENS = 8192
"""Tokens per shard. An interrupted harvest loses at most this much work, a few seconds."""

SUFFIX = ".npz"

PART = ".part"
"""In the name of a file that is being written to a folder."""

CACHED_BYTES = 8 * 10**9
"""Bytes of shards kept for one model and SAE; beyond it, the least recently used are removed."""


class Place(Protocol):
    """Where shards are: a folder of this machine, or shared storage. A file is there whole or not at all."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, content: bytes) -> None: ...
    def remove(self, name: str) -> None: ...
    def used(self, name: str) -> None: ...


@dataclass(frozen=True)
class Folder:
    """A folder of shards that no other build has at the same time; the workers of a build may write to it together."""

    path: Path

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.glob(f"*{SUFFIX}"))

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        part = self.path / f"{name}{PART}-{uuid.uuid4().hex}"
        try:
            part.write_bytes(content)
        except BaseException:
            # A full disk needs the room, and after Ctrl-C nothing stays.
            part.unlink(missing_ok=True)
            raise
        part.replace(self.path / name)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def used(self, name: str) -> None:
        """Note that a shard is in use, so that those not used for longest are removed first."""
        (self.path / name).touch()

    def tidy(self) -> None:
        """Remove the least recently used shards beyond CACHED_BYTES, and half-written ones."""
        for path in self.path.glob(f"*{PART}*"):
            path.unlink(missing_ok=True)
        kept = 0
        for path in sorted(self.path.glob(f"*{SUFFIX}"), key=lambda p: p.stat().st_mtime, reverse=True):
            kept += path.stat().st_size
            if kept > CACHED_BYTES:
                path.unlink()


Keys = UInt8[np.ndarray, "window key_byte"]
Survey = Callable[[Place, list[str]], Iterator[Keys | None]]
"""Reads shards; the keys of the windows in each, or None if it is damaged."""


class Shards:
    """The shards of some windows.

    `missing` contains the keys of the wanted windows that are in no shard yet. A damaged shard is removed. `survey`
    reads the shards that exist.
    """

    def __init__(self, place: Place, wanted: Iterable[bytes], survey: Survey | None = None):
        self.place = place
        self.missing = set(wanted)
        self._used: list[str] = []
        found = [name for name in place.names() if name.endswith(SUFFIX)] if self.missing else []
        for name, keys in zip(found, (survey or keys_in_turn)(place, found), strict=True):
            if keys is None:
                notice(f"the shard {name} in the cache is damaged; its part of the harvest is run again")
                place.remove(name)
            else:
                self._use(name, keys)

    def _use(self, name: str, keys: Keys) -> None:
        """Use a shard if all its windows are wanted and in no shard used so far, so that no window is used twice."""
        own = {key.tobytes() for key in keys}
        if own <= self.missing:
            self.missing -= own
            self._used.append(name)
            self.place.used(name)

    def add(self, shard: "Shard") -> None:
        """Take a finished shard, and write it unless whoever made it did."""
        if shard.content:
            self.place.write(shard.name, shard.content)
        self._use(shard.name, shard.keys)

    def files(self) -> list["ShardFile"]:
        """The shards of the wanted windows."""
        return [ShardFile(self.place, name) for name in self._used]


@dataclass(frozen=True)
class ShardFile:
    """A shard in its place, which is read where it is needed."""

    place: Place
    name: str

    def read(self) -> Piece:
        """Raises CatalogError if it is not what was written."""
        content = self.place.read(self.name)
        if name_of(content) != self.name:
            what = "A part of the harvest was damaged after it had been checked."
            raise CatalogError(what, self.name, "Run the command again.")
        return unpack(content)


@dataclass(frozen=True)
class Shard:
    """A piece as a file: its name, the windows in it, and its content; `content` is empty if it is written already."""

    name: str
    keys: Keys
    n_tokens: int
    content: bytes

    @classmethod
    def of(cls, pieces: list[Piece]) -> "Shard":
        piece = join(pieces)
        file = io.BytesIO()
        np.savez(file, **{f.name: getattr(piece, f.name) for f in fields(Piece)})
        content = file.getvalue()
        return cls(name_of(content), piece.keys, len(piece.counts), content)


def name_of(content: bytes) -> str:
    """The name of the shard with this content."""
    return xxhash.xxh3_128(content).hexdigest() + SUFFIX


def unpack(content: bytes) -> Piece:
    with np.load(io.BytesIO(content)) as arrays:
        return Piece(**{f.name: arrays[f.name] for f in fields(Piece)})


def keys_of(place: Place, name: str) -> Keys | None:
    """The keys of the windows in a shard; None if it is damaged, or was by the time another build removed it."""
    try:
        content = place.read(name)
    except FileNotFoundError:
        return None
    if name_of(content) != name:
        return None
    with np.load(io.BytesIO(content)) as arrays:
        return np.asarray(arrays["keys"])


def keys_in_turn(place: Place, names: list[str]) -> Iterator[Keys | None]:
    """The keys of the windows in each shard, read one after another."""
    return (keys_of(place, name) for name in names)


def join(pieces: list[Piece]) -> Piece:
    """Concatenate pieces into one and add up the sums of each norm band."""
    sums: dict[int, np.ndarray] = {}
    for piece in pieces:
        for band, part in zip(piece.bands.tolist(), piece.band_sums, strict=True):
            sums[band] = sums.get(band, 0) + part
    joined = {
        f.name: np.concatenate([getattr(piece, f.name) for piece in pieces])
        for f in fields(Piece)
        if f.name not in ("bands", "band_sums")
    }
    return Piece(**joined, bands=np.array(sorted(sums), np.int32), band_sums=np.stack([sums[b] for b in sorted(sums)]))
