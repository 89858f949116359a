"""Folders of other trainers and repositories of the Hub: what is there is said, and read by the trainer's formula."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_models_hub
import test_models_safe_loading
import torch
from conftest import CONTEXT, SaeKind
from huggingface_hub import constants
from sae_lens.loading import pretrained_sae_loaders
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors.torch import load_file, save_file
from test_models_hub import snapshot
from test_models_safe_loading import Bomb, change_json
from torch.nn.functional import relu

from saecatalog.cli import main
from saecatalog.errors import CatalogError
from saecatalog.saes.directory import SaeSource, find_sae
from saecatalog.saes.folders import choices, load_sae, sae_places

hub, explore, marker = test_models_hub.hub, test_models_safe_loading.explore, test_models_safe_loading.marker

D_IN, D_SAE, K = 32, 48, 5
X = torch.randn(7, D_IN, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """Encoder `[d_in, d_sae]`, decoder `[d_sae, d_in]` and biases, drawn at random."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"enc": (D_IN, D_SAE), "dec": (D_SAE, D_IN), "b_enc": (D_SAE,), "b_dec": (D_IN,), "more": (D_SAE,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write(path: Path, settings: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings), encoding="utf-8")


def sparsify(folder: Path, weights: dict[str, torch.Tensor], model: str = "org/model", **changed: object) -> Path:
    """As `sparsify` saves it: one folder for each module of the model, and the settings of the training beside them."""
    settings = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": D_SAE, "k": K}
    settings |= {"multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_IN}
    write(folder / "cfg.json", {**settings, **changed})
    tensors = {"encoder.weight": weights["enc"].T, "encoder.bias": weights["b_enc"]}
    tensors |= {"W_dec": weights["dec"], "b_dec": weights["b_dec"]}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "sae.safetensors")
    write(folder.parent / "config.json", {"model": model, "ctx_len": CONTEXT, "dataset": "someone/texts"})
    return folder


def dictionary_learning(
    folder: Path,
    kind: str,
    weights: dict[str, torch.Tensor],
    model: str = "org/model",
    place: str | None = "resid_post_layer_2",
) -> Path:
    """As `dictionary_learning` saves it: the settings of training, and the state of one of its classes."""
    trainer = {"dict_class": kind, "activation_dim": D_IN, "dict_size": D_SAE, "k": K, "layer": 2, "lm_name": model}
    write(folder / "config.json", {"trainer": {**trainer, "submodule_name": place}, "buffer": {"ctx_len": CONTEXT}})
    state = {"encoder.weight": weights["enc"].T, "decoder.weight": weights["dec"].T}
    if kind == "AutoEncoder":
        state |= {"encoder.bias": weights["b_enc"], "bias": weights["b_dec"]}
    elif kind == "GatedAutoEncoder":
        state |= {"decoder_bias": weights["b_dec"], "r_mag": weights["more"] * 0.1}
        state |= {"gate_bias": weights["b_enc"], "mag_bias": weights["more"]}
    else:
        state |= {"encoder.bias": weights["b_enc"], "b_dec": weights["b_dec"], "k": torch.tensor(K)}
        state |= {"threshold": torch.tensor(4.0)}
    torch.save(state, folder / "ae.pt")
    return folder


def largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest values of each row; 0 elsewhere."""
    kept = values.topk(k).indices
    return torch.zeros_like(values).scatter(-1, kept, values.gather(-1, kept))


def loaded(folder: Path) -> Any:
    return load_sae(find_sae(str(folder)), "cpu")


def check(sae: Any, activations: torch.Tensor, weights: dict[str, torch.Tensor]) -> None:
    """Activations and reconstruction are those of a formula written by hand."""
    assert 0 < (activations > 0).float().mean() < 1
    with torch.no_grad():
        torch.testing.assert_close(sae.encode(X), activations)
        reconstruction = activations @ weights["dec"] + weights["b_dec"]
        torch.testing.assert_close(sae.decode(sae.encode(X)), reconstruction, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalized", [True, False])
def test_sparsify(normalized: bool, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """sae_lens' own function for these folders transposes the decoder, and leaves out b_dec if `normalize_decoder`."""
    sae = loaded(sparsify(tmp_path / "layers.3", weights, normalize_decoder=normalized))
    before = relu((X - weights["b_dec"]) @ weights["enc"] + weights["b_enc"])
    check(sae, largest(before, K), weights)
    metadata = sae.cfg.metadata
    assert (metadata.model_name, metadata.hook_name) == ("org/model", "blocks.3.hook_resid_post")
    assert metadata.context_size == CONTEXT
    assert sae.W_dec.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("layers.3.mlp", {}, "reads the output of the module 'layers.3.mlp'"),
        ("layers.3", {"transcode": True}, "transcode"),
        ("layers.3", {"skip_connection": True}, "skip_connection"),
        ("layers.3", {"gram_lookup": True}, "gram_lookup"),
        ("layers.3", {"signed": True}, "signed"),
        ("layers.3", {"activation": "groupmax"}, "groupmax"),
    ],
)
def test_what_sae_lens_would_leave_out_of_sparsify_is_refused(
    name: str, changed: dict[str, object], said: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(CatalogError, match=said):
        loaded(sparsify(tmp_path / name, weights, **changed))


def test_a_hook_that_sparsify_does_not_name_can_be_added(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    sae = loaded(sparsify(tmp_path / "layers.3.mlp", weights, hook_name="blocks.3.hook_mlp_out"))
    assert sae.cfg.metadata.hook_name == "blocks.3.hook_mlp_out"


@pytest.mark.parametrize("kind", ["AutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "GatedAutoEncoder"])
def test_dictionary_learning(kind: str, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    sae = loaded(dictionary_learning(tmp_path / "trainer_0", kind, weights))
    inner = (X - weights["b_dec"]) @ weights["enc"]
    before = inner + weights["b_enc"]
    gated = (before > 0) * relu((weights["more"] * 0.1).exp() * inner + weights["more"])
    formulas = {"AutoEncoder": relu(before), "AutoEncoderTopK": largest(relu(before), K), "GatedAutoEncoder": gated}
    check(sae, formulas.get(kind, before * (before > 4.0)), weights)
    assert (sae.cfg.metadata.model_name, sae.cfg.metadata.hook_name) == ("org/model", "blocks.2.hook_resid_post")


@pytest.mark.parametrize(
    ("kind", "place", "said"),
    [
        ("AutoEncoderNew", "resid_post_layer_2", "no formula for the class AutoEncoderNew"),
        ("AutoEncoder", "mlp_out_layer_2", "reads mlp_out_layer_2"),
        ("AutoEncoder", None, "a place that it does not name"),
    ],
)
def test_what_sae_lens_would_take_for_something_else_is_refused(
    kind: str, place: str | None, said: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    folder = dictionary_learning(tmp_path / "trainer_0", kind, weights, place=place)
    with pytest.raises(CatalogError, match=said):
        loaded(folder)


def test_llama_scope(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """It was trained on activations of the mean norm sqrt(d_in), which its settings relate to the model's."""
    folder, norm, threshold = tmp_path / "Llama3_1-8B-Base-L8R-8x", 9.0, 1.5
    settings = {
        "d_model": D_IN,
        "d_sae": D_SAE,
        "jump_relu_threshold": threshold,
        "hook_point_in": "blocks.8.hook_resid_post",
    }
    settings |= {
        "hook_point_out": "blocks.8.hook_resid_post",
        "dataset_average_activation_norm": {"in": norm, "out": norm},
    }
    write(folder / "hyperparams.json", settings)
    (folder / "checkpoints").mkdir()
    tensors = {"encoder.weight": weights["enc"].T, "decoder.weight": weights["dec"].T}
    tensors |= {"encoder.bias": weights["b_enc"], "decoder.bias": weights["b_dec"]}
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, folder / "checkpoints" / "final.safetensors"
    )
    # In float64, so that the order of sums, which depends on the number of threads, makes no difference.
    sae = loaded(folder).to(torch.float64)
    x, exact = X.double(), {name: value.double() for name, value in weights.items()}
    factor = D_IN**0.5 / norm
    before = x * factor @ exact["enc"] + exact["b_enc"]
    activations = before * (before > threshold * factor)
    with torch.no_grad():
        torch.testing.assert_close(sae.encode(x), activations, rtol=1.3e-6, atol=1e-5)
        reconstruction = (activations @ exact["dec"] + exact["b_dec"]) / factor
        torch.testing.assert_close(sae.decode(sae.encode(x)), reconstruction, rtol=1.3e-6, atol=1e-5)
    assert folder / "checkpoints" in sae_places(find_sae(str(folder)))
    write(folder / "hyperparams.json", {**settings, "hook_point_out": "blocks.8.hook_mlp_out"})
    with pytest.raises(CatalogError, match="hook_mlp_out"):
        loaded(folder)


def test_gemma_scope_2(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """The names of the folders say what it reads; `resources` in the path above does not."""
    folder = tmp_path / "resources" / "gemma-scope-2-1b-pt" / "mlp_out" / "layer_12_width_16k_l0_small"
    write(folder / "config.json", {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt"})
    tensors = {"w_enc": weights["enc"], "w_dec": weights["dec"], "b_enc": weights["b_enc"], "b_dec": weights["b_dec"]}
    save_file({**tensors, "threshold": weights["more"].abs()}, folder / "params.safetensors")
    sae = loaded(folder)
    before = X @ weights["enc"] + weights["b_enc"]
    check(sae, before * (before > weights["more"].abs()), weights)
    metadata = sae.cfg.metadata
    assert (metadata.model_name, metadata.hook_name) == ("google/gemma-3-1b-pt", "blocks.12.hook_mlp_out")


@pytest.mark.slow
def test_gemma_scope(tmp_path: Path) -> None:
    """Its width and that of the model are as the names of the folders say."""
    folder = tmp_path / "att" / "gemma-scope-2b-pt-res" / "layer_3" / "width_4k" / "average_l0_9"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    shapes = {"W_enc": (2304, 4096), "W_dec": (4096, 2304), "b_enc": 4096, "b_dec": 2304, "threshold": 4096}
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(folder / "params.npz", **arrays)
    sae = loaded(folder)
    x = generator.normal(size=(2, 2304)).astype(np.float32)
    before = x @ arrays["W_enc"] + arrays["b_enc"]
    wanted = np.maximum(before, 0) * (before > arrays["threshold"])
    with torch.no_grad():
        np.testing.assert_allclose(sae.encode(torch.from_numpy(x)), wanted, rtol=1e-3, atol=1e-3)
    assert (sae.cfg.metadata.model_name, sae.cfg.metadata.hook_name) == ("gemma-2-2b", "blocks.3.hook_resid_post")


def test_folders_of_gemma_scope_keep_their_names(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for name in ("params.npz", "params.safetensors"):
        folder = tmp_path / name
        write(folder / "config.json", {})
        (folder / name).write_bytes(b"")
        with pytest.raises(CatalogError, match="names of folders") as caught:
            loaded(folder)
        assert "gemma-scope-2b-pt-res/layer_20" in caught.value.fix


def test_a_pickle_in_a_folder_is_refused_by_name(weights: Any, marker: Path, explore: Callable, tmp_path: Path) -> None:
    folder = dictionary_learning(tmp_path / "trainer_0", "AutoEncoder", weights)
    torch.save({**torch.load(folder / "ae.pt"), "optimizer": Bomb(marker)}, folder / "ae.pt")
    said = explore("--sae", folder)
    assert "builtins.exec" in said
    assert "keep only the tensors" in said
    assert not marker.exists()


@pytest.mark.slow
def test_the_advice_for_a_pickle_works(weights: Any, explore: Callable, models: Callable, tmp_path: Path) -> None:
    folder = dictionary_learning(tmp_path / "trainer_0", "AutoEncoder", weights, str(models("llama")))
    torch.save({**torch.load(folder / "ae.pt"), "when": Path("x")}, folder / "ae.pt")
    test_models_safe_loading.advised(explore("--sae", folder), folder)
    assert explore("--sae", folder) == ""


# From the command line


def test_folders_of_other_trainers_are_run(weights: Any, explore: Callable, models: Callable, tmp_path: Path) -> None:
    model = str(models("llama"))
    assert explore("--sae", sparsify(tmp_path / "layers.2", weights, model)) == ""
    assert explore("--sae", dictionary_learning(tmp_path / "trainer_0", "AutoEncoderTopK", weights, model)) == ""


@pytest.mark.slow
def test_folders_of_other_trainers_are_built_and_verified(
    weights: Any, models: Callable, workshop: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    model, places = str(models("llama")), ["--cache", str(tmp_path / "cache"), "--quiet"]
    folders = (
        sparsify(tmp_path / "layers.2", weights, model),
        dictionary_learning(tmp_path / "trainer_0", "BatchTopKSAE", weights, model),
    )
    texts = ["--corpus", str(workshop / "corpus"), "--limit-tokens", "200", "--device", "cpu"]
    for folder in folders:
        site = str(tmp_path / f"site-{folder.name}")
        assert main(["build", "--sae", str(folder), *texts, *places, "--out", site]) == 0, capsys.readouterr().err
        assert main(["verify", site, "--sample", "10", *places]) == 0, capsys.readouterr()


def test_changed_settings_beside_the_folder_are_noticed(weights: Any, tmp_path: Path) -> None:
    folder = sparsify(tmp_path / "layers.2", weights)
    assert (folder / ".." / "config.json") in sae_places(find_sae(str(folder)))


# What is there, and what is missing


def test_the_folders_of_a_collection_are_named(weights: Any, explore: Callable, tmp_path: Path) -> None:
    for layer in (10, 2):
        sparsify(tmp_path / "saes" / f"layers.{layer}", weights)
    said = explore("--sae", tmp_path / "saes")
    assert "a collection of 2" in said
    assert f"--sae {tmp_path}/saes/layers.2." in said
    assert "layers.2, layers.10." in said


def test_an_sae_beside_many_files_is_found(weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of folders below count last, and hidden folders not at all."""
    folder = sparsify(tmp_path / "layers.2", weights)
    for name in (".git", "a", "b"):
        (folder / name).mkdir()
        for i in range(30):
            (folder / name / f"{i}").write_text("", encoding="utf-8")
    monkeypatch.setattr("saecatalog.saes.folders.MOST_FILES", 3)
    assert find_sae(str(folder)).folder == folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cfg.json"], ["It has: cfg.json.", "sae_weights.safetensors (sae_lens)", "sae.safetensors (sparsify)"]),
        (["ae.pt", "x.txt"], ["It has: ae.pt, x.txt.", "config.json (dictionary_learning)"]),
        (["config.json"], ["ae.pt (dictionary_learning)"]),
        (["notes.md"], ["It has: notes.md.", "cfg.json and sae_weights.safetensors, as sae_lens saves it"]),
        ([], ["It is empty."]),
        ([f"{i}.txt" for i in range(30)], ["and 22 more"]),
    ],
)
def test_what_a_folder_lacks_is_said(names: list[str], said: list[str], explore: Callable, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in names:
        (tmp_path / "folder" / name).write_text("{}", encoding="utf-8")
    found = explore("--sae", tmp_path / "folder")
    assert "does not contain an SAE" in found
    assert all(words in found for words in said), found


@pytest.mark.parametrize(
    ("files", "trainer"),
    [
        (["config.json", "sae_weights.safetensors"], "Llamascopium"),
        (["conf.yaml", "latest_ckpt.safetensors"], "temporal SAEs"),
    ],
)
def test_a_trainer_that_cannot_be_read_is_named(
    files: list[str], trainer: str, explore: Callable, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    for name in files:
        (tmp_path / "folder" / name).write_text("{}", encoding="utf-8")
    assert f"saved by {trainer}," in explore("--sae", tmp_path / "folder")


# Settings of sae_lens


@pytest.fixture
def sae(saes: Callable, tmp_path: Path) -> Path:
    """A copy of an SAE that sae_lens saved, to be changed."""
    return shutil.copytree(saes("llama", SaeKind("jumprelu")), tmp_path / "sae")


def test_a_newer_sae_lens_is_told(sae: Path, explore: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    newer = {"sae_lens_version": "99.1.0"}
    change_json(sae / "cfg.json", lambda settings: settings["metadata"].update(newer))
    assert load_sae(find_sae(str(sae)), "cpu").cfg.d_sae == D_SAE
    assert "saved by sae_lens 99.1.0" in capsys.readouterr().err
    change_json(sae / "cfg.json", lambda settings: settings.update(squared=True))
    said = explore("--sae", sae)
    assert "does not know the setting squared" in said
    assert "99.1.0" in said
    change_json(sae / "cfg.json", lambda settings: settings.update(architecture="cubist"))
    assert "no architecture 'cubist'" in explore("--sae", sae)


def test_a_setting_without_meaning_is_told(sae: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_json(sae / "cfg.json", lambda settings: settings.update(squared=True))
    load_sae(find_sae(str(sae)), "cpu")
    said = capsys.readouterr().err
    assert "sae_lens does not know the setting squared" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["metadata"].pop("model_name"), "does not name its model"),
        (lambda c: c["metadata"].pop("hook_name"), "does not name its hook"),
        (lambda c: c.pop("dtype"), "The setting 'dtype' is missing"),
        (lambda c: c.pop("d_sae"), "d_sae"),
        (lambda c: c.update(d_sae=7), "size mismatch for"),
        (lambda c: c["metadata"].update(context_size="x"), "context_size of 'x'"),
        (lambda c: c["metadata"].update(context_size=-4), "context_size of -4"),
        (lambda c: c["metadata"].update(context_size=1), "context_size of 1"),
        (lambda c: c.update(metadata=[1]), "metadata are not a table"),
        (lambda c: c.update(architecture=None), "no architecture 'None'"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_one_error(
    change: Callable, said: str, sae: Path, models: Callable, explore: Callable
) -> None:
    change_json(sae / "cfg.json", change)
    model = [] if "its model" in said else ["--model", models("llama")]
    assert said in explore("--sae", sae, *model)


def test_settings_that_are_no_table_are_one_error(sae: Path, explore: Callable) -> None:
    for content in ("[1]", "{", '"x"'):
        (sae / "cfg.json").write_text(content, encoding="utf-8")
        assert "configuration cannot be read" in explore("--sae", sae)


# Repositories of the Hub


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder above a Hub cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    return tmp_path / "home"


def test_a_repository_that_is_one_sae_is_loaded(home: Path, sae: Path, explore: Callable) -> None:
    shutil.copytree(sae, snapshot(home, "someone/my-sae"), dirs_exist_ok=True)
    assert find_sae("someone/my-sae") == SaeSource("someone/my-sae", "someone/my-sae", "", None)
    assert explore("--sae", "someone/my-sae") == ""


def test_a_collection_on_the_hub_names_its_folders(home: Path, sae: Path, explore: Callable) -> None:
    for name in ("layer_10", "layer_2"):
        shutil.copytree(sae, snapshot_once(home, "someone/saes") / "deep" / name)
    said = explore("--sae", "someone/saes")
    assert "a collection of 2" in said
    assert "deep/layer_2, deep/layer_10" in said
    assert "--sae someone/saes/deep/layer_2" in said
    assert explore("--sae", "someone/saes/deep/layer_2") == ""
    assert "deep/layer_2, deep/layer_10" in explore("--sae", "someone/saes/layer_2")


def snapshot_once(home: Path, repository: str) -> Path:
    """The snapshot of a repository, made at the first call."""
    kept = home / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / test_models_hub.COMMIT
    return kept if kept.is_dir() else snapshot(home, repository)


def test_folders_of_other_trainers_on_the_hub(home: Path, weights: Any, models: Callable, explore: Callable) -> None:
    model = str(models("llama"))
    kept = snapshot(home, "someone/others")
    sparsify(kept / "layers.2", weights, model)
    dictionary_learning(kept / "resid" / "trainer_0", "AutoEncoder", weights, model)
    assert explore("--sae", "someone/others/layers.2") == ""
    assert explore("--sae", "someone/others/resid/trainer_0") == ""
    source = find_sae("someone/others/layers.2")
    assert load_sae(source, "cpu").cfg.metadata.model_name == model
    assert kept / "layers.2" / ".." / "config.json" in sae_places(source)


def test_nothing_is_downloaded_of_an_sae_that_cannot_be_read(
    home: Path, explore: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("config.json", "sae_weights.safetensors"):
        (snapshot_once(home, "someone/else") / name).write_text("{}", encoding="utf-8")
    asked: list[object] = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *given: asked.append(given))
    assert "saved by Llamascopium," in explore("--sae", "someone/else")
    assert asked == []


def test_a_repository_without_an_sae_is_told(home: Path, explore: Callable) -> None:
    (snapshot(home, "someone/model") / "model.safetensors").write_bytes(b"")
    said = explore("--sae", "someone/model")
    assert "It has: model.safetensors." in said


def test_a_folder_of_a_repository_is_that_of_its_release() -> None:
    """So its format is known; the release and its repository may have the same folders under other names."""
    name = "google/gemma-scope-2b-pt-att/layer_0/width_16k/average_l0_104"
    assert find_sae(name).release.startswith("gemma-scope-2b-pt-att")
    qwen = find_sae("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer3.sae.pt")
    assert (qwen.release, qwen.id) == ("qwen-scope-3-1.7b-base-w32k-l50", "layer3")
    other = find_sae("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/other")
    assert (other.release, other.id) == ("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", "other")


def test_a_repository_that_has_releases_names_them(explore: Callable) -> None:
    said = explore("--sae", "jbloom/GPT2-Small-SAEs-Reformatted")
    assert "sae_lens lists it as gpt2-small-res-jb." in said
    assert "--sae gpt2-small-res-jb/blocks.0.hook_resid_pre" in said


@pytest.mark.usefixtures("home")
def test_an_unknown_repository_is_one_error(explore: Callable) -> None:
    said = explore("--sae", "someone/unknown")
    assert "hub cannot be reached" in said
    assert "which is no folder here" in said
    assert "Did you mean gpt2-small-res-jb" in explore("--sae", "gpt2-small-res-jv/blocks.6.hook_resid_pre")


def test_choices_are_in_the_order_of_numbers() -> None:
    names = [f"a/layer_{i}/{file}" for i in (10, 9, 1) for file in ("cfg.json", "sae_weights.safetensors")]
    assert choices([*names, "b/cfg.json", "README.md"]) == ["a/layer_1", "a/layer_9", "a/layer_10"]


def test_weights_of_other_trainers_are_not_changed_on_disk(weights: Any, tmp_path: Path) -> None:
    folder = sparsify(tmp_path / "layers.2", weights)
    loaded(folder)
    assert torch.equal(load_file(folder / "sae.safetensors")["W_dec"], weights["dec"])


# Releases of the directory


def put(home: Path, release: str, sae_id: str) -> Path:
    """The path of a release's SAE in the Hub cache."""
    lookup = get_pretrained_saes_directory()[release]
    path = snapshot(home, lookup.repo_id) / lookup.saes_map[sae_id]
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_the_model_of_a_release_is_named_in_full(home: Path, weights: Any) -> None:
    """sae_lens shortens it to `gpt-oss-20b`, a name that no library has."""
    folder = put(home, "gpt-oss-20b-andyrdt", "resid_post_layer_3_trainer_0")
    dictionary_learning(folder, "BatchTopKSAE", weights, "openai/gpt-oss-20b")
    source = find_sae("gpt-oss-20b-andyrdt/resid_post_layer_3_trainer_0")
    assert load_sae(source, "cpu").cfg.metadata.model_name == "openai/gpt-oss-20b"


def test_a_model_that_directory_and_neuronpedia_contradict_is_told(
    home: Path, weights: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """sae_lens' function for these SAEs of a distilled model names the model that was there before."""
    folder = put(home, "llama_scope_r1_distill", "l0r_800m_slimpajama")
    settings = {"d_model": D_IN, "expansion_factor": 2, "hook_point_in": "blocks.0.hook_resid_post"}
    write(folder / "config.json", settings)
    wide = torch.randn(2 * D_IN, D_IN)
    tensors = {"encoder.weight": wide, "decoder.weight": wide.T.contiguous(), "encoder.bias": torch.zeros(2 * D_IN)}
    tensors |= {"decoder.bias": torch.zeros(D_IN), "log_jumprelu_threshold": torch.zeros(2 * D_IN)}
    save_file(tensors, folder / "sae_weights.safetensors")
    sae = load_sae(find_sae("llama_scope_r1_distill/l0r_800m_slimpajama"), "cpu")
    assert sae.cfg.metadata.model_name == "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"
    said = capsys.readouterr().err
    assert "its settings say meta-llama/Llama-3.1-8B" in said
    assert said.count("\n") == 1


def test_what_sae_lens_warns_about_is_told(
    home: Path, weights: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer of a cross-layer transcoder is no transcoder."""
    release = "mntss-gemma-2-2b-2.5m-clt-as-per-layer"
    kept = put(home, release, "layer_1").parent
    hooks = "model_name: gemma-2-2b\nfeature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n"
    (kept / "config.yaml").write_text(hooks, encoding="utf-8")
    encoder = {"W_enc_1": weights["enc"].T.contiguous(), "b_enc_1": weights["b_enc"], "b_dec_1": weights["b_dec"]}
    save_file(encoder, kept / "W_enc_1.safetensors")
    save_file({"W_dec_1": torch.stack([weights["dec"], weights["dec"]], 1)}, kept / "W_dec_1.safetensors")
    shapes = {name: list(value.shape) for name, value in encoder.items()}
    monkeypatch.setattr(pretrained_sae_loaders, "get_safetensors_tensor_shapes", lambda *_: shapes)
    sae = load_sae(find_sae(f"{release}/layer_1"), "cpu")
    assert torch.equal(sae.W_dec, 2 * weights["dec"])
    said = capsys.readouterr().err
    assert "summing all decoders together" in said
    assert said.count("\n") == 1
