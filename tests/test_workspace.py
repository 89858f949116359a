"""Unfinished work of processes that live, died, or wait for each other. The other processes are real ones."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from saecatalog.workspace import OWNER, Workspace, describe, locked

HOLD = """
import sys
from pathlib import Path
from saecatalog.workspace import Workspace, locked
with Workspace(Path(sys.argv[1])) as workspace, locked(Path(sys.argv[2])):
    (workspace.folder("work") / "half").write_text("done")
    print(workspace.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen]]:
    """Starts another process, which holds a workspace in `tmp_path/tmp` and a lock until its input ends."""
    with ExitStack() as started:

        def start() -> subprocess.Popen:
            words = [sys.executable, "-c", HOLD, str(tmp_path / "tmp"), str(tmp_path / "lock")]
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.enter_context(process)
            started.callback(process.kill)
            assert process.stdout is not None
            process.name = process.stdout.readline().strip()  # type: ignore[attr-defined]
            return process

        yield start


def test_a_closed_workspace_leaves_nothing(tmp_path: Path) -> None:
    with Workspace(tmp_path / "tmp") as workspace:
        assert (workspace.folder("a") / "b").parent.is_dir()
        assert OWNER.fullmatch(workspace.path.name)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path, other: Callable) -> None:
    living, dead = other, other
    place = tmp_path / "tmp"
    process = dead()
    (place / "notes").mkdir()
    (place / "notes.lock").write_text("mine")
    process.kill()
    process.wait()
    assert (place / process.name / "work" / "half").exists()
    stays = living()
    with Workspace(place) as workspace:
        names = {path.name for path in place.iterdir()}
        assert names == {
            workspace.name, f"{workspace.name}.lock", stays.name, f"{stays.name}.lock", "notes", "notes.lock",
        }  # fmt: skip
        assert [path.name for path in workspace.others()] == [stays.name]
        assert (place / stays.name / "work" / "half").exists()


def test_a_lock_is_waited_for_and_the_holder_is_known(tmp_path: Path, other: Callable) -> None:
    holder = other()
    told = []

    def busy() -> None:
        with Workspace(tmp_path / "tmp") as workspace:
            told.append([describe(path.name) for path in workspace.others()])
        holder.stdin.close()

    with locked(tmp_path / "lock", busy):
        assert (tmp_path / "lock").exists()
        assert holder.wait() == 0
    assert len(told) == 1
    assert told[0][0].startswith(f"process {holder.pid} on ")
    assert not (tmp_path / "lock").exists()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, other: Callable) -> None:
    holder = other()
    holder.kill()
    holder.wait()
    with locked(tmp_path / "lock", lambda: pytest.fail("the lock was not free")):
        pass


def test_one_process_may_have_two_workspaces(tmp_path: Path) -> None:
    with Workspace(tmp_path) as first, Workspace(tmp_path) as second:
        assert first.path.is_dir()
        assert second.path.is_dir()
        assert first.name != second.name


def test_a_folder_of_a_dead_process_without_a_lock_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "host-1-20260101T000000-1"
    left.mkdir()
    with Workspace(tmp_path):
        assert not left.exists()
