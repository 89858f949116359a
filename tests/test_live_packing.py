"""Packings and parts of the live part, against other implementations of the same formats."""

import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saecatalog.live.packing import BLOCK, PACKINGS, PRECISIONS, pack, unpack
from saecatalog.live.parts import read_part, write_part

CHANCE = np.random.default_rng(7)
DRAWN = CHANCE.normal(size=(12, 3 * BLOCK)).astype(np.float32)

GGML = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_1": gguf.GGMLQuantizationType.Q4_1}
"""The formats in blocks, which another library reads and writes."""


TORCH = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def stored(name: str) -> np.ndarray:
    """Numbers that a packing holds exactly, made by another library."""
    if name in GGML:
        return np.asarray(gguf.quantize(DRAWN, GGML[name]))
    return torch.from_numpy(DRAWN).to(TORCH[name]).view(torch.uint8).numpy()


def numbers(name: str) -> np.ndarray:
    if name in GGML:
        return np.asarray(gguf.dequantize(stored(name), GGML[name]))
    return torch.from_numpy(DRAWN).to(TORCH[name]).float().numpy()


@pytest.mark.parametrize("name", PACKINGS)
def test_a_packing_is_read_as_another_library_reads_it(name: str) -> None:
    np.testing.assert_array_equal(PACKINGS[name].unpack(stored(name)), numbers(name))


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_numbers_return_to_the_packing_that_they_came_from(name: str, precision: str) -> None:
    packed = pack(numbers(name), precision)
    fits = PACKINGS[name].bytes <= PACKINGS[PRECISIONS[precision]].bytes
    assert packed.exact is fits
    assert packed.packing.name == (name if fits else PRECISIONS[precision])
    if fits:
        np.testing.assert_array_equal(unpack(packed), numbers(name))


@pytest.mark.parametrize(("precision", "relative"), [("half", 2**-11), ("int8", 1 / 127)])
def test_rounding_stays_within_half_a_step(precision: str, relative: float) -> None:
    packed = pack(DRAWN, precision)
    blocks = np.abs(DRAWN.reshape(-1, BLOCK)).max(axis=1)
    step = np.repeat(blocks, BLOCK).reshape(DRAWN.shape) * relative
    # The scale of a block is itself rounded to half precision.
    assert (np.abs(unpack(packed) - DRAWN) <= step * 0.51 + blocks.max() * 2**-11).all()


@pytest.mark.parametrize("columns", [1, 31, 32, 33])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_that_are_no_whole_blocks(columns: int, precision: str) -> None:
    values = DRAWN[:5, :columns]
    packed = pack(values, precision)
    assert packed.content.shape == (5, packed.packing.row_bytes(columns))
    np.testing.assert_allclose(unpack(packed), values, atol=0.02)


def test_a_number_that_is_too_large_for_half_precision_is_not_called_exact() -> None:
    values = np.full((1, BLOCK), 1e6, np.float32) * np.linspace(1, 1.1, BLOCK, dtype=np.float32)
    packed = pack(values, "exact")
    assert packed.packing.name == "f32"
    assert not pack(values, "half").exact


@given(arrays(np.float32, (3, BLOCK), elements=st.floats(-1e4, 1e4, width=32)))
def test_full_precision_is_always_exact(values: np.ndarray) -> None:
    packed = pack(values, "exact")
    assert packed.exact
    np.testing.assert_array_equal(unpack(packed), values)


@given(st.binary(max_size=300))
def test_a_part_holds_any_bytes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        part = write_part(Path(folder), "some-1", content)
        assert read_part(Path(folder), part) == content
        assert part.file == f"some-1-{zlib.crc32(content):08x}.js"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a byte": lambda file: file.replace(b"k", b"l", 1),
    "the end": lambda file: file[:-4],
    "the beginning": lambda file: file[3:],
    "another part": lambda file: file.replace(b"some", b"same", 1),
    "nothing left": lambda file: b"",
    "an escape": lambda file: file.replace(b"\\n", b"\\r", 1),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_part_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    part = write_part(tmp_path, "some", b'kept "as" it \\is\n')
    (tmp_path / part.file).write_bytes(damage((tmp_path / part.file).read_bytes()))
    with pytest.raises(ValueError, match=r"cut off|damaged"):
        read_part(tmp_path, part)
