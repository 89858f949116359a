"""The bundle: a program flows in, the folder of parts and the manifest that the engine runs it from flow out.

All weights except the embedding follow one another, each at an address divisible by 16, and are cut into parts. The
embedding is cut into parts of a few rows, because a reader needs only the rows of the tokens that were typed.
"""

from pathlib import Path
from typing import Any

import numpy as np

from saecatalog.live.packing import PACKINGS, Packed, pack
from saecatalog.live.parts import Part, read_part, write_part
from saecatalog.live.program import EMBEDDING, Program

PART_BYTES = 1 << 23
"""The most bytes in a part: hosts refuse large files, and a download that was cut off resumes with the next part."""

ROWS_BYTES = 48 * 1024
"""The most bytes of embedding rows in a part."""

ALIGNMENT = 16
TILE = 4
"""Rows of weights that the kernel multiplies at once; matrices are filled up with rows of zeros."""

LIVE = "live.json"
"""The manifest's file in the output of the stage; it is `{"reason": ...}` if the subject has no live part."""

Bundle = dict[str, Any]
"""The manifest of a bundle, as JSON: `program`, `tensors` (the place of each among the weights), `weights` (their bytes
in all), `embedding` (its packing and how many rows a part has), `parts` (bytes and checksum of each)."""


def make_bundle(program: Program, precision: str, folder: Path) -> Bundle:
    """Write the parts of a program into a folder and return the manifest."""
    matrices = matrices_of(program)
    weights, tensors, exact = bytearray(), {}, True
    for name, values in program.tensors.items():
        if name == EMBEDDING:
            continue
        packed = pack(_in_tiles(values), precision) if name in matrices else None
        content = _vector(values) if packed is None else packed.content.tobytes()
        tensors[name] = {"at": len(weights), **_described(packed, values)}
        exact = exact and (packed is None or packed.exact)
        weights += content + bytes(-len(content) % ALIGNMENT)
    parts = [
        write_part(folder, f"weights-{n}", bytes(weights[start : start + PART_BYTES]))
        for n, start in enumerate(range(0, len(weights), PART_BYTES))
    ]
    embedding = pack(program.tensors[EMBEDDING], precision)
    per_part = _rows_per_part(embedding)
    for n, first in enumerate(range(0, embedding.rows, per_part)):
        parts.append(write_part(folder, f"rows-{n}", embedding.content[first : first + per_part].tobytes()))
    return {
        "program": {"buffers": program.buffers, "steps": program.steps, "read": program.read},
        "tensors": tensors,
        "weights": len(weights),
        "embedding": {**_described(embedding, program.tensors[EMBEDDING]), "rows_per_part": per_part},
        "exact": exact and embedding.exact,
        "parts": listed(parts),
    }


def listed(parts: list[Part]) -> dict[str, list[int]]:
    """Parts as the manifest lists them: bytes and checksum by name, from which the file's name follows."""
    return {part.name: [part.bytes, part.crc32] for part in parts}


def part_of(bundle: Bundle, name: str) -> Part:
    return Part(name, *bundle["parts"][name])


def parts_needed(bundle: Bundle) -> list[str]:
    """The names of the parts that the engine loads: all of some, and of the rows those that a text needs."""
    rows = -(-bundle["embedding"]["rows"] // bundle["embedding"]["rows_per_part"])
    return ["kernel", "tokenizer", *_weights(bundle), *(f"rows-{n}" for n in range(rows))]


def _weights(bundle: Bundle) -> list[str]:
    return [f"weights-{n}" for n in range(-(-bundle["weights"] // PART_BYTES))]


def read_weights(bundle: Bundle, folder: Path) -> bytes:
    """All weights except the embedding."""
    return b"".join(read_part(folder, part_of(bundle, name)) for name in _weights(bundle))


def read_rows(bundle: Bundle, folder: Path, ids: list[int]) -> dict[int, bytes]:
    """The packed embedding rows of some token ids."""
    embedding = bundle["embedding"]
    size, per_part = PACKINGS[embedding["packing"]].row_bytes(embedding["columns"]), embedding["rows_per_part"]
    parts = {n: read_part(folder, part_of(bundle, f"rows-{n}")) for n in {token // per_part for token in ids}}
    places = {token: token % per_part * size for token in ids}
    return {token: parts[token // per_part][at : at + size] for token, at in places.items()}


def matrices_of(program: Program) -> set[str]:
    """The tensors that are packed: weights of linear maps, and tables of rows."""
    return {step[key] for step in program.steps for key in ("weight", "table") if key in step and step["op"] != "norm"}


def _in_tiles(values: np.ndarray) -> np.ndarray:
    return np.pad(values, ((0, -len(values) % TILE), (0, 0))) if len(values) % TILE else values


def _vector(values: np.ndarray) -> bytes:
    """Single-precision numbers; zeros follow, as the kernel reads as many numbers of a bias as a tile has rows."""
    flat = values.astype("<f4").ravel()
    return np.pad(flat, (0, -len(flat) % TILE)).tobytes()


def _described(packed: Packed | None, values: np.ndarray) -> dict[str, Any]:
    if packed is None:
        return {"packing": "f32", "rows": 1, "columns": values.size}
    return {"packing": packed.packing.name, "rows": len(values), "columns": packed.columns}


def _rows_per_part(embedding: Packed) -> int:
    """The largest power of two whose rows fit into a part."""
    most = max(1, ROWS_BYTES // embedding.packing.row_bytes(embedding.columns))
    return int(2 ** (most.bit_length() - 1))
