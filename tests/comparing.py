"""Sites of synthetic catalogs of one model that are compared with each other."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sites import Workplace
from synthetic import FEATURES, World, manifest

from saecatalog.compare import comparison
from saecatalog.compare.publish import Made, compare_all, compare_two
from saecatalog.progress import Progress

FIRST, SECOND, CORPORA = "tiny/0-res", "tiny/1-res", "tiny/0-res-other"
ORDER = [3, 0, 7, 1, 5, 2, 4, 6, 8, 9, 11, 10]
"""The second SAE's feature `i` is the first one's `ORDER[i]`, except for the last two, which are new."""

SAE = {
    "name": "tiny-res/blocks.1",
    "hook": "blocks.1.hook_resid_pre",
    "hook_out": "blocks.1.hook_resid_pre",
    "layer": 1,
    "weights_sha256": "cc",
}


def permuted() -> World:
    """The same texts, seen by an SAE whose features are those of the first one in another order, but for two."""
    world, chance = World(), np.random.default_rng(11)
    for text in world.texts:
        text["values"] = text["values"][:, ORDER]
        new = chance.random((len(text["tokens"]), 2))
        text["values"][:, -2:] = np.where(new < 0.2, 9 * new, 0)
    return world


def fewer() -> World:
    """The first SAE on other texts: feature 4 is silent, and feature 2 fires everywhere."""
    world = World()
    for text in world.texts:
        text["values"][:, 4] = 0
        text["values"][:, 2] = 1 + np.arange(len(text["tokens"]))
    return world


def of_tiny(part: str, **facts: Any) -> dict[str, Any]:
    """A part of the synthetic manifest with other facts."""
    return {**manifest(World(), None, "", True)[part], **facts}


def publish_three(place: Workplace) -> None:
    """Beside the first catalog: one of another SAE with the same title, and one of the same SAE on another corpus."""
    place.publish(SECOND, permuted(), sae=of_tiny("sae", **SAE))
    place.publish(CORPORA, fewer(), corpus=of_tiny("corpus", name="other", sha256="ee"))


def decoder(manifest: dict[str, Any], *_: object) -> np.ndarray:
    """The decoder rows of a synthetic SAE, which has no weights that could be loaded."""
    rows = np.random.default_rng(1).normal(size=(FEATURES, 8)).astype(np.float32)
    return rows if manifest["sae"]["weights_sha256"] == "bb" else rows[ORDER] * 2


def compared(place: Workplace, *names: str) -> list[Made]:
    """Compare two catalogs of the site, or all. The synthetic catalogs have few texts, and no SAE to load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "LEAST_SHARED", 5)
        patch.setattr(comparison, "decoder", decoder)
        given = (place.folder / "templates", place.folder / "cache", Progress(quiet=True))
        return list(compare_two(place.site, names, *given) if names else compare_all(place.site, *given))


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory, published: Workplace) -> Workplace:
    """A site of three catalogs and their three comparisons; for tests that only read it."""
    place = Workplace(tmp_path_factory.mktemp("three"))
    place.publish()
    publish_three(place)
    compared(place)
    return place


@pytest.fixture
def three_copy(three: Workplace, tmp_path: Path) -> Workplace:
    """A copy of it that a test may change."""
    shutil.copytree(three.folder, tmp_path / "three")
    return Workplace(tmp_path / "three")


def folder(place: Workplace, *slugs: str) -> Path:
    """The folder of a comparison."""
    return place.site / "compare" / "--".join(slug.replace("/", ".") for slug in slugs)
