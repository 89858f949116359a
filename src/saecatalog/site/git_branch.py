"""Publishes a site on a branch of a git repository, for hosts that serve a branch, such as GitHub Pages.

In: the folder of a site that passed its check, and the repository of the current folder. Out: a commit with the site's
files on a branch of a remote. Working tree, index and local branches stay as they are: the commit is made with an index
of its own.

Nothing that this program did not write is ever replaced. Each of its commits names its own tree in its message, so that
neither a commit of someone else nor one that was amended passes for one of its own. The branch only moves forward from
a commit that this clone has seen, and is never force-pushed.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.program import program_name
from saecatalog.site.inventory import TOLERATED, Files, files_below

MARK = "Saecatalog-Tree"
"""The trailer of a commit's message that names the commit's tree."""

PUBLISHED_TOO = {"CNAME"}
"""Of the files that people keep in a site's folder, those that the host needs: the name of a domain of their own."""

FILE_MAX = 100 * 1024**2
SITE_MAX = 1000**3
"""GitHub refuses larger files, and GitHub Pages larger sites."""


@dataclass(frozen=True)
class Pushed:
    """What was published: the commit, or "" if the branch had the same files already; whether the branch is new."""

    commit: str
    files: int
    size: int
    """In bytes."""
    new_branch: bool


class Repository:
    """The git repository of a folder."""

    def __init__(self, folder: Path):
        """Raises CatalogError if there is no git, or the folder is not in a repository."""
        self.folder = folder
        found = self._run("rev-parse", "--git-dir")
        if found.returncode:
            # git has other reasons than a missing repository, such as a folder that belongs to another user.
            fix = "Go to your repository's folder, or make one: git init, then git remote add origin URL"
            said = f"{found.stderr.strip()}\n         {fix}"
            raise CatalogError("git finds no repository here that it can use.", str(folder.resolve()), said)

    def git(self, *words: str, lines: Iterable[str] = (), end: str = "\n", **settings: str) -> str:
        """What git prints; `lines` go to its input, and `settings` to its environment. Raises CatalogError."""
        done = self._run(*words, content="".join(line + end for line in lines), settings=settings)
        if done.returncode:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise CatalogError(f"git {words[0]} failed.", str(self.folder.resolve()), said)
        return done.stdout.strip()

    def succeeds(self, *words: str) -> bool:
        """Whether git says yes."""
        return self._run(*words).returncode == 0

    def commit_at(self, ref: str) -> str:
        """The commit that a name stands for here; "" if there is none."""
        done = self._run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        return done.stdout.strip() if done.returncode == 0 else ""

    def _run(
        self, *words: str, content: str = "", settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command, environment = ["git", *words], {**os.environ, **(settings or {})}
        try:
            return subprocess.run(
                command, cwd=self.folder, env=environment, input=content, capture_output=True,
                encoding="utf-8", errors="surrogateescape",
            )  # fmt: skip
        except FileNotFoundError:
            raise CatalogError(
                "git is not installed.", "", "Install git, or upload the folder in another way."
            ) from None


def publish_branch(site: Path, files: Files, folder: Path, remote: str, branch: str, message: str) -> Pushed:
    """Put the files of a site, those that `site_files` found, on a branch of a remote of the repository in `folder`.

    Raises CatalogError, with nothing pushed, if a file of the site has changed since then, if the branch has something
    that this program did not write or this clone has not seen, or if the message hides the mark of the commit.
    """
    repository = Repository(folder)
    _check_names(repository, remote, branch)
    parent = _tip(repository, remote, branch)
    if parent:
        _check_own(repository, parent, f"{branch} on {remote}")
    tree = _write_tree(repository, site, files)
    if site_files(site) != files:
        raise CatalogError(
            "The site has changed meanwhile, so nothing was pushed.", str(site), "Publish it again when it is finished."
        )
    size = sum(file.size for file in files.values())
    if parent and repository.git("rev-parse", f"{parent}^{{tree}}") == tree:
        return Pushed("", len(files), size, False)
    history = ("-p", parent) if parent else ()
    commit = repository.git("commit-tree", tree, *history, lines=[message.strip(), "", f"{MARK}: {tree}"])
    if not _is_own(_marks(repository, commit)[0]):
        # Such as one with the line above which git cuts a message off; no later commit could be published.
        what = "After this message, git does not find the line that marks the commit as this program's."
        raise CatalogError(what, "--message", "Use a plain message; nothing was pushed.")
    _push(repository, remote, branch, parent, commit)
    return Pushed(commit, len(files), size, not parent)


def site_files(site: Path) -> Files:
    """The files of a site to publish; raises CatalogError if there are none, or they are more than a host takes."""
    below = files_below(site) if site.is_dir() else {}
    files = {path: file for path, file in below.items() if path.partition("/")[0] not in TOLERATED - PUBLISHED_TOO}
    if "index.html" not in files:
        raise CatalogError("There is no site to publish.", str(site), f"Build it first: {program_name()}")
    smaller = "Build fewer pages (--features notable), or leave out the live part (--no-live) or the CSV files."
    for path, file in files.items():
        if file.size > FILE_MAX:
            what = f"A file has {file.size / 1024**2:,.0f} MB; GitHub refuses files over {FILE_MAX // 1024**2} MB."
            raise CatalogError(what, str(site / path), smaller)
    size = sum(file.size for file in files.values())
    if size > SITE_MAX:
        what = f"The site has {size / 1e9:.2f} GB; GitHub Pages takes at most {SITE_MAX / 1e9:g} GB."
        raise CatalogError(what, str(site), smaller)
    return files


def _check_names(repository: Repository, remote: str, branch: str) -> None:
    """Raise CatalogError for a branch that cannot be, and for a remote that is not there."""
    if not repository.succeeds("check-ref-format", f"refs/heads/{branch}") or branch.startswith("-"):
        raise CatalogError("This is no name of a branch.", f"--branch {branch}", "Use a name such as gh-pages.")
    known = repository.git("remote").split("\n")
    if remote not in known:
        have = f"Remotes: {', '.join(known)}. " if any(known) else ""
        fix = f"{have}Add one: git remote add {'origin' if remote.startswith('-') else remote} URL"
        raise CatalogError("The repository has no such remote.", f"--remote {remote}", fix)


def _seen(remote: str, branch: str) -> str:
    """The name under which a clone keeps what it last saw of a remote's branch."""
    return f"refs/remotes/{remote}/{branch}"


def _tip(repository: Repository, remote: str, branch: str) -> str:
    """The last commit of the remote's branch, "" if there is no such branch; this clone must have seen it."""
    found = repository.git("ls-remote", remote, f"refs/heads/{branch}")
    tip = found.split()[0] if found else ""
    if tip and tip != repository.commit_at(_seen(remote, branch)):
        raise CatalogError(
            "The branch has commits that this clone has not seen.",
            f"{branch} on {remote}, at {tip[:12]}",
            f"Look at them, then publish again: git fetch {remote} +refs/heads/{branch}:{_seen(remote, branch)} && "
            f"git log {remote}/{branch}",
        )
    return tip


def _check_own(repository: Repository, tip: str, where: str) -> None:
    """Raise CatalogError if a commit of the branch was not made by this program, or was changed since."""
    for line in _marks(repository, tip):
        if not _is_own(line):
            raise CatalogError(
                "The branch has a commit that this program did not make, so it is left alone.",
                f"{where}: {repository.git('log', '-1', '--format=%h %s', line.split()[0])}",
                "Publish on another branch (--branch), or save what you need from this one and delete it.",
            )


def _marks(repository: Repository, tip: str) -> list[str]:
    """For each commit up to a tip, which is the first: its id, its tree, and the trees that its message names."""
    layout = f"%H %T %(trailers:key={MARK},valueonly,separator=%x20)"
    return repository.git("log", f"--format={layout}", tip).splitlines()


def _is_own(line: str) -> bool:
    """Whether a commit's message names the commit's tree, and no other."""
    _, tree, *marks = line.split()
    return marks == [tree]


def _write_tree(repository: Repository, site: Path, files: Iterable[str]) -> str:
    """Store the files, byte by byte, and return the id of their tree."""
    paths = list(files)
    # Without filters, settings such as core.autocrlf would change nothing; a .gitignore does not matter here either.
    words = ("hash-object", "-w", "--no-filters", "--stdin-paths")
    ids = repository.git(*words, lines=[str((site / path).resolve()) for path in paths]).splitlines()
    entries = [f"100644 {id_}\t{path}" for id_, path in zip(ids, paths, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        repository.git("update-index", "-z", "--index-info", lines=entries, end="\0", GIT_INDEX_FILE=index)
        return repository.git("write-tree", GIT_INDEX_FILE=index)


def _push(repository: Repository, remote: str, branch: str, parent: str, commit: str) -> None:
    """Move the remote's branch forward to a commit; raises CatalogError if it has moved meanwhile."""
    try:
        repository.git("push", "--no-follow-tags", remote, f"{commit}:refs/heads/{branch}")
    except CatalogError as error:
        now = repository.git("ls-remote", remote, f"refs/heads/{branch}")
        if now.partition("\t")[0] == parent:
            raise CatalogError("The remote did not take the site.", f"{branch} on {remote}", error.fix) from None
        what = "Somebody else has pushed to the branch meanwhile; nothing was replaced."
        raise CatalogError(what, f"{branch} on {remote}", f"Run git fetch {remote}, then publish again.") from None
    # git itself does so only for branches that the clone follows.
    repository.git("update-ref", _seen(remote, branch), commit)
