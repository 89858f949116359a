"""Arrays in files without names."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from saecatalog.analysis import disk_arrays
from saecatalog.analysis.disk_arrays import Appended, by_column, scratch_array


def test_scratch_arrays_are_zeros_in_files_without_names(tmp_path: Path) -> None:
    array = scratch_array(tmp_path, np.float32, 3, 5)
    empty = scratch_array(tmp_path, np.int32, 0, 4)
    assert (array.dtype, array.shape, array.sum()) == (np.float32, (3, 5), 0)
    assert (empty.dtype, empty.shape) == (np.int32, (0, 4))
    array[1] = 7
    assert array.sum() == 35
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.lists(st.integers(-9, 9), max_size=4), max_size=5))
def test_appended_arrays(parts: list[list[int]]) -> None:
    appended = Appended(None, np.int32)
    for part in parts:
        appended.append(np.array(part, np.int64))
    whole = appended.close()
    assert whole.dtype == np.int32
    assert whole.tolist() == [value for part in parts for value in part]


@given(st.integers(0, 12), st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_a_matrix_by_columns(n: int, width: int, seed: int, part: int) -> None:
    chance = np.random.default_rng(seed)
    dense = (chance.integers(1, 9, (n, width)) * (chance.random((n, width)) < 0.4)).astype(np.float32)
    keep = chance.random(n) < 0.7 if seed % 2 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_arrays, "PART_ENTRIES", part)
        found = by_column(sparse.csr_matrix(dense), keep)
    if keep is not None:
        dense = dense * keep[:, None]
    wanted = sparse.csc_matrix(dense)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
