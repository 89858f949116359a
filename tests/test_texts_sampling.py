"""Samples: each record once and whole, spread over the file, the same for the same seed, and fair to all records."""

import io
import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.texts import sampling
from saecatalog.texts.sampling import BLANK_LINES, LINES, enough, lowest, scattered, seek_records

pieces_of_files = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b"\n\n", b" \n", b"\t", b"  ", b"x", "ü漢".encode(), b"word " * 20, "ü".encode() * 90]
)


def in_order(data: bytes, separator: re.Pattern[bytes]) -> list[tuple[int, bytes]]:
    """What is between the separators of a whole file, and where it starts."""
    gaps = [match.span() for match in separator.finditer(data)]
    starts, ends = [0] + [end for _, end in gaps], [start for start, _ in gaps] + [len(data)]
    return [(start, data[start:end]) for start, end in zip(starts, ends, strict=True) if data[start:end].strip()]


@pytest.mark.parametrize("separator", [LINES, BLANK_LINES], ids=["lines", "blocks"])
@given(st.lists(pieces_of_files, max_size=80), st.sampled_from([1, 16_000, 80_000]), st.integers(1, 60), st.integers())
def test_seeking_finds_each_record_once_and_whole(
    separator: re.Pattern[bytes], parts: list[bytes], allowance: int, look: int, seed: int
) -> None:
    data = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "LOOK", look)
        found = list(seek_records(io.BytesIO(data), len(data), separator, allowance, Random(seed)))
    assert sorted(found) == in_order(data, separator)


@given(st.integers(0, 2000), st.integers())
def test_scattered_numbers_come_once_and_any_beginning_of_them_is_spread_evenly(n: int, seed: int) -> None:
    order = list(scattered(n, Random(seed)))
    assert sorted(order) == list(range(n))
    for taken in (9, 30, 300):
        if n >= 3 * taken:
            thirds = [sum(third * n <= 3 * place < (third + 1) * n for place in order[:taken]) for third in range(3)]
            assert max(thirds) - min(thirds) <= 3 + taken // 10


def test_every_record_is_as_likely_as_any_other_however_long_it_is() -> None:
    """Short records in a row, and one behind a very long one: their number in samples is that of any other."""
    lengths = ([5] * 30 + [400] * 10 + [4000]) * 10
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    order = [start for start, _ in in_order(data, LINES)]
    counts = dict.fromkeys(order, 0)
    n_samples, share = 150, 0.2
    for seed in range(n_samples):
        found = seek_records(io.BytesIO(data), len(data), LINES, len(data) // 5, Random(seed))
        for start, _ in enough(found, lambda record: len(record[1]), int(len(data) * share)):
            counts[start] += 1
    for length in set(lengths):
        rates = [counts[start] / n_samples for start, size in zip(order, lengths, strict=True) if size == length]
        assert sum(rates) / len(rates) == pytest.approx(share, rel=0.25), length


def test_a_sample_of_a_stream_is_uniform_and_within_its_allowance() -> None:
    counts = [0] * 100
    for seed in range(300):
        kept = lowest(range(100), lambda n: n, lambda n: 1 + n % 7, 80, Random(seed))
        assert sum(1 + n % 7 for n in kept) <= 80
        assert kept == sorted(set(kept))
        for n in kept:
            counts[n] += 1
    thirds = [sum(counts[:33]) / 33, sum(counts[33:66]) / 33, sum(counts[66:]) / 34]
    assert max(thirds) < 1.15 * min(thirds)


def test_a_sample_of_a_stream_keeps_at_least_one_and_makes_only_what_it_may_keep() -> None:
    made = []

    def make(n: int) -> int | None:
        made.append(n)
        return n if n % 2 else None

    assert len(lowest(range(10_000), make, lambda n: 10, 5, Random(1))) == 1
    assert len(made) < 200


def test_enough_takes_no_more_than_it_needs() -> None:
    numbers = iter(range(100))
    assert enough(numbers, lambda n: 10, 25) == [0, 1, 2]
    assert next(numbers) == 3


class Counting(io.BytesIO):
    """A file that counts the bytes read from it."""

    n_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.n_read += len(data)
        return data


@pytest.mark.parametrize("separator", [LINES, BLANK_LINES], ids=["lines", "blocks"])
def test_little_more_is_read_than_the_sample_needs(separator: re.Pattern[bytes]) -> None:
    file = Counting(b"".join(b"a record of some words %d\n\n" % n * 40 for n in range(4000)))
    size, allowance = len(file.getvalue()), 40_000
    kept = enough(seek_records(file, size, separator, allowance, Random(1)), lambda record: len(record[1]), allowance)
    assert sum(len(record) for _, record in kept) >= allowance
    assert file.n_read < 0.6 * size
    file.n_read = 0
    enough(seek_records(file, size, separator, 400, Random(1)), lambda record: len(record[1]), 400)
    assert file.n_read < 0.05 * size
