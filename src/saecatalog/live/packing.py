"""Packings of weights: a matrix in single precision flows in, the bytes that a reader downloads flow out.

Many models are published in fewer bits than the 32 that they are run in. Their weights are stored in those bits again:
a packing is *exact* if unpacking gives the very same numbers. The packings in blocks are those of GGML (each block is
32 numbers in a row), so the weights of such a file return to the blocks that they came from.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

BLOCK = 32
"""Numbers of a block. Shorter rows are packed as if zeros followed."""

Matrix = Float32[np.ndarray, "row column"]
Bytes = UInt8[np.ndarray, "row byte"]


@dataclass(frozen=True)
class Packing:
    """One way to store numbers."""

    name: str
    code: int
    """Its number in the kernel."""
    bytes: int
    """Of one block."""
    pack: Callable[[Matrix], Bytes]
    unpack: Callable[[Bytes], Matrix]
    """The inverse, for whole blocks; with the same rounding as the kernel's."""

    def row_bytes(self, columns: int) -> int:
        return -(-columns // BLOCK) * self.bytes


def _blocks(values: Matrix) -> Float32[np.ndarray, "row block 32"]:
    return values.reshape(len(values), -1, BLOCK)


def _joined(*parts: np.ndarray) -> Bytes:
    """The arrays `[row, block, ...]`, byte for byte, block after block."""
    as_bytes = [np.ascontiguousarray(part).view(np.uint8).reshape(*part.shape[:2], -1) for part in parts]
    return np.concatenate(as_bytes, axis=2).reshape(len(parts[0]), -1)


def _halves(packed: Bytes, size: int, place: int) -> Float32[np.ndarray, "row block 1"]:
    """The half-precision number at a place of each block of `size` bytes."""
    blocks = packed.reshape(len(packed), -1, size)
    return np.ascontiguousarray(blocks[:, :, place : place + 2]).view(np.float16).astype(np.float32)


def _divided(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The quotient; 0 where the divisor is 0."""
    quotient: np.ndarray = np.divide(values, scale, out=np.zeros_like(values), where=scale != 0)
    return quotient


def _pack_q8_0(values: Matrix) -> Bytes:
    blocks = _blocks(values)
    scale = (np.abs(blocks).max(axis=2, keepdims=True) / np.float32(127)).astype(np.float16)
    whole = np.rint(_divided(blocks, scale.astype(np.float32)))
    return _joined(scale, np.clip(whole, -127, 127).astype(np.int8))


def _unpack_q8_0(packed: Bytes) -> Matrix:
    whole = packed.reshape(len(packed), -1, 34)[:, :, 2:].view(np.int8).astype(np.float32)
    return np.asarray(whole * _halves(packed, 34, 0)).reshape(len(packed), -1)


def _pack_q4_1(values: Matrix) -> Bytes:
    blocks = _blocks(values)
    least = blocks.min(axis=2, keepdims=True)
    low = least.astype(np.float16)
    scale = ((blocks.max(axis=2, keepdims=True) - least) / np.float32(15)).astype(np.float16)
    whole = np.rint(_divided(blocks - low.astype(np.float32), scale.astype(np.float32)))
    nibbles = np.clip(whole, 0, 15).astype(np.uint8)
    return _joined(scale, low, nibbles[:, :, :16] | nibbles[:, :, 16:] << 4)


def _unpack_q4_1(packed: Bytes) -> Matrix:
    pairs = packed.reshape(len(packed), -1, 20)[:, :, 4:]
    whole = np.concatenate([pairs & 15, pairs >> 4], axis=2).astype(np.float32)
    return np.asarray(whole * _halves(packed, 20, 0) + _halves(packed, 20, 2)).reshape(len(packed), -1)


def _pack_f32(values: Matrix) -> Bytes:
    return _joined(_blocks(values))


def _unpack_f32(packed: Bytes) -> Matrix:
    return packed.view(np.float32)


def _pack_f16(values: Matrix) -> Bytes:
    return _joined(_blocks(values).astype(np.float16))


def _unpack_f16(packed: Bytes) -> Matrix:
    return packed.view(np.float16).astype(np.float32)


def _pack_bf16(values: Matrix) -> Bytes:
    # Rounding is left out, because numbers that need it are not packed in this way.
    return _joined(np.right_shift(_blocks(values).view(np.uint32), 16).astype(np.uint16))


def _unpack_bf16(packed: Bytes) -> Matrix:
    return np.left_shift(packed.view(np.uint16).astype(np.uint32), 16).view(np.float32)


PACKINGS = {
    packing.name: packing
    for packing in (
        Packing("f32", 0, 128, _pack_f32, _unpack_f32),
        Packing("f16", 1, 64, _pack_f16, _unpack_f16),
        Packing("bf16", 2, 64, _pack_bf16, _unpack_bf16),
        Packing("q8_0", 3, 34, _pack_q8_0, _unpack_q8_0),
        Packing("q4_1", 4, 20, _pack_q4_1, _unpack_q4_1),
    )
}

SMALLEST_FIRST = ("q4_1", "q8_0", "bf16", "f16", "f32")

PRECISIONS = {"exact": "f32", "half": "f16", "int8": "q8_0"}
"""From the most precise to the smallest: the packing of weights that have no exact one that is as small."""


@dataclass(frozen=True)
class Packed:
    """A packed matrix."""

    packing: Packing
    rows: int
    columns: int
    content: Bytes
    exact: bool


@np.errstate(over="ignore", invalid="ignore")
def pack(values: Matrix, precision: str) -> Packed:
    """Pack a matrix exactly if that takes no more bytes than its precision allows, and otherwise with rounding.

    Numbers that are too large for the packing become infinite, which the measured error tells.
    """
    rows, columns = values.shape
    # Padding copies the matrix, also by nothing.
    padded = np.pad(values, ((0, 0), (0, -columns % BLOCK))) if columns % BLOCK else values
    rounding = PACKINGS[PRECISIONS[precision]]
    for name in SMALLEST_FIRST:
        packing = PACKINGS[name]
        content = _packed_exactly(padded, packing) if packing.bytes <= rounding.bytes else None
        if content is not None:
            return Packed(packing, rows, columns, content, True)
    return Packed(rounding, rows, columns, rounding.pack(padded), False)


def _packed_exactly(padded: Matrix, packing: Packing) -> Bytes | None:
    """A matrix in a packing that keeps every number; None if this one does not."""
    # Some rows at a time, so that temporary arrays stay in the processor's cache, and the first tell nearly always.
    parts = []
    for start in range(0, len(padded), 64):
        some = padded[start : start + 64]
        parts.append(packing.pack(some))
        if not np.array_equal(packing.unpack(parts[-1]), some):
            return None
    return np.concatenate(parts)


def unpack(packed: Packed) -> Matrix:
    """The numbers that the kernel computes with."""
    return packed.packing.unpack(packed.content)[:, : packed.columns]
