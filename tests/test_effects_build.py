"""Catalogs with effects, end to end: built, checked and verified, with a damaged figure found."""

import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import D_SAE, SaeKind

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


PLANTED = [
    ("effects", 1, 0, "kl"),
    ("effects", 1, 0, "kl_high"),
    ("effect_contexts", 0, 0, "kl"),
    ("effect_contexts", 0, 1, "p_without"),
    ("effect_contexts", 0, 2, "control_kl"),
    ("effect_tokens", 0, 0, "change"),
    ("effect_tokens", 0, 1, "direct_logit"),
]
"""Wrong figures: the table, the place of the feature among those with effects, the row among its own, and the column.

All contexts of the first feature are run again. Its wrong contexts make its means wrong too, so the wrong means are
those of another.
"""


def row_of(table: pd.DataFrame, feature: int, row: int) -> Any:
    """The index of a row, by the place of its feature and its own among those of the feature."""
    return table.index[table["feature"] == table["feature"].unique()[feature]][row]


def place_of(name: str, row: pd.Series) -> str:
    """How `verify` names a row."""
    within = {"effects": "{group_kind}", "effect_contexts": "rank {rank}", "effect_tokens": "{direction} {rank}"}[name]
    return f"{name}.parquet, feature {row['feature']}, {within.format(**row)}"


@pytest.fixture(scope="module")
def damaged(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, list[str]]:
    """The data of a site with every wrong figure, and the code and the lines of `verify`, run once for all."""
    folder, cache = built
    site = shutil.copytree(folder, tmp_path_factory.mktemp("damaged") / "site")
    (data,) = (path.parent for path in site.rglob("data/manifest.json"))
    for name in sorted({name for name, *_ in PLANTED}):
        table = Tables(data).read(name)
        assert isinstance(table, pd.DataFrame)
        for _, feature, row, column in (planted for planted in PLANTED if planted[0] == name):
            assert np.isfinite(table.loc[row_of(table, feature, row), column])
            table.loc[row_of(table, feature, row), column] += 0.3
        write_table(data, name, table)
    with redirect_stdout(StringIO()) as said:
        code = main(["verify", str(site), "--sample", str(D_SAE), "--cache", str(cache), "--quiet"])
    return data, code, said.getvalue().splitlines()


@pytest.mark.parametrize(("name", "feature", "row", "column"), PLANTED)
def test_verify_finds_a_wrong_figure(
    name: str, feature: int, row: int, column: str, damaged: tuple[Path, int, list[str]]
) -> None:
    data, code, lines = damaged
    table = Tables(data).read(name)
    assert isinstance(table, pd.DataFrame)
    place = place_of(name, table.loc[row_of(table, feature, row)])
    assert any(line.startswith(f"{place}, {column}: published ") for line in lines), lines
    assert code == 1


def test_verify_finds_nothing_else_wrong(damaged: tuple[Path, int, list[str]]) -> None:
    """Except for the means of the feature whose contexts are wrong, and the pages."""
    data, _, lines = damaged
    tables = {name: Tables(data)[name] for name, *_ in PLANTED}
    planted = {
        f"{place_of(name, tables[name].loc[row_of(tables[name], feature, row)])}, {column}"
        for name, feature, row, column in PLANTED
    }
    first = f"effects.parquet, feature {tables['effects']['feature'][0]}, "
    found = {line.partition(": ")[0] for line in lines if ".parquet" in line and not line.startswith(first)}
    assert found == planted


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
