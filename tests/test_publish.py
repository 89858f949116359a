"""`publish`: a site on a branch of a repository, and everything that it must leave alone."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sites import Workplace

from saecatalog.cli import main
from saecatalog.commands import publish as command
from saecatalog.errors import CatalogError
from saecatalog.site import git_branch

GOOD, MISTAKE = 0, 2
WHO = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org"}
WHO |= {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org"}


FILES = {
    "index.html": b"<title>1</title>\r\n",
    ".nojekyll": b"",
    "tiny/0-res/texts/café au lait.html": "café".encode(),
    "tiny/0-res/data/features.parquet": bytes(range(256)),
    "CNAME": b"example.org\n",
    ".gitignore": b"*\n",
    ".git/HEAD": b"no repository",
}
KEPT = FILES.keys() - {".gitignore", ".git/HEAD"}
"""What is published of them."""


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Place:
    """A repository with a commit, a changed file, a staged file, and a bare repository as its remote."""

    def __init__(self, folder: Path):
        self.remote, self.clone, self.site = folder / "remote store.git", folder / "my clone", folder / "my site"

    def make(self) -> None:
        git(self.remote.parent, "init", "--quiet", "--template=", "--bare", str(self.remote))
        git(self.remote.parent, "init", "--quiet", "--template=", "--initial-branch", "main", str(self.clone))
        git(self.clone, "remote", "add", "origin", str(self.remote))
        (self.clone / "a.txt").write_text("first\n")
        git(self.clone, "add", "a.txt")
        git(self.clone, "commit", "--quiet", "--message", "First")
        git(self.clone, "push", "--quiet", "origin", "main")
        (self.clone / "a.txt").write_text("changed\n")
        (self.clone / "b.txt").write_text("staged\n")
        git(self.clone, "add", "b.txt")
        for name, content in FILES.items():
            (self.site / name).parent.mkdir(parents=True, exist_ok=True)
            (self.site / name).write_bytes(content)

    def publish(self, *words: str, site: Path | None = None) -> int:
        return main(["publish", str(site or self.site), *words])

    def tip(self, branch: str = "gh-pages") -> str:
        return git(self.remote, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def published(self, branch: str = "gh-pages") -> dict[str, bytes]:
        """What the branch holds, from an archive that git makes."""
        names = git(self.remote, "ls-tree", "-r", "-z", "--name-only", branch).split("\0")
        show = ("git", "-C", str(self.remote), "cat-file", "blob")
        return {n: subprocess.run([*show, f"{branch}:{n}"], capture_output=True, check=True).stdout for n in names if n}

    def untouched(self) -> tuple[str, ...]:
        """Everything of the clone that must not change: branches, HEAD, index and files."""
        refs = git(self.clone, "for-each-ref", "refs/heads", "refs/tags")
        head = (self.clone / ".git/HEAD").read_text()
        index = hashlib.sha256((self.clone / ".git/index").read_bytes()).hexdigest()
        files = {p.name: p.read_text() for p in self.clone.iterdir() if p.is_file()}
        return refs, head, index, git(self.clone, "status", "--porcelain"), str(files)

    def someone(self, *, branch: str = "gh-pages", amend: bool = False) -> str:
        """Somebody else commits a file to the branch, from a clone of their own."""
        other = self.clone.parent / "other clone"
        shutil.rmtree(other, ignore_errors=True)
        git(self.clone.parent, "clone", "--quiet", str(self.remote), str(other))
        exists = bool(self.tip(branch))
        git(other, "switch", "--quiet", *((branch,) if exists else ("--orphan", branch)))
        (other / "theirs.txt").write_text("theirs")
        git(other, "add", "theirs.txt")
        words = ("--amend", "--no-edit") if amend else ("--message", "Theirs")
        git(other, "commit", "--quiet", *words)
        git(other, "push", "--quiet", *(("--force",) if amend else ()), "origin", branch)
        return self.tip(branch)


ALONE = {**WHO, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
"""Settings of git that do not depend on the user's."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ALONE.items():
            patch.setenv(name, value)
        Place(folder).make()
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A repository, with a small site whose check is left out: it has a test of its own."""
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    place = Place(tmp_path)
    git(place.clone, "remote", "set-url", "origin", str(place.remote))
    git(place.clone, "status")  # whose files are new
    monkeypatch.setattr(command, "_check", lambda site: None)
    monkeypatch.chdir(place.clone)
    return place


def refused(capsys: pytest.CaptureFixture[str], place: Place, *words: str) -> str:
    before, tip = place.untouched(), git(place.remote, "for-each-ref")
    assert place.publish(*words) == MISTAKE
    assert place.untouched() == before
    assert git(place.remote, "for-each-ref") == tip
    return " ".join(capsys.readouterr().err.split())


def test_a_site_is_put_on_a_new_branch_and_the_clone_stays_as_it_is(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = place.untouched()
    assert place.publish() == GOOD
    assert place.published() == {name: (place.site / name).read_bytes() for name in KEPT}
    assert place.untouched() == before
    said = capsys.readouterr().out
    assert "Published 5 files" in said
    assert place.tip()[:12] in said
    assert "Deploy from a branch > gh-pages" in said
    assert git(place.remote, "rev-list", "--count", "gh-pages") == "1"


def test_a_changed_site_is_one_commit_more_and_files_that_went_are_gone(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.publish()
    first = place.tip()
    (place.site / "index.html").write_bytes(b"<title>2</title>")
    (place.site / "CNAME").unlink()
    capsys.readouterr()
    assert place.publish("--message", "Second\n\nWith words.") == GOOD
    assert git(place.remote, "rev-parse", "gh-pages^") == first
    assert place.published().keys() == KEPT - {"CNAME"}
    assert place.published()["index.html"] == b"<title>2</title>"
    assert git(place.remote, "log", "-1", "--format=%s", "gh-pages") == "Second"
    assert "Settings > Pages" not in capsys.readouterr().out


def test_nothing_is_pushed_if_nothing_has_changed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.publish()
    first = place.tip()
    (place.site / "index.html").touch()
    capsys.readouterr()
    assert place.publish() == GOOD
    assert place.tip() == first
    assert capsys.readouterr().out.startswith("Unchanged: ")


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.autocrlf=input", "core.quotePath=true"])
def test_files_are_published_byte_by_byte_whatever_git_is_told(place: Place, setting: str) -> None:
    name, _, value = setting.partition("=")
    git(place.clone, "config", name, value)
    (place.clone / ".git/info").mkdir()
    (place.clone / ".git/info/attributes").write_text("*.html text eol=lf\n*.parquet filter=lfs\n")
    (place.clone / ".git/info/exclude").write_text("*.parquet\n")
    assert place.publish() == GOOD
    assert place.published() == {name: (place.site / name).read_bytes() for name in KEPT}


def test_a_detached_head_and_a_subfolder_make_no_difference(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    git(place.clone, "checkout", "--quiet", "--detach")
    (place.clone / "below it").mkdir()
    monkeypatch.chdir(place.clone / "below it")
    before = place.untouched()
    assert place.publish("--branch", "docs/site", site=Path(os.path.relpath(place.site))) == GOOD
    assert place.published("docs/site").keys() == KEPT
    assert place.untouched() == before


def test_a_site_inside_the_repository_is_published_too(place: Place) -> None:
    inside = place.clone / "site"
    shutil.copytree(place.site, inside)
    (place.clone / ".gitignore").write_text("site/\n")
    assert place.publish(site=Path("site")) == GOOD
    assert place.published().keys() == KEPT


def test_a_branch_of_others_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = place.someone()
    git(place.clone, "fetch", "--quiet")
    said = refused(capsys, place)
    assert "did not make" in said
    assert "Theirs" in said
    assert "--branch" in said
    assert place.tip() == theirs
    assert place.publish("--branch", "other") == GOOD


def test_the_branch_of_the_sources_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did not make" in refused(capsys, place, "--branch", "main")


@pytest.mark.parametrize("amend", [False, True])
@pytest.mark.parametrize("fetched", [False, True])
def test_what_someone_else_pushed_in_between_is_never_replaced(
    place: Place, capsys: pytest.CaptureFixture[str], amend: bool, fetched: bool
) -> None:
    """Neither a commit of theirs, nor ours with a file of theirs, which has our message."""
    place.publish()
    place.someone(amend=amend)
    (place.site / "index.html").write_bytes(b"<title>2</title>")
    if fetched:
        git(place.clone, "fetch", "--quiet", "--force")
    said = refused(capsys, place)
    assert ("did not make" if fetched else "not seen") in said
    assert "theirs.txt" in place.published()


def test_a_site_that_was_published_from_elsewhere_must_be_seen_first(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish()
    other = place.clone.parent / "another clone"
    git(place.clone.parent, "clone", "--quiet", str(place.remote), str(other))
    (place.site / "index.html").write_bytes(b"<title>newer</title>")
    monkeypatch.chdir(other)
    assert place.publish() == GOOD
    newer = place.tip()
    (place.site / "index.html").write_bytes(b"<title>mine</title>")
    monkeypatch.chdir(place.clone)
    said = refused(capsys, place)
    assert "git fetch origin +refs/heads/gh-pages:refs/remotes/origin/gh-pages" in said
    git(place.clone, "fetch", "origin", "+refs/heads/gh-pages:refs/remotes/origin/gh-pages")
    assert place.publish() == GOOD
    assert git(place.remote, "rev-parse", "gh-pages^") == newer


def test_a_push_in_the_same_moment_wins(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish()
    (place.site / "index.html").write_bytes(b"<title>2</title>")
    write_tree = git_branch._write_tree
    monkeypatch.setattr(git_branch, "_write_tree", lambda *given: (write_tree(*given), place.someone())[0])
    assert place.publish() == MISTAKE
    assert "meanwhile" in capsys.readouterr().err
    assert "theirs.txt" in place.published()


def test_a_branch_that_was_deleted_begins_anew(place: Place) -> None:
    place.publish()
    git(place.remote, "update-ref", "-d", "refs/heads/gh-pages")
    assert place.publish() == GOOD
    assert git(place.remote, "rev-list", "--count", "gh-pages") == "1"


def test_a_clone_that_follows_another_branch_alone_publishes_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = place.clone.parent / "alone"
    git(place.clone.parent, "clone", "--quiet", "--single-branch", "--branch", "main", str(place.remote), str(alone))
    monkeypatch.chdir(alone)
    assert place.publish() == GOOD
    (place.site / "index.html").write_bytes(b"<title>2</title>")
    assert place.publish() == GOOD
    assert git(place.remote, "rev-list", "--count", "gh-pages") == "2"


def test_a_remote_that_takes_nothing_is_told_in_its_own_words(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    hook = place.remote / "hooks/pre-receive"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho 'protected branch' >&2\nexit 1\n")
    hook.chmod(0o755)
    said = refused(capsys, place)
    assert "did not take the site" in said
    assert "protected branch" in said


def test_no_git_no_repository_no_remote(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, place, "--remote", "upstream")
    assert "--remote upstream" in said
    assert "Remotes: origin" in said
    git(place.clone, "remote", "remove", "origin")
    assert "git remote add origin URL" in refused(capsys, place)
    git(place.clone, "remote", "add", "origin", str(tmp_path / "none.git"))
    assert "none.git" in refused(capsys, place)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    assert place.publish() == MISTAKE
    said = capsys.readouterr().err
    assert "not a git repository" in said
    assert "git init" in said
    monkeypatch.setenv("PATH", str(tmp_path))
    assert place.publish() == MISTAKE
    assert "git is not installed" in capsys.readouterr().err


def test_why_git_cannot_use_a_repository_is_told_in_its_own_words(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.clone / ".git/config").write_text("[core\n")
    assert place.publish() == MISTAKE
    assert "bad config line 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "message",
    ["", " ", "\n\n", "\t\n ", "# a comment", "Title\n\nSigned-off-by: A <a@example.org>", f"{git_branch.MARK}: none",
     f"Title\n\n{git_branch.MARK}: none", "Title\n---\nafter it", "-m", "\ufeff", "Conflicts:\n\tindex.html"],
)  # fmt: skip
def test_whatever_the_message_the_branch_is_published_on_again(place: Place, message: str) -> None:
    for number in (1, 2):
        (place.site / "index.html").write_text(f"<title>{number}</title>")
        assert place.publish(f"--message={message}") == GOOD
    assert git(place.remote, "rev-list", "--count", "gh-pages") == "2"
    title = git(place.remote, "log", "-1", "--format=%s", "gh-pages")
    assert title.split() == (message.split("\n\n")[0].split() or command.MESSAGE.split())


def test_a_message_that_hides_the_mark_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    cut = "# ------------------------ >8 ------------------------"
    assert "--message" in refused(capsys, place, "--message", f"Title\n{cut}\nmore")


def test_a_site_that_changes_after_its_check_is_not_pushed(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_check", lambda site: (site / "index.html").write_text("<title>unchecked</title>"))
    assert "has changed meanwhile" in refused(capsys, place)


def test_a_branch_that_cannot_be_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for branch in ("-x", "a b", "a..b", "", "x.lock", "HEAD~1", "--force", "@{u}"):
        assert "name of a branch" in refused(capsys, place, f"--branch={branch}"), branch


@pytest.mark.parametrize("missing", ["folder", "index.html"])
def test_a_site_that_is_not_built(place: Place, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(place.site) if missing == "folder" else (place.site / missing).unlink()
    assert "no site to publish" in refused(capsys, place)


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([100 * 1024**2 + 1], ["part-0.js", "100 MB"]),
        ([100 * 1024**2] * 10, ["1.05 GB", "1 GB", "--no-live"]),
    ],
)
def test_more_than_the_host_takes_is_refused(
    place: Place, sizes: list[int], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, size in enumerate(sizes):
        sparse(place.site / f"part-{number}.js", size)
    said = refused(capsys, place)
    assert [word for word in words if word not in said] == []


def no_problem(site: Path) -> None: ...


def leave_unfinished(site: Path) -> None:
    (site / ".saecatalog-tmp").mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_problem, ""),
        (lambda site: (site / "tiny/0-res/about.html").write_text("<p>by hand"), "about.html: changed since"),
        (lambda site: (site / "mine.txt").write_text("mine"), "mine.txt: not part of the site"),
        (lambda site: (site / ".nojekyll").unlink(), ".nojekyll: missing"),
        (leave_unfinished, ".saecatalog-tmp"),
    ],
)
def test_only_a_site_that_passes_its_check_is_published(
    published: Workplace, tmp_path: Path, change: Callable[[Path], object], words: str
) -> None:
    shutil.copytree(published.site, tmp_path / "site")
    change(tmp_path / "site")
    if not words:
        command._check(tmp_path / "site")
        return
    with pytest.raises(CatalogError, match="does not pass its check") as caught:
        command._check(tmp_path / "site")
    assert words in caught.value.where
