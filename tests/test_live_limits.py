"""What a live part can hold, and what it says of how it reads texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PROSE, SaeKind
from harvesting import make_text, run

from saecatalog.analysis.activations import Activations, include
from saecatalog.build import build
from saecatalog.config import AnalysisConfig, Config, CorpusConfig, SiteConfig, SubjectConfig
from saecatalog.live import live_part
from saecatalog.live.node import run_as_page
from saecatalog.progress import Progress
from saecatalog.store import read_store

KIND = SaeKind("jumprelu")


@pytest.fixture(scope="module")
def subject(subjects: Callable[..., Any]) -> Any:
    return subjects("llama", KIND)


@pytest.fixture(scope="module")
def corpus(subject: Any, tmp_path_factory: pytest.TempPathFactory) -> Activations:
    texts = [make_text(number, content) for number, content in enumerate(PROSE)]
    return include(read_store(run(subject, texts, tmp_path_factory.mktemp("limits") / "run")), 4.0)


def test_weights_that_an_engine_cannot_hold_are_stored_less_precisely(
    subject: Any, corpus: Activations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = live_part.make_live_part(subject, corpus, False, 250.0, tmp_path / "whole")
    assert whole["error"]["precision"] == "exact"
    monkeypatch.setattr(live_part, "MOST_WEIGHTS", whole["weights"] - 1)
    half = live_part.make_live_part(subject, corpus, False, 250.0, tmp_path / "half")
    assert half["error"]["precision"] == "half"
    monkeypatch.setattr(live_part, "MOST_WEIGHTS", 1)
    none = live_part.make_live_part(subject, corpus, False, 250.0, tmp_path / "none")
    assert "that a browser can hold" in none["reason"]
    assert list((tmp_path / "none").iterdir()) == []


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("whole", "half", "none", "wrong"):
        (tmp_path / name).mkdir()


def test_a_refused_live_part_leaves_nothing(
    subject: Any, corpus: Activations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saecatalog.live.measure.MOST_WRONG", -1.0)
    refused = live_part.make_live_part(subject, corpus, False, 250.0, tmp_path / "wrong")
    assert "would differ" in refused["reason"]
    assert list((tmp_path / "wrong").iterdir()) == []


def test_the_page_says_how_names_of_special_tokens_are_read(
    live_site: Path, workshop: Path, saes: Callable[..., Path], tmp_path: Path
) -> None:
    config = Config(
        SubjectConfig(sae=str(saes("llama", KIND)), device="cpu"),
        CorpusConfig(paths=(str(workshop / "corpus"),), concepts=None, special_tokens=True),
        AnalysisConfig(notable=6),
        SiteConfig(notes="", out=str(tmp_path / "site"), live=True),
        cache=tmp_path / "cache",
    )
    special = build(config, Progress(quiet=True)).folder
    for site, words, tokens in ((special, "is read as that token", 1), (live_site, "is read as plain characters", 3)):
        assert words in (site / "live/index.html").read_text("utf-8")
        (ran,) = run_as_page(["<s>"], site / "live", site / "assets/live")
        assert len(ran.ids) == tokens
