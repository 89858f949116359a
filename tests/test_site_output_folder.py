"""Writing into the folder of a site: one build at a time, and whole catalogs for a reader at every moment."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sites import Workplace

from saecatalog.errors import CatalogError
from saecatalog.site import output_folder as module
from saecatalog.site.inventory import TEMPORARY
from saecatalog.site.output_folder import exchange, output_folder, put, replace_files


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, words in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(words)
    return folder


LIST = "data/files.json"
OLD = {
    LIST: '{"key": "old", "files": {"gone/b.html": "1", "a.html": "2"}}',
    "index.html": "old",
    "a.html": "old",
    "gone/b.html": "old",
    "assets/x.js": "old",
}
NEW = {
    LIST: '{"key": "new", "files": {"c.html": "3", "a.html": "4"}}',
    "index.html": "new",
    "a.html": "new",
    "c.html": "new",
    "assets/x.js": "new",
}


def turn(file: str) -> int:
    return int(file.endswith(".html"))


def test_two_folders_are_exchanged_in_one_step(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", OLD), write(tmp_path / "new", NEW)
    if not exchange(old, new):
        pytest.skip("this file system cannot exchange two folders")
    assert (old / "c.html").read_text() == "new"
    assert (new / "gone/b.html").read_text() == "old"


def test_an_exchange_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        exchange(write(tmp_path / "old", OLD), tmp_path / "missing")


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_put_in_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(module, "exchange", lambda a, b: False)
    target = tmp_path / "site/model/sae"
    put(write(tmp_path / "first", OLD), target, turn)
    assert {name: (target / name).read_text() for name in OLD} == OLD
    put(write(tmp_path / "second", NEW), target, turn)
    assert {name: data.decode() for name, data in tree(target).items()} == NEW
    assert not (target / "gone").exists()


def test_one_by_one_no_page_is_missing_and_the_list_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader and the next build find between any two steps."""
    target, new = write(tmp_path / "target", OLD), write(tmp_path / "new", NEW)
    seen: list[dict[str, bytes]] = []
    step = module._replace

    def looked_at(source: Path, place: Path) -> None:
        step(source, place)
        seen.append(tree(target))

    monkeypatch.setattr(module, "_replace", looked_at)
    replace_files(new, target, LIST, OLD, turn)
    assert {name: data.decode() for name, data in seen.pop().items()} == NEW
    assert len(seen) == len(NEW)
    for found in seen:
        told = json.loads(found.pop(LIST))
        assert "key" not in told
        assert found.keys() <= told["files"].keys()
        assert {"index.html", "a.html", "assets/x.js"} <= found.keys()
        assert set(found.values()) <= {b"old", b"new"}
        if b"new" in {found[name] for name in found if name.endswith(".html")}:
            assert found["assets/x.js"] == b"new"


@pytest.mark.parametrize("exists", [True, False])
def test_a_build_that_fails_leaves_the_folder_as_it_was(tmp_path: Path, exists: bool) -> None:
    out = tmp_path / "site"
    if exists:
        write(out, OLD)

    def fail() -> None:
        with output_folder(out) as workspace:
            write(workspace.folder("catalog"), NEW)
            raise CatalogError("no")

    with pytest.raises(CatalogError):
        fail()
    assert out.exists() is exists
    assert not exists or {name: data.decode() for name, data in tree(out).items()} == OLD


def test_a_file_above_the_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with (
        pytest.raises(CatalogError, match=r"in the way(.|\n)*--out"),
        output_folder(tmp_path / "site" / "papers"),
    ):
        pass


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with pytest.raises(CatalogError, match="is a file"), output_folder(tmp_path / "site"):
        pass


SECOND = """
import sys
from pathlib import Path
from saecatalog.site.output_folder import output_folder
with output_folder(Path(sys.argv[1])):
    print("in", flush=True)
"""


def test_a_second_build_waits_and_says_for_whom(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SECOND, str(tmp_path / "site")]
    with output_folder(tmp_path / "site") as workspace:
        second = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        said = second.stderr.readline()
        assert "waiting for another build" in said
        assert workspace.name.split("-")[-3] in said
        assert second.poll() is None
    out, _ = second.communicate()
    assert (second.returncode, out) == (0, "in\n")


@pytest.mark.slow
def test_without_an_exchange_the_site_is_the_same(
    tmp_path: Path, published: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published over another version, file by file; broken off at every tenth step and then done again."""
    monkeypatch.setattr(module, "exchange", lambda a, b: False)
    wanted = Workplace(tmp_path / "wanted")
    wanted.publish(title="Another title")
    place = Workplace(tmp_path / "place")
    place.publish()
    (place.catalog / "features/3.html").unlink()
    seen = json.loads((place.catalog / LIST).read_text())
    del seen["files"]["features/3.html"]
    (place.catalog / LIST).write_text(json.dumps(seen))
    break_off = breaker(monkeypatch)
    for step in range(0, 10_000, 10):
        if not break_off(step, lambda: place.publish(title="Another title")):
            break
    assert step > 20
    assert tree(place.site) == tree(wanted.site)
    assert not (place.site / TEMPORARY).exists()


def breaker(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], bool]:
    """Runs a build that is broken off at a step of the replacement; returns whether it was."""
    replace, steps = module._replace, [0]

    def step(source: Path, place: Path) -> None:
        steps[0] -= 1
        if steps[0] < 0:
            raise KeyboardInterrupt
        replace(source, place)

    monkeypatch.setattr(module, "_replace", step)

    def run(after: int, work: Callable[[], object]) -> bool:
        steps[0] = after
        try:
            work()
        except KeyboardInterrupt:
            return True
        return False

    return run


def test_a_signal_while_the_lock_is_released_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        if path.name == module.LOCK and not missing_ok:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "site"):
        pass
    assert not (tmp_path / "site").exists()
