"""The export for Neuronpedia's importer, read back with a plain reader and compared with the published tables.

The types and the fields that may be null are those of the importer's tables `Neuron` and `Activation`.
"""

import gzip
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import FEATURES, SILENT, World, write

from saecatalog.cli import main
from saecatalog.neuronpedia.export import CREATOR, exact, excerpt_tokens
from saecatalog.tables import Tables, write_table

MODEL, SOURCE = "gpt2-small", "6-res-jb"

Rows = list[dict[str, Any]]

NEURON = {
    "modelId": str,
    "layer": str,
    "index": str,
    "creatorId": str,
    "sourceSetName": str,
    "maxActApprox": float,
    "frac_nonzero": float,
    "freq_hist_data_bar_heights": [int],
    "freq_hist_data_bar_values": [float],
    "logits_hist_data_bar_heights": [int],
    "logits_hist_data_bar_values": [float],
    "neg_str": [str],
    "neg_values": [float],
    "pos_str": [str],
    "pos_values": [float],
    "topkCosSimIndices": [int],
    "topkCosSimValues": [float],
}
ACTIVATION = {
    "id": str,
    "modelId": str,
    "layer": str,
    "index": str,
    "creatorId": str,
    "tokens": [str],
    "values": [float],
    "maxValue": float,
    "maxValueTokenIndex": int,
    "minValue": float,
    "binMin": float,
    "binMax": float,
    "binContains": float,
    "qualifyingTokenIndex": int,
    "dataSource": str,
    "dataIndex": str,
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The data of a catalog whose SAE is on Neuronpedia."""
    return write(tmp_path_factory.mktemp("catalog") / "data", neuronpedia=f"{MODEL}/{SOURCE}")[0]


@pytest.fixture(scope="module")
def exported(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    assert main(["export-neuronpedia", str(tables.folder.parent), "--out", str(out)]) == 0
    return out


def read(out: Path, kind: str) -> Rows:
    folder = out / "v1" / MODEL / SOURCE / kind
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in gzip.open(path, "rt", encoding="utf-8")]


@pytest.fixture(scope="module")
def features(exported: Path) -> Rows:
    return read(exported, "features")


@pytest.fixture(scope="module")
def activations(exported: Path) -> Rows:
    return read(exported, "activations")


def single(value: float) -> np.float32:
    return np.float32(value)


def of(table: pd.DataFrame, feature: int) -> Iterator[Any]:
    """The rows of a feature, in the order of the table."""
    return table[table["feature"] == feature].itertuples()


def test_files_lie_where_the_importer_looks(exported: Path) -> None:
    files = sorted(path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file())
    assert files == [f"v1/{MODEL}/{SOURCE}/{kind}/batch-0.jsonl.gz" for kind in ("activations", "features")]


@pytest.mark.parametrize("kind", ["features", "activations"])
def test_every_row_has_the_same_fields_with_their_types_and_no_null(exported: Path, kind: str) -> None:
    types = {"features": NEURON, "activations": ACTIVATION}[kind]
    for row in read(exported, kind):
        assert list(row) == list(types)
        for name, wanted in types.items():
            if isinstance(wanted, list):
                assert all(type(value) is wanted[0] for value in row[name]), name
            else:
                assert type(row[name]) is wanted, name
        assert (row["modelId"], row["layer"], row["creatorId"]) == (MODEL, SOURCE, CREATOR)


def test_features_have_the_figures_of_the_tables(features: Rows, tables: Tables) -> None:
    assert [row["index"] for row in features] == [str(number) for number in range(FEATURES)]
    for row, ours in zip(features, tables["features"].itertuples(), strict=True):
        assert row["sourceSetName"] == "res-jb"
        assert single(row["maxActApprox"]) == single(ours.max)
        assert row["frac_nonzero"] == ours.n_active / ours.n_tokens
        near = list(of(tables["neighbours"], ours.feature))
        assert row["topkCosSimIndices"] == [one.neighbour for one in near]
        assert list(map(single, row["topkCosSimValues"])) == [single(one.cosine) for one in near]
        for prefix, way in (("pos", "promoted"), ("neg", "suppressed")):
            moved = [one for one in of(tables["logits"], ours.feature) if one.direction == way]
            assert row[f"{prefix}_str"] == [one.token for one in moved]
            assert list(map(single, row[f"{prefix}_values"])) == [single(one.logit) for one in moved]


@pytest.mark.parametrize(("table", "name"), [("histograms", "freq"), ("logit_histograms", "logits")])
def test_histograms_have_the_middles_of_the_bins(features: Rows, tables: Tables, table: str, name: str) -> None:
    for row in features:
        ours = list(of(tables[table], int(row["index"])))
        heights, middles = (row[f"{name}_hist_data_bar_{what}"] for what in ("heights", "values"))
        assert heights == ([] if not ours else list(ours[0].counts))
        edges = ours[0].edges if ours else [0]
        assert middles == pytest.approx([(a + b) / 2 for a, b in pairwise(edges)], rel=1e-6)


def test_a_silent_feature_has_a_row_and_no_activation(features: Rows, activations: Rows) -> None:
    silent = features[SILENT]
    assert (silent["maxActApprox"], silent["frac_nonzero"], silent["freq_hist_data_bar_heights"]) == (0, 0, [])
    assert {int(row["index"]) for row in activations} == set(range(FEATURES)) - {SILENT}


def test_activations_have_the_tokens_and_values_of_the_texts(activations: Rows, tables: Tables) -> None:
    """Compared with the tokens and activations that the catalog was made from."""
    texts = {text["text"]: text for text in World().texts}
    contexts = list(tables["contexts"].itertuples())
    assert len(activations) == len(contexts)
    for row, context in zip(activations, contexts, strict=True):
        window, text = slice(context.window_start, context.window_end), texts[context.text]
        assert (int(row["index"]), row["dataSource"], row["dataIndex"]) == (context.feature, "corpus", context.text)
        assert list(map(single, row["values"])) == [single(v) for v in text["values"][window, context.feature]]
        # The four byte tokens of a character are the character, and three signs for a part of one.
        named = [token if not token.startswith("<0x") else None for token in text["tokens"][window]]
        assert [token if name else None for token, name in zip(row["tokens"], named, strict=True)] == named
        whole = "".join(token for token in row["tokens"] if token != "\ufffd")
        assert whole in text["content"] or None in named
        assert row["maxValue"] == max(row["values"]) == row["values"][row["maxValueTokenIndex"]]
        assert row["maxValue"] not in row["values"][: row["maxValueTokenIndex"]]
        assert row["minValue"] == min(row["values"])
        assert single(row["values"][row["qualifyingTokenIndex"]]) == single(context.activation)
    assert len({row["id"] for row in activations}) == len(activations)


def test_bins_are_the_quarters_and_the_strongest_have_minus_one(activations: Rows, tables: Tables) -> None:
    figures = tables.features
    for row, context in zip(activations, tables["contexts"].itertuples(), strict=True):
        ours = figures.loc[context.feature]
        found = row["binMin"], row["binMax"], row["binContains"]
        if context.band == "top":
            assert found == (-1, pytest.approx(ours["max"]), -1)
        else:
            # The weakest quarter: as many tokens as are below the lower quartile.
            assert found[:2] == (0, pytest.approx(ours["q25"]))
            assert found[2] * ours["n_tokens"] == pytest.approx(ours["n_active"] / 4, abs=1)


def test_a_token_within_a_character_is_a_sign_and_the_character_comes_first() -> None:
    text = pd.DataFrame({"content": ["a🙂b"], "token_ends": [[1, 2, 2, 2, 3]]}).iloc[0]
    assert excerpt_tokens(text, 0, 5) == ["a", "🙂", "\ufffd", "\ufffd", "b"]
    assert excerpt_tokens(text, 2, 5) == ["\ufffd", "\ufffd", "b"]


def test_numbers_are_short_and_lose_nothing() -> None:
    values = np.random.default_rng(1).standard_normal(2000).astype(np.float32)
    assert [single(exact(value)) for value in values] == list(values)
    assert str(exact(np.float32(0.1))) == "0.1"


def test_the_same_data_gives_the_same_bytes(exported: Path, tables: Tables, tmp_path: Path) -> None:
    assert main(["export-neuronpedia", str(tables.folder.parent), "--out", str(tmp_path)]) == 0
    files = [path.relative_to(exported) for path in exported.rglob("*.gz")]
    assert all((tmp_path / file).read_bytes() == (exported / file).read_bytes() for file in files)


def test_an_existing_export_is_not_overwritten(
    exported: Path, tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in exported.rglob("*.gz")}
    assert main(["export-neuronpedia", str(tables.folder.parent), "--out", str(exported)]) == 2
    assert "This export exists already." in capsys.readouterr().err
    assert {path: path.read_bytes() for path in exported.rglob("*.gz")} == before


def test_an_sae_without_an_id_takes_names_from_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "site/data")
    words = ["export-neuronpedia", str(tmp_path / "site"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "has no Neuronpedia id" in capsys.readouterr().err
    assert main([*words, "--model-id", "../a", "--source-id", "0-own"]) == 2
    assert "--model-id ../a" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--model-id", "tiny", "--source-id", "0-own__b", "--creator-id", "me"]) == 0
    assert f"{FEATURES:,} features (1 silent on these texts)" in capsys.readouterr().out
    (path,) = (tmp_path / "out").rglob("features/*.gz")
    row = json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])
    assert (row["layer"], row["sourceSetName"], row["creatorId"]) == ("0-own__b", "own", "me")


def test_damaged_data_is_one_error_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "site/data", neuronpedia=f"{MODEL}/{SOURCE}")
    contexts = Tables(tmp_path / "site/data")["contexts"]
    write_table(tmp_path / "site/data", "contexts", contexts.assign(text="unknown"))
    words = ["export-neuronpedia", str(tmp_path / "site"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "site/data/contexts.parquet").write_bytes(b"PAR1")
    assert main(words) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.gz"))


def test_many_features_are_spread_over_several_files(
    exported: Path, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saecatalog.neuronpedia.export.BATCH", 5)
    assert main(["export-neuronpedia", str(tables.folder.parent), "--out", str(tmp_path)]) == 0
    for kind in ("features", "activations"):
        assert [path.name for path in sorted((tmp_path / "v1" / MODEL / SOURCE / kind).iterdir())] == [
            f"batch-{number}.jsonl.gz" for number in range(3)
        ]
        assert read(tmp_path, kind) == read(exported, kind)


def test_of_several_catalogs_one_has_to_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        write(tmp_path / "site" / name / "data", neuronpedia=f"{MODEL}/{SOURCE}")
    words = ["--out", str(tmp_path / "out")]
    assert main(["export-neuronpedia", str(tmp_path / "site"), *words]) == 2
    error = capsys.readouterr().err
    assert "several catalogs" in error
    assert str(tmp_path / "site/b") in error
    assert main(["export-neuronpedia", str(tmp_path / "site/b"), *words]) == 0
    (tmp_path / "site/b/data/manifest.json").write_text('{"sae": {}}', encoding="utf-8")
    assert main(["export-neuronpedia", str(tmp_path / "site/b"), *words]) == 2
    assert "The manifest of this catalog cannot be read (KeyError" in capsys.readouterr().err
