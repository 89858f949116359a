"""Catalogs of transcoders, end to end: figures relative to what they write, against plain hooks and sae_lens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
import reference
import torch
from any_sae import save_any
from conftest import CONTEXT
from sae_lens import SAE

from saecatalog.build import warnings
from saecatalog.cli import main

READ, WRITTEN = "blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out"


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)


@pytest.fixture
def build(workshop: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Returns the manifest of a catalog."""

    def built(sae: Path) -> dict[str, Any]:
        places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "site"), "--device", "cpu", "--quiet"]
        assert main(["build", "--sae", str(sae), "--corpus", str(workshop / "corpus"), *places]) == 0
        (manifest,) = (tmp_path / "site").rglob("data/manifest.json")
        return dict(json.loads(manifest.read_text(encoding="utf-8")))

    return built


def values_on(texts: list[Any], model: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the transcoder reads and what it is to write, on every token of the corpus."""
    bos = reference.bos_of(model)
    read, written = (
        np.concatenate([reference.residuals(model, hook, text.content, CONTEXT, bos)[1] for text in texts])
        for hook in (READ, WRITTEN)
    )
    return read, written


@pytest.mark.slow
def test_a_catalog_of_a_transcoder(
    build: Callable, models: Callable, texts: list[Any], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """Random weights explain nothing, and the build says so."""
    model = models("llama")
    save_any(tmp_path / "sae", model, "skip_transcoder", READ, hook_name_out=WRITTEN)
    manifest = build(tmp_path / "sae")
    assert manifest["model"]["library"] == "transformer_lens"
    facts = {name: manifest["sae"][name] for name in ("hook", "hook_out", "d_in", "d_out", "cross_layer")}
    assert facts == {"hook": READ, "hook_out": WRITTEN, "d_in": 32, "d_out": 32, "cross_layer": False}
    x, y = values_on(texts, model)
    assert manifest["health"]["excluded_positions"] == 0
    plain = SAE.load_from_disk(tmp_path / "sae")
    with torch.inference_mode():
        found = plain.forward(torch.from_numpy(x).float()).double().numpy()
    wanted = cases.explained_variance(y, found)
    np.testing.assert_allclose(manifest["health"]["explained_variance"], wanted, rtol=1e-3)
    assert wanted < 0
    assert "the mean would be a better guess" in capfd.readouterr().err


def test_a_layer_of_a_cross_layer_transcoder_is_told() -> None:
    sae = {"cross_layer": True, "hook_out": WRITTEN}
    health = {"explained_variance": -3.0}
    counts, settings = {"notable": 5, "features_fired": 5}, {"notable": 5, "top": 12}
    corpus = {"plain_names": {"texts": 0, "example": ""}}
    manifest = {"sae": sae, "health": health, "corpus": corpus, "counts": counts, "settings": settings}
    (line,) = warnings(manifest)
    assert "one layer of a cross-layer transcoder" in line
    assert WRITTEN in line
