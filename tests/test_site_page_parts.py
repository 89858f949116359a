"""Pages that are made in parts: the same files, whoever writes them."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hostile_engine import HostileEngine
from synthetic import PAGED, write
from test_site_pages import TEMPLATES, contents

from saecatalog.engines import Threads
from saecatalog.site import page_parts, render
from saecatalog.site.render import render_catalog
from saecatalog.tables import Tables, write_table

PART = {"features": 3, "effects": 3, "texts": 5}
PARTS = 6
"""Three of features, three of texts."""


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that one process writes."""
    folder = tmp_path_factory.mktemp("one")
    render_catalog(*write(folder / "tables"), TEMPLATES, folder / "out", workers=1)
    return contents(folder / "out")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small catalog is divided like a large one."""
    monkeypatch.setattr(page_parts, "POOL_FROM", 1)
    monkeypatch.setattr(render, "PART", PART)


@pytest.mark.slow
def test_pages_are_the_same_however_many_processes_write_them(wanted: dict[str, bytes], tmp_path: Path) -> None:
    tables, manifest = write(tmp_path / "tables")
    counts = render_catalog(tables, manifest, TEMPLATES, tmp_path / "out", workers=2)
    assert (counts["features"], counts["texts"]) == (len(PAGED), 12)
    assert contents(tmp_path / "out") == wanted


@pytest.mark.slow
def test_what_stops_a_process_stops_the_build(tmp_path: Path) -> None:
    tables, manifest = write(tmp_path / "tables")
    (tmp_path / "tables/logits.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        render_catalog(tables, manifest, TEMPLATES, tmp_path / "out", workers=2)


@pytest.mark.slow
def test_workers_of_an_engine_write_the_same_pages_catalog_after_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each catalog is in the folders of the one before, with other tables and another template."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TEMPLATES, "templates")
    template = Path("templates/feature.html")
    original = template.read_text("utf-8")
    with HostileEngine(reaches=True) as engine:
        for words in ("First", "Second"):
            tables, manifest = write(Path("tables"))
            write_table(tables.folder, "texts", tables["texts"].assign(title=words))
            template.write_text(original.replace("<h1>", f"<h1>{words} "), encoding="utf-8")
            made = []
            for out, who in (("one", {"workers": 1}), ("many", {"workers": 1, "engine": lambda: engine})):
                shutil.rmtree(out, ignore_errors=True)
                render_catalog(Tables(tables.folder), manifest, Path("templates"), Path(out), **who)  # type: ignore[arg-type]
                made.append(contents(Path(out)))
            assert made[0] == made[1]
            assert f"<h1>{words} ".encode() in made[1]["features/2.html"]
            assert words.encode() in made[1]["texts/t1-0.html"]
    assert [(name, len(sizes)) for name, _, sizes in engine.calls] == 2 * [("write_part", PARTS)]


class Near:
    """An engine whose workers are in this process, in another folder."""

    def __init__(self, workers: int = PARTS, reaches: Callable[[Path], bool] = Path.is_dir):
        self.workers, self.reaches = workers, reaches
        self.parts = 0

    def in_order(self, work: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.parts += 1
            with chdir("/"):
                done = work(shared, item)
            yield done


def test_workers_write_pages_if_they_reach_the_folders_and_are_more_than_the_processes(
    wanted: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = {
        "of use": (Near(), PARTS),
        "too few": (Near(workers=1), 0),
        "without the tables": (Near(reaches=lambda folder: folder.name != "tables"), 0),
        "without the output": (Near(reaches=lambda folder: folder.name == "tables"), 0),
    }
    for name, (engine, parts) in cases.items():
        tables, manifest = write(Path(name, "tables"))
        render_catalog(tables, manifest, TEMPLATES, Path(name, "out"), workers=1, engine=lambda e=engine: e)
        assert contents(Path(name, "out")) == wanted, name
        assert engine.parts == parts, name


def test_workers_need_no_templates_of_their_own(wanted: dict[str, bytes], tmp_path: Path) -> None:
    """Those of the program may be elsewhere on other machines, and an author's own on this machine alone."""
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES, templates)

    class Without(Near):
        def in_order(self, *arguments: Any) -> Iterator[Any]:
            # This comes when the first part is asked for, after the pages that this process writes.
            shutil.rmtree(templates)
            yield from super().in_order(*arguments)

    render_catalog(*write(tmp_path / "tables"), templates, tmp_path / "out", workers=1, engine=Without)
    assert contents(tmp_path / "out") == wanted


def test_threads_are_no_workers(wanted: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Threads, "in_order", None)
    render_catalog(*write(tmp_path / "tables"), TEMPLATES, tmp_path / "out", workers=1, engine=Threads)
    assert contents(tmp_path / "out") == wanted


def test_an_engine_starts_only_if_there_are_pages_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Started(Exception):
        pass

    def engine() -> Near:
        raise Started

    tables, manifest = write(tmp_path / "tables")

    def starts(**wishes: Any) -> bool:
        try:
            render_catalog(tables, manifest, TEMPLATES, tmp_path / "out", engine=engine, **wishes)
        except Started:
            return True
        return False

    assert starts(workers=1)
    assert not starts(workers=1, only={"features/2.html", "about.html"})
    monkeypatch.setattr(page_parts, "POOL_FROM", len(PAGED) + 12 + 1)
    assert not starts(workers=1)


def test_what_a_stopped_worker_leaves_is_never_a_part_of_a_page(
    wanted: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that was taken for lost, and still writes, break a page that another has written again."""

    class Stopped(Exception):
        pass

    write_bytes, writes = os.write, count()

    def stops_at_the_second_file(handle: int, content: bytes) -> int:
        if next(writes) % 2 == 0:
            return write_bytes(handle, content)
        write_bytes(handle, content[:10])
        raise Stopped

    class Repeating(Near):
        """Each part is done once more, by a worker that stops in the middle of a file."""

        def in_order(self, work: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any]) -> Iterator[Any]:
            for item in items:
                yield work(shared, item)
                with monkeypatch.context() as within:
                    within.setattr(os, "write", stops_at_the_second_file)
                    with pytest.raises(Stopped):
                        work(shared, item)

    render_catalog(*write(tmp_path / "tables"), TEMPLATES, tmp_path / "out", workers=1, engine=Repeating)
    assert contents(tmp_path / "out") == wanted
