"""Harvests that resume from what earlier ones saved."""

import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SaeKind
from harvesting import EXACT, load_arrays

from saecatalog.harvest import harvest
from saecatalog.progress import noticed_by
from saecatalog.shards import Folder, Shards
from saecatalog.texts.windows import tokenize


class Stopped(Exception):
    """Simulates an interruption of a harvest."""


@pytest.fixture
def harvested(subjects: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """Returns a store's arrays and the number of tokens run for it; shards are small and kept between calls."""
    monkeypatch.setattr("saecatalog.harvest.SHARD_TOKENS", 40)
    subject = subjects("gpt2", SaeKind("standard"))

    def run_texts(texts: list[Any], shards: Path | None, stop_after: int | None = None) -> tuple[dict, int]:
        ticks: list[int] = []

        def tick(n: int) -> None:
            ticks.append(n)
            if stop_after is not None and sum(ticks) > stop_after:
                raise Stopped

        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        harvest(subject, tokenize(texts, subject.tokenizer), 64, folder, tick, shards)
        return load_arrays(folder), sum(ticks)

    return run_texts


def test_a_shard_that_could_not_be_written_leaves_no_part(
    harvested: Callable, texts: list[Any], tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises((OSError, ValueError)):
            harvested(texts, tmp_path / "shards")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "shards").iterdir()) == []


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name in EXACT:
        assert found[name].tobytes() == wanted[name].tobytes(), name


def test_a_harvest_goes_on_where_it_broke_off(harvested: Callable, texts: list[Any], tmp_path: Path) -> None:
    wanted, all_tokens = harvested(texts, None)
    with pytest.raises(Stopped):
        harvested(texts, tmp_path / "shards", stop_after=all_tokens // 2)
    for name in (".part", f"{'0' * 32}.npz.part-1"):
        (tmp_path / "shards" / name).write_bytes(b"half a shard")
    found, tokens_run = harvested(texts, tmp_path / "shards")
    assert_same(found, wanted)
    assert 0 < tokens_run < 0.75 * all_tokens
    assert not list((tmp_path / "shards").glob("*.part*"))
    assert harvested(texts, tmp_path / "shards")[1] == 0


def test_a_grown_corpus_runs_only_what_is_new(harvested: Callable, texts: list[Any], tmp_path: Path) -> None:
    half, tokens_of_half = harvested(texts[::2], tmp_path / "shards")
    whole, tokens_run = harvested(texts, tmp_path / "shards")
    wanted, all_tokens = harvested(texts, None)
    assert tokens_run == all_tokens - tokens_of_half
    assert_same(whole, wanted)
    assert_same(harvested(texts[::2], tmp_path / "shards")[0], half)


def test_a_shrunk_corpus_gives_what_a_fresh_harvest_gives(
    harvested: Callable, texts: list[Any], tmp_path: Path
) -> None:
    harvested(texts, tmp_path / "shards")
    found, _ = harvested(texts[3:], tmp_path / "shards")
    assert_same(found, harvested(texts[3:], None)[0])


def test_a_shard_that_another_build_removes_meanwhile_is_made_again(
    harvested: Callable, texts: list[Any], tmp_path: Path
) -> None:
    """It was listed, and is gone when it is read, as may happen in shared storage."""

    class Vanishing(Folder):
        def names(self) -> list[str]:
            return [*super().names(), f"{'0' * 32}.npz"]

    harvested(texts, tmp_path / "shards")
    said: list[str] = []
    with noticed_by(said.append):
        shards = Shards(Vanishing(tmp_path / "shards"), [b"wanted"])
    assert shards.missing == {b"wanted"}
    assert len(said) == 1
    assert "is run again" in said[0]
