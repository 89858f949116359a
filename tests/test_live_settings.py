"""Settings of models that published ones rarely have: the program is right, or there is none and it is said why."""

from typing import Any

import pytest
import torch
import transformers as hf
from live_subjects import assert_same, sae_of, subject_of
from transformer_lens import HookedTransformer, HookedTransformerConfig

from saecatalog.live.model_program import compile_program
from saecatalog.live.program import NoProgram
from saecatalog.models.hooked_model import HookedModel
from saecatalog.models.language_model import LanguageModel
from saecatalog.models.plain_model import PlainModel

# Models that HookedTransformer makes from settings


def hooked(**settings: Any) -> LanguageModel:
    sizes = {"n_layers": 2, "d_model": 32, "n_ctx": 32, "d_head": 8, "n_heads": 4, "d_mlp": 64, "d_vocab": 40}
    module = HookedTransformer(HookedTransformerConfig(**{"act_fn": "gelu_new", "seed": 1, **sizes, **settings}))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model = HookedModel.__new__(HookedModel)
    model.module, model.n_layers = module.eval(), 2
    return model


GPT_J = {
    "positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": True, "parallel_attn_mlp": True,
}  # fmt: skip
GPT_NEO = {"use_local_attn": True, "attn_types": ["global", "local"], "window_size": 3, "use_attn_scale": False}


@pytest.mark.parametrize(
    "settings",
    [
        GPT_J,
        GPT_NEO,
        {"attn_only": True, "d_mlp": None, "act_fn": None},
        {"normalization_type": None, "act_fn": "gelu"},
        {"normalization_type": "LNPre", "gated_mlp": True, "act_fn": "silu", "n_key_value_heads": 2},
        {"scale_attn_by_inverse_layer_idx": True, "normalization_type": "RMSPre", "attn_scores_soft_cap": 0.5},
        {**GPT_J, "rotary_adjacent_pairs": False, "use_qk_norm": True, "normalization_type": "RMS"},
    ],
)
@torch.no_grad()
def test_settings_of_hooked_transformer(settings: dict[str, Any]) -> None:
    model = hooked(**settings)
    for point in ("hook_resid_post", "hook_attn_out"):
        subject = subject_of(model, sae_of(f"blocks.1.{point}", 32))
        assert_same(subject, compile_program(subject))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"positional_embedding_type": "shortformer"}, "positions of the kind 'shortformer'"),
        ({"positional_embedding_type": "alibi"}, "positions of the kind 'alibi'"),
        ({"post_embedding_ln": True}, "a norm of the embedding"),
        ({"act_fn": "solu_ln"}, "a norm as activation function"),
        ({"act_fn": "solu"}, "activation function is not known"),
        ({"attention_dir": "bidirectional"}, "attention that looks forward"),
        ({"num_experts": 2, "experts_per_token": 1}, "experts"),
        ({**GPT_J, "use_dynamic_ntk_rope": True}, "depends on how long the text is"),
        ({"use_attention_sinks": True}, "attention sinks"),
        ({"clip_qkv": 1.0}, "a limit of queries"),
    ],
)
@torch.no_grad()
def test_settings_that_programs_do_not_have(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(NoProgram, match=why):
        compile_program(subject_of(hooked(**settings), sae_of("blocks.1.hook_resid_post", 32)))


# Models of transformers


def plain(config: Any) -> Any:
    torch.manual_seed(6)
    return hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def bare(module: Any) -> Any:
    """A model without a tokenizer, which cannot tell the values at hooks but can be compiled."""
    model = PlainModel.__new__(PlainModel)
    model.module = module
    return model


SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 40,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "factor": 4.0}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (hf.MambaConfig(**SMALL), "architecture 'mamba' has no live part"),
        (hf.OlmoeConfig(**SMALL), "architecture 'olmoe' has no live part"),
        (hf.OPTConfig(**SMALL, word_embed_proj_dim=32, ffn_dim=64), "architecture 'opt' has no live part"),
        (hf.GPTNeoConfig(**SMALL, num_layers=2, attention_types=[[["global"], 2]]), "'gpt_neo' has no live part"),
        (
            hf.LlamaConfig(**SMALL, rope_parameters=LONG | {"original_max_position_embeddings": 8}),
            "positions depend on how long the text is",
        ),
        (hf.LlamaConfig(**SMALL, hidden_act="tanh"), "activation function is not known"),
        (hf.Gemma3TextConfig(**SMALL, head_dim=8, attn_logit_softcapping=1.0), "a cap of attention scores"),
        (hf.Gemma3TextConfig(**SMALL, head_dim=8, use_bidirectional_attention=True), "also looks forward"),
        (hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=40, add_cross_attention=True), "another text"),
    ],
)
@torch.no_grad()
def test_models_that_programs_do_not_have(config: Any, why: str) -> None:
    model = bare(plain(config))
    with pytest.raises(NoProgram, match=why):
        compile_program(subject_of(model, sae_of("blocks.1.hook_resid_post", 32)))


@torch.no_grad()
def test_a_part_of_another_name() -> None:
    module = plain(hf.LlamaConfig(**SMALL))
    del module.model.layers[0].self_attn.scaling
    with pytest.raises(NoProgram, match="not put together as the live part expects"):
        compile_program(subject_of(bare(module), sae_of("blocks.1.hook_resid_post", 32)))


@torch.no_grad()
def test_a_model_that_also_reads_images() -> None:
    tokens = {"image_token_index": 39, "boi_token_index": 37, "eoi_token_index": 38, "mm_tokens_per_image": 4}
    images = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = SMALL | {"head_dim": 8, "num_key_value_heads": 2, "query_pre_attn_scalar": 8}
    config = hf.Gemma3Config(text_config=text, vision_config=images | {"image_size": 28, "patch_size": 14}, **tokens)
    model = PlainModel(plain(config), None)
    for hook in ("model.layers.1.output", "model.layers.1.pre_feedforward_layernorm.output", "blocks.1.hook_mlp_out"):
        model.prepare([hook])
        subject = subject_of(model, sae_of(hook, 32))
        assert_same(subject, compile_program(subject))


@torch.no_grad()
def test_a_class_of_another_library_with_a_known_name() -> None:
    module = plain(hf.LlamaConfig(**SMALL))
    module.model.layers[0].__class__ = type("LlamaDecoderLayer", (type(module.model.layers[0]),), {})
    model = bare(module)
    with pytest.raises(NoProgram, match="'llama' has no live part"):
        compile_program(subject_of(model, sae_of("blocks.1.hook_resid_post", 32)))


@torch.no_grad()
def test_half_precision_is_taken_up_to_float32() -> None:
    """The program computes in float32 with the weights that a model in half precision has."""
    for config in (hf.LlamaConfig(**SMALL), hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=40)):
        half, full = bare(plain(config).to(torch.bfloat16)), PlainModel(plain(config).to(torch.bfloat16).float(), None)
        sae = sae_of("blocks.1.hook_resid_mid", 32)
        full.prepare(["blocks.1.hook_resid_mid"])
        assert_same(subject_of(full, sae), compile_program(subject_of(half, sae)))
