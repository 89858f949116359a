"""Samples of what is too large to be read in full: places and priorities drawn with a seed flow out.

A file that can be read from anywhere is cut into blocks of bytes. They are read in an order that is spread over the
file from its beginning, and each gives the records that start in it, so that every record is as likely as any other,
however long it is. Everything else is read to its end once, and keeps the records with the lowest random numbers.
"""

import heapq
import math
import re
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import BinaryIO, TypeVar

P = TypeVar("P")
T = TypeVar("T")

BLOCKS_OF_SAMPLE = 512
"""Number of blocks that would give a sample if there were nothing but texts in the file."""
SMALLEST, LARGEST = 64, 1 << 16
"""Bytes of a block."""
LOOK = 1 << 12
"""Bytes read beyond a block at a time, until its last record ends."""

LINE_END = rb"(?>\r\n?|\n)"
LINES = re.compile(LINE_END)
"""What separates records that are lines."""
BLANK_LINES = re.compile(LINE_END + rb"(?>[ \t]*" + LINE_END + rb")+")
"""What separates blocks of lines."""


def scattered(n: int, chance: Random) -> Iterator[int]:
    """The numbers 0 to `n` - 1, each once, in an order of which every beginning is spread evenly over them.

    Steps by the golden ratio, from a random start: https://en.wikipedia.org/wiki/Low-discrepancy_sequence
    """
    step = max(round(n * (math.sqrt(5) - 1) / 2), 1)
    while math.gcd(step, n) != 1:
        step += 1
    place = chance.randrange(n) if n else 0
    for _ in range(n):
        yield place
        place = (place + step) % n


def seek_records(
    file: BinaryIO, size: int, separator: re.Pattern[bytes], allowance: int, chance: Random
) -> Iterator[tuple[int, bytes]]:
    """The records of a file and the bytes at which they start, each once, in a scattered order.

    `allowance` is the number of characters that will be taken; it decides only how long the blocks are.
    """
    length = min(max(allowance // BLOCKS_OF_SAMPLE, SMALLEST), LARGEST)
    for block in scattered(-(-size // length), chance):
        yield from _starting_in(file, block * length, min((block + 1) * length, size), separator)


def _starting_in(file: BinaryIO, first: int, stop: int, separator: re.Pattern[bytes]) -> Iterator[tuple[int, bytes]]:
    """The records that start in the bytes from `first` up to `stop`, each read to its end."""
    begin, data = _with_context(file, first, stop)
    starts = [0] if begin == 0 else []
    starts += [match.end() for match in separator.finditer(data)]
    if not any(first <= begin + start < stop for start in starts):
        return
    data = _to_the_end(file, data, stop - begin, separator)
    gaps = [match.span() for match in separator.finditer(data)]
    starts = ([0] if begin == 0 else []) + [end for _, end in gaps]
    ends = [start for start, _ in gaps] + [len(data)]
    for start, end in zip(starts, ends[len(ends) - len(starts) :], strict=True):
        if first <= begin + start < stop and data[start:end].strip():
            yield begin + start, data[start:end]


def _with_context(file: BinaryIO, first: int, stop: int) -> tuple[int, bytes]:
    """The bytes up to `stop`, from something before `first` that is no white space, and where they begin."""
    back = SMALLEST
    while True:
        begin = max(first - back, 0)
        file.seek(begin)
        data = file.read(stop - begin)
        if begin == 0 or data[: first - begin].strip():
            return begin, data
        back *= 4


def _to_the_end(file: BinaryIO, data: bytes, stop: int, separator: re.Pattern[bytes]) -> bytes:
    """The bytes and those after them, until a separator has ended at or after `stop` and something follows it."""
    ending = re.compile(b"(" + separator.pattern + rb")[ \t]*[^ \t\r\n]")
    parts, look = [data], LOOK
    # A separator may begin before `stop`; a run of white space there belongs to it.
    place = len(data[:stop].rstrip())
    while more := file.read(look):
        parts.append(more)
        data = b"".join(parts)
        if any(match.end(1) >= stop for match in ending.finditer(data, place)):
            break
        parts, look = [data], look * 2
    return data


def lowest(
    pieces: Iterable[P], make: Callable[[P], T | None], size: Callable[[T], int], allowance: float, chance: Random
) -> list[T]:
    """What is made of the pieces with the lowest random numbers, in their order: as much as `allowance`, at least one.

    A piece that cannot be kept is not made; `make` may give None, for one that does not count.
    """
    # The heap's first entry has the highest number.
    kept: list[tuple[float, int, T]] = []
    total, limit = 0, 1.0
    for n, piece in enumerate(pieces):
        number = chance.random()
        made = make(piece) if number < limit else None
        if made is None:
            continue
        heapq.heappush(kept, (-number, n, made))
        total += size(made)
        while total > allowance and len(kept) > 1:
            highest, _, dropped = heapq.heappop(kept)
            total, limit = total - size(dropped), -highest
    return [made for _, _, made in sorted(kept, key=lambda entry: entry[1])]


def enough(made: Iterable[T], size: Callable[[T], int], allowance: float) -> list[T]:
    """The first of them, until they have `allowance` characters."""
    kept: list[T] = []
    total = 0
    for part in made:
        kept.append(part)
        total += size(part)
        if total >= allowance:
            break
    return kept
