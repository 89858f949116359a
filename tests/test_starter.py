"""`init`: the files of a new catalog. That an installed copy builds them is in test_package.py."""

import re
import tomllib
from pathlib import Path

import pytest
from test_documented import shown_settings

from saecatalog import __version__
from saecatalog.cli import main
from saecatalog.config import load_config
from saecatalog.starter import requirements_of, starter_files

ROOT = Path(__file__).parent.parent
ACTION = re.compile(r"uses: (\S+)@(\S+)")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """The folder of a new catalog."""
    assert main(["init", str(tmp_path / "new/catalog")]) == 0
    return tmp_path / "new/catalog"


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_catalog_has_settings_texts_notes_and_a_workflow(started: Path) -> None:
    config = load_config(started / "catalog.toml")
    assert Path(config.site.notes) == started / "notes"
    assert [Path(path) for path in config.corpus.paths] == [started / "corpora"]
    for path in [*started.glob("corpora/*.txt"), *started.glob("corpora/concepts/*.txt")]:
        assert path.read_bytes() == (ROOT / path.relative_to(started)).read_bytes()
    assert len(list(started.glob("corpora/*.txt"))) >= 3
    assert (started / ".github/workflows/pages.yml").is_file()
    assert b"/site/" in (started / ".gitignore").read_bytes()


def test_its_settings_file_is_the_projects_but_for_what_is_about_the_default_catalog(started: Path) -> None:
    new = (started / "catalog.toml").read_text(encoding="utf-8")
    old = (ROOT / "catalog.toml").read_text(encoding="utf-8")
    lines = zip(old.replace("python build.py", "saecatalog").splitlines(), new.splitlines(), strict=True)
    changed = [before.partition(" ")[0] for before, after in lines if before != after]
    assert changed == ["#", "title", "description", "live"]
    assert not any(word in new for word in ("build.py", "default catalog", "twelve"))
    for (section, name), (value, _, is_set) in shown_settings().items():
        if is_set and name not in ("title", "description", "live"):
            assert tomllib.loads(new)[section][name] == value


def test_nothing_in_it_needs_a_checkout(started: Path) -> None:
    assert [path for path, content in tree(started).items() if b"build.py" in content or b"make site" in content] == []


def test_its_workflow_uses_the_actions_that_this_project_uses(started: Path) -> None:
    ours = (ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8")
    theirs = (started / ".github/workflows/pages.yml").read_text(encoding="utf-8")
    assert len(set(ACTION.findall(theirs))) >= 6
    assert set(ACTION.findall(theirs)) <= set(ACTION.findall(ours))


@pytest.mark.parametrize("path", [*sorted(starter_files()), "corpora", "."])
def test_nothing_is_overwritten(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a file of that name, nor one in the place of a folder."""
    mine = tmp_path / "new" / path
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine", encoding="utf-8")
    assert main(["init", str(tmp_path / "new")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("error: ") == 1
    assert str(mine) in said.err
    assert tree(tmp_path) == {mine.relative_to(tmp_path).as_posix(): b"mine"}


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, f"saecatalog=={__version__}"),
        (
            {"url": "https://example.org/saecatalog.whl", "archive_info": {}},
            "saecatalog @ https://example.org/saecatalog.whl",
        ),
        (
            {"url": "https://example.org/me/it.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"saecatalog @ git+https://example.org/me/it.git@{COMMIT}",
        ),
        ({"url": "file:///tmp/saecatalog.whl", "archive_info": {}}, f"saecatalog=={__version__}"),
    ],
)
def test_the_workflow_installs_what_was_installed_here(origin: dict[str, object] | None, line: str) -> None:
    """What is only on this machine cannot be installed elsewhere, and the file says so."""
    *comments, last = requirements_of(origin).splitlines()
    assert last == line
    assert all(comment.startswith("# ") for comment in comments)
    assert bool(comments) == (origin is not None and str(origin["url"]).startswith("file:"))
