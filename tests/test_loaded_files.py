"""Whether what was loaded before is what would be loaded now."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SaeKind

from saecatalog import loaded_files
from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig

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
