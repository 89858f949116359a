"""What comes with a model or an SAE runs no code, is tensors and is finite, or there is one clear error."""

import builtins
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_models_hub
import torch
from conftest import SaeKind
from huggingface_hub.errors import EntryNotFoundError
from sae_lens.loading import pretrained_sae_loaders
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from safetensors.torch import load_file, save_file
from test_models_hub import snapshot

from saecatalog.cli import main
from saecatalog.config import Config, SubjectConfig, load_config
from saecatalog.errors import CatalogError
from saecatalog.models.safe_loading import only_data
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress

hub = test_models_hub.hub

KIND = SaeKind("jumprelu")
ROOT = Path(__file__).parent.parent


class Bomb:
    """An object whose pickle writes a file when it is opened."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return exec, (f"open({str(self.marker)!r}, 'w')",)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that exists once foreign code has run."""
    return tmp_path / "marker"


@pytest.fixture
def sae(saes: Callable, tmp_path: Path) -> Path:
    """A copy of an SAE, to be changed."""
    return shutil.copytree(saes("llama", KIND), tmp_path / "sae")


@pytest.fixture
def model(models: Callable, tmp_path: Path) -> Path:
    """A copy of the SAE's model, to be changed."""
    return shutil.copytree(models("llama"), tmp_path / "model")


@pytest.fixture
def explore(workshop: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Explores a feature, the quickest command that loads a model and an SAE; returns the error, if any.

    A question on standard input fails the test.
    """
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("a library asked a question"))

    def run(*words: str | Path) -> str:
        places = ["--cache", str(tmp_path / "cache"), "--device", "cpu", "--quiet"]
        capsys.readouterr()  # what a fixture printed that saved a model just now
        code = main(["explore", "5", "--text", "The cat sat.", *map(str, words), *places])
        said = capsys.readouterr().err
        assert (code, said.count("error: ")) in ((0, 0), (2, 1)), said
        assert "Traceback" not in said
        return str(said)

    return run


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def ask_for(sae: Path, arguments: object, kind: str | None = None) -> None:
    """Let an SAE's metadata ask for a model loaded with some arguments."""
    changed = {"model_from_pretrained_kwargs": arguments} | ({"model_class_name": kind} if kind else {})
    change_json(sae / "cfg.json", lambda settings: settings["metadata"].update(changed))


# Arguments for the model's loader

REFUSED = [
    ("trust_remote_code", True),
    ("trust_remote_code", False),
    ("code_revision", "main"),
    ("revision", "refs/pr/1"),
    ("cache_dir", "/tmp"),
    ("use_safetensors", False),
    ("hf_model", None),
    ("device_map", "auto"),
    ("quantization_config", {}),
    ("fold_ln ", True),
    ("fold_ln", "yes"),
    ("fold_ln", 1),
    ("center_writing_weights", None),
    ("n_devices", 2),
    ("n_devices", True),
    ("checkpoint_value", 3000),
    ("dtype", "float64"),
    ("torch_dtype", 32),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=lambda v: str(v))
def test_an_argument_that_is_not_known_to_be_harmless_is_refused_by_name(
    name: str, value: object, sae: Path, explore: Callable
) -> None:
    ask_for(sae, {"center_unembed": False, name: value}, "HookedTransformer")
    assert f"{name}={value!r}" in explore("--sae", sae)


def test_a_number_format_other_than_that_of_the_run_is_refused(sae: Path, explore: Callable) -> None:
    ask_for(sae, {"torch_dtype": "torch.bfloat16"})
    assert "Add --dtype bfloat16." in explore("--sae", sae)
    assert explore("--sae", sae, "--dtype", "bfloat16") == ""


def test_arguments_that_change_nothing_are_taken(sae: Path, explore: Callable) -> None:
    ask_for(sae, {"n_devices": 1, "dtype": "float32", "fold_ln": False})
    assert explore("--sae", sae) == ""


def test_a_change_that_the_class_of_the_model_does_not_make_is_refused(sae: Path, explore: Callable) -> None:
    ask_for(sae, {"center_writing_weights": True}, "TransformerBridge")
    assert "only HookedTransformer" in explore("--sae", sae)


def test_arguments_that_are_not_a_table_are_refused(sae: Path, explore: Callable) -> None:
    ask_for(sae, ["trust_remote_code"])
    assert "not a table" in explore("--sae", sae)


@pytest.mark.usefixtures("hub_cache")
def test_a_class_of_models_that_is_not_known_is_refused(sae: Path, explore: Callable) -> None:
    """`HookedMamba` would be loaded by sae_lens, with a tokenizer that may ask whether to run code."""
    ask_for(sae, {}, "HookedMamba")
    assert "'HookedMamba'" in explore("--sae", sae, "--model", "gpt2")


# Code that comes with a model

OWN_MODEL = """
open({marker!r}, "w")
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig):
    model_type = {model_type!r}
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def give_own_code(model: Path, marker: Path, model_type: str = "own-model") -> None:
    """Let a model's folder name Python files of its own, which write the marker."""
    (model / "own.py").write_text(OWN_MODEL.format(marker=str(marker), model_type=model_type), encoding="utf-8")
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change_json(model / "config.json", lambda c: c.update(model_type=model_type, auto_map=auto_map))


def test_code_of_a_model_runs_only_if_the_user_says_so(sae: Path, model: Path, marker: Path, explore: Callable) -> None:
    give_own_code(model, marker)
    said = explore("--sae", sae, "--model", model)
    assert "needs code of its own" in said
    assert "--trust-remote-code" in said
    assert not marker.exists()
    assert explore("--sae", sae, "--model", model, "--trust-remote-code") == ""
    assert marker.exists()


def test_changed_code_of_a_model_is_another_model(sae: Path, model: Path, marker: Path, tmp_path: Path) -> None:
    """Its weights are the same, but what was computed with them must not be taken from the cache."""
    found = set()
    for comment in ("", "# changed"):
        give_own_code(model, marker)
        (model / "own.py").write_text((model / "own.py").read_text(encoding="utf-8") + comment, encoding="utf-8")
        subject = SubjectConfig(str(sae), str(model), "cpu", trust_remote_code=True)
        found.add(Pipeline(Config(subject, cache=tmp_path / "cache"), Progress(quiet=True)).info.model_sha256)
    assert len(found) == 2


def test_code_that_is_not_needed_does_not_run(sae: Path, model: Path, marker: Path, explore: Callable) -> None:
    give_own_code(model, marker, "llama")
    assert explore("--sae", sae, "--model", model) == ""
    assert not marker.exists()


def test_metadata_cannot_say_whose_code_runs(sae: Path, model: Path, marker: Path, explore: Callable) -> None:
    give_own_code(model, marker)
    change_json(sae / "cfg.json", lambda settings: settings["metadata"].update(model_name=str(model)))
    assert "Add --model" in explore("--sae", sae, "--trust-remote-code")
    assert "needs code of its own" in explore("--sae", sae)
    assert not marker.exists()


def test_metadata_cannot_trust_code(sae: Path, model: Path, marker: Path, explore: Callable) -> None:
    give_own_code(model, marker)
    ask_for(sae, {"trust_remote_code": True}, "HookedTransformer")
    assert "trust_remote_code=True" in explore("--sae", sae, "--model", model)
    assert not marker.exists()


def test_code_of_a_tokenizer_runs_only_if_the_user_says_so(
    sae: Path, model: Path, marker: Path, explore: Callable
) -> None:
    (model / "own.py").write_text(
        f"open({str(marker)!r}, 'w')\nfrom transformers import PreTrainedTokenizerFast as OwnTokenizer\n"
        "class OwnTokenizer(OwnTokenizer): pass\n",
        encoding="utf-8",
    )
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}
    change_json(model / "tokenizer_config.json", lambda config: config.update(own))
    assert "--trust-remote-code" in explore("--sae", sae, "--model", model)
    assert not marker.exists()
    assert explore("--sae", sae, "--model", model, "--trust-remote-code") == ""
    assert marker.exists()


def test_code_for_generation_does_not_run(sae: Path, model: Path, marker: Path, explore: Callable) -> None:
    (model / "custom_generate").mkdir()
    content = f"open({str(marker)!r}, 'w')\ndef generate(model, **kwargs): pass\n"
    (model / "custom_generate" / "generate.py").write_text(content, encoding="utf-8")
    assert explore("--sae", sae, "--model", model) == ""
    assert not marker.exists()


def test_a_library_that_trusts_by_itself_runs_no_code(model: Path, marker: Path) -> None:
    """As transformer_lens does for some names."""
    from transformers import AutoModelForCausalLM

    give_own_code(model, marker)
    with pytest.raises(CatalogError, match="needs code of its own"), only_data("here", "convert"):
        AutoModelForCausalLM.from_pretrained(model, trust_remote_code=True)
    assert not marker.exists()


def test_a_catalog_file_cannot_trust_code(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[subject]\ntrust_remote_code = true\n", encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        load_config(path)
    assert "line 2: [subject] trust_remote_code cannot be set in a file; use --trust-remote-code" in str(caught.value)


@pytest.mark.slow
def test_nothing_is_asked_on_a_terminal(sae: Path, model: Path, marker: Path, tmp_path: Path) -> None:
    """In a process of its own, with an eager `yes` on its standard input."""
    give_own_code(model, marker)
    command = [sys.executable, "build.py", "build", "--sae", str(sae), "--model", str(model), "--device", "cpu"]
    places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "site")]
    run = subprocess.run([*command, *places], cwd=ROOT, input="y\n" * 9, capture_output=True, text=True)
    assert (run.returncode, run.stderr.count("error: "), marker.exists()) == (2, 1, False), run.stderr
    assert not (tmp_path / "site").exists()


# Pickles


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "consolidated.00.pth"])
def test_a_model_that_is_a_pickle_is_refused(
    name: str, sae: Path, model: Path, marker: Path, explore: Callable
) -> None:
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(pickle.dumps(Bomb(marker)))
    said = explore("--sae", sae, "--model", model)
    assert name in said
    assert "convert it to safetensors" in said
    assert not marker.exists()


@pytest.mark.slow
def test_the_advice_for_a_model_works(sae: Path, model: Path, explore: Callable, tmp_path: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    advised(explore("--sae", sae, "--model", model), tmp_path)
    assert explore("--sae", sae, "--model", tmp_path / "FOLDER") == ""


def advised(said: str, folder: Path) -> None:
    """Run the command that an error advises, in a folder."""
    match = re.search(r"python -c '(.*)'", said)
    assert match is not None, said
    with chdir(folder):
        exec(match[1], {})


def test_a_model_without_weights_is_refused(sae: Path, model: Path, explore: Callable) -> None:
    (model / "model.safetensors").unlink()
    assert "There are no weights in the format safetensors" in explore("--sae", sae, "--model", model)


def test_an_index_that_names_a_pickle_is_refused(sae: Path, model: Path, marker: Path, explore: Callable) -> None:
    names = list(load_file(model / "model.safetensors"))
    (model / "model.safetensors").rename(model / "other.safetensors")
    (model / "part.bin").write_bytes(pickle.dumps(Bomb(marker)))
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "part.bin")}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "pickle" in explore("--sae", sae, "--model", model)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["sae_weights.pt", "ae.pt", "weights.pkl"])
def test_an_sae_that_is_a_pickle_is_refused(name: str, sae: Path, marker: Path, explore: Callable) -> None:
    (sae / "sae_weights.safetensors").unlink()
    (sae / name).write_bytes(pickle.dumps(Bomb(marker)))
    said = explore("--sae", sae)
    assert name in said
    assert "convert it to safetensors" in said
    assert not marker.exists()


@pytest.mark.slow
def test_the_advice_for_an_sae_works(sae: Path, explore: Callable) -> None:
    torch.save(load_file(sae / "sae_weights.safetensors"), sae / "sae_weights.pt")
    (sae / "sae_weights.safetensors").unlink()
    advised(explore("--sae", sae), sae)
    assert explore("--sae", sae) == ""


@pytest.mark.parametrize("what", ["sae", "model"])
def test_a_pickle_under_the_name_of_safetensors_is_refused(
    what: str, sae: Path, model: Path, marker: Path, explore: Callable
) -> None:
    file = sae / "sae_weights.safetensors" if what == "sae" else model / "model.safetensors"
    file.write_bytes(pickle.dumps(Bomb(marker)))
    assert "not in the format safetensors" in explore("--sae", sae, "--model", model)
    assert not marker.exists()


def test_an_archive_of_a_pickle_under_the_name_of_safetensors_is_refused(
    sae: Path, marker: Path, explore: Callable
) -> None:
    torch.save(Bomb(marker), sae / "sae_weights.safetensors")
    assert "not in the format safetensors" in explore("--sae", sae)
    assert not marker.exists()


@pytest.fixture
def hub_cache(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache with tiny files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub / "hub"))
    return hub


UNPICKLED = {"connor_rob_hook_z", "dictionary_learning_1", "goodfire", "deepseek_r1", "qwen_scope"}


def test_the_loaders_that_open_pickles_call_one_function() -> None:
    """Those of 34 releases with 1,397 SAEs of sae_lens 6.54.12. `only_data` puts its own in that function's place."""
    source = Path(pretrained_sae_loaders.__file__).read_text(encoding="utf-8")
    assert source.count("torch.load(") == len(UNPICKLED)
    assert "pickle" not in source.replace("unpickle", "")
    assert "from torch import" not in source


HOOK_Z = "gpt2-small-hook-z-kk/blocks.0.hook_z"


@pytest.fixture
def hook_z(hub_cache: Path) -> Callable[[object], None]:
    """Puts an SAE of a release of pickles into the Hub cache."""
    lookup = get_pretrained_saes_directory()["gpt2-small-hook-z-kk"]
    path = snapshot(hub_cache, lookup.repo_id) / lookup.saes_map["blocks.0.hook_z"]
    settings = {"act_size": 16, "dict_size": 20, "act_name": "blocks.0.attn.hook_z"}
    path.with_name(path.stem + "_cfg.json").write_text(json.dumps(settings), encoding="utf-8")

    def put(content: object, **options: Any) -> None:
        torch.save(content, path, **options)

    yield put
    shutil.rmtree(hub_cache / "hub" / f"models--{lookup.repo_id.replace('/', '--')}")


@pytest.mark.slow
def test_tensors_of_a_release_are_loaded(hook_z: Callable, explore: Callable) -> None:
    weights = {"W_enc": torch.randn(16, 20), "W_dec": torch.randn(20, 16)}
    hook_z({**weights, "b_enc": torch.randn(20), "b_dec": torch.randn(16)})
    assert explore("--sae", HOOK_Z) == ""


def test_a_pickle_of_a_release_is_refused(hook_z: Callable, marker: Path, explore: Callable) -> None:
    weights = {"W_enc": torch.randn(16, 20), "W_dec": torch.randn(20, 16), "b_dec": Bomb(marker)}
    hook_z(weights)
    said = explore("--sae", HOOK_Z)
    assert "it names builtins.exec" in said
    assert "convert it to safetensors" in said
    assert not marker.exists()


@pytest.mark.slow
def test_the_advice_for_a_release_works(
    hook_z: Callable, hub_cache: Path, explore: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"W_enc": torch.randn(16, 20), "W_dec": torch.randn(20, 16)}
    hook_z({**weights, "b_enc": torch.randn(20), "b_dec": torch.randn(16)}, _use_new_zipfile_serialization=False)
    assert "not an archive" in explore("--sae", HOOK_Z)
    monkeypatch.setenv("HF_HUB_CACHE", str(hub_cache / "hub"))
    advised(explore("--sae", HOOK_Z), tmp_path)
    assert explore("--sae", tmp_path / "FOLDER") == ""


@pytest.mark.usefixtures("hub_cache")
def test_a_model_of_the_hub_that_is_a_pickle_is_refused(
    hub_cache: Path, sae: Path, marker: Path, explore: Callable
) -> None:
    folder = snapshot(hub_cache, "roneneldan/TinyStories-1M")
    (gpt2,) = (hub_cache / "hub" / "models--gpt2" / "snapshots").iterdir()
    for file in gpt2.glob("*.json"):
        shutil.copy(file, folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(marker)))
    for kind in ("HookedTransformer", "TransformerBridge"):
        ask_for(sae, {}, kind)
        said = explore("--sae", sae, "--model", "roneneldan/TinyStories-1M")
        assert "pickle" in said
        assert "convert it to safetensors" in said
    assert not marker.exists()


def test_a_pickle_that_transformer_lens_opens_without_restriction_is_refused(marker: Path, hub_cache: Path) -> None:
    """As it does for models in a format of its own."""
    from transformer_lens.utilities.hf_utils import download_file_from_hf

    (snapshot(hub_cache, "NeelNanda/GELU_1L512W_C4_Code") / "final.pth").write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(CatalogError, match="pickle") as caught, only_data("here", "convert"):
        download_file_from_hf("NeelNanda/GELU_1L512W_C4_Code", "final.pth", cache_dir=str(hub_cache / "hub"))
    assert "another model" in caught.value.fix
    assert not marker.exists()


@pytest.mark.parametrize("content", ["objects", "pickle"])
def test_an_archive_of_arrays_with_a_pickle_is_refused(content: str, marker: Path, tmp_path: Path) -> None:
    """Gemma Scope's SAEs are such archives."""
    path = tmp_path / "params.npz"
    if content == "objects":
        np.savez(path, w_enc=np.array([Bomb(marker)], object))
    else:
        path.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(CatalogError, match="pickle"), only_data("here", "convert"), np.load(path) as data:
        data["w_enc"]
    assert not marker.exists()


def test_no_package_is_installed(marker: Path) -> None:
    """transformer_lens starts pip for some models, and catches every error of it."""
    with only_data("here", "convert"), suppress(Exception):
        subprocess.check_call([sys.executable, "-c", f"open({str(marker)!r}, 'w')"])
    assert not marker.exists()


@pytest.mark.parametrize("setting", ["attn_implementation", "_attn_implementation"])
def test_a_model_that_asks_for_a_kernel_is_refused(setting: str, sae: Path, model: Path, explore: Callable) -> None:
    """A kernel is compiled code from the Hub."""
    change_json(model / "config.json", lambda config: config.update({setting: "someone/kernel"}))
    assert "This model cannot be loaded." in explore("--sae", sae, "--model", model)


def test_a_refusal_that_a_library_swallows_is_still_told(tmp_path: Path, marker: Path) -> None:
    (tmp_path / "x.pt").write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(CatalogError, match="pickle"), only_data("here", "convert"), suppress(Exception):
        torch.load(tmp_path / "x.pt", weights_only=False)
    assert not marker.exists()


def test_everything_is_as_before_after_loading(tmp_path: Path) -> None:
    before = torch.load, dict(os.environ)
    with pytest.raises(EntryNotFoundError), only_data("here", "convert"):
        raise EntryNotFoundError("another error passes")
    assert (torch.load, dict(os.environ)) == before
    torch.save(torch.ones(1), tmp_path / "x.pt")
    with only_data("here", "convert"):
        pass
    assert torch.load(tmp_path / "x.pt") == 1


# Numbers that are not finite


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("tensor", ["W_enc", "b_enc", "W_dec", "b_dec", "threshold"])
def test_a_weight_that_is_not_finite_is_named(tensor: str, value: float, sae: Path, explore: Callable) -> None:
    weights = load_file(sae / "sae_weights.safetensors")
    place = (3,) * weights[tensor].ndim
    weights[tensor][place] = value
    save_file(weights, sae / "sae_weights.safetensors")
    assert f"'{tensor}[{', '.join('3' * len(place))}]' is {value}" in explore("--sae", sae)


# Rows of zeros


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KIND, SaeKind("topk", rescale=True)], ids=lambda kind: kind.slug)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_features_without_a_direction_are_cataloged(
    kind: SaeKind, saes: Callable, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Two features write nothing, and two read nothing; no table gets a NaN from them, and `verify` agrees."""
    monkeypatch.chdir(ROOT)
    sae = shutil.copytree(saes("llama", kind), tmp_path / "sae")
    weights = load_file(sae / "sae_weights.safetensors")
    weights["W_dec"][[6, 7]] = 0
    weights["W_enc"][:, [7, 8]] = 0
    save_file(weights, sae / "sae_weights.safetensors")
    corpus = ["--corpus", str(workshop / "corpus"), "--concepts", str(workshop / "concepts"), "--features", "all"]
    cache, site = ["--cache", str(tmp_path / "cache"), "--quiet"], tmp_path / "site"
    assert main(["build", "--sae", str(sae), *corpus, *cache, "--device", "cpu", "--out", str(site)]) == 0
    assert main(["check", str(site)]) == 0
    assert main(["verify", str(site), "--sample", "48", *cache]) == 0, capsys.readouterr().out
    for name in ("logits", "logit_histograms", "neighbours", "coactivation", "text_scores", "contexts", "tokens"):
        (file,) = site.rglob(f"data/{name}.parquet")
        numbers = pd.read_parquet(file).select_dtypes("number")
        assert np.isfinite(numbers).all(axis=None), name
    (features,) = site.rglob("data/features.parquet")
    # Too few firings for a score on held-out texts, or none.
    unscored = ("clearness", "clearness_low", "clearness_high")
    assert not pd.read_parquet(features).drop(columns=["silent_below", *unscored]).isna().any(axis=None)
    assert not re.search(r"\bnan\b|\binf\b", next(site.rglob("features/6.html")).read_text(encoding="utf-8"), re.I)


@pytest.mark.slow
def test_verify_runs_code_of_a_model_only_if_the_user_says_so(
    sae: Path, model: Path, marker: Path, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(ROOT)
    give_own_code(model, marker)
    corpus = ["--corpus", str(workshop / "corpus"), "--device", "cpu", "--limit-tokens", "100"]
    cache, site = ["--cache", str(tmp_path / "cache"), "--quiet"], str(tmp_path / "site")
    trust = ["--model", str(model), "--trust-remote-code"]
    assert main(["build", "--sae", str(sae), *trust, *corpus, *cache, "--out", site]) == 0
    marker.unlink()
    # The manifest of a site names the model, and a site may be somebody else's.
    for words in ([], ["--model", str(model)], ["--trust-remote-code"]):
        assert main(["verify", site, "--sample", "2", *cache, *words]) == 2
        assert "needs code of its own" in capsys.readouterr().err
    assert not marker.exists()
    # What was run once stays in this process; a changed file is run anew, and is the one thing that `verify` finds.
    (model / "own.py").write_text((model / "own.py").read_text(encoding="utf-8") + "# changed", encoding="utf-8")
    main(["verify", site, "--sample", "2", *cache, *trust])
    said = capsys.readouterr().out
    assert "manifest.json, model.weights_sha256: published" in said
    assert said.endswith("; 1 mismatch\n")
    assert marker.exists()
