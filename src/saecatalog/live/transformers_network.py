"""Models of `transformers`: a module flows in, bare or inside a TransformerBridge, a `Network` flows out.

Names of modules are written down for each class of layers, because they mean different things in each. A bridge wraps
each module in one of its own and leaves the weights as they are.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from saecatalog.live.network import Attention, Layer, Matrix, Mlp, Network, Norm, Rotation, act_kind
from saecatalog.live.program import NoProgram

CHANGING_ROTATIONS = ("dynamic", "longrope")
"""Kinds of rotary embeddings that change with the number of tokens, beyond a limit."""


@dataclass(frozen=True)
class Names:
    """Paths of modules in a layer."""

    norm1: str
    attention: str
    projections: tuple[str, ...]
    """Of queries, keys and values; one module if they are side by side."""
    output: str
    norm2: str
    mlp: str
    gate: str
    """"" if the MLP has none."""
    up: str
    down: str
    act: str
    norm_after_attention: str = ""
    norm_after_mlp: str = ""
    q_norm: str = ""
    k_norm: str = ""
    fused: str = ""
    """How queries, keys and values lie in one matrix: `blocks` (all queries first) or `heads` (head by head)."""


SEPARATE = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")

LLAMA = Names(
    "input_layernorm", "self_attn", SEPARATE, "self_attn.o_proj", "post_attention_layernorm", "mlp", "mlp.gate_proj",
    "mlp.up_proj", "mlp.down_proj", "mlp.act_fn", q_norm="self_attn.q_norm", k_norm="self_attn.k_norm",
)  # fmt: skip

GEMMA_2 = replace(
    LLAMA,
    norm2="pre_feedforward_layernorm",
    norm_after_attention="post_attention_layernorm",
    norm_after_mlp="post_feedforward_layernorm",
)

NAMES = {
    "LlamaDecoderLayer": LLAMA,
    "MistralDecoderLayer": LLAMA,
    "Qwen2DecoderLayer": LLAMA,
    "Qwen3DecoderLayer": LLAMA,
    "GemmaDecoderLayer": LLAMA,
    "Gemma2DecoderLayer": GEMMA_2,
    "Gemma3DecoderLayer": GEMMA_2,
    "GPT2Block": Names(
        "ln_1", "attn", ("attn.c_attn",), "attn.c_proj", "ln_2", "mlp", "", "mlp.c_fc", "mlp.c_proj", "mlp.act",
        fused="blocks",
    ),
    "GPTNeoXLayer": Names(
        "input_layernorm", "attention", ("attention.query_key_value",), "attention.dense", "post_attention_layernorm",
        "mlp", "", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "mlp.act", fused="heads",
    ),
    "PhiDecoderLayer": Names(
        "input_layernorm", "self_attn", SEPARATE, "self_attn.dense", "input_layernorm",
        "mlp", "", "mlp.fc1", "mlp.fc2", "mlp.activation_fn",
        q_norm="self_attn.q_layernorm", k_norm="self_attn.k_layernorm",
    ),
}  # fmt: skip
"""By the class of the layers."""


def bare(module: Any) -> Any:
    """A module of `transformers` without the bridge's module around it."""
    while getattr(module, "_original_component", None) is not None:
        module = module._original_component
    return module


def inside(module: Any, path: str) -> Any:
    """A module by its path, through the bridge's modules; None if it is not there."""
    for name in path.split("."):
        module = bare(getattr(module, name, None))
        if module is None:
            return None
    return module


def layers_of(decoder: Any) -> Any:
    """The list of a decoder's layers."""
    found = getattr(decoder, "layers", None)
    return getattr(decoder, "h", None) if found is None else found


def names_of(decoder: Any) -> Names:
    """Raises NoProgram if the class of the layers is not known, or is another's with a known name."""
    layers = layers_of(decoder)
    kind = None if layers is None else type(bare(layers[0]))
    if kind is None or kind.__name__ not in NAMES or not kind.__module__.startswith("transformers.models."):
        raise NoProgram(f"the model's architecture '{decoder.config.model_type}' has no live part")
    return NAMES[kind.__name__]


def read_network(module: Any, context: int) -> Network:
    """A model as a network for windows of `context` tokens; raises NoProgram."""
    decoder = bare(module.get_decoder())
    names = names_of(decoder)
    embedding = bare(decoder.get_input_embeddings())
    scale = getattr(embedding, "embed_scale", None)
    positions = inside(decoder, "wpe")
    rotation = cache(partial(_rotation, decoder, context))

    def layer(number: int) -> Layer:
        return _layer(bare(layers_of(decoder)[number]), names, decoder.config, rotation)

    return Network(
        embedding.weight,
        1.0 if scale is None else float(torch.as_tensor(scale).to(embedding.weight.dtype)),
        None if positions is None else positions.weight[:context],
        layer,
    )


def _layer(layer: Any, names: Names, config: Any, rotation: Callable[[str], Rotation | None]) -> Layer:
    parallel = getattr(layer, "use_parallel_residual", type(layer).__name__ == "PhiDecoderLayer")
    return Layer(_attention(layer, names, config, rotation), _mlp(layer, names), bool(parallel))


def _attention(layer: Any, names: Names, config: Any, rotation: Callable[[str], Rotation | None]) -> Attention:
    part = inside(layer, names.attention)
    if not part.is_causal or hasattr(layer, "crossattention"):
        raise NoProgram("the model's attention also looks forward or at another text")
    q, k, v = _projections(layer, names, config.num_attention_heads)
    head = q.weight.shape[0] // config.num_attention_heads
    return Attention(
        norm=_norm(inside(layer, names.norm1)),
        q=q,
        k=k,
        v=v,
        output=_matrix(inside(layer, names.output)),
        heads=int(config.num_attention_heads),
        kv_heads=int(k.weight.shape[0] // head),
        scale=float(part.scaling),
        cap=_cap(part),
        window=_window(part, config),
        rotation=rotation(getattr(part, "layer_type", None) or ""),
        q_norm=_optional_norm(layer, names.q_norm),
        k_norm=_optional_norm(layer, names.k_norm),
        norm_after=_optional_norm(layer, names.norm_after_attention),
    )


def _window(attention: Any, config: Any) -> int:
    """The tokens that a token sees. Only Mistral's attention reads it from the settings, which others may have too."""
    by_settings = type(attention).__name__ == "MistralAttention"
    return int(getattr(config if by_settings else attention, "sliding_window", None) or 0)


def _cap(attention: Any) -> float:
    """The cap of the scores. Gemma 3 has the setting of Gemma 2 and does not use it."""
    cap = float(getattr(attention, "attn_logit_softcapping", None) or 0)
    if cap and type(attention).__name__ != "Gemma2Attention":
        raise NoProgram("the model has a cap of attention scores, which transformers does not use")
    return cap


def _mlp(layer: Any, names: Names) -> Mlp:
    return Mlp(
        norm=_norm(inside(layer, names.norm2)),
        gate=_matrix(inside(layer, names.gate)) if names.gate else None,
        up=_matrix(inside(layer, names.up)),
        down=_matrix(inside(layer, names.down)),
        act=act_kind(inside(layer, names.act)),
        norm_after=_optional_norm(layer, names.norm_after_mlp),
    )


def _matrix(module: Any) -> Matrix:
    """A matrix `[out, in]`; GPT-2's are the other way round."""
    turned = type(module).__name__ == "Conv1D"
    if not turned and not isinstance(module, torch.nn.Linear):
        raise NoProgram(f"the model has a matrix of another kind, {type(module).__name__}")
    return Matrix(module.weight.T if turned else module.weight, module.bias)


def _projections(layer: Any, names: Names, heads: int) -> list[Matrix]:
    found = [_matrix(inside(layer, path)) for path in names.projections]
    if not names.fused:
        return found
    # A bridge has taken the matrix apart, and runs the parts.
    wrapper = getattr(layer, names.attention)
    if hasattr(wrapper, "q"):
        return [_matrix(bare(getattr(wrapper, letter))) for letter in ("q", "k", "v")]
    (matrix,) = found
    weights = _thirds(matrix.weight, names.fused, heads)
    biases = [None] * 3 if matrix.bias is None else _thirds(matrix.bias, names.fused, heads)
    return [Matrix(weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def _thirds(values: Tensor, fused: str, heads: int) -> list[Tensor]:
    """Rows of queries, keys and values."""
    if fused == "blocks":
        return list(values.chunk(3))
    by_head = torch.unflatten(values, 0, (heads, 3, -1))
    return [by_head[:, i].flatten(0, 1) for i in range(3)]


def _optional_norm(layer: Any, path: str) -> Norm | None:
    module = inside(layer, path) if path else None
    return None if module is None else _norm(module)


def _norm(module: Any) -> Norm:
    """A norm, of the kind whose values are those of the module."""
    eps = float(getattr(module, "variance_epsilon", getattr(module, "eps", None)) or 0)
    weight, bias = module.weight.detach().float(), getattr(module, "bias", None)
    for norm in (Norm("rms", weight, bias, eps), Norm("rms", 1 + weight, bias, eps), Norm("layer", weight, bias, eps)):
        if _computes(module, norm):
            return norm
    raise NoProgram(f"the model has a norm of another kind, {type(module).__name__}")


@torch.inference_mode()
def _computes(module: Any, norm: Norm) -> bool:
    """Whether a module normalises as a norm says, but for the rounding of its dtype."""
    weight, dtype = norm.weight, module.weight.dtype
    assert weight is not None
    x = 1 + torch.randn((4, len(weight)), generator=torch.Generator().manual_seed(1)).to(weight.device)
    centred = x - x.mean(-1, keepdim=True) if norm.kind == "layer" else x
    wanted = centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * weight
    wanted = wanted if norm.bias is None else wanted + norm.bias
    rounding = 16 * torch.finfo(dtype).eps
    return torch.allclose(module(x.to(dtype)).float(), wanted.float(), rtol=rounding, atol=rounding)


@torch.inference_mode()
def _rotation(decoder: Any, context: int, layer_type: str) -> Rotation | None:
    """The turns at the first positions, from the model's own module."""
    module = inside(decoder, "rotary_emb")
    if module is None:
        return None
    separate = "layer_type" in inspect.signature(module.forward).parameters
    settings = decoder.config.rope_parameters[layer_type] if separate else decoder.config.rope_parameters
    if settings["rope_type"] in CHANGING_ROTATIONS and context > _unchanged_to(decoder.config, settings):
        raise NoProgram("the model's positions depend on how long the text is")
    embedding = bare(decoder.get_input_embeddings()).weight
    where = torch.zeros(1, device=embedding.device), torch.arange(context, device=embedding.device)[None]
    cos, sin = (part[0] for part in module(*where, **({"layer_type": layer_type} if separate else {})))
    half = cos.shape[-1] // 2
    if not (torch.equal(cos[:, :half], cos[:, half:]) and torch.equal(sin[:, :half], sin[:, half:])):
        raise NoProgram("the model's rotary embedding is of another kind")
    return Rotation(f"rotation.{layer_type}" if separate else "rotation", cos[:, :half], sin[:, :half], "halves")


def _unchanged_to(config: Any, settings: dict[str, Any]) -> int:
    """The number of tokens up to which rotary embeddings do not change."""
    return int(settings.get("original_max_position_embeddings") or config.max_position_embeddings)


# Hooks by the paths of modules


def point_of(module: Any, path: str, side: str) -> tuple[int | None, str]:
    """The layer and the name of the hook at which the input or the output of a module is; raises NoProgram."""
    decoder = bare(module.get_decoder())
    places = {id(bare(part)): str(name) for name, part in module.named_modules()}
    if path == places[id(bare(decoder.get_input_embeddings()))] and side == "out":
        return None, "hook_embed"
    prefix = next(str(name) for name, part in module.named_modules() if part is layers_of(decoder))
    number, _, rest = path.removeprefix(f"{prefix}.").partition(".")
    point = _points(names_of(decoder)).get((rest, side)) if path.startswith(f"{prefix}.") else None
    if point is None:
        raise NoProgram(f"the live part does not reach the {side}put of '{path}'")
    return int(number), point


def _points(names: Names) -> dict[tuple[str, str], str]:
    """The name of the hook at the input and the output of each module of a layer."""
    found = {
        (names.down, "in"): "mlp.hook_post",
        (names.down, "out"): "mlp.hook_out",
        (names.gate or names.up, "out"): "mlp.hook_pre",
        (names.norm_after_mlp, "out"): "hook_mlp_out",
        (names.mlp, "in"): "mlp.hook_in",
        (names.mlp, "out"): "mlp.hook_out",
        (names.norm2, "in"): "hook_mlp_in",
        (names.norm2, "out"): "mlp.hook_in",
        (names.norm_after_attention, "out"): "hook_attn_out",
        (names.output, "in"): "attn.hook_z",
        (names.output, "out"): "attn.hook_out",
        (names.attention, "in"): "attn.hook_in",
        (names.attention, "out"): "attn.hook_out",
        (names.norm1, "in"): "hook_resid_pre",
        (names.norm1, "out"): "attn.hook_in",
        ("", "in"): "hook_resid_pre",
        ("", "out"): "hook_resid_post",
    }
    return {place: point for place, point in found.items() if place[0] in vars(names).values() or not place[0]}
