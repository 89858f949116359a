"""The wheel: what is in it, and that an installed copy starts, builds and checks a catalog from any folder.

The wheel is built from the source archive, as on a package index, and installed into a new environment, beside links to
the libraries of the tests.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import SaeKind

import saecatalog

ROOT = Path(__file__).parent.parent
PROJECT = ("LICENSE", "MANIFEST.in", "README.md", "build.py", "catalog.toml", "pyproject.toml", "setup.py")
FOLDERS = ("src", "templates", "corpora", "notes")
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
PROGRAM = {"name": "saecatalog", "version": saecatalog.__version__}

pytestmark = pytest.mark.slow


def files_below(folder: Path) -> set[str]:
    ignored = {"__pycache__", "saecatalog.egg-info"}
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path.as_posix() for path in paths if ignored.isdisjoint(path.parts)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made from the source archive of a copy of the project."""
    copy, made = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("made")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in PROJECT:
        shutil.copy(ROOT / name, copy)
    run(copy, sys.executable, "-c", BUILD, "build_sdist", str(made))
    (archive,) = made.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(made, filter="data")
    run(made / archive.name.removesuffix(".tar.gz"), sys.executable, "-c", BUILD, "build_wheel", str(made))
    (found,) = made.glob("*.whl")
    return found


@dataclass(frozen=True)
class Installed:
    """An environment with the installed program, and an empty folder to work in."""

    folder: Path
    work: Path

    def __call__(self, *words: str, code: int = 0) -> str:
        """The output of the command `saecatalog`."""
        return run(self.work, str(self.folder / "bin/saecatalog"), *words, code=code)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("environment") / "venv"
    # The environment is inside somebody's repository, whose commit is not that of the program.
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org")
    run(folder.parent, *git, "init", "--quiet")
    run(folder.parent, *git, "commit", "--quiet", "--allow-empty", "--message", "x")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "saecatalog" not in path.name and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    install = ("install", "--quiet", "--no-index", "--no-deps", "--no-compile", str(wheel))
    run(folder, sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), *install)
    return Installed(folder, tmp_path_factory.mktemp("elsewhere"))


def run(folder: Path, *command: str, code: int = 0) -> str:
    """What a command prints that is run in a folder and ends with this exit code."""
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=elsewhere, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_holds_the_package_and_what_it_reads_and_nothing_else(wheel: Path) -> None:
    package = files_below(ROOT / "src/saecatalog")
    resources = {"catalog.toml", "notes/README.md"}
    resources |= {f"{name}/{path}" for name in ("templates", "corpora") for path in files_below(ROOT / name)}
    with ZipFile(wheel) as opened:
        found = {name.partition("/")[::2] for name in opened.namelist()}
    (information,) = {folder for folder, _ in found} - {"saecatalog"}
    assert information.endswith(".dist-info")
    assert {path for folder, path in found if folder == "saecatalog"} == package | {
        f"resources/{path}" for path in resources
    }
    assert {"py.typed", "embedded/sae_weights.safetensors", "site/assets/site.js"} <= package


def test_an_installed_copy_starts_a_catalog_builds_it_and_checks_it(
    installed: Installed, workshop: Path, saes: Callable[..., Path]
) -> None:
    assert str(installed.folder) in run(
        installed.work, str(installed.folder / "bin/python"), "-c", "import saecatalog; print(saecatalog.__file__)"
    )
    assert "requirements.txt" in installed("init", "mine")
    sae = str(saes("llama", SaeKind("jumprelu")))
    flags = ["--sae", sae, "--device", "cpu", "--cache", "cache", "--limit-tokens", "1200", "--quiet"]
    installed("build", "mine/catalog.toml", *flags)
    found = json.loads(installed("check", "mine/site", "--json"))
    assert found["problems"] == []
    (totals,) = found["catalogs"].values()
    (manifest,) = (installed.work / "mine/site").rglob("data/manifest.json")
    assert json.loads(manifest.read_text(encoding="utf-8"))["program"] == {**PROGRAM, "commit": ""}
    assert totals["pages"]["categories"] == 4
    assert totals["pages"]["concepts"] == 3


def test_the_command_and_the_module_are_the_same_program(installed: Installed) -> None:
    version = installed("--version")
    assert version == run(installed.work, str(installed.folder / "bin/python"), "-m", "saecatalog", "--version")
    said = run(installed.work, str(installed.folder / "bin/python"), "-m", "saecatalog", "check", "none", code=2)
    assert "Build it first: python -m saecatalog\n" in said
    assert "Build it first: saecatalog\n" in installed("check", "none", code=2)


def test_a_folder_without_settings_and_texts_says_how_to_begin(installed: Installed) -> None:
    said = installed(code=2)
    assert "saecatalog init" in said
    assert "--corpus PATH" in said
    assert not (installed.work / "site").exists()
