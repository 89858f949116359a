"""Numbers as short strings for scripts: whole numbers in a few bytes each, and bytes as base64."""

import base64

import numpy as np
from jaxtyping import Int64


def packed(values: np.ndarray) -> str:
    """The bytes of an array as base64."""
    return base64.b64encode(values.tobytes()).decode()


def packed_whole(values: Int64[np.ndarray, "n"]) -> str:
    """Whole numbers from 0 to 2^35: seven bits a byte, low bits first, the last byte of a number below 128."""
    # [number, byte]: the bytes that each number needs, with the eighth bit set in all but the last.
    parts = values[:, None] >> (7 * np.arange(5))
    kept = (parts > 0) | (np.arange(5) == 0)
    more = np.pad(kept[:, 1:], ((0, 0), (0, 1)))
    return packed(((parts & 127) | (more << 7)).astype(np.uint8)[kept])


def steps(ascending: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """The difference of each number to the one before it; the first to 0."""
    return np.diff(ascending, prepend=0)
