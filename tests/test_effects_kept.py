"""Finished parts of long work: what is there is not done again, and nothing else is taken for it."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.effects.kept import Kept
from saecatalog.progress import noticed_by


@dataclass(frozen=True)
class Item:
    number: int

    @property
    def key(self) -> str:
        return f"key{self.number}"


def save(file: IO[bytes], result: str) -> None:
    file.write(result.encode())


@given(st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)), st.integers(0, 12))
def test_only_what_is_missing_or_damaged_is_done_and_results_are_in_order(
    finished: set[int], damaged: set[int], ahead: int
) -> None:
    done: list[int] = []

    def run(items: Iterator[Item]) -> Iterator[str]:
        """Takes some items before it gives the first result, as workers do."""
        waiting: list[Item] = []
        for item in items:
            waiting.append(item)
            done.append(item.number)
            if len(waiting) > ahead:
                yield f"result {waiting.pop(0).number}"
        yield from (f"result {item.number}" for item in waiting)

    with tempfile.TemporaryDirectory() as name, noticed_by(lambda line: None):
        kept, items = Kept(Path(name), ".txt", "it is done again"), [Item(number) for number in range(12)]
        for _, path, _ in kept.in_order([Item(number) for number in sorted(finished)], run, save):
            if int(path.stem.removeprefix("key").partition("-")[0]) in damaged:
                path.write_text("other content")
        done.clear()
        found = [(item.number, path.read_text(), old) for item, path, old in kept.in_order(items, run, save)]
        assert found == [(n, f"result {n}", n in finished - damaged) for n in range(12)]
        assert done == [n for n in range(12) if n not in finished - damaged]
        assert len(list(Path(name).iterdir())) == 12
        kept.tidy()
        assert not list(Path(name).iterdir())


def test_a_part_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def full(file: IO[bytes], result: str) -> None:
        file.write(b"the beginning")
        raise OSError(28, "No space left on device")

    kept = Kept(tmp_path, ".txt", "it is done again")
    with pytest.raises(OSError, match="No space"):
        list(kept.in_order([Item(1)], lambda items: (str(item) for item in items), full))
    assert not list(tmp_path.iterdir())
