"""Arrays in files: one process makes the file, and any number of them, on any machine that has the folder, fill it.

Each writes a part of its own. They write with ordinary calls: pages of a memory map would overwrite each other's parts
on a network's file system, and count as memory of the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from jaxtyping import Num, Shaped


@dataclass(frozen=True)
class FileArray:
    """A `.npy` file of known shape. It can be pickled."""

    path: Path
    offset: int
    """Bytes before the first number."""

    @classmethod
    def make(cls, path: Path, dtype: npt.DTypeLike, *shape: int) -> "FileArray":
        """A file of zeros."""
        # numpy writes the header and sets the length.
        array = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), tuple(map(int, shape)))
        return cls(path, int(array.offset))

    @classmethod
    def behind(cls, array: Shaped[np.ndarray, "..."]) -> "FileArray | None":
        """The file that a memory map shows; None for another array."""
        return cls(Path(array.filename), int(array.offset)) if isinstance(array, np.memmap) and array.filename else None

    @contextmanager
    def opened(self) -> Iterator["Writer"]:
        with self.path.open("r+b") as file:
            yield Writer(file, self.offset)

    def read(self) -> Shaped[np.ndarray, "..."]:
        """The array, as a memory map."""
        return np.asarray(np.load(self.path, mmap_mode="r"))


@dataclass(frozen=True)
class Writer:
    """Writes parts of an array."""

    file: BinaryIO
    offset: int

    def write(self, place: int, values: Num[np.ndarray, "n"]) -> None:
        """Write consecutive numbers, the first at `place`."""
        self.file.seek(self.offset + place * values.itemsize)
        self.file.write(values.tobytes())
