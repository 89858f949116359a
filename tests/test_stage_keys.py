"""What a stage's key depends on: everything that the stage reads, and nothing else.

The reference finds imports with a regular expression; the program uses Python's module finder.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SaeKind

from saecatalog import stage_keys
from saecatalog.cli import main

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "saecatalog"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
STAGES = {
    "subject": "saecatalog.subject",
    "harvest": "saecatalog.harvest",
    "lens": "saecatalog.lens",
    "analysis": "saecatalog.analysis.run",
    "site": "saecatalog.site.publish",
}
"""The module that makes each stage's output, by the name of the stage's folder in the cache; the site is in none."""

FROM = re.compile(r"from (saecatalog[\w.]*) import (\([^)]*\)|[^\n(]+)")
PLAIN = re.compile(r"^\s*import (saecatalog[\w.]*)", re.MULTILINE)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that a test may change: keys are derived from the copy; the running code stays the same."""
    copy = tmp_path / "source" / "saecatalog"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(stage_keys, "PACKAGE", copy)
    return copy


def file_of(name: str) -> str | None:
    """The file of a module or of a package, from the package's folder."""
    path = "/".join(name.split(".")[1:])
    found = (f"{path}.py", f"{path}/__init__.py".lstrip("/"))
    return next((file for file in found if file in MODULES), None)


def read_by(module: str) -> set[str]:
    """The files of all modules that a module imports, directly or not, and of the packages they are in."""
    files, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        file = file_of(name)
        if file is None or file in files:
            continue
        files.add(file)
        waiting.append(name.rpartition(".")[0])
        source = (PACKAGE / file).read_text("utf-8")
        waiting += PLAIN.findall(source)
        for origin, names in FROM.findall(source):
            waiting += [origin, *(f"{origin}.{part}" for part in re.findall(r"\w+", names))]
    return files


def test_a_changed_line_changes_the_keys_of_the_stages_that_read_it_and_no_others(package: Path) -> None:
    before = {stage: stage_keys.stage_key(module) for stage, module in STAGES.items()}
    reads = {stage: read_by(module) for stage, module in STAGES.items()}
    for module in MODULES:
        path = package / module
        source = path.read_bytes()
        path.write_bytes(source + b"# A line more.\n")
        changed = {stage for stage, name in STAGES.items() if stage_keys.stage_key(name) != before[stage]}
        assert changed == {stage for stage, files in reads.items() if module in files}, module
        path.write_bytes(source)
    assert {stage: stage_keys.stage_key(module) for stage, module in STAGES.items()} == before


def test_the_stages_differ_in_what_they_read() -> None:
    """Otherwise the test above would pass if every stage read everything."""
    reads = {stage: read_by(module) for stage, module in STAGES.items()}
    assert reads["subject"] < reads["harvest"]
    assert "harvest.py" not in reads["analysis"] | reads["lens"] | reads["site"]
    assert "lens.py" not in reads["analysis"] | reads["harvest"] | reads["site"]
    assert "manifest.py" in reads["site"] - reads["analysis"] - reads["harvest"] - reads["lens"]
    assert not any(file.startswith("verify/") or file == "cli.py" for files in reads.values() for file in files)


@pytest.mark.parametrize("asset", ["site/assets/style.css", "site/assets/site.js"])
def test_an_asset_counts_with_the_package_that_holds_it(package: Path, asset: str) -> None:
    before = {stage: stage_keys.stage_key(module) for stage, module in STAGES.items()}
    (package / asset).write_text("changed", encoding="utf-8")
    changed = {stage for stage, name in STAGES.items() if stage_keys.stage_key(name) != before[stage]}
    assert changed == {"site"}


def test_a_library_counts_where_it_is_imported(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {stage: stage_keys.stage_key(module) for stage, module in STAGES.items()}
    version = stage_keys._version
    monkeypatch.setattr(stage_keys, "_version", lambda name: "0" if name == "jinja2" else version(name))
    stage_keys.libraries_of.cache_clear()
    changed = {stage for stage, name in STAGES.items() if stage_keys.stage_key(name) != before[stage]}
    assert changed == {"site"}
    stage_keys.libraries_of.cache_clear()


def test_a_library_beside_the_package_counts_by_its_version_alone(package: Path) -> None:
    """There it lies where the package is installed."""
    before = {stage: stage_keys.libraries_of(module, package) for stage, module in STAGES.items()}
    (package.parent / "jinja2.py").write_text("import json, another_library", encoding="utf-8")
    stage_keys._imports.cache_clear()
    stage_keys.libraries_of.cache_clear()
    assert {stage: stage_keys.libraries_of(module, package) for stage, module in STAGES.items()} == before
    assert "jinja2" in before["site"]


def test_every_library_of_a_stage_is_known_by_its_version() -> None:
    """If no distribution had this name, an update would go unnoticed."""
    for module in STAGES.values():
        found = stage_keys.libraries_of(module, PACKAGE)
        assert found
        assert [name for name, version in found.items() if not version] == []


@pytest.fixture
def build(
    workshop: Path, saes: Callable[..., Path], package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., set[str]]:
    """Builds a small catalog; returns the stages that were run, according to new cache entries and the output."""
    cache = tmp_path / "cache"
    words = ["--sae", str(saes("llama", SaeKind("jumprelu"))), "--device", "cpu", "--cache", str(cache)]
    words += ["--corpus", str(workshop / "corpus"), "--concepts", str(workshop / "concepts")]
    words += ["--out", str(tmp_path / "site"), "--notes", "", "--notable", "4"]

    def outputs() -> dict[str, set[str]]:
        return {stage: {p.name for p in (cache / stage).glob("*")} for stage in STAGES if stage != "site"}

    def run(*more: str) -> set[str]:
        before = outputs()
        assert main(["build", *words, *more]) == 0
        done = {stage for stage, names in outputs().items() if names - before[stage]}
        return done | ({"site"} if "Built" in capsys.readouterr().out else set())

    return run


DONE = {
    "subject_info.py": {"subject", "harvest", "lens", "analysis", "site"},
    "texts/windows.py": {"harvest", "analysis", "site"},
    "lens.py": {"lens", "analysis", "site"},
    "analysis/labels.py": {"analysis", "site"},
    "manifest.py": {"site"},
    "site/pages/front.py": {"site"},
    "verify/run.py": set(),
    "cli.py": set(),
}
"""The stages that a build runs again after a change of a module."""


@pytest.mark.slow
def test_a_build_after_a_change_runs_the_stages_that_read_it(
    build: Callable[..., set[str]], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert build() == set(STAGES)
    for module, done in DONE.items():
        with (package / module).open("a", encoding="utf-8") as file:
            file.write("# A line more.\n")
        assert build() == done, module
    assert build() == set()


@pytest.mark.slow
def test_the_same_weights_under_a_second_name_are_a_catalog_of_their_own(
    build: Callable[..., set[str]], models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is not run again, and each catalog has its own name."""
    monkeypatch.chdir(ROOT)
    build()
    shutil.copytree(models("llama"), tmp_path / "second-name")
    assert build("--model", str(tmp_path / "second-name")) == {"subject", "site"}
    catalogs = {path.parent.parent.parent.name for path in (tmp_path / "site").glob("*/*/data/manifest.json")}
    assert len(catalogs) == 2
    assert "second-name" in catalogs
