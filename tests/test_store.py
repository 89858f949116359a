"""The arithmetic of the store."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.store import FIXED_POINT, Piece, band_edge, norm_bands, ranges, read_store, write_store
from saecatalog.texts.windows import TokenizedTexts, Window
from saecatalog.verify import formulas


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 7))))
def test_ranges(runs: list[tuple[int, int]]) -> None:
    found = ranges(np.array([s for s, _ in runs], np.int64), np.array([n for _, n in runs], np.int64))
    assert found.tolist() == [i for start, length in runs for i in range(start, start + length)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_pieces_in_any_order_make_the_same_store(lengths: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, d_sae = sum(lengths), 6
    dense = np.where(generator.random((n, d_sae)) < 0.3, generator.random((n, d_sae)) + 0.1, 0).astype(np.float32)
    residual = generator.normal(size=(n, 3))
    norms = np.linalg.norm(residual, axis=1).astype(np.float32)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    shuffled = generator.permutation(len(lengths)).tolist()
    cut = int(generator.integers(0, len(lengths) + 1))
    groups = [group for group in (shuffled[:cut], shuffled[cut:]) if group]
    windows = [
        Window(s, s + length, 0, bytes([i] * 16)) for i, (s, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    pieces = [piece([windows[i] for i in g], dense, residual, norms) for g in groups]
    with tempfile.TemporaryDirectory() as folder:
        ids = np.arange(n, dtype=np.int32)
        tokens = TokenizedTexts(ids, ids + 1, np.array([0, n], np.int64), ())
        write_store(Path(folder), pieces, windows, tokens, d_sae)
        store = read_store(Path(folder))
        np.testing.assert_array_equal(store.matrix().toarray(), dense)
        np.testing.assert_array_equal(store.norms, norms)
        np.testing.assert_array_equal(store.squared_errors, norms * 2)
        np.testing.assert_allclose(store.band_sums.sum(0), residual.sum(0), atol=n / FIXED_POINT)
        assert store.token_positions().tolist() == list(range(n))


def piece(windows: list[Window], dense: np.ndarray, residual: np.ndarray, norms: np.ndarray) -> Piece:
    """One batch's share of a dense matrix: the rows of the given windows."""
    rows = [i for window in windows for i in range(window.start, window.stop)]
    entries = [(f, dense[i, f]) for i in rows for f in range(dense.shape[1]) if dense[i, f] > 0]
    band = [int(np.floor(8 * np.log2(float(norms[i])))) for i in rows]
    sums = {b: sum(residual[i] for i, other in zip(rows, band, strict=True) if other == b) for b in sorted(set(band))}
    return Piece(
        keys=np.array([list(window.key) for window in windows], np.uint8),
        lengths=np.array([len(window) for window in windows], np.int64),
        counts=np.array([(dense[i] > 0).sum() for i in rows], np.int64),
        features=np.array([f for f, _ in entries], np.int32),
        activations=np.array([v for _, v in entries], np.float32),
        norms=norms[rows],
        target_norms=norms[rows],
        squared_errors=norms[rows] * 2,
        bands=np.array(list(sums), np.int32),
        band_sums=np.round(np.array(list(sums.values())) * FIXED_POINT).astype(np.int64),
    )


@given(st.lists(st.floats(2.0**-20, 2.0**20, width=32), min_size=1))
def test_norm_bands_and_edges(values: list[float]) -> None:
    bands = norm_bands(np.array(values, np.float32))
    for value, band in zip(values, bands.tolist(), strict=True):
        assert 2 ** (band / 8) <= value * (1 + 1e-12)
        assert value * (1 - 1e-12) < 2 ** ((band + 1) / 8)
        np.testing.assert_allclose(band_edge(value), formulas.norm_limit(value, 1.0))


def test_a_norm_of_zero_has_a_band() -> None:
    assert np.isfinite(norm_bands(np.zeros(1, np.float32))).all()
