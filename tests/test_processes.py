"""Worker processes of a script without a guard: they do not run it again."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
from pathlib import Path
from saecatalog.processes import worker_processes

with Path("runs.txt").open("a") as file:
    file.write("run ")
with worker_processes(2) as pool:
    print(sum(pool.map(abs, range(-4, 0))))
print(__import__("sys").modules["__main__"].SCRIPT)
"""


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("SCRIPT = 'still here'" + SCRIPT, encoding="utf-8")
    run = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.stdout.split("\n") == ["10", "still here", ""], run.stderr
    assert (tmp_path / "runs.txt").read_text() == "run "
