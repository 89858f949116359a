"""Taking a catalog away from a site: nothing of it stays, nothing else changes, and what is not whole is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import CORPORA, FIRST, SECOND, folder
from sites import Workplace

from saecatalog.cli import main
from saecatalog.errors import CatalogError
from saecatalog.site import removing
from saecatalog.site.check import check_site
from saecatalog.site.removing import remove_catalog


def tree(site: Path) -> dict[str, bytes]:
    return {p.relative_to(site).as_posix(): p.read_bytes() for p in sorted(site.rglob("*")) if p.is_file()}


@pytest.fixture
def place(three_copy: Workplace) -> Workplace:
    return three_copy


def test_a_catalog_and_its_comparisons_go_and_the_rest_stays(place: Workplace) -> None:
    before = tree(place.site)
    gone = remove_catalog(place.site, SECOND, place.folder / "templates")
    pairs = [(FIRST, SECOND), (CORPORA, SECOND)]
    assert gone == [SECOND, *sorted(f"compare/{folder(place, *pair).name}" for pair in pairs)]
    assert check_site(place.site) == []
    after = tree(place.site)
    removed = {path for path in before if path.startswith(tuple(f"{part}/" for part in gone))}
    assert before.keys() - after.keys() == removed
    assert {path for path in after if after[path] != before[path]} == {"index.html", ".saecatalog.json"}
    assert not any(path.is_dir() and not any(path.iterdir()) for path in place.site.rglob("*"))
    assert not place.publish(), "the catalog that stays is not written again"


def test_the_site_is_as_if_the_catalog_had_never_been_there(place: Workplace, published: Workplace) -> None:
    for slug in (SECOND, CORPORA):
        remove_catalog(place.site, slug, place.folder / "templates")
    assert tree(place.site) == tree(published.site)


@pytest.mark.parametrize("step", ["drop", "_remove_empty"])
def test_a_removal_that_is_broken_off_is_ended_by_the_same_command(
    place: Workplace, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    wanted = shutil.copytree(place.folder, place.folder.parent / "wanted")
    remove_catalog(wanted / "site", SECOND, place.folder / "templates")
    with monkeypatch.context() as patch:
        patch.setattr(removing, step, stop)
        with pytest.raises(KeyboardInterrupt):
            remove_catalog(place.site, SECOND, place.folder / "templates")
    if step == "drop":
        remove_catalog(place.site, SECOND, place.folder / "templates")
    assert tree(place.site) == tree(wanted / "site")


REFUSED: dict[str, tuple[Callable[[Workplace], object], str, str]] = {
    "unknown": (lambda place: None, "tiny/1-rse", "Did you mean tiny/1-res"),
    "several": (lambda place: None, "tiny/0", "Name one"),
    "page changed": (
        lambda place: (place.site / SECOND / "about.html").write_text("mine"), SECOND, "tiny/1-res/about.html",
    ),
    "page gone": (lambda place: (place.site / SECOND / "about.html").unlink(), SECOND, "tiny/1-res/about.html"),
    "file of mine": (lambda place: (place.site / SECOND / "mine.txt").write_text("x"), SECOND, "mine.txt"),
    "file of mine elsewhere": (lambda place: (place.site / "mine.txt").write_text("x"), SECOND, "mine.txt"),
    "other damaged": (
        lambda place: (place.catalog / "data/categories.parquet").write_bytes(b"x"), SECOND, "another catalog",
    ),
    "no site": (lambda place: shutil.rmtree(place.site), SECOND, "no such site"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_removed_cleanly_is_refused(name: str, place: Workplace) -> None:
    spoil, word, said = REFUSED[name]
    spoil(place)
    before = tree(place.site)
    with pytest.raises(CatalogError) as error:
        remove_catalog(place.site, word, place.folder / "templates")
    assert said in str(error.value)
    assert tree(place.site) == before


def test_the_last_catalog_stays(
    published: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(published.folder)
    assert main(["remove", FIRST]) == 2
    assert "only catalog" in capsys.readouterr().err
    assert published.catalog.exists()


def test_the_command_says_what_it_removed(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place.folder)
    assert main(["remove", "tiny/1", "--site", "site"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "removed site/tiny/1-res"
    assert len(said) == 3
