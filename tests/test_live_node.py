"""The page's engine in Node, on a small catalog: what it finds is what the program's own code finds."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from live_site import Reference

from saecatalog.errors import CatalogError
from saecatalog.live.node import PageRun, node, run_as_page
from saecatalog.site.asset_files import ASSETS

SCRIPTS = ASSETS / "live"
TEXTS = ["The cat sat.", "Who? 😀 e\u0301?", "<s>  </s>\n\x00", "שלום", "x"]


def dense(run: PageRun, d_sae: int) -> np.ndarray:
    """The activations `[token, feature]`, without those that are left out."""
    found = np.zeros((len(run.ids), d_sae))
    tokens = np.repeat(np.arange(len(run.ids)), np.diff(run.starts))
    found[tokens, run.features] = run.activations
    return found * (run.left_out == 0)[:, None]


def test_runs_are_those_of_the_program(live_site: Path, fired: Reference) -> None:
    for text, run in zip(TEXTS, run_as_page(TEXTS, live_site / "live", SCRIPTS), strict=True):
        right = fired(text)
        assert (run.text, run.cut) == (text, 0)
        assert run.ends.tolist() == [len(text[:end].encode("utf-16-le")) // 2 for end in right.ends]
        np.testing.assert_allclose(dense(run, right.activations.shape[1]), right.activations, rtol=1e-3, atol=1e-3)
        assert right.activations.any()


def test_a_long_text_is_cut(live_site: Path) -> None:
    (run,) = run_as_page(["cat sat " * 999], live_site / "live", SCRIPTS)
    assert run.text == ("cat sat " * 999)[: run.ends[-1]]
    assert run.cut == 8 * 999 - len(run.text) > 0


def test_an_error_of_the_page_is_told(live_site: Path, tmp_path: Path) -> None:
    live = tmp_path / "live"
    shutil.copytree(live_site / "live", live)
    next(live.glob("weights-0-*")).write_bytes(b'saePart("weights-0","")')
    with pytest.raises(CatalogError, match="does not run") as error:
        run_as_page(["x"], live, SCRIPTS)
    assert "weights-0" in error.value.where


def test_node_is_found_beside_python_and_missed_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(node()).parent == Path(sys.executable).parent
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(CatalogError, match="takes Node"):
        node()
