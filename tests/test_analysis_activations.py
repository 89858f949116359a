"""Orders within the columns of a block against numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from studies import ACTIVATIONS

from saecatalog.analysis.activations import first_largest, order_within, runs, strongest_first


@given(st.lists(st.tuples(st.integers(0, 4), ACTIVATIONS, st.integers(0, 2**32 - 1)), max_size=40))
def test_orders_within_columns(entries: list[tuple[int, float, int]]) -> None:
    entries.sort(key=lambda entry: entry[0])
    columns = np.array([entry[0] for entry in entries], np.int32)
    values = np.array([entry[1] for entry in entries], np.float32)
    keys = np.array([entry[2] for entry in entries], np.uint32)
    assert strongest_first(columns, values).tolist() == np.lexsort((-values, columns)).tolist()
    assert order_within(columns, keys).tolist() == np.lexsort((keys, columns)).tolist()
    wanted = [start + int(values[columns == columns[start]].argmax()) for start in runs(columns)]
    assert first_largest(values, runs(columns)).tolist() == wanted


def test_an_order_that_does_not_fit_into_64_bits_is_the_same_order() -> None:
    generator = np.random.default_rng(0)
    columns = np.sort(generator.integers(2**22, 2**22 + 2**9, 2**11))
    keys = generator.integers(0, 4, 2**11).astype(np.uint32)
    wanted = sorted(range(len(keys)), key=lambda entry: (columns[entry], keys[entry], entry))
    assert order_within(columns, keys).tolist() == wanted
