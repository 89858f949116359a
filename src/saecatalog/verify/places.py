"""Hooks: the name of one and a model of `transformers` flow in, the module that has its values flows out.

Nothing is imported from the rest of the package. The tables say which module is which; nothing is found by trying.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

Module = Any
"""A model of `transformers` or a part of one. Torch does not type the attributes of modules usefully."""


@dataclass(frozen=True)
class Family:
    """Where the parts of a model are: the path of its layers, and the paths of a layer's parts from the layer.

    "" is a part that the layers do not have. Where layers differ, a path lists what they have, split by "|".
    """

    layers: str
    final_norm: str
    norm1: str = ""
    """The norm before attention."""
    attention: str = ""
    projection: str = ""
    """The last matrix of attention; it reads the heads side by side."""
    after_attention: str = ""
    """A norm of what attention has computed, before it is added to the residual stream."""
    norm2: str = ""
    """The norm before the MLP."""
    mlp: str = ""
    mlp_in: str = ""
    """What reads the MLP's input, if no module contains the whole MLP."""
    down: str = ""
    """The last matrix of the MLP; "" if it has several, as in a mixture of experts."""
    after_mlp: str = ""
    parallel: bool = False
    """Attention and MLP both read the residual stream before the layer, so there is none between them."""


LLAMA = Family(
    "model.layers", "model.norm", "input_layernorm", "self_attn", "self_attn.o_proj", "",
    "post_attention_layernorm", "mlp", "", "mlp.down_proj",
)  # fmt: skip
EXPERTS = replace(LLAMA, down="")
GEMMA_2 = replace(
    LLAMA,
    after_attention="post_attention_layernorm",
    norm2="pre_feedforward_layernorm",
    after_mlp="post_feedforward_layernorm",
)
GPT_2 = Family("transformer.h", "transformer.ln_f", "ln_1", "attn", "attn.c_proj", "", "ln_2", "mlp", "", "mlp.c_proj")
QWEN_3_5 = replace(LLAMA, attention="self_attn|linear_attn")


def beside_images(family: Family) -> Family:
    """The same language model as a part of one that also reads images."""
    return replace(family, layers="model.language_model.layers", final_norm="model.language_model.norm")


FAMILIES: dict[str, Family] = {
    "gpt2": GPT_2,
    "gpt_neo": replace(GPT_2, projection="attn.attention.out_proj"),
    "gptj": replace(GPT_2, projection="attn.out_proj", norm2="ln_1", down="mlp.fc_out", parallel=True),
    "gpt_neox": Family(
        "gpt_neox.layers", "gpt_neox.final_layer_norm", "input_layernorm", "attention", "attention.dense", "",
        "post_attention_layernorm", "mlp", "", "mlp.dense_4h_to_h", parallel=True,
    ),
    "opt": Family(
        "model.decoder.layers", "model.decoder.final_layer_norm", "self_attn_layer_norm", "self_attn",
        "self_attn.out_proj", "", "final_layer_norm", "fc2", "fc1", "fc2",
    ),
    "phi": replace(
        LLAMA, final_norm="model.final_layernorm", projection="self_attn.dense", norm2="input_layernorm",
        down="mlp.fc2", parallel=True,
    ),
    **dict.fromkeys(("llama", "mistral", "ministral", "gemma", "olmo", "phi3", "qwen2", "qwen3"), LLAMA),
    **dict.fromkeys(("gpt_oss", "mixtral", "qwen2_moe", "qwen3_moe"), EXPERTS),
    "olmo2": replace(
        LLAMA, norm1="", norm2="", after_attention="post_attention_layernorm", after_mlp="post_feedforward_layernorm"
    ),
    **dict.fromkeys(("gemma2", "gemma3_text"), GEMMA_2),
    "gemma3": beside_images(GEMMA_2),
    "qwen3_5_text": QWEN_3_5,
    "qwen3_5": beside_images(QWEN_3_5),
    "qwen3_5_moe_text": replace(QWEN_3_5, down=""),
    "qwen3_5_moe": beside_images(replace(QWEN_3_5, down="")),
}  # fmt: skip
"""By `model_type`, as a model's config.json calls it. Of other models, only the residual stream is known."""


def family_of(model: Module) -> Family:
    """The family of a model, with what its settings change."""
    config = model.config
    family = FAMILIES.get(config.model_type) or _unknown(model)
    if config.model_type == "gpt_neox" and not config.use_parallel_residual:
        return replace(family, parallel=False)
    if config.model_type == "opt" and not config.do_layer_norm_before:
        return Family(family.layers, family.final_norm)
    return family


def _unknown(model: Module) -> Family:
    """The layers and the last norm of a model whose layers' parts are not in the table."""
    ways = (LLAMA, beside_images(LLAMA), GPT_2, FAMILIES["gpt_neox"], FAMILIES["opt"])
    known = [Family(f.layers, f.final_norm) for f in ways if _has(model, f.layers) and _has(model, f.final_norm)]
    if not known:
        raise ValueError(f"it is not known where the layers of a model of the type '{model.config.model_type}' are")
    return known[0]


def _has(module: Module, path: str) -> bool:
    return path in dict(module.named_modules())


@dataclass(frozen=True)
class Point:
    """Where a hook is in a layer: the parts of a `Family`, of which the first that the family has is meant."""

    parts: tuple[str, ...]
    side: str
    """Whether the value is the input ("in") or the output ("out") of that part."""
    change: str = ""
    """What is done with it then; see `model.CHANGES`."""
    sequential: bool = False
    """Whether the hook exists only where the MLP reads what attention has written."""


LAYER = ""
"""The layer itself."""

POINTS: dict[str, Point] = {
    "hook_resid_pre": Point((LAYER,), "in"),
    "hook_resid_mid": Point(("norm2", "mlp"), "in", sequential=True),
    "hook_resid_post": Point((LAYER,), "out"),
    "hook_attn_in": Point((LAYER,), "in", "once for each head"),
    "hook_attn_out": Point(("after_attention", "attention"), "out"),
    "hook_mlp_in": Point(("norm2", "mlp"), "in"),
    "hook_mlp_out": Point(("after_mlp", "mlp"), "out"),
    "attn.hook_z": Point(("projection",), "in"),
    "attn.hook_result": Point(("projection",), "in", "projected by head"),
    "mlp.hook_in": Point(("mlp_in", "mlp"), "in"),
    "mlp.hook_post": Point(("down",), "in"),
    "mlp.hook_out": Point(("mlp",), "out"),
    "ln1.hook_normalized": Point(("norm1",), "in", "normalised"),
    "ln2.hook_normalized": Point(("norm2",), "in", "normalised"),
}
"""What transformer_lens means by the names of a layer's hooks. `hook_normalized` is before the norm's weight."""

STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_mlp_in", "hook_attn_out", "hook_mlp_out")
"""The hooks that have the residual stream, or what is added to it."""


@dataclass(frozen=True)
class Place:
    """A module, by its path in the model, and what to do with its input or output."""

    module: str
    side: str
    change: str = ""


def place_of(model: Module, hook: str) -> Place:
    """The place of a hook: a name of transformer_lens, or the path of a module with or without .input or .output.

    Raises ValueError if the model has no such place, or if it is not known where it is.
    """
    if hook == "hook_embed":
        embedding = model.get_input_embeddings()
        return Place(next(path for path, module in model.named_modules() if module is embedding), "out")
    named = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    return _place_in_layer(model, int(named[1]), named[2]) if named else _module_place(model, hook)


def _place_in_layer(model: Module, number: int, point: str) -> Place:
    family, found = family_of(model), POINTS.get(point)
    if found is None:
        raise ValueError(f"there is no rule for '{point}'")
    if found.sequential and family.parallel:
        raise ValueError(f"attention and MLP run side by side in this model, so it has no '{point}'")
    layer = f"{family.layers}.{number}"
    if found.parts == (LAYER,):
        return Place(layer, found.side, found.change)
    paths = next((path for part in found.parts if (path := getattr(family, part))), None)
    if paths is None:
        raise ValueError(f"it is not known where '{point}' is in a model of the type '{model.config.model_type}'")
    inside = model.get_submodule(layer)
    path = next((path for path in paths.split("|") if _has(inside, path)), None)
    if path is None:
        raise ValueError(f"layer {number} of this model has no '{point}'")
    return Place(f"{layer}.{path}", found.side, found.change)


def _module_place(model: Module, hook: str) -> Place:
    """The module with this path, or the one with this place in a layer where the path is that of another class."""
    path, side = re.fullmatch(r"(.+?)(?:\.(input|output))?", hook).groups()  # type: ignore[union-attr]
    if not _has(model, path):
        inside = re.fullmatch(r".*\b(?:layers|h|blocks)\.(\d+(?:\..+)?)", path)
        path = f"{family_of(model).layers}.{inside[1]}" if inside else path
    if not _has(model, path):
        raise ValueError(f"the model has no module '{hook}'")
    return Place(path, "in" if side == "input" else "out")


def is_in_stream(model: Module, hook: str) -> bool:
    """Whether the values at a hook are those of the residual stream, or are added to it."""
    named = re.fullmatch(r"blocks\.\d+\.(.+)", hook)
    if named:
        return named[1] in STREAM
    place = _module_place(model, hook) if hook != "hook_embed" else None
    number = re.match(re.escape(family_of(model).layers) + r"\.(\d+)", place.module) if place else None
    return place is not None and number is not None and place in _stream_places(model, int(number[1]))


def _stream_places(model: Module, number: int) -> list[Place]:
    places = []
    for point in STREAM:
        try:
            places.append(_place_in_layer(model, number, point))
        except ValueError:
            continue
    return places


def final_norm(model: Module) -> Module:
    """The norm before the unembedding."""
    return model.get_submodule(family_of(model).final_norm)
