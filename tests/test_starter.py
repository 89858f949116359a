"""`init`: the files of a new catalog. That an installed copy builds them is in test_package.py."""

import re
import subprocess
import textwrap
import tomllib
from pathlib import Path

import pytest
from test_documented import shown_settings

from saecatalog import __version__
from saecatalog.cli import main
from saecatalog.config import load_config
from saecatalog.starter import requirements_of, starter_files, write_starter

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
        (
            {
                "url": "https://example.org/me/all.git",
                "vcs_info": {"vcs": "git", "commit_id": COMMIT},
                "subdirectory": "tools/it",
            },
            f"saecatalog @ git+https://example.org/me/all.git@{COMMIT}#subdirectory=tools/it",
        ),
        (
            {"url": "https://example.org/all.zip", "archive_info": {}, "subdirectory": "it"},
            "saecatalog @ https://example.org/all.zip#subdirectory=it",
        ),
    ],
)
def test_the_workflow_installs_what_was_installed_here(origin: dict[str, object] | None, line: str) -> None:
    assert requirements_of(origin) == f"{line}\n"


def test_what_is_only_on_this_machine_is_installed_from_nowhere() -> None:
    """A name alone could be that of somebody else's package."""
    lines = requirements_of({"url": "file:///tmp/saecatalog.whl", "archive_info": {}}).splitlines()
    assert all(line.startswith("# ") for line in lines)
    assert f"# saecatalog=={__version__}" in lines


@pytest.mark.parametrize("known", [True, False])
def test_the_workflow_stops_if_it_is_not_known_what_to_install(started: Path, known: bool) -> None:
    """The step's own script, as the shell of the runner runs it."""
    workflow = (started / ".github/workflows/pages.yml").read_text(encoding="utf-8")
    before, _ = workflow.split("- name: Install\n")
    script = textwrap.dedent(re.findall(r"run: \|\n((?: {10}.*\n)+)", before)[0])
    content = requirements_of(None if known else {"url": "file:///tmp/it", "dir_info": {}})
    (started / "requirements.txt").write_text(content, encoding="utf-8")
    done = subprocess.run(["bash", "-e", "-c", script], cwd=started, capture_output=True, text=True)
    assert (done.returncode == 0) == known
    assert ("Say in requirements.txt" in done.stdout) != known


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UnicodeEncodeError):
        write_starter(tmp_path / "mine", {"a/b/first.txt": "good", "a/c/second.txt": "\ud800"})
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
