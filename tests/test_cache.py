"""Outputs in the cache: made once, checked before use, made again if damaged, removed when unused."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.cache import CHECKSUMS, TAG, Cache, Output
from saecatalog.cli import main
from saecatalog.errors import CatalogError
from saecatalog.stage_keys import digest

FILES = {"numbers.npy": bytes(range(256)) * 9, "deep/words.json": b'{"a": [1, 2]}', "empty": b""}


class Maker:
    """Fills an output and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, folder: Path) -> None:
        self.made += 1
        for name, content in FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def open_output(tmp_path: Path, told: list[str]) -> Callable[..., tuple[Output, Maker]]:
    """Returns an output as a new process would see it, and what makes it."""

    def open_it(key: str = "key", stage: str = "stage") -> tuple[Output, Maker]:
        maker = Maker()
        return Cache(tmp_path / "cache", told.append).output(stage, digest(key), maker), maker

    return open_it


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_an_output_is_made_once(open_output: Callable) -> None:
    output, maker = open_output()
    assert maker.made == 0
    assert contents(output.folder) == FILES
    assert output.json("deep/words.json") == {"a": [1, 2]}
    assert maker.made == 1
    again, maker = open_output()
    assert contents(again.folder) == FILES
    assert maker.made == 0


@given(data=st.data())
def test_a_damaged_output_is_made_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any file, the list of checksums too: one byte changed, cut short, removed, or one more file."""
    root, told, maker = tmp_path_factory.mktemp("damage"), list[str](), Maker()
    with Cache(root, told.append) as cache:
        folder = cache.output("stage", "key", maker).folder
    path = folder / data.draw(st.sampled_from([*FILES, CHECKSUMS]))
    before = path.read_bytes()
    kind = data.draw(st.sampled_from(["flip", "cut", "remove", "add"] if before else ["remove", "add"]))
    if kind == "remove":
        path.unlink()
    elif kind == "add":
        (folder / "more").write_bytes(b"")
    else:
        place = data.draw(st.integers(0, len(before) - 1))
        changed = bytes([before[place] ^ (1 << data.draw(st.integers(0, 7)))]) + before[place + 1 :]
        path.write_bytes(before[:place] + (changed if kind == "flip" else b""))
    with Cache(root, told.append) as cache:
        assert contents(cache.output("stage", "key", maker).folder) == FILES
    # A changed space in the list changes none of the checksums.
    harmless = path.name == CHECKSUMS and kind == "flip" and maker.made == 1
    assert harmless or (maker.made == 2 and len(told) == 1 and str(folder) in told[0])
    shutil.rmtree(root)


def test_only_the_file_that_is_asked_for_is_read(open_output: Callable) -> None:
    output, _ = open_output()
    (output.folder / "numbers.npy").write_bytes(b"x" * len(FILES["numbers.npy"]))
    again, maker = open_output()
    assert again.file("empty").read_bytes() == b""
    assert maker.made == 0
    assert again.file("numbers.npy").read_bytes() == FILES["numbers.npy"]
    assert maker.made == 1


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise CatalogError("no")

    with pytest.raises(CatalogError), Cache(tmp_path) as cache:
        _ = cache.output("stage", "key", fail).folder
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["CACHEDIR.TAG"]


def test_the_least_recently_used_outputs_go(open_output: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saecatalog.cache.KEPT_ELSEWHERE", 2)
    for age, key in enumerate(["a", "b", "c"]):
        output, _ = open_output(key)
        os.utime(output.folder, (0, 1000 - age))
        output.cache.close()
    assert not (output.path.parent / digest("a")).exists() or not (output.path.parent / digest("b")).exists()
    assert len(list(output.path.parent.iterdir())) == 2


def test_an_output_in_use_is_never_removed(open_output: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saecatalog.cache.KEPT_ELSEWHERE", 1)
    used, _ = open_output("used")
    os.utime(used.folder, (0, 0))
    other, _ = open_output("other")
    assert other.folder.exists()
    assert used.path.exists()
    used.cache.close()
    third, _ = open_output("third")
    assert third.folder.exists()
    assert not used.path.exists()
    assert other.path.exists()


def test_clean_removes_what_is_old_and_unused(
    open_output: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = 86_400
    for days, key in enumerate(["new", "older", "oldest"]):
        output, _ = open_output(key)
        os.utime(output.folder, (0, time.time() - days * day - 60))
        output.cache.close()

    def clean(*words: str) -> set[str]:
        assert main(["clean", "--cache", str(tmp_path / "cache"), *words]) == 0
        return {key for key in ("new", "older", "oldest") if (output.path.parent / digest(key)).exists()}

    assert clean("--older-than", "2.5") == {"new", "older", "oldest"}
    assert clean("--older-than", "1.5") == {"new", "older"}
    assert "stage: removed 1, 0.0 MB; 2 left" in capsys.readouterr().out
    assert clean("--keep", "1") == {"new"}
    held, _ = open_output("new")
    assert held.folder.exists()
    assert clean() == {"new"}
    held.cache.close()
    assert clean() == set()


def test_clean_touches_no_other_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("mine")
    assert main(["clean", "--cache", str(tmp_path)]) == 2
    assert "not a cache" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "chapter").read_text() == "mine"


def test_a_cache_on_a_full_disk_stays_a_cache(tmp_path: Path) -> None:
    """The tag is written once and whole: cut short by a full disk, it would keep `clean` from freeing the space."""
    root = tmp_path / "cache"
    with Cache(root) as cache:
        assert cache.workspace.path.exists()
    tag = root / TAG
    before = tag.stat()
    with Cache(root) as cache:
        assert cache.workspace.path.exists()
    assert (tag.stat().st_ino, tag.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    tag.write_text("")
    assert main(["clean", "--cache", str(root)]) == 2
    with Cache(root) as cache:
        assert cache.workspace.path.exists()
    assert main(["clean", "--cache", str(root)]) == 0


def test_checksums_name_every_file(open_output: Callable) -> None:
    output, _ = open_output()
    assert set(json.loads((output.folder / CHECKSUMS).read_text())["files"]) == set(FILES)


def test_only_outputs_are_ever_removed(
    open_output: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cache may be given a folder in which people keep other things, such as models in `models`."""
    monkeypatch.setattr("saecatalog.cache.KEPT_ELSEWHERE", 1)
    mine = [tmp_path / "cache" / name for name in ("stage/llama", "stage/qwen", "thesis/chapter", "thesis/.git")]
    for folder in mine:
        folder.mkdir(parents=True)
        (folder / "file").write_text("mine")
        os.utime(folder, (0, 0))
    output, _ = open_output()
    assert output.folder.exists()
    output.cache.close()
    assert main(["clean", "--cache", str(tmp_path / "cache")]) == 0
    assert not output.path.exists()
    assert all((folder / "file").read_text() == "mine" for folder in mine)
    assert "thesis" not in capsys.readouterr().out


def test_an_output_that_another_process_removes_meanwhile_is_passed_over(
    open_output: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, _ = open_output("stays")
    gone = output.folder.with_name(digest("gone"))
    gone.symlink_to("nowhere")
    assert output.path in output.cache.outputs("stage")


@pytest.mark.parametrize("name", ["tmp", "locks", "stage", "CACHEDIR.TAG", ""])
def test_what_is_in_the_way_of_the_cache_is_named(open_output: Callable, tmp_path: Path, name: str) -> None:
    place = tmp_path / "cache" / name
    if name == "CACHEDIR.TAG":
        place.mkdir(parents=True)
    else:
        place.parent.mkdir(exist_ok=True)
        place.write_text("mine")
    output, _ = open_output()
    with pytest.raises(CatalogError) as raised:
        _ = output.folder
    assert "in the way" in str(raised.value)
    assert f"{place}" in str(raised.value)
    assert "--cache" in str(raised.value)


def test_a_tag_of_other_bytes_is_no_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "CACHEDIR.TAG").write_bytes(b"\xff\xfe")
    assert main(["clean", "--cache", str(tmp_path)]) == 2
    assert "not a cache" in capsys.readouterr().err
