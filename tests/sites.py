"""Whole sites for tests of every kind of page: the built default catalog and the synthetic one.

`conftest.py` names this module as a plugin, so every test may use the fixtures.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import effect_tables
import pytest
from synthetic import CATEGORIES, CONCEPT, FEATURES, World, write
from test_site_pages import build

from saecatalog.build import Summary, build_site
from saecatalog.cache import Cache
from saecatalog.config import SiteConfig, load_config
from saecatalog.explanations import NO_EXPLANATIONS, Explanations
from saecatalog.models.default_model import downloaded
from saecatalog.notes import Subjects, read_notes
from saecatalog.progress import Progress
from saecatalog.site.inventory import check_out
from saecatalog.site.output_folder import output_folder

ROOT = Path(__file__).parent.parent
FETCH_FIRST = "the default model is not in the cache; `make site` fetches it"

ADDRESS = f"https://example.org/{'catalog-' * 5}"
"""A long one: every citation and link preview repeats it, so pages are larger with it."""

KINDS = ("*.embed.html", "*.vs.*.html", "all.*.html", "page-*.html", "*.html")
"""How pages of one kind in one folder are named; the first pattern that fits counts."""

SMALL = 0.7
"""Pages of one kind whose sizes differ by less have the same parts."""


@pytest.fixture(scope="session")
def default_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default catalog as it is published, with an address.

    It is built with the user's own cache, so that the model runs only if `make site` did not run it.
    """
    if not downloaded(Cache(load_config(ROOT / "catalog.toml").cache)).path.exists():
        assert not os.environ.get("CI"), FETCH_FIRST
        pytest.skip(FETCH_FIRST)
    site = tmp_path_factory.mktemp("default") / "papers" / "catalog"
    words = [sys.executable, "build.py", "--quiet", "--out", str(site), "--base-url", ADDRESS]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the synthetic catalog, for tests that only read it; its tables are in `tables` beside the site."""
    return build(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="session")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic catalog, with hostile names and texts, and effects."""
    return build(tmp_path_factory.mktemp("hostile") / "papers", effect_tables.add).parent.parent


@pytest.fixture(params=["default", "hostile"])
def any_site(request: pytest.FixtureRequest) -> Path:
    """Each of the two sites in turn."""
    site: Path = request.getfixturevalue(f"{request.param}_site")
    return site


def every_kind(site: Path) -> list[str]:
    """The paths of the largest page of every kind in a site, and of the smallest if it lacks much of what that has."""
    kinds: dict[str, list[Path]] = {}
    for page in sorted(site.rglob("*.html")):
        alone = page.name == "index.html" or (page.parent / "data").is_dir()
        kind = page.name if alone else next(pattern for pattern in KINDS if fnmatch(page.name, pattern))
        kinds.setdefault(f"{page.parent}/{kind}", []).append(page)
    chosen = set[Path]()
    for pages in kinds.values():
        smallest, largest = min(pages, key=size), max(pages, key=size)
        chosen |= {smallest, largest} if size(smallest) < SMALL * size(largest) else {largest}
    return sorted(page.relative_to(site).as_posix() for page in chosen)


def size(page: Path) -> int:
    return page.stat().st_size


NOTES = {"3.md": "A note with a picture. ![Picture](img/a.png)", "index.md": "Welcome."}


@dataclass(frozen=True)
class Workplace:
    """A folder in which the synthetic catalog is published as a build does it, without running a model."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def catalog(self) -> Path:
        return self.site / "tiny/0-res"

    def publish(self, slug: str = "tiny/0-res", world: World | None = None, **facts: Any) -> bool:
        """Build the site; returns whether anything was written."""
        return self.build(slug, world, **facts).rebuilt

    def build(
        self,
        slug: str = "tiny/0-res",
        world: World | None = None,
        explanations: Explanations = NO_EXPLANATIONS,
        **facts: object,
    ) -> Summary:
        """Build the site with this manifest, of another world if one is given."""
        tables = self.folder / ("tables" if world is None else f"tables of {slug.replace('/', ' ')}")
        if world is not None:
            write(tables, csv=True, world=world)
        if not (self.folder / "tables").exists():
            write(self.folder / "tables", csv=True)
            shutil.copytree(ROOT / "templates", self.folder / "templates")
            for name, words in NOTES.items():
                (self.folder / "notes/img").mkdir(parents=True, exist_ok=True)
                (self.folder / "notes" / name).write_text(words, encoding="utf-8")
            (self.folder / "notes/img/a.png").write_bytes(b"\x89PNG any bytes")
        manifest = json.loads((tables / "manifest.json").read_text("utf-8")) | {"slug": slug} | facts
        notes = read_notes(str(self.folder / "notes"), Subjects(FEATURES, CATEGORIES, [CONCEPT]))
        config = SiteConfig(out=str(self.site), templates=str(self.folder / "templates"), csv=True)
        with output_folder(self.site) as workspace, Cache(self.folder / "cache") as cache:
            analysis = cache.output("analysis", tables.name, partial(shutil.copytree, tables, dirs_exist_ok=True))
            files, progress = check_out(self.site), Progress(quiet=True)
            return build_site(analysis, manifest, notes, config, files, workspace, progress, None, explanations)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The synthetic catalog with notes and CSV files, published; for tests that only read it."""
    place = Workplace(tmp_path_factory.mktemp("published"))
    assert place.publish()
    return place


@pytest.fixture
def place(published: Workplace, tmp_path: Path) -> Workplace:
    """A copy of it that a test may change."""
    shutil.copytree(published.folder, tmp_path / "place")
    return Workplace(tmp_path / "place")
