"""Hooks in models of plain `transformers` of any architecture: right values, or a refusal."""

import copy
from typing import Any

import pytest
import torch
import transformers as hf

from saecatalog.models.language_model import NoSuchHook
from saecatalog.models.plain_model import PlainModel, is_module_path

IDS = torch.arange(3, 13)[None]
LAYER = 1
HYBRID = ("linear_attention", "linear_attention", "full_attention")
CONFIGS: dict[str, dict[str, Any]] = {
    "Olmo2Config": {},
    "OlmoConfig": {},
    "FalconConfig": {},
    "CohereConfig": {},
    "StableLmConfig": {},
    "Glm4Config": {},
    "Starcoder2Config": {},
    "NemotronConfig": {},
    "MixtralConfig": {"num_local_experts": 4},
    "Qwen3MoeConfig": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
    "Qwen3_5TextConfig": {
        "head_dim": 8, "layer_types": list(HYBRID), "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
    "GraniteConfig": {"residual_multiplier": 0.22},
    "BloomConfig": {},
    "OPTConfig": {"ffn_dim": 64, "word_embed_proj_dim": 32},
}  # fmt: skip

PARALLEL = ("FalconConfig", "CohereConfig")
"""Attention and MLP read the same residual stream."""

REFUSED = ("GraniteConfig", "BloomConfig", "OPTConfig")
"""What attention and MLP write is scaled, contains the residual stream, or does not come from one module."""


def make(config: str) -> Any:
    wide = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 64, "initializer_range": 0.3,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(1)
    settings = getattr(hf, config)(**{**wide, **CONFIGS[config]})
    module = hf.AutoModelForCausalLM.from_config(settings, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return module


@torch.inference_mode()
def at(model: PlainModel, *points: str) -> list[torch.Tensor]:
    hooks = [f"blocks.{LAYER}.{point}" for point in points]
    model.prove(hooks, torch.device("cpu"))
    return model.values(hooks, IDS)


@pytest.mark.parametrize("config", CONFIGS)
def test_residual_streams_and_what_is_added_to_them(config: str) -> None:
    module = make(config)
    model = PlainModel(module, None)
    with torch.no_grad():
        states = module(IDS, output_hidden_states=True).hidden_states
    before, after = at(model, "hook_resid_pre", "hook_resid_post")
    torch.testing.assert_close(before, states[LAYER])
    torch.testing.assert_close(after, states[LAYER + 1])
    if config in REFUSED:
        with pytest.raises(NoSuchHook, match=r"does not add up|not clear which module"):
            at(model, "hook_mlp_out")
        return
    attention, mlp = at(model, "hook_attn_out", "hook_mlp_out")
    torch.testing.assert_close(after, before + attention + mlp, rtol=1e-4, atol=1e-4)
    if config in PARALLEL:
        with pytest.raises(NoSuchHook, match="side by side"):
            at(model, "hook_resid_mid")
        return
    (middle,) = at(model, "hook_resid_mid")
    torch.testing.assert_close(middle, before + attention, rtol=1e-4, atol=1e-4)


FINAL_NORMS = ("model.norm", "transformer.ln_f", "model.decoder.final_layer_norm")


@pytest.mark.parametrize("config", CONFIGS)
def test_the_map_to_logits(config: str) -> None:
    """A small step that leaves the final norm's divisor as it is moves the logits along the map."""
    module = make(config)
    parts = PlainModel(module, None).logit_parts()
    norm = next(module.get_submodule(path) for path in FINAL_NORMS if path in dict(module.named_modules()))
    generator = torch.Generator().manual_seed(0)
    x, step = torch.randn((2, 32), generator=generator)
    x = x - x.mean()
    across = step - (step @ x) / (x @ x) * x
    _, moved = torch.func.jvp(lambda v: norm(v[None])[0] @ parts.unembedding, (x,), (across,))
    gain = 1 if parts.gain is None else parts.gain
    wanted = ((across - across.mean() if parts.centred else across) * gain) @ parts.unembedding
    torch.testing.assert_close(moved / moved.norm(), wanted / wanted.norm(), rtol=1e-3, atol=1e-4)


def test_a_pass_ends_at_the_hook() -> None:
    module = make("Olmo2Config")
    model = PlainModel(module, None)
    hook = f"model.layers.{LAYER}"
    model.prove([hook], torch.device("cpu"))
    calls: list[int] = []
    module.model.layers[LAYER + 1].register_forward_pre_hook(lambda *_: calls.append(1))
    model.values([hook], IDS)
    assert not calls


def test_a_value_that_the_model_changes_afterwards() -> None:
    """Falcon adds the attention's output to the MLP's in place."""
    module = make("FalconConfig")
    mlp = copy.deepcopy(module.transformer.h[LAYER].mlp)
    model = PlainModel(module, None)
    read, written, _ = at(model, "mlp.hook_in", "mlp.hook_out", "hook_resid_post")
    with torch.no_grad():
        torch.testing.assert_close(written, mlp(read))


def test_a_hook_that_is_reached_several_times_with_different_values() -> None:
    module = make("StableLmConfig")
    model = PlainModel(module, None)
    layer = module.model.layers[LAYER]
    module.model.layers[LAYER + 1].mlp.act_fn = layer.mlp.act_fn
    with pytest.raises(NoSuchHook, match="reached 2 times, with different values"):
        model.prove([f"model.layers.{LAYER}.mlp.act_fn"], torch.device("cpu"))


@pytest.mark.parametrize(
    ("hook", "path"),
    [
        ("transformer.h.3", True),
        ("model.layers.0.mlp.output", True),
        ("blocks.3.hook_resid_pre", False),
        ("hook_embed", False),
        ("ln_final.hook_normalized", False),
    ],
)
def test_names_of_modules_and_of_transformer_lens(hook: str, path: bool) -> None:
    assert is_module_path(hook) == path


def test_a_model_that_also_reads_images() -> None:
    """The path of a layer in the class for text alone is the layer of that number among those for text."""
    text = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 8,
        "num_key_value_heads": 2, "query_pre_attn_scalar": 8, "vocab_size": 100, "max_position_embeddings": 64,
    }  # fmt: skip
    images = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    images |= {"image_size": 28, "patch_size": 14}
    tokens = {"image_token_index": 99, "boi_token_index": 97, "eoi_token_index": 98, "mm_tokens_per_image": 4}
    torch.manual_seed(1)
    config = hf.Gemma3Config(text_config=text, vision_config=images, **tokens)
    module = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model = PlainModel(module, None)
    hooks = [f"model.layers.{LAYER}.{part}" for part in ("output", "pre_feedforward_layernorm.output")]
    model.prove(hooks, torch.device("cpu"))
    with torch.inference_mode():
        states = module(IDS, output_hidden_states=True).hidden_states
        after, _ = model.values(hooks, IDS)
        torch.testing.assert_close(after, states[LAYER + 1])
    assert [model.adds_to_residual(hook) for hook in hooks] == [True, False]


def test_a_replica_shares_weights_and_computes_the_same() -> None:
    model = PlainModel(make("Olmo2Config"), None)
    hook = f"blocks.{LAYER}.hook_mlp_out"
    model.prove([hook], torch.device("cpu"))
    twin = model.replica()
    places, same = ({p.data_ptr() for p in m.module.parameters()} for m in (model, twin))
    assert places == same
    with torch.inference_mode():
        assert torch.equal(model.values([hook], IDS)[0], twin.values([hook], IDS)[0])
