"""Entries by feature in files, against the columns of a dense matrix."""

import pickle
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from saecatalog.analysis import by_feature
from saecatalog.analysis.by_feature import ByFeature, Rows
from saecatalog.engines import Threads
from saecatalog.file_arrays import FileArray
from saecatalog.store import row_spans

DENSE = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.integers(1, 12)),
    elements=st.sampled_from([0.0, 0.0, 0.0, 0.5, 2.0]),
)


def in_files(dense: np.ndarray, included: np.ndarray, folder: Path) -> ByFeature:
    matrix = sparse.csr_matrix(dense)
    files = {}
    for name, values in (("features", matrix.indices), ("activations", matrix.data)):
        np.save(folder / f"{name}.npy", values)
        files[name] = FileArray(folder / f"{name}.npy", 0)
    rows = Rows(**files, indptr=matrix.indptr, included=included, d_sae=dense.shape[1], folder=folder)
    return rows.write(Threads())


@given(DENSE, st.data(), st.integers(1, 40))
def test_any_features_from_any_number_of_files(dense: np.ndarray, data: st.DataObject, size: int) -> None:
    n, d_sae = dense.shape
    included = data.draw(arrays.arrays(bool, n))
    features = np.array(sorted(data.draw(st.sets(st.integers(0, d_sae - 1)))), np.int64)
    counted = dense * included[:, None]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_feature, "FILE_ENTRIES", size)
        patch.setattr(by_feature, "ENTRIES_PER_FEATURE", 0)
        found = in_files(dense, included, Path(folder))
        np.testing.assert_array_equal(np.diff(found.indptr), (counted > 0).sum(0))
        whole = ByFeature.of(sparse.csc_matrix(counted))
        sent = pickle.dumps(found.sent(features))
        assert len(sent) < 2000 + 200 * len(found.parts)
        for entries in (found.entries(features), pickle.loads(sent).read(), whole.entries(features)):
            bounds = entries.indptr.tolist()
            assert len(bounds) == len(features) + 1
            for feature, start, stop in zip(features.tolist(), bounds, bounds[1:], strict=False):
                assert entries.rows[start:stop].tolist() == np.flatnonzero(counted[:, feature]).tolist()
                assert entries.values[start:stop].tolist() == counted[counted[:, feature] > 0, feature].tolist()


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 30))
def test_spans_hold_every_row_once(lengths: list[int], most: int) -> None:
    indptr = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))])
    spans = list(row_spans(indptr, most))
    assert [row for start, stop in spans for row in range(start, stop)] == list(range(len(lengths)))
    for start, stop in spans:
        assert indptr[stop] - indptr[start] <= most or stop == start + 1


@given(arrays.arrays(np.int32, st.integers(0, 40)), st.data())
def test_a_file_is_filled_in_any_order(values: np.ndarray, data: st.DataObject) -> None:
    """A part may be written twice."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(values)), max_size=5)) | {0, len(values)})
    parts = list(pairwise(cuts))
    order = data.draw(st.permutations(parts + parts[:2]))
    with tempfile.TemporaryDirectory() as folder:
        file = FileArray.make(Path(folder) / "values.npy", np.int32, len(values))
        for start, stop in order:
            with pickle.loads(pickle.dumps(file)).opened() as opened:
                opened.write(start, values[start:stop])
        assert file.read().tolist() == values.tolist()
        found = FileArray.behind(np.load(file.path, mmap_mode="r"))
        assert found is not None
        assert found.read().tolist() == values.tolist()
    assert FileArray.behind(values) is None
