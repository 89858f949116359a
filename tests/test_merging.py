"""Merging is associative and commutative: however work is cut, shared out and put together, every byte is the same."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cases import make_case
from conftest import SaeKind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from studies import analyse_case

from saecatalog import lens, tables, threads
from saecatalog.analysis import activations, coactivation, disk_arrays, pair_counts, statistics
from saecatalog.analysis.activations import include
from saecatalog.analysis.by_feature import ByFeature
from saecatalog.analysis.coactivation import pair_table
from saecatalog.analysis.pair_counts import ActiveRows
from saecatalog.analysis.scores import score_texts
from saecatalog.config import AnalysisConfig
from saecatalog.lens import make_lens
from saecatalog.schemas import SCHEMAS
from saecatalog.shards import Folder, Shard, Shards, join
from saecatalog.store import Piece, Source, Store, read_store, sum_bands, write_store
from saecatalog.texts.windows import TokenizedTexts, Window

D_SAE, D_OUT = 7, 3
SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=10)
SIZES = st.sampled_from([1, 2, 3, 7, 20, 10**6])


class Corpus:
    """Windows with random activations, and the piece of each."""

    def __init__(self, lengths: list[int], seed: int):
        generator = np.random.default_rng(seed)
        stops = np.cumsum(lengths).tolist()
        self.windows = [
            Window(stop - length, stop, 0, bytes([number] * 16))
            for number, (stop, length) in enumerate(zip(stops, lengths, strict=True))
        ]
        n = stops[-1]
        # Values of very different sizes, whose sums as floats would depend on their order.
        sizes = 10.0 ** generator.integers(-5, 5, (n, D_OUT))
        self.values = (generator.normal(size=(n, D_OUT)) * sizes).astype(np.float32)
        # Few bands, so that each holds many tokens.
        self.norms = generator.choice([1.0, 2.5], n).astype(np.float32)
        self.dense = (generator.random((n, D_SAE)) * (generator.random((n, D_SAE)) < 0.3)).astype(np.float32)
        offsets = np.unique([0, *generator.choice(stops, min(3, len(stops))).tolist(), n])
        ids = np.arange(n, dtype=np.int32)
        self.tokens = TokenizedTexts(ids, ids + 1, offsets.astype(np.int64), ())
        self.pieces = [self.piece(window) for window in self.windows]

    def piece(self, window: Window) -> Piece:
        rows = slice(window.start, window.stop)
        values, dense = self.values[rows], self.dense[rows]
        norms = self.norms[rows]
        token, feature = dense.nonzero()
        bands, sums = sum_bands(norms, values)
        return Piece(
            keys=np.frombuffer(window.key, np.uint8)[None],
            lengths=np.array([len(window)], np.int64),
            counts=np.bincount(token, minlength=len(dense)).astype(np.int64),
            features=feature.astype(np.int32),
            activations=dense[token, feature],
            norms=norms,
            target_norms=norms * 2,
            squared_errors=norms * 3,
            bands=bands,
            band_sums=sums,
        )

    def store(self, pieces: Sequence[Source]) -> dict[str, bytes]:
        """The files of the store that some pieces make."""
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder), pieces, self.windows, self.tokens, D_SAE)
            return {path.name: path.read_bytes() for path in Path(folder).iterdir()}

    def opened(self) -> Store:
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder), self.pieces, self.windows, self.tokens, D_SAE)
            mapped = read_store(Path(folder))
            return Store(**{f.name: np.array(getattr(mapped, f.name)) for f in fields(Store)})


def joined_at_random(pieces: list[Piece], generator: np.random.Generator, wanted: int) -> list[Piece]:
    """The pieces in a random order, joined two or three at a time, whichever they are, until so many are left."""
    left = [pieces[i] for i in generator.permutation(len(pieces))]
    while len(left) > wanted:
        chosen = set(generator.choice(len(left), min(len(left), int(generator.integers(2, 4))), replace=False).tolist())
        left = [piece for i, piece in enumerate(left) if i not in chosen] + [join([left[i] for i in chosen])]
    return left


def same(found: Any, wanted: Any) -> None:
    """The same arrays, type and bytes."""
    for f in fields(wanted):
        a, b = getattr(found, f.name), getattr(wanted, f.name)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), f.name


@given(LENGTHS, SEEDS)
def test_joining_is_associative(lengths: list[int], seed: int) -> None:
    """However a list of pieces is bracketed."""
    generator = np.random.default_rng(seed)
    pieces = Corpus(lengths, seed).pieces
    left = list(pieces)
    while len(left) > 1:
        at = int(generator.integers(0, len(left) - 1))
        left[at : at + 2] = [join(left[at : at + 2])]
    same(left[0], join(pieces))


@given(LENGTHS, SEEDS, st.integers(1, 4))
def test_any_order_and_grouping_of_pieces_makes_the_same_store(lengths: list[int], seed: int, wanted: int) -> None:
    corpus = Corpus(lengths, seed)
    grouped = joined_at_random(corpus.pieces, np.random.default_rng(seed), wanted)
    assert corpus.store(grouped) == corpus.store(corpus.pieces)


@given(LENGTHS, SEEDS, st.integers(1, 4))
def test_shards_of_any_size_make_the_same_store(lengths: list[int], seed: int, wanted: int) -> None:
    """Also if some are from an earlier run: shards are named by what is in them, and so are read in any order."""
    corpus = Corpus(lengths, seed)
    grouped = joined_at_random(corpus.pieces, np.random.default_rng(seed), wanted)
    with tempfile.TemporaryDirectory() as folder:
        keys = [window.key for window in corpus.windows]
        for piece in grouped[::2]:
            Shards(Folder(Path(folder)), keys).add(Shard.of([piece]))
        again = Shards(Folder(Path(folder)), keys)
        assert again.missing == {key.tobytes() for piece in grouped[1::2] for key in piece.keys}
        for piece in grouped[1::2]:
            again.add(Shard.of([piece]))
        assert corpus.store(Shards(Folder(Path(folder)), keys).files()) == corpus.store(corpus.pieces)


@given(LENGTHS, SEEDS)
def test_sums_of_bands_are_those_of_all_tokens_at_once(lengths: list[int], seed: int) -> None:
    corpus = Corpus(lengths, seed)
    bands, sums = sum_bands(corpus.norms, corpus.values)
    for pieces in ([*corpus.pieces], corpus.pieces[::-1]):
        whole = join(pieces)
        assert whole.bands.tolist() == bands.tolist()
        assert whole.band_sums.tolist() == sums.tolist()


@given(LENGTHS, SEEDS, st.sampled_from(["max", "last", "mean"]), SIZES, SIZES, SIZES, st.integers(1, 4))
def test_text_scores(
    lengths: list[int], seed: int, score: str, entries: int, features: int, part: int, n_threads: int
) -> None:
    """For any blocks of features, any parts of the matrix and any number of threads."""
    store = Corpus(lengths, seed).opened()
    wanted = score_texts(include(store, 3.0), score)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations, "BLOCK_ENTRIES", entries)
        patch.setattr(activations, "BLOCK_FEATURES", features)
        patch.setattr(disk_arrays, "PART_ENTRIES", part)
        patch.setattr(threads, "n_threads", lambda: n_threads)
        found = score_texts(include(store, 3.0), score)
    for name in ("data", "indices", "indptr"):
        for matrix in ("by_feature", "matrix"):
            a, b = (getattr(getattr(scores, matrix), name) for scores in (found, wanted))
            assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
    assert found.positions.tobytes() == wanted.positions.tobytes()


@given(
    *(SEEDS, st.integers(1, 40), st.integers(2, 30), SIZES, SIZES, SIZES),
    *(st.booleans(), st.sampled_from([0, 0.2, 1]), st.integers(1, 4)),
)
def test_pairs(
    seed: int, n: int, width: int, block: int, gathered: int, rows: int, dense: bool, few: float, n_threads: int
) -> None:
    """For any blocks, both ways of counting, and any number of threads."""
    generator = np.random.default_rng(seed)
    active = (generator.random((n, width)) < generator.random(width)).astype(np.float32)
    keep = generator.random(n) < 0.8
    decoder = generator.normal(size=(width, 4)).astype(np.float32)
    by_feature = ByFeature.of(sparse.csc_matrix(active * keep[:, None]))
    given_ = (ActiveRows.of(sparse.csr_matrix(active)), by_feature, keep, "text", decoder)
    wanted = pair_table(*given_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_counts, "BLOCK", block)
        patch.setattr(pair_counts, "GATHERED", gathered)
        patch.setattr(pair_counts, "DENSE_ROWS", min(rows, 4095))
        patch.setattr(pair_counts, "MOST_COUNTS", gathered * width)
        patch.setattr(pair_counts, "MOST_MET", gathered)
        patch.setattr(pair_counts, "MEETS_FEW", few)
        patch.setattr(pair_counts, "WORTH_KEEPING", 1 if seed % 2 else 0)
        patch.setattr(coactivation, "IN_CACHE", block * width)
        patch.setattr(pair_counts, "GATHERING", 1e9 if dense else 1e-9)
        patch.setattr(threads, "n_threads", lambda: n_threads)
        found = pair_table(*given_)
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


@pytest.fixture(scope="module")
def whole_lens(subjects: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return lens_files(subjects("llama", SaeKind("standard")), tmp_path_factory.mktemp("lens"))


def lens_files(subject: Any, folder: Path) -> dict[str, bytes]:
    make_lens(subject, folder, lambda n: None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(st.integers(1, 60), st.integers(1, 2000), st.integers(2, 200), st.integers(1, 32), st.integers(1, 2))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_lens(
    whole_lens: dict[str, bytes],
    subjects: Callable[..., Any],
    chunk: int,
    cached: int,
    sorted_: int,
    rows: int,
    n_threads: int,
) -> None:
    """For any chunks of features, parts of a chunk, and groups of columns; with one thread or two."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
            patch.setattr(lens, "CHUNK", chunk)
            patch.setattr(lens, "CACHED_VALUES", cached)
            patch.setattr(lens, "SORTED", sorted_)
            assert lens_files(subjects("llama", SaeKind("standard")), Path(folder)) == whole_lens
    finally:
        torch.set_num_threads(before)


def random_case(seed: int) -> Any:
    """Twelve short texts in three categories from two sources of words."""
    generator = np.random.default_rng(seed)
    texts = [
        [
            [float(v) if v > 0.7 else 0.0 for v in generator.random(D_SAE * 3).round(2)]
            for _ in range(int(generator.integers(1, 9)))
        ]
        for _ in range(12)
    ]
    return make_case(texts, ["a", "b", "c"] * 4)


@pytest.mark.slow
@given(SEEDS, SIZES, st.integers(1, 25), SIZES, st.integers(1, 3))
@settings(max_examples=8)
def test_every_table(seed: int, size: int, features: int, part: int, n_threads: int) -> None:
    """All analyses, for any way in which the dictionary and the matrices are cut."""
    case = random_case(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = analyse_case(folder / "whole", case, AnalysisConfig(), case).tables
        with pytest.MonkeyPatch.context() as patch:
            for module, constant, value in (
                (activations, "BLOCK_ENTRIES", size),
                (activations, "BLOCK_FEATURES", features),
                (disk_arrays, "PART_ENTRIES", part),
                (statistics, "PART", part),
                (pair_counts, "BLOCK", size),
                (pair_counts, "GATHERED", size),
                (tables, "GROUP_ROWS", part),
            ):
                patch.setattr(module, constant, value)
            patch.setattr(threads, "n_threads", lambda: n_threads)
            found = analyse_case(folder / "parts", case, AnalysisConfig(), case).tables
        for table in SCHEMAS:
            a, b = found[table], wanted[table]
            if table == "text_scores":
                # Written block by block, and within a block text by text.
                a, b = (rows.sort_values(["feature", "text"], ignore_index=True) for rows in (a, b))
            pd.testing.assert_frame_equal(a, b, check_exact=True, obj=table)
