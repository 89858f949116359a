"""The store: the results of one pass over the texts, and those of the weights, on disk, for every analysis.

Activations are sparse, in CSR form with one row per token. Beside them are the figures of each token that need the
dense residual stream. Arrays are `.npy` files, opened as memory maps.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32, Int64, UInt8

from saecatalog.cache import Output
from saecatalog.engines import Engine, Threads
from saecatalog.file_arrays import FileArray
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import TokenizedTexts, Window

if TYPE_CHECKING:
    from scipy import sparse

BANDS_PER_OCTAVE = 8
"""What the SAE is to write is summed in bands of the norm of what it reads, so that positions with a large norm can be
left out later."""


@dataclass(frozen=True)
class Store:
    """Everything kept for a list of texts, in the order of the texts; BOS is not a token here."""

    text_offsets: Int64[np.ndarray, "text_plus_1"]
    """Text `t` holds the tokens `text_offsets[t]` up to `text_offsets[t + 1]`."""
    token_ids: Int32[np.ndarray, "token"]
    token_ends: Int32[np.ndarray, "token"]
    """End of each token's characters in its text."""
    norms: Float32[np.ndarray, "token"]
    """Norm of what the SAE reads."""
    target_norms: Float32[np.ndarray, "token"]
    """Norm of what the SAE is to write; the same as `norms` unless it is a transcoder."""
    squared_errors: Float32[np.ndarray, "token"]
    """Squared norm of (what the SAE is to write - reconstruction)."""
    indptr: Int64[np.ndarray, "token_plus_1"]
    """Token `i` holds the active entries `indptr[i]` up to `indptr[i + 1]`."""
    features: Int32[np.ndarray, "active"]
    """Feature of each active entry, ascending within a token."""
    activations: Float32[np.ndarray, "active"]
    """Its activation, above 0."""
    bands: Int32[np.ndarray, "band"]
    """Norm bands that occur, ascending: band `b` holds norms from 2**(b/8) up to 2**((b+1)/8)."""
    band_sums: Float64[np.ndarray, "band d_out"]
    """Sum of what the SAE is to write, at the tokens of each band."""
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

    def matrix(self) -> "sparse.csr_matrix":
        """The activations as a sparse matrix `[token, feature]`."""
        # Imported late: a build with nothing to do reads the manifest's figures only.
        from scipy import sparse

        return sparse.csr_matrix((self.activations, self.features, narrow(self.indptr)), shape=tuple(self.shape))

    def token_texts(self) -> Int32[np.ndarray, "token"]:
        """The text each token belongs to."""
        return np.asarray(np.repeat(np.arange(self.n_texts, dtype=np.int32), np.diff(self.text_offsets)))

    def token_positions(self) -> Int32[np.ndarray, "token"]:
        """Each token's index in its text."""
        starts = np.repeat(self.text_offsets[:-1], np.diff(self.text_offsets))
        return np.asarray(np.arange(self.n_tokens) - starts, dtype=np.int32)


def norm_bands(norms: Float32[np.ndarray, "token"]) -> Int32[np.ndarray, "token"]:
    """The band of each norm; a norm of 0 is in the band of the smallest positive number."""
    smallest = np.finfo(np.float32).tiny
    octaves = np.log2(np.maximum(norms.astype(np.float64), smallest))
    return np.asarray(np.floor(octaves * BANDS_PER_OCTAVE)).astype(np.int32)


def band_edge(norm: float) -> float:
    """The smallest band edge that is not below `norm`. Limits on norms are band edges, so that they split no band."""
    return float(2.0 ** (np.ceil(np.log2(norm) * BANDS_PER_OCTAVE) / BANDS_PER_OCTAVE))


FIXED_POINT = 2**24
"""Sums of residuals are integers in units of 1 / FIXED_POINT, so that they do not depend on the order of addition."""


@dataclass(frozen=True)
class Piece:
    """The results for some windows: one row per token, window after window."""

    keys: UInt8[np.ndarray, "window key_byte"]
    """The key of each window."""
    lengths: Int64[np.ndarray, "window"]
    counts: Int64[np.ndarray, "token"]
    """Active entries of each token."""
    features: Int32[np.ndarray, "active"]
    activations: Float32[np.ndarray, "active"]
    norms: Float32[np.ndarray, "token"]
    target_norms: Float32[np.ndarray, "token"]
    squared_errors: Float32[np.ndarray, "token"]
    bands: Int32[np.ndarray, "band"]
    band_sums: Int64[np.ndarray, "band d_out"]
    """Sum of what the SAE is to write in each norm band, in units of 1 / FIXED_POINT."""

    def read(self) -> "Piece":
        """Itself: a piece in memory is a source."""
        return self


def sum_bands(
    norms: Float32[np.ndarray, "token"], values: Float32[np.ndarray, "token d_out"]
) -> tuple[Int32[np.ndarray, "band"], Int64[np.ndarray, "band d_out"]]:
    """The norm bands that occur and the sum of the values in each, in units of 1 / FIXED_POINT."""
    bands, place = np.unique(norm_bands(norms), return_inverse=True)
    # Integer sums are exact. 64 bits are enough for sums up to 2**39.
    whole = np.rint(values.astype(np.float64) * FIXED_POINT).astype(np.int64)
    return bands, np.stack([whole[place == i].sum(0) for i in range(len(bands))])


class Source(Protocol):
    """Where a piece comes from."""

    def read(self) -> Piece: ...


def write_store(
    folder: Path,
    sources: Sequence[Source],
    windows: Iterable[Window],
    tokens: TokenizedTexts,
    d_sae: int,
    engine: Engine | None = None,
) -> None:
    """Put pieces into the order of the texts and write them into an empty folder.

    The pieces contain each of the `windows` once. Each is read twice: first for the arrays with one number per token,
    then for the entries, which the engine (default `Threads`) writes to their places. Nothing here holds the entries of
    more than a few pieces; where an engine's workers read them, they never come to this process.
    """
    starts = {window.key: window.start for window in windows}
    engine = engine or Threads()
    arrays = _per_token(engine.in_order(_figures, None, sources), starts, tokens)
    arrays["shape"] = np.array([len(tokens.ids), d_sae], np.int64)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    active = int(arrays["indptr"][-1])
    features = FileArray.make(folder / "features.npy", np.int32, active)
    activations = FileArray.make(folder / "activations.npy", np.float32, active)
    entries = Entries(starts, arrays["indptr"], features, activations)
    for _ in engine.in_order(_write_entries, entries, sources):
        pass


def _figures(shared: None, source: Source) -> Piece:
    """A piece without its entries."""
    return replace(source.read(), features=np.empty(0, np.int32), activations=np.empty(0, np.float32))


def _per_token(pieces: Iterable[Piece], starts: dict[bytes, int], tokens: TokenizedTexts) -> dict[str, np.ndarray]:
    """The arrays of a store with one number per token, and the sums of the norm bands."""
    n_tokens = len(tokens.ids)
    counts = np.zeros(n_tokens, np.int64)
    norms, target_norms, errors = (np.zeros(n_tokens, np.float32) for _ in range(3))
    sums: dict[int, Int64[np.ndarray, d_out]] = {}
    for piece in pieces:
        # The tokens of the piece's windows, in the numbering of all texts.
        place = ranges(_starts(piece, starts), piece.lengths)
        counts[place], norms[place], errors[place] = piece.counts, piece.norms, piece.squared_errors
        target_norms[place] = piece.target_norms
        for band, part in zip(piece.bands.tolist(), piece.band_sums, strict=True):
            sums[band] = sums.get(band, 0) + part
    return {
        "text_offsets": tokens.offsets,
        "token_ids": tokens.ids,
        "token_ends": tokens.ends,
        "norms": norms,
        "target_norms": target_norms,
        "squared_errors": errors,
        "indptr": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "bands": np.array(sorted(sums), np.int32),
        "band_sums": np.array([sums[band] for band in sorted(sums)], np.float64) / FIXED_POINT,
    }


def _starts(piece: Piece, starts: dict[bytes, int]) -> Int64[np.ndarray, "window"]:
    """The first token of each window of a piece."""
    return np.array([starts[key.tobytes()] for key in piece.keys], np.int64)


@dataclass(frozen=True)
class Entries:
    """The files of a store's active entries, and what is needed to find the places of a window's entries in them."""

    starts: dict[bytes, int]
    """The first token of each window, by its key."""
    indptr: Int64[np.ndarray, "token_plus_1"]
    features: FileArray
    activations: FileArray


def _write_entries(entries: Entries, source: Source) -> None:
    """Write the active entries of a piece's windows to their places."""
    piece = source.read()
    # Within a piece the entries of a window are a slice; in the files they begin where its first token does.
    ends = np.cumsum(_run_sums(piece.counts, piece.lengths))
    begins = np.concatenate([[0], ends[:-1]])
    with entries.features.opened() as features, entries.activations.opened() as activations:
        for place, begin, end in zip(entries.indptr[_starts(piece, entries.starts)], begins, ends, strict=True):
            features.write(int(place), piece.features[begin:end])
            activations.write(int(place), piece.activations[begin:end])


def _run_sums(values: Int64[np.ndarray, "token"], lengths: Int64[np.ndarray, "window"]) -> Int64[np.ndarray, "window"]:
    """The sum of each consecutive run of `values`, given the lengths of the runs."""
    # Differences of running sums, because `np.add.reduceat` does not allow runs of length 0.
    before = np.concatenate([[0], np.cumsum(values)])
    ends = np.cumsum(lengths)
    return np.asarray(before[ends] - before[ends - lengths])


def narrow(indptr: Int64[np.ndarray, "row_plus_1"]) -> Int[np.ndarray, "row_plus_1"]:
    """The bounds of rows, in 32 bits if they fit: with 64-bit bounds scipy would copy all indices into 64 bits."""
    return indptr.astype(np.int32 if indptr[-1] < np.iinfo(np.int32).max else np.int64)


def row_spans(indptr: Int[np.ndarray, "row_plus_1"], entries: int) -> Iterator[tuple[int, int]]:
    """Consecutive rows, from and up to, with about so many entries each; at least one span, which may be empty."""
    start, n = 0, len(indptr) - 1
    while start < n or start == 0:
        full = int(np.searchsorted(indptr, int(indptr[start]) + entries, side="right")) - 1
        stop = min(max(full, start + 1), n)
        yield start, stop
        start = max(stop, 1)


def ranges(starts: Int64[np.ndarray, "n"], lengths: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "total"]:
    """`[s0, s0 + 1, ..., s1, s1 + 1, ...]`: the runs of the given lengths, one after another."""
    before = np.concatenate([[0], np.cumsum(lengths)])
    # In a count from 0, run i would begin at before[i]; all of it is shifted to begin at starts[i].
    return np.asarray(np.arange(before[-1]) + np.repeat(starts - before[:-1], lengths))


def read_store(folder: Path) -> Store:
    """Open a store; its arrays are memory maps."""
    return Store(**{f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(Store)})


TEXTS = "texts.json"
"""File beside the arrays with the ids of the texts, in order."""


@dataclass(frozen=True)
class Harvested:
    """Texts and the output of their harvest."""

    texts: list[Text]
    output: Output

    @classmethod
    def of(cls, texts: Iterable[Text], output: Output) -> "Harvested":
        """The texts that a harvest kept."""
        kept = set(output.json(TEXTS)["ids"])
        return cls([text for text in texts if text.id in kept], output)

    @property
    def store(self) -> Store:
        return read_store(self.output.folder)

    @property
    def plain_names(self) -> dict[str, Any]:
        """In how many texts names of special tokens are plain characters, with an example: see `windows.PlainNames`."""
        found: dict[str, Any] = self.output.json(TEXTS)["plain_names"]
        return found

    @cached_property
    def token_counts(self) -> Int64[np.ndarray, "text"]:
        """The number of tokens of each text, without opening the store."""
        return np.diff(np.load(self.output.file("text_offsets.npy")))


@dataclass(frozen=True)
class Lens:
    """What the weights say about each feature; `k` entries per feature, strongest first."""

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
