"""The contents of a site's folder: what counts as changed, as this program's, and as a catalog."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sites import Workplace

from saecatalog.errors import CatalogError
from saecatalog.site.inventory import FILE_LIST, ROOT_LIST, catalogs, check_out, files_below, names_below


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def edit(path: Path) -> None:
    """Change a byte, so that the size stays, and set the time of modification back."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def put_in_place(path: Path) -> None:
    """Move another file of the same size and time, made long before, to the path."""
    other = path.parents[len(path.parents) - 3] / "other"
    shutil.copy2(path, other)
    edit(other)
    other.replace(path)


def link(path: Path) -> None:
    """Let a symbolic link to another file take the path."""
    path.unlink()
    path.symlink_to("/etc/hostname")


EDITED = ["features/3.html", "data/features.parquet", "search-index.js", "notes/img/a.png"]


def test_the_lists_have_the_checksum_of_every_file(published: Workplace) -> None:
    files = tree(published.site)
    sums = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    listed = json.loads(files.pop(f"tiny/0-res/{FILE_LIST}"))
    assert listed.keys() == {"key", "rest_key", "templates", "files"}
    of_catalog = {path.removeprefix("tiny/0-res/"): sums[path] for path in files if path.startswith("tiny/")}
    assert listed["files"] == of_catalog
    files.pop(ROOT_LIST)
    root = {path: sums[path] for path in files if not path.startswith("tiny/")}
    written = json.loads((published.site / ROOT_LIST).read_bytes())
    assert written["files"] == root | {f"tiny/0-res/{FILE_LIST}": sums[f"tiny/0-res/{FILE_LIST}"]}


def test_the_size_of_a_catalog_is_that_of_its_files(place: Workplace) -> None:
    """Of one with nothing to do, of one in which a page was written again, and of one that was built anew."""
    for change in ("nothing", "note", "everything"):
        if change == "note":
            (place.folder / "notes/3.md").write_text("Another note.", encoding="utf-8")
        built = place.build(**({"title": "Another"} if change == "everything" else {}))
        assert built.rebuilt == (change != "nothing")
        assert built.size == sum(map(len, tree(place.catalog).values())), change


def test_names_alone_are_those_of_the_files(place: Workplace) -> None:
    (place.catalog / "link.html").symlink_to("nowhere")
    (place.catalog / "texts/link.html").symlink_to("../index.html")
    assert names_below(place.catalog) == list(files_below(place.catalog)) == sorted(tree(place.catalog))


def test_a_build_with_nothing_to_do_reads_few_files_and_writes_none(
    published: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: (read.append(file.name), digest(file, name))[1])
    before = {path: path.stat().st_ctime_ns for path in published.site.rglob("*")}
    assert not published.publish()
    assert {path: path.stat().st_ctime_ns for path in published.site.rglob("*")} == before
    of_catalog = {os.path.relpath(path, published.catalog) for path in read} & tree(published.catalog).keys()
    assert of_catalog <= {FILE_LIST, "data/manifest.json"}


@pytest.mark.slow
@pytest.mark.parametrize("change", [edit, put_in_place, link, Path.unlink])
@pytest.mark.parametrize("copied", [False, True])
def test_files_changed_by_hand_are_made_anew(
    published: Workplace, tmp_path: Path, change: Callable[[Path], None], copied: bool
) -> None:
    place = Workplace(tmp_path / "place")
    if copied:
        shutil.copytree(published.folder, place.folder)
    else:
        place.publish()
    for path in EDITED:
        change(place.catalog / path)
        assert place.publish(), path
        assert tree(place.site) == tree(published.site), path
        assert not place.publish(), path


def test_a_folder_put_in_the_place_of_another_is_noticed(place: Workplace) -> None:
    shutil.copytree(place.catalog / "features", place.folder / "features")
    edit(place.folder / "features/3.html")
    before = tree(place.site)
    # Building now makes every file of the catalog newer than the folder that will be moved into it.
    assert place.publish(title="Another")
    assert place.publish()
    shutil.rmtree(place.catalog / "features")
    (place.folder / "features").rename(place.catalog / "features")
    assert place.publish()
    assert tree(place.site) == before


def test_a_copy_made_after_an_edit_is_noticed(place: Workplace, published: Workplace) -> None:
    edit(place.catalog / "about.html")
    shutil.rmtree(place.folder / "again", ignore_errors=True)
    copy = Workplace(place.folder / "again")
    for folder in ("tables", "templates", "notes"):
        shutil.copytree(place.folder / folder, copy.folder / folder)
    shutil.copytree(place.site, copy.site)
    # The list of files is copied last, so that it is newer than the page.
    shutil.copy2(place.catalog / FILE_LIST, copy.catalog / FILE_LIST)
    assert copy.publish()
    assert tree(copy.site) == tree(published.site)


@pytest.mark.parametrize("path", ["index.html", ".nojekyll", "assets/site.js", ROOT_LIST, f"tiny/0-res/{FILE_LIST}"])
def test_files_of_the_root_and_lists_are_compared_with_their_content(
    place: Workplace, published: Workplace, path: str
) -> None:
    before = tree(place.site)
    (place.site / path).write_bytes(before[path].replace(b'index.html": "', b'index.html": "0') + b" ")
    assert place.publish()
    assert tree(place.site) == before
    assert not place.publish()


def test_carried_over_files_need_not_be_read_the_next_time(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.folder / "notes/index.md").write_text("Other words.", encoding="utf-8")
    assert place.publish()
    test_a_build_with_nothing_to_do_reads_few_files_and_writes_none(place, monkeypatch)


def test_the_root_page_is_renewed_if_another_catalog_comes_changes_or_goes(place: Workplace) -> None:
    one = (place.site / "index.html").read_text("utf-8")
    assert place.publish("tiny/1-res", title="Second")
    assert "Second" in (place.site / "index.html").read_text("utf-8")
    assert not place.publish()
    manifest = place.site / "tiny/1-res/data/manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace("Second", "Third"), encoding="utf-8")
    assert place.publish()
    assert "Third" in (place.site / "index.html").read_text("utf-8")
    shutil.rmtree(place.site / "tiny/1-res")
    assert place.publish()
    assert (place.site / "index.html").read_text("utf-8") == one


def test_a_changed_template_of_the_root_page_renews_it(place: Workplace) -> None:
    template = place.folder / "templates/catalogs.html"
    template.write_text(template.read_text("utf-8").replace("<h1", '<h1 data-edited="1"'), encoding="utf-8")
    assert place.publish()
    assert "data-edited" in (place.site / "index.html").read_text("utf-8")


def test_a_build_does_not_vouch_for_what_was_changed_in_another_catalog(place: Workplace) -> None:
    place.publish("tiny/1-res", title="Second")
    listed = place.site / "tiny/1-res" / FILE_LIST
    root = json.loads((place.site / ROOT_LIST).read_bytes())["files"]
    listed.write_text(listed.read_text("utf-8").replace('"key": "', '"key": "0'), encoding="utf-8")
    assert place.publish(title="First")
    after = json.loads((place.site / ROOT_LIST).read_bytes())["files"]
    assert after[f"tiny/1-res/{FILE_LIST}"] == root[f"tiny/1-res/{FILE_LIST}"]
    assert place.publish("tiny/1-res", title="Second")
    assert json.loads((place.site / ROOT_LIST).read_bytes())["files"][f"tiny/1-res/{FILE_LIST}"] == (
        hashlib.sha256(listed.read_bytes()).hexdigest()
    )


def test_another_catalog_without_a_readable_manifest_is_told_and_nothing_is_changed(place: Workplace) -> None:
    place.publish("tiny/1-res")
    (place.site / "tiny/1-res/data/manifest.json").write_text("{", encoding="utf-8")
    before = tree(place.site)
    with pytest.raises(CatalogError, match="manifest of another catalog"):
        place.publish(title="First")
    assert tree(place.site) == before


@pytest.mark.parametrize("value", ["names", "sizes"])
def test_lists_of_older_versions_make_their_files_known_but_not_current(
    place: Workplace, published: Workplace, value: str
) -> None:
    for path in (place.site / ROOT_LIST, place.catalog / FILE_LIST):
        listed = json.loads(path.read_bytes())
        names = [name for name in listed["files"] if not name.endswith(FILE_LIST)]
        listed["files"] = names if value == "names" else {name: (path.parent / name).exists() + 0 for name in names}
        path.write_text(json.dumps(listed), encoding="utf-8")
    assert place.publish()
    assert tree(place.site) == tree(published.site)


@pytest.mark.parametrize("value", ["[]", '"x"', '{"files": 3}', "{", "null", '{"files": {"a": {}}}', "[" * 100_000])
def test_lists_that_make_no_sense_name_no_catalog_of_this_program(place: Workplace, value: str) -> None:
    (place.catalog / FILE_LIST).write_text(value, encoding="utf-8")
    with pytest.raises(CatalogError, match="did not write"):
        check_out(place.site)


@pytest.mark.parametrize("path", ["x.html", "tiny/0-res/x.html", "tiny/.0-res-abc/data/files.json", ".x/y/data/a.csv"])
def test_files_that_no_list_names_are_refused(place: Workplace, path: str) -> None:
    (place.site / path).parent.mkdir(parents=True, exist_ok=True)
    (place.site / path).write_text("{}", encoding="utf-8")
    with pytest.raises(CatalogError) as error:
        check_out(place.site)
    assert path in error.value.where


@pytest.mark.parametrize("path", ["tiny/0-res/x", "tiny/1-res", "other"])
@pytest.mark.parametrize("target", ["/none", "/etc", None])
def test_links_and_pipes_are_refused(place: Workplace, path: str, target: str | None) -> None:
    """A build would write through a link to a folder."""
    if target is None:
        os.mkfifo(place.site / path)
    else:
        (place.site / path).symlink_to(target)
    with pytest.raises(CatalogError) as error:
        check_out(place.site)
    assert path in error.value.where


@pytest.mark.parametrize("written", ["../mine.txt", "{folder}/mine.txt", "CNAME", "tiny/0-res/about.html"])
def test_a_build_removes_nothing_that_a_forged_list_names(place: Workplace, written: str) -> None:
    """A list may come from somebody else's site: no file outside, nor one that people keep there, is this program's."""
    mine = [place.folder / "mine.txt", place.site / "CNAME", place.catalog / "about.html"]
    for path in mine[:2]:
        path.write_text("mine", encoding="utf-8")
    listed = json.loads((place.site / ROOT_LIST).read_bytes())
    listed["files"][written.format(folder=place.folder)] = "0"
    (place.site / ROOT_LIST).write_text(json.dumps(listed), encoding="utf-8")
    place.publish()
    assert all(path.exists() for path in mine)


def test_a_hidden_folder_is_no_catalog(place: Workplace) -> None:
    shutil.copytree(place.catalog, place.site / "tiny/.0-res-abc")
    assert catalogs(files_below(place.site)) == ["tiny/0-res"]


@pytest.mark.parametrize("listed", ["../mine", "{absolute}", "assets/../../mine", "link/mine"])
def test_a_list_names_no_file_outside_of_its_folder(place: Workplace, listed: str) -> None:
    """Whoever sends a site may have written anything into its list; files that it no longer has are deleted."""
    mine = place.folder / "mine"
    mine.write_text("mine")
    content = json.loads((place.site / ROOT_LIST).read_text("utf-8"))
    content["files"][listed.format(absolute=mine)] = hashlib.sha256(b"mine").hexdigest()
    if listed.startswith("link"):
        (place.site / "link").symlink_to(place.folder)
        content["files"]["link"] = None
    (place.site / ROOT_LIST).write_text(json.dumps(content), encoding="utf-8")
    assert place.publish(title="Another")
    assert mine.read_text() == "mine"


ODD = ['{"files": [{"a": 1}, 2, null]}', "[" * 100_000, '{"files": {"a\\u0000b": "1", "\\ud800": "1", "": "1"}}']


@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_a_list_with_odd_content_is_as_none(place: Workplace, content: str) -> None:
    (place.site / ROOT_LIST).write_text(content, encoding="utf-8")
    with pytest.raises(CatalogError, match="did not write"):
        place.publish()


@pytest.mark.parametrize("target", ["", "nowhere"])
def test_a_link_in_a_catalog_is_not_deleted(place: Workplace, tmp_path: Path, target: str) -> None:
    link = place.catalog / "mine"
    link.symlink_to(tmp_path / target)
    with pytest.raises(CatalogError, match="did not write"):
        place.publish(title="Another")
    assert link.is_symlink()


def test_a_catalog_that_is_a_link_is_refused(place: Workplace) -> None:
    place.catalog.rename(place.folder / "elsewhere")
    place.catalog.symlink_to(place.folder / "elsewhere")
    with pytest.raises(CatalogError, match="did not write"):
        place.publish(title="Another")
    assert place.catalog.is_symlink()


@pytest.mark.parametrize("slugs", [("tiny", "tiny/0-res"), ("tiny/0-res/more", "tiny/0-res")])
def test_no_catalog_lies_in_another(place: Workplace, slugs: tuple[str, str]) -> None:
    before = tree(place.site)
    with pytest.raises(CatalogError, match="tiny/0-res"):
        place.publish(slugs[0])
    assert tree(place.site) == before


@pytest.mark.parametrize("content", ["[]", "{}", "[" * 100_000])
def test_the_manifest_of_another_catalog_is_checked_before_anything_is_written(place: Workplace, content: str) -> None:
    assert place.publish("tiny/1-res", title="Second")
    (place.site / "tiny/1-res/data/manifest.json").write_text(content, encoding="utf-8")
    before = tree(place.site)
    with pytest.raises(CatalogError, match="manifest of another catalog"):
        place.publish(title="Another")
    assert tree(place.site) == before
