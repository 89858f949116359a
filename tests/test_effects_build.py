"""Catalogs with effects, end to end: built, checked and verified, with a damaged figure found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import SaeKind

from saecatalog.cli import main
from saecatalog.effects.stage import TABLES
from saecatalog.tables import Tables, write_table


@pytest.fixture
def build(
    workshop: Path, saes: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Returns the folder of a catalog and its manifest."""
    monkeypatch.chdir(Path(__file__).parent.parent)

    def built(effects: str, hook: str = "blocks.2.hook_resid_pre", shape: str = "llama") -> tuple[Path, dict[str, Any]]:
        places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / effects), "--device", "cpu", "--quiet"]
        given = ["--sae", str(saes(shape, SaeKind("jumprelu", hook=hook))), "--corpus", str(workshop / "corpus")]
        assert main(["build", *given, *places, "--effects", effects, "--notable", "6"]) == 0
        (manifest,) = (tmp_path / effects).rglob("data/manifest.json")
        return manifest.parent.parent, dict(json.loads(manifest.read_text(encoding="utf-8")))

    return built


def verified(site: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["verify", str(site), "--sample", "4", "--cache", str(cache), "--quiet"])
    return code, capsys.readouterr().out


def test_off_notable_and_all(build: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, manifest = build("off")
    assert manifest["effects"] is None
    assert not any(len(Tables(folder / "data")[name]) for name in TABLES)
    folder, manifest = build("notable")
    tables = Tables(folder / "data")
    notable = tables["features"].loc[tables["features"]["notable"] != "", "feature"]
    assert set(tables["effects"]["feature"]) == set(notable)
    assert manifest["effects"].items() >= {"features": len(notable), "contexts": 32, "seed": 0}.items()
    assert main(["check", str(tmp_path / "notable")]) == 0
    code, out = verified(tmp_path / "notable", tmp_path / "cache", capsys)
    assert code == 0, out
    folder, manifest = build("all")
    tables = Tables(folder / "data")
    fired = tables["features"].loc[tables["features"]["n_active"] > 0, "feature"]
    assert set(tables["effects"]["feature"]) == set(fired)
    assert manifest["effects"]["features"] == len(fired)


@pytest.mark.parametrize(
    ("name", "column"),
    [("effects", "kl"), ("effects", "kl_high"), ("effect_contexts", "kl"), ("effect_contexts", "p_without"),
     ("effect_contexts", "control_kl"), ("effect_tokens", "change"), ("effect_tokens", "direct_logit")],
)  # fmt: skip
def test_verify_finds_a_wrong_figure(
    name: str, column: str, built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    folder, cache = built
    shutil.copytree(folder, tmp_path / "site")
    (data,) = (path.parent for path in (tmp_path / "site").rglob("data/manifest.json"))
    table = Tables(data).read(name)
    assert isinstance(table, pd.DataFrame)
    # The first rows are of the first feature, whose contexts are all run again.
    table.loc[0, column] += 0.3
    write_table(data, name, table)
    code, out = verified(tmp_path / "site", cache, capsys)
    assert code == 1
    assert f"{name}.parquet" in out


@pytest.fixture(scope="module")
def built(workshop: Path, saes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A site with effects, and its cache."""
    folder = tmp_path_factory.mktemp("built")
    sae = saes("gpt2", SaeKind("standard", hook="blocks.2.hook_resid_pre"))
    places = ["--cache", str(folder / "cache"), "--out", str(folder / "site"), "--device", "cpu", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parent.parent)
        given = ["--sae", str(sae), "--corpus", str(workshop / "corpus"), "--notable", "3", "--features", "notable"]
        assert main(["build", *given, *places, "--effects", "notable"]) == 0
    return folder / "site", folder / "cache"


def test_without_a_layer_after_the_hook_the_catalog_is_built_and_says_so(
    build: Callable, capfd: pytest.CaptureFixture[str]
) -> None:
    _, manifest = build("notable", hook="blocks.3.hook_resid_post")
    assert list(manifest["effects"]) == ["reason"]
    lines = [line for line in capfd.readouterr().err.splitlines() if "effects" in line]
    assert len(lines) == 1
    assert "No layer is after the hook 'blocks.3.hook_resid_post'" in lines[0]


def test_a_prompt_that_is_too_long_is_found_before_anything_is_measured(
    workshop: Path, saes: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "catalog.toml"
    sae = saes("llama", SaeKind("jumprelu", hook="blocks.2.hook_resid_pre"))
    settings.write_text(
        f"[subject]\nsae = {json.dumps(str(sae))}\n[corpus]\npaths = [{json.dumps(str(workshop / 'corpus'))}]\n"
        f'[effects]\nfeatures = "notable"\nprompts = ["{"The cat sat. " * 40}"]\n',
        encoding="utf-8",
    )
    places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "site"), "--device", "cpu"]
    assert main(["build", str(settings), *places]) == 2
    said = capsys.readouterr().err
    assert "A prompt has" in said
    assert "contexts in" not in said
    assert not (tmp_path / "site").exists()
