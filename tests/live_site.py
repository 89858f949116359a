"""A small catalog with a live part, built as a user builds it, and what the model really does on a text.

`conftest.py` names this module as a plugin, so every test may use the fixtures.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SaeKind
from harvesting import make_text, run

from saecatalog.build import build
from saecatalog.config import AnalysisConfig, Config, CorpusConfig, SiteConfig, SubjectConfig
from saecatalog.progress import Progress
from saecatalog.store import read_store

SHAPE, KIND = "sink", SaeKind("jumprelu")
"""A model with massive activations, at every question mark."""

Reference = Callable[[str], "Fired"]


@dataclass(frozen=True)
class Fired:
    """What the catalog's own code finds on a text: the end of each token, and every feature's activation on it."""

    ends: list[int]
    activations: np.ndarray
    """`[token, d_sae]`; zero where a massive activation is left out."""


@pytest.fixture(scope="session")
def live_site(workshop: Path, saes: Callable[[str, SaeKind], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small catalog with a live part; its site is two folders below that of a server."""
    folder = tmp_path_factory.mktemp("live")
    config = Config(
        SubjectConfig(sae=str(saes(SHAPE, KIND)), device="cpu"),
        CorpusConfig(paths=(str(workshop / "corpus"),), concepts=str(workshop / "concepts")),
        AnalysisConfig(notable=6),
        SiteConfig(notes="", out=str(folder / "papers/catalog"), live=True),
        cache=folder / "cache",
    )
    build(config, Progress(quiet=True))
    return next((folder / "papers/catalog").rglob("live-sw.js")).parent


@pytest.fixture(scope="session")
def fired(live_site: Path, subjects: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What the model does on a text, by the code that makes the catalogs."""
    limit = json.loads((live_site / "data/manifest.json").read_text("utf-8"))["live"]["norm_limit"]

    @cache
    def of(text: str) -> Fired:
        store = read_store(run(subjects(SHAPE, KIND), [make_text(0, text)], tmp_path_factory.mktemp("fired") / "run"))
        counted = np.asarray(store.norms) <= limit
        return Fired(store.token_ends.tolist(), store.matrix().toarray() * counted[:, None])

    return of
