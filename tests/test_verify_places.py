"""The tables of hooks that `verify` reads, against modules named by hand in every family, and transformer_lens."""

import copy
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from conftest import LLAMA_TOKENS, make_tokenizer
from families import FAMILIES, LAYER, N_LAYERS, load_hooked, load_plain, make, values

from saecatalog.verify import places
from saecatalog.verify.model import hook_values, in_double, values_at, windows_of
from saecatalog.verify.places import POINTS, is_in_stream, place_of

IDS = list(range(3, 17))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a family's model."""
    tokenizer = make_tokenizer(LLAMA_TOKENS)

    @cache
    def folder(name: str) -> Path:
        return make(name, tokenizer, tmp_path_factory.mktemp("places"))

    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_values_are_those_of_modules_named_by_hand(name: str, folders: Callable[[str], Path]) -> None:
    model = load_plain(folders(name))
    wanted = values(name, model, torch.tensor([IDS]))
    for hook, value in wanted.items():
        np.testing.assert_allclose(hook_values(model, hook, IDS), value, rtol=1e-5, atol=1e-5, err_msg=hook)
    found = values_at(model, list(wanted), IDS)
    for hook, value in zip(wanted, found, strict=True):
        np.testing.assert_allclose(value, wanted[hook], rtol=1e-5, atol=1e-5, err_msg=f"{hook}, among others")


@pytest.mark.parametrize("name", FAMILIES)
def test_products_in_double_are_nearly_the_model_in_double(name: str, folders: Callable[[str], Path]) -> None:
    model, hook = load_plain(folders(name)), f"blocks.{N_LAYERS - 1}.hook_resid_pre"
    single = hook_values(model, hook, IDS)
    whole = hook_values(copy.deepcopy(model).double(), hook, IDS)
    with in_double(model):
        found = hook_values(model, hook, IDS)
    assert 0 < np.abs(found - whole).max() + 1e-15 < np.abs(single - whole).max() / 2
    np.testing.assert_array_equal(hook_values(model, hook, IDS), single)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.parallel])
def test_attention_and_mlp_side_by_side_have_no_middle(name: str, folders: Callable[[str], Path]) -> None:
    model = load_plain(folders(name))
    with pytest.raises(ValueError, match="side by side"):
        place_of(model, f"blocks.{LAYER}.hook_resid_mid")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GPT-2", "NeoX", "Llama", "Gemma 2", "Qwen 3"])
def test_values_are_those_of_transformer_lens(name: str, folders: Callable[[str], Path]) -> None:
    """What each head adds to the output, which no module has, and the others once more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hooked = load_hooked(name, folders(name))
    hooked.set_use_attn_result(True)
    hooked.set_use_hook_mlp_in(True)
    _, cache_ = hooked.run_with_cache(torch.tensor([IDS]))
    model = load_plain(folders(name))
    points = [point for point in POINTS if f"blocks.{LAYER}.{point}" in cache_]
    assert "attn.hook_result" in points
    for point in points:
        wanted = cache_[f"blocks.{LAYER}.{point}"][0].flatten(1).numpy()
        found = hook_values(model, f"blocks.{LAYER}.{point}", IDS)
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4, err_msg=point)


WIDE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 40, "initializer_range": 0.3,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {
    "layer_types": ["linear_attention", "linear_attention", "full_attention"], "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "head_dim": 16,
}  # fmt: skip
NARROW = {"hidden_size": 32, "vocab_size": 40, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4}
MORE: dict[str, Any] = {
    "OPT": lambda: hf.OPTConfig(**NARROW, ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=64),
    "GPT-Neo": lambda: hf.GPTNeoConfig(
        hidden_size=32, vocab_size=40, num_layers=N_LAYERS, num_heads=4, attention_types=[[["global"], N_LAYERS]]
    ),
    "GPT-J": lambda: hf.GPTJConfig(vocab_size=40, n_positions=64, n_embd=32, n_layer=N_LAYERS, n_head=4, rotary_dim=4),
    "Phi-3": lambda: hf.Phi3Config(**WIDE, pad_token_id=0),
    "OLMo 2": lambda: hf.Olmo2Config(**WIDE),
    "Qwen 3 MoE": lambda: hf.Qwen3MoeConfig(**WIDE, **EXPERTS),
    "Qwen 3.5": lambda: hf.Qwen3_5TextConfig(**WIDE, **LINEAR),
    "Qwen 3.5 MoE": lambda: hf.Qwen3_5MoeTextConfig(**WIDE, **LINEAR, **EXPERTS, shared_expert_intermediate_size=16),
    "NeoX, in sequence": lambda: hf.GPTNeoXConfig(**NARROW, intermediate_size=64, use_parallel_residual=False),
}


@pytest.mark.parametrize("name", MORE)
def test_what_is_added_makes_the_difference_between_residual_streams(name: str) -> None:
    """Of families without a table by hand: the sums of their parts, which only the right modules give."""
    torch.manual_seed(1)
    model = hf.AutoModelForCausalLM.from_config(MORE[name]()).eval()
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if "norm" in part or "ln_" in part or part.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.2)

    def at(point: str) -> Any:
        return hook_values(model, f"blocks.{LAYER}.{point}", IDS)

    start, end = at("hook_resid_pre"), at("hook_resid_post")
    np.testing.assert_allclose(start + at("hook_attn_out") + at("hook_mlp_out"), end, rtol=1e-4, atol=1e-5)
    assert np.abs(at("hook_mlp_out")).max() > 1e-3
    if places.family_of(model).parallel:
        np.testing.assert_allclose(at("hook_mlp_in"), start, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(at("hook_resid_mid"), start + at("hook_attn_out"), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(at("hook_mlp_in"), at("hook_resid_mid"))
    assert at("mlp.hook_in").shape == start.shape
    next_start = hook_values(model, f"blocks.{LAYER + 1}.hook_resid_pre", IDS)
    np.testing.assert_array_equal(next_start, end)


def test_a_model_that_no_table_names_has_its_residual_stream() -> None:
    model = hf.AutoModelForCausalLM.from_config(hf.StableLmConfig(**WIDE)).eval()
    assert hook_values(model, "blocks.1.hook_resid_pre", IDS).shape == (len(IDS), 32)
    with pytest.raises(ValueError, match=r"not known where 'hook_mlp_out' is in a model of the type 'stablelm'"):
        place_of(model, "blocks.1.hook_mlp_out")


@pytest.mark.parametrize(
    ("hook", "same"),
    [
        ("model.layers.1", "blocks.1.hook_resid_post"),
        ("model.layers.1.output", "blocks.1.hook_resid_post"),
        ("model.layers.1.input", "blocks.1.hook_resid_pre"),
        ("transformer.h.1", "blocks.1.hook_resid_post"),
        ("model.language_model.layers.1.mlp.input", "blocks.1.mlp.hook_in"),
        ("model.layers.1.post_feedforward_layernorm.output", "blocks.1.hook_mlp_out"),
        ("model.embed_tokens", "hook_embed"),
    ],
)
def test_hooks_that_are_modules(hook: str, same: str, folders: Callable[[str], Path]) -> None:
    model = load_plain(folders("Gemma 2"))
    np.testing.assert_array_equal(hook_values(model, hook, IDS), hook_values(model, same, IDS))
    assert is_in_stream(model, hook) == (same not in ("blocks.1.mlp.hook_in", "hook_embed"))


@pytest.mark.parametrize("hook", ["model.layers.9", "model.nothing", "blocks.1.hook_q_input", "x"])
def test_hooks_that_do_not_exist(hook: str, folders: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match=r"no module|no rule"):
        place_of(load_plain(folders("Gemma 2")), hook)


def test_windows_with_overlap_by_hand() -> None:
    found = [(w.lead, w.counted) for w in windows_of(list(range(11)), 6, 0, overlap=2)]
    assert found == [([], [0, 1, 2, 3, 4]), ([3, 4], [5, 6, 7]), ([6, 7], [8, 9, 10])]
    assert [(w.lead, w.counted) for w in windows_of([1, 2], 6, None, overlap=5)] == [([], [1, 2])]
    assert windows_of([], 6, None, overlap=2) == []
