"""Shards: what the model said of windows of tokens, kept on disk while the harvest goes on.

Pieces flow in, files flow out. A window is known by its token ids, not by its text or its place, so a harvest that
broke off goes on where it stopped, and a corpus that grew runs only the windows that are new.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path

import numpy as np

from saecatalog.store import Piece

SHARD_TOKENS = 8192
"""A shard is written when it holds this many tokens: the seconds of work that are lost when a harvest breaks off."""

CACHED_BYTES = 8 * 10**9
"""Shards of one model and SAE kept for later; those used longest ago are removed beyond it."""


class Shards:
    """A folder of shards, of which those whose windows are wanted are gone through, one in memory at a time."""

    def __init__(self, folder: Path, wanted: Iterable[bytes]):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.missing = set(wanted)
        self._used: list[Path] = []
        for path in sorted(folder.glob("*.npz")):
            self._use(path)

    def _use(self, path: Path) -> None:
        """Take a shard in, if every window it holds is wanted and not there yet."""
        with np.load(path) as arrays:
            keys = {key.tobytes() for key in arrays["keys"]}
        if keys <= self.missing:
            self.missing -= keys
            self._used.append(path)
            path.touch()

    def add(self, pieces: list[Piece]) -> None:
        """Write one shard, whole or not at all."""
        piece = join(pieces)
        name = blake2b(piece.keys.tobytes(), digest_size=16).hexdigest()
        path, part = self.folder / f"{name}.npz", self.folder / f".{name}.part"
        with part.open("wb") as file:
            np.savez(file, **{f.name: getattr(piece, f.name) for f in fields(Piece)})
        part.replace(path)
        self._use(path)

    def __iter__(self) -> Iterator[Piece]:
        for path in self._used:
            with np.load(path) as arrays:
                yield Piece(**{f.name: arrays[f.name] for f in fields(Piece)})

    def tidy(self) -> None:
        """Remove what broke off, and the shards used longest ago beyond what is kept."""
        for part in self.folder.glob(".*.part"):
            part.unlink(missing_ok=True)
        kept = 0
        for path in sorted(self.folder.glob("*.npz"), key=lambda p: p.stat().st_mtime, reverse=True):
            kept += path.stat().st_size
            if kept > CACHED_BYTES:
                path.unlink()


def join(pieces: list[Piece]) -> Piece:
    """Pieces one after another as one."""
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
