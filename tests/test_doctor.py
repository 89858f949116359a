"""`doctor`: what it says of this machine, compared with other ways to find out."""

import json
import os
import platform
import socket
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from saecatalog import doctor
from saecatalog.cli import main

ROOT = Path(__file__).parent.parent


def test_the_report_says_what_is_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cache/models").mkdir(parents=True)
    (tmp_path / "cache/models/a").write_bytes(bytes(1234))
    words = ["doctor", "--cache", str(tmp_path / "cache")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["python"], found["cache_size"], found["problems"]) == (platform.python_version(), 1234, [])
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert found["libraries"]["torch"] == metadata.version("torch")
    assert "cpu" in found["devices"]
    assert found["default_model"] is False
    assert found["hub"].startswith("off")
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"torch {metadata.version('torch')}" in said
    assert "model hub      off (HF_HUB_OFFLINE is set)" in said
    assert os.listdir(tmp_path / "cache") == ["models"]


def test_every_library_that_the_project_asks_for_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {Requirement(line).name for line in metadata.requires("saecatalog") or [] if "extra" not in line}
    assert {item.name for item in doctor._requirements()} == installed
    assert installed <= {Requirement(line).name for line in project["dependencies"]}


def test_what_keeps_a_build_from_running_is_a_problem(tmp_path: Path) -> None:
    numpy = Version(metadata.version("numpy"))
    needed = [Requirement("numpy>=1"), Requirement(f"numpy>{numpy}"), Requirement("not-there>=2")]
    said = list(doctor._problems(needed, {"numpy": str(numpy), "not-there": None}))
    assert said == [f"numpy {numpy} is here, but numpy>{numpy} is needed.", "not-there is missing."]
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["doctor", "--cache", str(tmp_path / "file")]) == 1


def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(doctor, "HUB_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert doctor._hub().startswith("unreachable")
