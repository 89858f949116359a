"""Whether files are as they were when something was loaded from them."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SaeKind

from saecatalog import loaded_files
from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.loaded_files import DOUBT, Record, now, record, unchanged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, written long before they are loaded as far as the clock of `loaded` knows."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    return tmp_path


def loaded(*places: Path, after: int = 2 * DOUBT) -> Record:
    """A record of a load that began some nanoseconds from now."""
    return record(places, now() + after)


def test_files_as_they_were_are_unchanged(folder: Path) -> None:
    assert unchanged(loaded(folder))
    assert unchanged(loaded(folder / "a", folder / "b"))


def rewrite(path: Path, words: str) -> None:
    before = path.stat()
    path.write_text(words)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def put_in_place(folder: Path) -> None:
    (folder.parent / "other").write_text("new")
    (folder.parent / "other").replace(folder / "a")


CHANGES = {
    "another size": lambda folder: (folder / "a").write_text("newer"),
    "the same size and time": lambda folder: rewrite(folder / "a", "new"),
    "another file in its place": put_in_place,
    "a file more": lambda folder: (folder / "c").write_text(""),
    "a file less": lambda folder: (folder / "b").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text("old")
    before = loaded(folder)
    # The system's clock for files moves in steps of a few milliseconds.
    time.sleep(0.02)
    CHANGES[change](folder)
    assert not unchanged(before)


def test_files_written_just_before_are_compared_by_content(folder: Path) -> None:
    before = loaded(folder, after=DOUBT // 2)
    assert before["recent"].keys() == {str(folder / "a"), str(folder / "b")}
    assert unchanged(before)
    before["recent"][str(folder / "a")] = "another"
    assert not unchanged(before)


def test_files_written_while_they_were_loaded_are_not_trusted(folder: Path) -> None:
    assert not unchanged(loaded(folder, after=-DOUBT))


def test_a_place_without_files_tells_nothing(folder: Path) -> None:
    """For example a model that was not downloaded to the usual place, beside an SAE that was."""
    (folder / "empty").mkdir()
    assert not unchanged(loaded())
    assert not unchanged(loaded(folder, folder / "missing"))
    assert not unchanged(loaded(folder, folder / "empty"))


AN_HOUR = 3600 * 10**9


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/weights").write_text("1")
    return [tmp_path / "one"]


@pytest.mark.parametrize("before", [True, False])
def test_a_name_that_means_another_folder_is_noticed(
    tmp_path: Path, places: list[Path], monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """From another working folder, or because a folder of that name came, for example beside a name on the Hub."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "elsewhere"
    other.mkdir()
    if before:
        (tmp_path / "model").mkdir()
    found = loaded_files.record(places, time.time_ns() + AN_HOUR, ["model"])
    assert loaded_files.unchanged(found)
    monkeypatch.chdir(other)
    assert loaded_files.unchanged(found) is not before
    (other / "model").mkdir()
    assert not loaded_files.unchanged(found)


def test_the_model_that_an_sae_names_is_such_a_name(
    saes: Callable[[str, SaeKind], Path], models: Callable[[str], Path], tmp_path: Path
) -> None:
    from saecatalog.subject import load_subject

    with Cache(tmp_path) as cache:
        subject = load_subject(SubjectConfig(sae=str(saes("llama", SaeKind())), device="cpu"), cache)
    assert subject.files["names"] == {str(models("llama")): str(models("llama").resolve())}
