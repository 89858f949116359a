"""A scratch folder with a tiny model, SAEs, texts and notes, in which builds can be stopped, damaged and compared.

Paths stay the same from build to build, because a catalog names the files that it was built from. What a build starts
from, a cache and a site, is copied there before each one.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher import Request, Stop, encoded

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

EXTRA_CORPORA = ("academic-prose", "news", "social-media")
ROOM = 400
"""Spaces at the end of each JSON input, so that it can change and keep its size."""

Tree = dict[str, str]
"""The files below a folder, hidden ones too: their paths relative to it, and their hashes."""


def tree(folder: Path) -> Tree:
    """Every file of a folder but locks, and every empty folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix != ".lock":
            found[name] = hashlib.blake2b(path.read_bytes()).hexdigest()
        elif path.is_dir() and not any(path.iterdir()):
            found[name + "/"] = ""
    return found


def catalogs(site: Tree) -> dict[str, Tree]:
    """The files of each catalog of a site, by its folder."""
    slugs = [name.removesuffix("/data/manifest.json") for name in site if name.endswith("/data/manifest.json")]
    return {slug: {k: v for k, v in site.items() if k.startswith(f"{slug}/")} for slug in slugs}


@dataclass(frozen=True)
class Run:
    """What one build did."""

    code: int
    output: str
    errors: str
    steps: list[tuple[str, str]]
    """Each step's stage and path, in order."""

    @property
    def stages(self) -> Counter[str]:
        return Counter(stage for stage, _ in self.steps)

    @property
    def complaint(self) -> str:
        """The error line, or the last line of a traceback."""
        lines = self.errors.strip().splitlines() or [f"exit code {self.code}"]
        return next((line for line in lines if line.startswith("error:")), lines[-1])


@dataclass
class Workbench:
    """The folders, and the launcher that runs the builds."""

    folder: Path
    launcher: "subprocess.Popen[str]"

    @property
    def inputs(self) -> Path:
        """Model, SAEs, texts, concepts, notes, templates and settings."""
        return self.folder / "inputs"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def cache(self) -> Path:
        return self.run / "cache"

    @property
    def site(self) -> Path:
        return self.run / "site"

    @property
    def tmp(self) -> Path:
        return self.run / "tmp"

    def reset(self, cache: str = "", site: str = "") -> None:
        """The inputs as they were made, and the kept cache and site of these names; "" for none."""
        _replace(self.inputs, self.folder / "made")
        shutil.rmtree(self.run, ignore_errors=True)
        self.tmp.mkdir(parents=True)
        for name, target in ((cache, self.cache), (site, self.site)):
            if name:
                shutil.copytree(self.folder / "kept" / name / target.name, target, symlinks=True)

    def keep(self, name: str) -> None:
        """Keep the cache and the site as they are now."""
        for path in (self.cache, self.site):
            if path.exists():
                _replace(self.folder / "kept" / name / path.name, path)

    def build(self, *words: str, stop: Stop | None = None) -> Run:
        """Run `build.py` with the settings file and more flags."""
        given = [str(self.inputs / "catalog.toml"), *words]
        request = Request(given, str(self.inputs), str(self.run), stop)
        assert self.launcher.stdin
        assert self.launcher.stdout
        self.launcher.stdin.write(encoded(request))
        self.launcher.stdin.flush()
        code = int(self.launcher.stdout.readline())
        if not (self.run / "steps").exists():
            raise SystemExit(f"{self.run} was removed during a build (exit code {code}): something else cleared it")
        output, errors, log = (
            (self.run / name).read_text("utf-8", "replace") for name in ("output", "errors", "steps")
        )
        steps = [(line.split("\t")[0], line.split("\t")[-1]) for line in log.splitlines()]
        return Run(code, output, errors, steps)

    def left_over(self) -> list[str]:
        """What builds put aside and did not clear: temporary files, locks, and hidden files of the cache."""
        places = (self.tmp, self.cache / "tmp", self.cache / "locks", self.site / ".saecatalog-tmp")
        found = {path for place in places for path in place.rglob("*")}
        found |= {path for path in self.cache.rglob("*") if path.name.startswith(".")}
        return sorted(path.relative_to(self.run).as_posix() for path in found)


def _replace(target: Path, source: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


@contextmanager
def workbench(n_lines: int = 15, notable: int = 240) -> Iterator[Workbench]:
    """A workbench in a temporary folder, with a copy of the program, so that edits during a long run do not count.

    The first `n_lines` texts of a few corpora of the default catalog join those of the tests.
    """
    with tempfile.TemporaryDirectory(prefix="reliability-") as scratch:
        folder = Path(scratch).resolve()
        for part in ("src", "templates"):
            shutil.copytree(ROOT / part, folder / "program" / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "build.py", folder / "program")
        _make_inputs(folder, n_lines, notable)
        launcher = [sys.executable, str(ROOT / "benchmarks/launcher.py"), str(folder / "program")]
        with subprocess.Popen(launcher, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield Workbench(folder, process)
            assert process.stdin
            process.stdin.close()


def _make_inputs(folder: Path, n_lines: int, notable: int) -> None:
    """Make the inputs in their final place, because the SAEs name the model's folder, and keep a copy."""
    from conftest import D_SAE, SaeKind, save_model, save_sae, write_concepts, write_corpus

    inputs = folder / "inputs"
    save_model(inputs / "model", "llama")
    save_sae(inputs / "sae", inputs / "model", SaeKind(), D_SAE)
    save_sae(inputs / "second", inputs / "model", SaeKind("jumprelu"), D_SAE)
    write_corpus(inputs / "corpus")
    for name in EXTRA_CORPORA:
        lines = (ROOT / f"corpora/{name}.txt").read_text(encoding="utf-8").splitlines()[:n_lines]
        (inputs / f"corpus/{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_concepts(inputs / "concepts")
    (inputs / "notes/categories").mkdir(parents=True)
    for name, up in (("index", ""), ("2", ""), ("5", ""), ("categories/prose", "../")):
        (inputs / f"notes/{name}.md").write_text(f"A note about {name}. See [feature 5]({up}5.md).\n")
    shutil.copytree(ROOT / "templates", inputs / "templates")
    (inputs / "catalog.toml").write_text(_settings(folder, notable))
    for path in inputs.rglob("*.json"):
        path.write_text(path.read_text("utf-8") + " " * ROOM, "utf-8")
    shutil.copytree(inputs, folder / "made")


def _settings(folder: Path, notable: int) -> str:
    return f"""
cache = "../run/cache"
[subject]
sae = "sae"
device = "cpu"
[corpus]
paths = ["corpus"]
concepts = "concepts"
[analysis]
notable = {notable}
[site]
out = "../run/site"
title = "A tiny catalog"
templates = {json.dumps(str(folder / "inputs/templates"))}
"""
