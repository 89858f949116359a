"""Small random models of many families, and the values at hooks by plain hooks on modules named by hand.

Nothing of the program is used here: what it finds by following values is written down here, family by family.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers as hf

LAYER = 1
"""The layer of all hooks here: neither the first nor the last."""

N_LAYERS = 3


@dataclass(frozen=True)
class Family:
    """How a family's modules are called, and what its norms do."""

    config: type
    layers: str
    ln1: str
    ln2: str
    attention: str
    projection: str
    mlp: str
    down: str
    official: str
    """A model of this family that HookedTransformer knows."""
    after_attention: str = ""
    """A norm of the attention's output before it is added; "" if there is none."""
    after_mlp: str = ""
    parallel: bool = False
    """Whether attention and MLP read the same residual stream."""
    layer_norm: bool = False
    """Whether its norms subtract the mean."""
    adds_one: bool = False
    """Whether its norms multiply by 1 + weight, and its embeddings by the root of their width."""
    more: tuple[tuple[str, Any], ...] = ()


def llama_like(config: type, official: str, **more: Any) -> Family:
    names = ("model.layers", "input_layernorm", "post_attention_layernorm", "self_attn", "self_attn.o_proj")
    return Family(config, *names, "mlp", "mlp.down_proj", official, more=tuple(more.items()))


def gemma_like(config: type, official: str) -> Family:
    return Family(
        config, "model.layers", "input_layernorm", "pre_feedforward_layernorm", "self_attn", "self_attn.o_proj", "mlp",
        "mlp.down_proj", official, "post_attention_layernorm", "post_feedforward_layernorm", adds_one=True,
        more=(("head_dim", 8), ("query_pre_attn_scalar", 8)),
    )  # fmt: skip


FAMILIES = {
    "GPT-2": Family(
        hf.GPT2Config, "transformer.h", "ln_1", "ln_2", "attn", "attn.c_proj", "mlp", "mlp.c_proj", "gpt2",
        layer_norm=True,
    ),
    "NeoX": Family(
        hf.GPTNeoXConfig, "gpt_neox.layers", "input_layernorm", "post_attention_layernorm", "attention",
        "attention.dense", "mlp", "mlp.dense_4h_to_h", "EleutherAI/pythia-70m", parallel=True, layer_norm=True,
    ),
    "Llama": llama_like(hf.LlamaConfig, "meta-llama/Llama-2-70b-chat-hf"),
    "Mistral": llama_like(hf.MistralConfig, "mistralai/Mistral-7B-v0.1", head_dim=8, sliding_window=None),
    "Gemma 2": gemma_like(hf.Gemma2Config, "google/gemma-2-2b"),
    "Gemma 3": gemma_like(hf.Gemma3TextConfig, "google/gemma-3-1b-pt"),
    "Qwen 2": llama_like(hf.Qwen2Config, "Qwen/Qwen2.5-0.5B"),
    "Qwen 3": llama_like(hf.Qwen3Config, "Qwen/Qwen3-0.6B", head_dim=8),
    "Phi": Family(
        hf.PhiConfig, "model.layers", "input_layernorm", "input_layernorm", "self_attn", "self_attn.dense", "mlp",
        "mlp.fc2", "microsoft/phi-2", parallel=True, layer_norm=True, more=(("num_key_value_heads", 4),),
    ),
}  # fmt: skip


def make(name: str, tokenizer: Any, folder: Path) -> Path:
    """Save a small random model of a family, with norm weights that are not all 1, and a tokenizer."""
    family = FAMILIES[name]
    wide = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64,
    }  # fmt: skip
    if family.config is hf.GPT2Config:
        wide = {"n_positions": 64, "n_embd": 32, "n_layer": N_LAYERS, "n_head": 4}
    if family.config is hf.GPTNeoXConfig:
        wide.pop("num_key_value_heads")
    torch.manual_seed(5)
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    settings = {**wide, **dict(family.more), "vocab_size": len(tokenizer), "initializer_range": 0.3, **ids}
    module = hf.AutoModelForCausalLM.from_config(family.config(**settings)).eval()
    with torch.no_grad():
        for part, parameter in module.named_parameters():
            if "norm" in part or "ln_" in part or part.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.2)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_plain(folder: Path) -> Any:
    return hf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def load_hooked(name: str, folder: Path) -> Any:
    """The model as a HookedTransformer, which knows families only by the names of published models."""
    import transformer_lens.loading_from_pretrained as loading
    from transformer_lens import HookedTransformer

    module, tokenizer = load_plain(folder), hf.AutoTokenizer.from_pretrained(folder)
    config = module.config
    sizes = {"d_model": 32, "n_layers": N_LAYERS, "n_heads": 4, "d_head": 8, "n_ctx": 64, "d_vocab": config.vocab_size}
    sizes |= {"d_mlp": getattr(config, "intermediate_size", 128), "eps": epsilon_of(config)}
    config.n_ctx = 64
    convert = loading.convert_hf_model_config

    def small(official: str, **given: Any) -> dict[str, Any]:
        found = convert(official, **given)
        found |= sizes
        if found.get("rotary_dim") is not None:
            found["rotary_dim"] = min(found["rotary_dim"], sizes["d_head"])
        if found.get("n_key_value_heads") is not None:
            found["n_key_value_heads"] = config.num_key_value_heads
        return found

    with mock.patch.object(loading.AutoConfig, "from_pretrained", return_value=config), \
            mock.patch.object(loading, "convert_hf_model_config", small):  # fmt: skip
        return HookedTransformer.from_pretrained_no_processing(
            FAMILIES[name].official, hf_model=module, tokenizer=tokenizer, dtype=torch.float32, device="cpu"
        ).eval()


@torch.no_grad()
def values(name: str, module: Any, ids: torch.Tensor) -> dict[str, np.ndarray]:
    """The values `[position, width]` at every hook that the family has, for one window, from hooks on its modules."""
    family, seen = FAMILIES[name], {}
    layer = module.get_submodule(f"{family.layers}.{LAYER}")
    names = {part for part in vars(family).values() if isinstance(part, str)}
    handles = []
    for part in ["", *(n for n in names if n and n in dict(layer.named_modules()))]:

        def note(_: Any, given: Any, named: Any, out: Any, part: str = part) -> None:
            first = given[0] if given else named["hidden_states"]
            seen[part, "in"], seen[part, "out"] = first[0], (out[0] if isinstance(out, tuple) else out)[0]

        handles.append(layer.get_submodule(part).register_forward_hook(note, with_kwargs=True))
    module(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    start, embedding = seen["", "in"], module.get_input_embeddings().weight[ids[0]]
    attention = seen[family.after_attention or family.attention, "out"]
    middle = start if family.parallel else start + attention
    found = {
        "hook_resid_pre": start,
        "hook_resid_post": seen["", "out"],
        "hook_attn_out": attention,
        "hook_mlp_out": seen[family.after_mlp or family.mlp, "out"],
        "attn.hook_z": seen[family.projection, "in"],
        "mlp.hook_in": seen[family.mlp, "in"],
        "mlp.hook_post": seen[family.down, "in"],
        "hook_mlp_in": middle,
        "hook_attn_in": start.repeat(1, 4),
        "ln1.hook_normalized": normalized(family, start, module.config),
        "ln2.hook_normalized": normalized(family, middle, module.config),
    }
    if not family.parallel:
        found["hook_resid_mid"] = middle
    named = {f"blocks.{LAYER}.{point}": value for point, value in found.items()}
    named["hook_embed"] = embedding * (32**0.5 if family.adds_one else 1)
    return {hook: value.numpy() for hook, value in named.items()}


def normalized(family: Family, x: torch.Tensor, config: Any) -> torch.Tensor:
    """x over its size, without the norm's weight; first less its mean where the norm subtracts it."""
    x = x - x.mean(-1, keepdim=True) if family.layer_norm else x
    return x / (x.square().mean(-1, keepdim=True) + epsilon_of(config)).sqrt()


def epsilon_of(config: Any) -> float:
    names = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
    return next(float(getattr(config, name)) for name in names if hasattr(config, name))
