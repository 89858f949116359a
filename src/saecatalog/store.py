"""The store: what one pass over the texts kept, and what the weights say, on disk, ready for every analysis.

Sparse activations in token order (compressed rows, one row per token), and per token the figures that need the
dense residual stream. Arrays are `.npy` files, opened as memory maps.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from scipy import sparse

BANDS_PER_OCTAVE = 8
"""Residual norms are summed in bands this fine, so that positions can be left out after the pass."""


@dataclass(frozen=True)
class Store:
    """Everything kept of a list of texts, in the order of the texts."""

    text_offsets: Int64[np.ndarray, "text_plus_1"]
    """Text `t` holds the tokens `text_offsets[t]` up to `text_offsets[t + 1]`."""
    token_ids: Int32[np.ndarray, "token"]
    token_ends: Int32[np.ndarray, "token"]
    """End of each token's characters in its text."""
    norms: Float32[np.ndarray, "token"]
    """Norm of the residual stream at the hook."""
    squared_errors: Float32[np.ndarray, "token"]
    """Squared norm of (residual - reconstruction)."""
    indptr: Int64[np.ndarray, "token_plus_1"]
    """Token `i` holds the active entries `indptr[i]` up to `indptr[i + 1]`."""
    features: Int32[np.ndarray, "active"]
    """Feature of each active entry, ascending within a token."""
    activations: Float32[np.ndarray, "active"]
    """Its activation, above 0."""
    bands: Int32[np.ndarray, "band"]
    """Norm bands that occur: band `b` holds norms from 2**(b/8) up to 2**((b+1)/8)."""
    band_sums: Float64[np.ndarray, "band d_in"]
    """Sum of the residuals in each band."""
    shape: Int64[np.ndarray, "2"]
    """Number of tokens and of features."""

    @property
    def n_texts(self) -> int:
        return len(self.text_offsets) - 1

    @property
    def n_tokens(self) -> int:
        return int(self.shape[0])

    @property
    def d_sae(self) -> int:
        return int(self.shape[1])

    def matrix(self) -> sparse.csr_matrix:
        """The activations as a sparse matrix `[token, feature]`."""
        return sparse.csr_matrix((self.activations, self.features, self.indptr), shape=tuple(self.shape))

    def token_texts(self) -> Int32[np.ndarray, "token"]:
        """The text each token belongs to."""
        return np.repeat(np.arange(self.n_texts, dtype=np.int32), np.diff(self.text_offsets))

    def token_positions(self) -> Int32[np.ndarray, "token"]:
        """Each token's index in its text."""
        return (np.arange(self.n_tokens) - np.repeat(self.text_offsets[:-1], np.diff(self.text_offsets))).astype(
            np.int32
        )


def norm_bands(norms: Float32[np.ndarray, "token"]) -> Int32[np.ndarray, "token"]:
    """The band of each norm; a norm of 0 falls in the band of the smallest positive number."""
    smallest = np.finfo(np.float32).tiny
    return np.floor(np.log2(np.maximum(norms.astype(np.float64), smallest)) * BANDS_PER_OCTAVE).astype(np.int32)


def band_edge(norm: float) -> float:
    """The smallest band edge that is not below `norm`: where a limit on norms is put, so that bands stay whole."""
    return float(2.0 ** (np.ceil(np.log2(norm) * BANDS_PER_OCTAVE) / BANDS_PER_OCTAVE))


@dataclass
class Piece:
    """What one batch of windows kept: rows in the order of `starts`, each window's tokens together."""

    starts: list[int]
    lengths: list[int]
    counts: Int64[np.ndarray, "token"]
    features: Int32[np.ndarray, "active"]
    activations: Float32[np.ndarray, "active"]
    norms: Float32[np.ndarray, "token"]
    squared_errors: Float32[np.ndarray, "token"]
    band_sums: dict[int, Float64[np.ndarray, "d_in"]]


def write_store(
    folder: Path,
    pieces: list[Piece],
    text_offsets: Int64[np.ndarray, "text_plus_1"],
    token_ids: Int32[np.ndarray, "token"],
    token_ends: Int32[np.ndarray, "token"],
    d_sae: int,
) -> None:
    """Put the pieces of all batches into token order and write them into an empty folder."""
    n_tokens = len(token_ids)
    places = [_places(piece) for piece in pieces]
    counts = _scatter(places, [p.counts for p in pieces], n_tokens, np.int64)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    features, activations = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    for piece, place in zip(pieces, places, strict=True):
        entries = ranges(indptr[place], piece.counts)
        features[entries], activations[entries] = piece.features, piece.activations
    bands, band_sums = _merge_bands(pieces)
    arrays = {
        "text_offsets": text_offsets,
        "token_ids": token_ids,
        "token_ends": token_ends,
        "norms": _scatter(places, [p.norms for p in pieces], n_tokens, np.float32),
        "squared_errors": _scatter(places, [p.squared_errors for p in pieces], n_tokens, np.float32),
        "indptr": indptr,
        "features": features,
        "activations": activations,
        "bands": bands,
        "band_sums": band_sums,
        "shape": np.array([n_tokens, d_sae], np.int64),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def _places(piece: Piece) -> Int64[np.ndarray, "token"]:
    """The token index of each row of a piece."""
    return ranges(np.asarray(piece.starts, np.int64), np.asarray(piece.lengths, np.int64))


def ranges(starts: Int64[np.ndarray, "n"], lengths: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "total"]:
    """`[s0, s0 + 1, ..., s1, s1 + 1, ...]`: the runs of the given lengths, one after another."""
    before = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(before[-1]) + np.repeat(starts - before[:-1], lengths)


def _scatter(places: list[np.ndarray], values: list[np.ndarray], size: int, dtype: type) -> np.ndarray:
    out: np.ndarray = np.zeros(size, dtype)
    for place, value in zip(places, values, strict=True):
        out[place] = value
    return out


def _merge_bands(pieces: list[Piece]) -> tuple[Int32[np.ndarray, "band"], Float64[np.ndarray, "band d_in"]]:
    bands = sorted({band for piece in pieces for band in piece.band_sums})
    sums = [sum(piece.band_sums[b] for piece in pieces if b in piece.band_sums) for b in bands]
    return np.asarray(bands, np.int32), np.asarray(sums, np.float64)


def read_store(folder: Path) -> Store:
    """Open a store; its arrays are memory maps."""
    return Store(**{f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(Store)})


@dataclass(frozen=True)
class Lens:
    """What the weights say; `k` entries per feature, strongest first."""

    decoder: Float32[np.ndarray, "d_sae d_in"]
    promoted_ids: Int32[np.ndarray, "d_sae k"]
    promoted_logits: Float32[np.ndarray, "d_sae k"]
    suppressed_ids: Int32[np.ndarray, "d_sae k"]
    suppressed_logits: Float32[np.ndarray, "d_sae k"]
    logit_moments: Float32[np.ndarray, "d_sae 3"]
    """Standard deviation, skewness and excess kurtosis of a feature's effects on the logits."""
    logit_edges: Float32[np.ndarray, "d_sae bins_plus_1"]
    logit_counts: Int64[np.ndarray, "d_sae bins"]
    """Tokens of the vocabulary in each bin."""
    neighbour_ids: Int32[np.ndarray, "d_sae k"]
    neighbour_cosines: Float32[np.ndarray, "d_sae k"]


def read_lens(folder: Path) -> Lens:
    """Open a lens; its arrays are memory maps."""
    return Lens(**{f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(Lens)})


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that takes the place of `target` when the block ends well, and vanishes when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def keep_newest(folder: Path, limit: int) -> None:
    """Remove all but the `limit` entries of a cache folder that were touched last."""
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime)
    for old in entries[: max(0, len(entries) - limit)]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
