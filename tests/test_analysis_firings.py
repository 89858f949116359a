"""Where features fire, against the activations; which features are compared; and how the data is packed for scripts."""

import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from studies import Study

from saecatalog.analysis.firings import choose_compared, in_steps
from saecatalog.site.packing import packed_whole, steps


def test_the_tokens_of_every_feature(study: Study) -> None:
    """Numbered over all texts; massive positions have no firings."""
    table = study.table("firings").set_index("feature")
    dense = np.concatenate([
        np.where(np.array(keep)[:, None], rows, 0) for keep, rows in zip(study.keep, study.raw.activations, strict=True)
    ])  # fmt: skip
    paged = study.table("features").query("page != ''")["feature"].tolist()
    assert table.index.tolist() == paged
    for feature in paged:
        assert table.loc[feature, "tokens"].tolist() == np.flatnonzero(dense[:, feature] > 0).tolist()


def test_directions_give_cosines_to_two_decimals(study: Study) -> None:
    table, decoder = (
        study.table("firings"),
        np.asarray(study.inputs.lens.decoder, np.float64)[study.table("firings")["feature"]],
    )
    steps = np.stack(table["direction"].tolist()).astype(np.float64)
    unit, rounded = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (decoder, steps))
    assert np.abs(unit @ unit.T - rounded @ rounded.T).max() < 0.01


def test_a_row_of_zeros_stays_one() -> None:
    assert in_steps(np.array([[0, 0], [-2, 1]], np.float32)).tolist() == [[0, 0], [-127, 64]]


def test_notable_features_come_first_while_they_fit() -> None:
    n_active = np.array([5, 5, 5, 5])
    assert choose_compared(n_active, notable=[2], paged=[0, 1, 2, 3], most=20) == [0, 1, 2, 3]
    assert choose_compared(n_active, notable=[2], paged=[0, 1, 2, 3], most=10) == [0, 2]
    assert choose_compared(n_active, notable=[2], paged=[0, 1], most=20) == [0, 1]
    assert choose_compared(n_active, notable=[], paged=[], most=20) == []


@given(st.sets(st.integers(0, 2**31 - 1)).map(sorted))
def test_numbers_are_packed_as_steps(numbers: list[int]) -> None:
    found, last, step, shift = [], 0, 0, 0
    for byte in base64.b64decode(packed_whole(steps(np.array(numbers, np.int64)))):
        step |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            last += step
            found.append(last)
            step, shift = 0, 0
    assert found == numbers
