"""Which library runs a model, and models and tokenizers that do not fit: right values, or one error."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from any_sae import save_any
from conftest import LLAMA_TOKENS, make_tokenizer
from families import load_plain, make, values
from harvesting import make_text, run
from safetensors.torch import load_file, save_file

from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.errors import CatalogError
from saecatalog.store import read_store
from saecatalog.subject import load_subject

HOOK = "blocks.1.hook_resid_pre"
IDS = torch.arange(3, 13)[None]


@pytest.fixture
def load(workshop: Path, tmp_path: Path) -> Callable[..., Any]:
    """Returns the subject of a new SAE for a model."""

    def loaded(model: Path, hook: str = HOOK, architecture: str = "standard", **metadata: Any) -> Any:
        save_any(tmp_path / "sae", model, architecture, hook, **metadata)
        return load_subject(SubjectConfig(sae=str(tmp_path / "sae"), device="cpu"), Cache(workshop / "cache"))

    return loaded


@pytest.fixture
def model(models: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a model that a test may change."""
    return Path(shutil.copytree(models("llama"), tmp_path / "model"))


def edit(file: Path, **changes: Any) -> None:
    """Set values of a JSON file; None removes one."""
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def keep_rows(model: Path, rows: int) -> None:
    """Cut the model's embedding and unembedding."""
    weights = load_file(model / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:rows].contiguous()
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    edit(model / "config.json", vocab_size=rows)


def test_a_tokenizer_with_more_ids_than_the_model_has_rows(model: Path, load: Callable) -> None:
    rows = 200
    keep_rows(model, rows)
    highest = len(hf.AutoTokenizer.from_pretrained(model)) - 1
    assert highest > rows
    with pytest.raises(CatalogError, match=f"has ids up to {highest}, but the model has embeddings for {rows}"):
        load(model)


def test_special_tokens_without_a_row_do_not_matter_unless_a_text_has_them(
    model: Path, load: Callable, tmp_path: Path
) -> None:
    """Some models have a padding token that was added after training."""
    tokenizer = hf.AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<extra {n}>" for n in range(40)]})
    tokenizer.save_pretrained(model)
    subject = load(model)
    assert len(subject.tokenizer) > subject.info.d_vocab
    text = make_text(0, "The cat <extra 39> sat.")
    run(subject, [text], tmp_path / "store")
    with pytest.raises(CatalogError, match=r"contains the token \d+, but the model has embeddings for \d+") as caught:
        run(subject, [replace(text, special_tokens=True)], tmp_path / "other")
    assert caught.value.where == text.source


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_a_model_without_a_tokenizer(shape: str, models: Callable, load: Callable, tmp_path: Path) -> None:
    """For GPT-2, transformers makes a tokenizer that knows no words."""
    folder = Path(shutil.copytree(models(shape), tmp_path / "bare"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(CatalogError, match=r"^This model has no tokenizer\.") as caught:
        load(folder)
    assert caught.value.where == str(folder)


def without(model: Path, *kinds: str) -> Path:
    """The model, with a tokenizer that has not these special tokens."""
    edit(model / "tokenizer_config.json", **dict.fromkeys(f"{kind}_token" for kind in kinds))
    return model


def test_eos_begins_windows_where_transformer_lens_uses_it(model: Path, load: Callable) -> None:
    """As in training with transformer_lens, for Qwen and others."""
    subject = load(without(model, "bos"))
    assert subject.info.library == "transformer_lens"
    assert subject.info.bos_token_id == subject.tokenizer.convert_tokens_to_ids("</s>")
    assert subject.info.prepend_bos


@pytest.mark.parametrize("kind", ["AutoModelForCausalLM", "TransformerBridge"])
def test_without_any_token_to_begin_with(
    kind: str, model: Path, load: Callable, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """No token's row may be dropped in the place of a BOS that is not there.

    Without EOS too, transformer_lens adds a token, for which this model has no row.
    """
    keep_rows(model, len(hf.AutoTokenizer.from_pretrained(model)))
    kinds = ("bos",) if kind == "AutoModelForCausalLM" else ("bos", "eos", "pad")
    subject = load(without(model, *kinds), model_class_name=kind)
    assert (subject.info.bos_token_id, subject.info.prepend_bos) == (None, False)
    assert "has no BOS token, so windows begin without one" in capfd.readouterr().err
    store = read_store(run(subject, [make_text(0, "The cat sat on the mat.")], tmp_path / "store"))
    ids = subject.tokenizer.encode("The cat sat on the mat.", add_special_tokens=False)
    assert store.token_ids.tolist() == ids
    with torch.inference_mode():
        read, _ = subject.values(torch.tensor([ids]))
    np.testing.assert_allclose(store.norms, read[0].norm(dim=-1).numpy(), rtol=1e-4)


def test_an_architecture_that_transformer_lens_does_not_know(load: Callable, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(LLAMA_TOKENS)
    config = hf.HeliumConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=len(tokenizer), initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    hf.HeliumForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    subject = load(tmp_path / "model")
    assert subject.info.library == "transformers"
    with torch.inference_mode():
        states = load_plain(tmp_path / "model")(IDS, output_hidden_states=True).hidden_states
        torch.testing.assert_close(subject.values(IDS)[0], states[1])


def test_a_hook_that_transformer_lens_does_not_reach(load: Callable, tmp_path: Path) -> None:
    """In Phi's TransformerBridge the hook before the MLP never fires."""
    folder = make("Phi", make_tokenizer(LLAMA_TOKENS), tmp_path / "model")
    hook = "blocks.1.hook_mlp_in"
    subject = load(folder, hook)
    assert subject.info.library == "transformers"
    wanted = values("Phi", load_plain(folder), IDS)[hook]
    with torch.inference_mode():
        np.testing.assert_allclose(subject.values(IDS)[0][0].numpy(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["AutoModelForCausalLM", "TransformerBridge"])
@pytest.mark.parametrize(("model_type", "words"), [("t5", "Unrecognized conf"), ("brandnew", "does not recognize")])
def test_a_model_that_is_not_one_of_language(
    model_type: str, words: str, kind: str, model: Path, load: Callable
) -> None:
    edit(model / "config.json", model_type=model_type)
    with pytest.raises(CatalogError, match=r"^This model cannot be loaded\.") as caught:
        load(model, model_class_name=kind)
    assert words in caught.value.fix


def test_a_model_without_attention(load: Callable, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(LLAMA_TOKENS)
    config = hf.MambaConfig(
        hidden_size=32, num_hidden_layers=3, vocab_size=len(tokenizer), state_size=4, initializer_range=0.3
    )
    hf.MambaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    subject = load(tmp_path / "model", "backbone.layers.1")
    assert subject.info.library == "transformers"
    module = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    with torch.inference_mode():
        reached: list[torch.Tensor] = []
        module.backbone.layers[1].register_forward_hook(lambda _, __, out: reached.append(out))
        module(IDS)
        torch.testing.assert_close(subject.values(IDS)[0], reached[0])


def test_plain_transformers_cannot_fold(model: Path, load: Callable) -> None:
    hook = "blocks.1.attn.hook_nothing"
    with pytest.raises(CatalogError, match=f"does not have the SAE's hook '{hook}'"):
        load(model, hook, model_from_pretrained_kwargs={"fold_ln": True})


@pytest.mark.slow
@torch.inference_mode()
def test_models_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that fires three times in a HookedTransformer, one that it does not have, and a model it does not list."""
    tokenizer = make_tokenizer(LLAMA_TOKENS)
    cases = {
        "twice": ("GPT-2", "gpt2", "blocks.1.ln1.hook_normalized", {}),
        "absent": ("Qwen 3", "Qwen/Qwen3-0.6B", "blocks.1.mlp.hook_in", {"hook_name_out": "blocks.1.hook_mlp_out"}),
        "unlisted": ("Qwen 3", "Qwen/Qwen3-1.7B-Base", HOOK, {}),
    }
    for name, (family, model, hook, metadata) in cases.items():
        snapshot = tmp_path / f"hub/models--{model.replace('/', '--')}"
        (snapshot / "refs").mkdir(parents=True)
        (snapshot / "refs/main").write_text("abc")
        folder = make(family, tokenizer, snapshot / "snapshots/abc")
        edit(folder / "config.json", n_ctx=64)
        without(folder, *(["bos"] if family == "Qwen 3" else []))
        architecture = "transcoder" if metadata else "standard"
        save_any(tmp_path / name, Path(model), architecture, hook, **metadata)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    eos = tokenizer.convert_tokens_to_ids("</s>")
    facts = {
        "twice": ("HookedTransformer", tokenizer.bos_token_id),
        "absent": ("Qwen3ForCausalLM", eos),
        "unlisted": ("Qwen3ForCausalLM", None),
    }
    for name, (family, model, hook, _) in cases.items():
        subject = load_subject(SubjectConfig(sae=str(tmp_path / name), device="cpu"), Cache(tmp_path / "cache"))
        assert (type(subject.model.module).__name__, subject.info.bos_token_id) == facts[name]
        folder = tmp_path / f"hub/models--{model.replace('/', '--')}/snapshots/abc"
        wanted = values(family, load_plain(folder), IDS)[hook]
        np.testing.assert_allclose(subject.values(IDS)[0][0].numpy(), wanted, rtol=1e-3, atol=1e-3)


def test_a_failure_of_transformer_lens_is_told(
    load: Callable[..., Any], model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another library may give other values, for instance another BOS, so it does not take over without a word."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ\nand more")

    monkeypatch.setattr("transformer_lens.model_bridge.TransformerBridge.boot_transformers", fail)
    assert load(model).info.library == "transformers"
    said = f"{model}: plain transformers runs this model, as transformer_lens fails: RuntimeError: shapes differ\n"
    assert said in capsys.readouterr().err
