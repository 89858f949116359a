"""Progress: a bar on a terminal, a line for each stage in a log file."""

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import SaeKind

from saecatalog import progress
from saecatalog.progress import Progress

ROOT = Path(__file__).parent.parent


def test_a_log_file_gets_one_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().bar("corpus", 43_938, " tokens") as bar:
        for _ in range(43_938 // 6):
            bar.update(6)
    assert capsys.readouterr().err == "corpus: 43,938 tokens in 0 s\n"


def test_a_long_stage_is_reported_between(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0, 10, 31, 40, 62, 65])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with Progress().bar("corpus", 4_000, " tokens") as bar:
        for _ in range(4):
            bar.update(1_000)
    assert capsys.readouterr().err.splitlines() == [
        "corpus: 2,000 of 4,000 tokens, 31 s so far",
        "corpus: 4,000 of 4,000 tokens, 62 s so far",
        "corpus: 4,000 tokens in 65 s",
    ]


def test_a_stage_that_fails_at_once_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), Progress().bar("load model", 1):
        raise ValueError("no")
    assert capsys.readouterr().err == ""


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=True).bar("corpus", 10) as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with Progress().bar("corpus", 10, " tokens") as bar:
            bar.update(10)
    drawn = b""
    with open(master, "rb", buffering=0) as screen, suppress(OSError):  # the error that ends a terminal's output
        while part := screen.read(1000):
            drawn += part
    assert b"\rcorpus" in drawn
    assert b"100%" in drawn


@pytest.mark.slow
def test_a_build_into_a_log_file_says_little(workshop: Path, saes: Callable[..., Path], tmp_path: Path) -> None:
    """This includes the model libraries: their bars for loading weights and writing shards are off."""
    sae = saes("llama", SaeKind("jumprelu"))
    words = ["--sae", str(sae), "--corpus", str(workshop / "corpus"), "--cache", str(tmp_path / "cache")]
    command = [sys.executable, "build.py", *words, "--device", "cpu", "--out", str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "\r" not in run.stderr
    # On a machine with much else to do a stage may take so long that it is reported before its end too.
    lines = [line for line in run.stderr.splitlines() if not line.endswith(" s so far")]
    # Names of special tokens in the texts, few notable features, and a random SAE that explains nothing are told.
    said = [line for line in lines if re.search("special tokens|explained variance|are notable", line)]
    ends = [line for line in lines if line not in said]
    assert len(said) <= 3
    assert {"load model", "corpus", "weights", "features"} <= {line.partition(": ")[0] for line in ends}
    assert len(ends) <= 12
    assert all(" in " in line and line.endswith(" s") for line in ends)
    assert "%|" not in run.stderr


def test_bars_of_libraries_are_off_on_a_terminal_too() -> None:
    """tqdm reads its default when it is imported, so this runs in its own process."""
    program = (
        "from saecatalog.cli import _calm_libraries; _calm_libraries(quiet=False); from tqdm.auto import tqdm;"
        "list(tqdm(range(3), desc='Loading weights'))"
    )
    master, slave = pty.openpty()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=slave, check=True)
    os.write(slave, b"end")
    drawn = os.read(master, 10_000).decode()
    os.close(slave)
    os.close(master)
    assert drawn == "end"
