"""Shards: what the model computed for windows of tokens, saved to disk while the harvest runs.

Pieces flow in, files flow out. A window is identified by its token ids, not by its text or position. An interrupted
harvest therefore resumes, and after texts are added only the new windows are run. The name of a shard is its checksum.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from saecatalog.cache import checksum
from saecatalog.progress import notice
from saecatalog.store import Piece

SHARD_TOKENS = 8192
"""Tokens per shard. An interrupted harvest loses at most this much work, a few seconds."""

PART = ".part"
"""The shard that is being written. Only one process has the folder, so there is one at most."""

CACHED_BYTES = 8 * 10**9
"""Bytes of shards kept for one model and SAE; beyond it, the least recently used are removed."""


class Shards:
    """A folder of shards. Iterating yields the pieces of the wanted windows, with one in memory at a time.

    `missing` contains the keys of the wanted windows that are in no shard yet. A damaged shard is removed.
    """

    def __init__(self, folder: Path, wanted: Iterable[bytes]):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.missing = set(wanted)
        self._used: list[Path] = []
        for path in sorted(folder.glob("*.npz")):
            if checksum(path) == path.stem:
                self._use(path)
            else:
                notice(f"the cache's {path} is damaged; its part of the harvest is run again")
                path.unlink()

    def _use(self, path: Path) -> None:
        """Use a shard if all its windows are wanted and in no shard used so far, so that no window is used twice."""
        with np.load(path) as arrays:
            keys = {key.tobytes() for key in arrays["keys"]}
        if keys <= self.missing:
            self.missing -= keys
            self._used.append(path)
            path.touch()

    def add(self, pieces: list[Piece]) -> None:
        """Write one shard, completely or not at all: it is renamed once it is complete."""
        piece = join(pieces)
        part = self.folder / PART
        try:
            with part.open("wb") as file:
                np.savez(file, **{f.name: getattr(piece, f.name) for f in fields(Piece)})
        except BaseException:
            # A full disk needs the room, and after Ctrl-C nothing stays.
            part.unlink(missing_ok=True)
            raise
        path = self.folder / f"{checksum(part)}.npz"
        part.replace(path)
        self._use(path)

    def __iter__(self) -> Iterator[Piece]:
        for path in self._used:
            with np.load(path) as arrays:
                yield Piece(**{f.name: arrays[f.name] for f in fields(Piece)})

    def tidy(self) -> None:
        """Remove the least recently used shards beyond CACHED_BYTES, and a half-written one."""
        (self.folder / PART).unlink(missing_ok=True)
        kept = 0
        for path in sorted(self.folder.glob("*.npz"), key=lambda p: p.stat().st_mtime, reverse=True):
            kept += path.stat().st_size
            if kept > CACHED_BYTES:
                path.unlink()


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
