"""What an SAE reads as a sum of parts of the model: a model and a hook flow in, what each part adds flows out.

What an SAE reads from the residual stream is the sum of what the embedding, every attention head, every MLP layer and
the biases of attention wrote before. So an activation is a sum of dot products, one for each part, with the feature's
encoder column (Elhage et al. 2021, "A mathematical framework for transformer circuits"). A norm between the parts and
the SAE is made linear by keeping its scale as it is in each context.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecatalog.models.branches import Branches, Norm
from saecatalog.models.language_model import LanguageModel, NoSuchHook, layer_of

Part = tuple[str, int, int]
"""Kind, layer and head of a part of the model; -1 where it has none."""


EMBEDDING = "blocks.0.hook_resid_pre"


def heads_hook(layer: int) -> str:
    """Where the values of a layer's attention heads are."""
    return f"blocks.{layer}.attn.hook_z"


def attention_hook(layer: int) -> str:
    return f"blocks.{layer}.hook_attn_out"


def mlp_hook(layer: int) -> str:
    return f"blocks.{layer}.hook_mlp_out"


class NoAttribution(Exception):
    """Why activations cannot be split into the parts of the model, in one sentence."""


@dataclass(frozen=True)
class Point:
    """What an SAE reads at a hook of a layer: which parts of the layer itself it contains, and through which norm."""

    attention: bool = False
    mlp: bool = False
    stream: bool = True
    """Whether it contains what earlier layers wrote."""
    norm: str = ""
    """`attention` or `mlp`: the norm before this branch."""
    weighted: bool = True
    """Whether it has the norm's weight and bias."""
    projected: bool = True
    """Whether heads are seen after attention's output matrix."""


POINTS = {
    "hook_resid_pre": Point(),
    "hook_attn_in": Point(),
    "ln1.hook_normalized": Point(norm="attention", weighted=False),
    "hook_resid_mid": Point(attention=True),
    "hook_mlp_in": Point(attention=True),
    "ln2.hook_normalized": Point(attention=True, norm="mlp", weighted=False),
    "mlp.hook_in": Point(attention=True, norm="mlp"),
    "hook_resid_post": Point(attention=True, mlp=True),
    "hook_attn_out": Point(attention=True, stream=False),
    "attn.hook_z": Point(attention=True, stream=False, projected=False),
}
"""The hooks, by the names of transformer_lens, whose values are a sum of parts of the model."""


class Plan:
    """How to split what an SAE reads at a hook into parts of the model."""

    def __init__(self, model: LanguageModel, hook: str):
        name = model.usual_name(hook)
        number, point = layer_of(name), POINTS.get(name.split(".", 2)[-1])
        if number is None or point is None:
            raise NoAttribution(f"What the SAE reads at '{hook}' is not a sum of parts of the model.")
        self.layers = range(number + 1) if point.stream else range(number, number + 1)
        self.branches = _branches(model, self.layers)
        if not point.projected:
            self.branches = {layer: _unprojected(own) for layer, own in self.branches.items()}
        own = self.branches[number]
        # Where attention and MLP run side by side, the MLP reads what attention reads.
        attention = point.attention and not (own.parallel and point.stream and not point.mlp)
        self.with_heads = [layer for layer in self.layers if layer < number or attention]
        self.with_mlp = [layer for layer in self.layers if layer < number or point.mlp]
        self.stream, self.n_heads = point.stream, model.n_heads
        self.norm = _norm(own, point)

    @cached_property
    def hooks(self) -> tuple[str, ...]:
        """The hooks whose values the parts are computed from."""
        normed = [layer for layer in self.with_heads if self.branches[layer].norm_after]
        named = ((heads_hook, self.with_heads), (attention_hook, normed), (mlp_hook, self.with_mlp))
        return (*[EMBEDDING][: self.stream], *(name(layer) for name, layers in named for layer in layers))

    @cached_property
    def parts(self) -> list[Part]:
        """Every part, in the order of the model; the last one is the SAE's bias."""
        found: list[Part] = [("embedding", -1, -1)][: self.stream]
        for layer in self.layers:
            if layer in self.with_heads:
                found += [("head", layer, head) for head in range(self.n_heads)] + [("bias", layer, -1)]
            if layer in self.with_mlp:
                found.append(("mlp", layer, -1))
        return [*found, ("bias", -1, -1)]


def _branches(model: LanguageModel, layers: range) -> dict[int, Branches]:
    try:
        return {layer: model.branches(layer) for layer in layers}
    except NoSuchHook as error:
        raise NoAttribution(str(error)) from error


def _unprojected(own: Branches) -> Branches:
    """Attention whose output is the values of its heads, side by side."""
    matrix = torch.eye(len(own.heads_to_stream), device=own.heads_to_stream.device)
    return replace(own, heads_to_stream=matrix, bias=None, norm_after=None)


def _norm(own: Branches, point: Point) -> Norm | None:
    """The norm between the residual stream and what the SAE reads."""
    if not point.norm:
        return None
    norm = own.norm_before_mlp if point.norm == "mlp" else own.norm_before_attention
    if norm is None or point.weighted:
        return norm
    return Norm(torch.ones_like(norm.gain), torch.zeros_like(norm.bias), norm.centred)


class Encoder(NamedTuple):
    """Features as affine functions of the SAE's normalised input; where one is active, this is its activation."""

    columns: Float[Tensor, "feature d_in"]
    constants: Float[Tensor, "feature"]


def encoder_of(sae: Any, features: Int[Tensor, "feature"]) -> Encoder:
    """The functions of some features, in double precision. Raises NoAttribution for an SAE without an encoder."""
    w = {name: values.detach().double() for name, values in sae.named_parameters() if name != "W_dec"}
    if "W_enc" not in w:
        raise NoAttribution(f"An SAE of the architecture '{sae.cfg.architecture()}' has no encoder to project on.")
    columns = w["W_enc"][:, features].T
    if "r_mag" in w:
        # The gate decides whether a gated SAE's feature is active, and the magnitude is its activation.
        columns, constants = columns * w["r_mag"][features].exp()[:, None], w["b_mag"][features]
    else:
        constants = w["b_enc"][features]
    if sae.cfg.apply_b_dec_to_input:
        constants = constants - columns @ w["b_dec"]
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        norms = sae.W_dec.detach()[features].double().norm(dim=-1)
        columns, constants = columns * norms[:, None], constants * norms
    return Encoder(columns, constants)


class Frozen(NamedTuple):
    """A direction to project on, and what was added so far that does not depend on the parts."""

    direction: Float[Tensor, "row width"]
    constant: Float[Tensor, "row"]

    def through(self, norm: Norm, before: Float[Tensor, "row width"], after: Float[Tensor, "row width"]) -> "Frozen":
        """The same for the input of a norm, whose scale is kept as it is in each row."""
        undivided = norm.undivided(before)
        size = undivided.square().sum(-1)
        # The one number that takes the linear part to the values after the norm.
        scale = ((after - norm.bias) * undivided).sum(-1) / torch.where(size > 0, size, 1)
        constant = self.constant + (self.direction * norm.bias).sum(-1)
        return Frozen(norm.back(self.direction) * scale[:, None], constant)


def split(
    plan: Plan,
    values: dict[str, Float[Tensor, "row width"]],
    read: Float[Tensor, "row d_in"],
    normalised: Float[Tensor, "row d_in"],
    encoder: Encoder,
) -> Float[Tensor, "row part"]:
    """What each part of the model adds to the activation of one feature in each row, in double precision.

    `values` are those at `plan.hooks`; `read` is what the SAE reads, before and after its own normalisation. The
    encoder has one feature for each row.
    """
    start = Frozen(encoder.columns, encoder.constants)
    if not torch.equal(read, normalised):
        start = start.through(_of_sae(read, normalised), read, normalised)
    written = {layer: _written(plan, layer, values) for layer in plan.with_heads}
    if plan.stream:
        # Where the hook has a copy of the residual stream for every attention head, each copy has its own weights.
        stream = _stream(plan, values, written)
        direction = start.direction.reshape(len(stream), -1, stream.shape[-1]).sum(1)
        start = Frozen(direction, start.constant)
        if plan.norm:
            start = start.through(plan.norm, stream, read)
    found = [(values[EMBEDDING] * start.direction).sum(-1, keepdim=True)] if plan.stream else []
    for layer in plan.layers:
        if layer in plan.with_heads:
            found += _heads(plan, layer, values, written[layer], start.direction)
        if layer in plan.with_mlp:
            found.append((values[mlp_hook(layer)] * start.direction).sum(-1, keepdim=True))
    return torch.cat([*found, start.constant[:, None]], -1)


def _of_sae(read: Float[Tensor, "row d_in"], normalised: Float[Tensor, "row d_in"]) -> Norm:
    """The normalisation of an SAE, which has no weights; it subtracts the mean if what it gives has a mean of 0."""
    centred = bool((normalised.mean(-1).abs() <= 1e-4 * normalised.abs().mean(-1)).all())
    return Norm(torch.ones_like(read[0]), torch.zeros_like(read[0]), centred)


def _written(plan: Plan, layer: int, values: dict[str, Tensor]) -> Float[Tensor, "row d_model"]:
    """The sum of a layer's heads with its bias, before the norm after attention if there is one."""
    own = plan.branches[layer]
    heads = values[heads_hook(layer)] @ own.heads_to_stream.double()
    return heads if own.bias is None else heads + own.bias


def _stream(plan: Plan, values: dict[str, Tensor], written: dict[int, Tensor]) -> Float[Tensor, "row d_model"]:
    """The residual stream as the sum of its parts."""
    attention = [values.get(attention_hook(layer), found) for layer, found in written.items()]
    return torch.stack([values[EMBEDDING], *attention, *(values[mlp_hook(layer)] for layer in plan.with_mlp)]).sum(0)


def _heads(
    plan: Plan, layer: int, values: dict[str, Tensor], written: Tensor, direction: Float[Tensor, "row d_model"]
) -> list[Float[Tensor, "row part"]]:
    """What each head of a layer adds, then what the bias of its attention does."""
    own = plan.branches[layer]
    start = Frozen(direction, direction.new_zeros(len(direction)))
    if own.norm_after:
        start = start.through(own.norm_after, written, values[attention_hook(layer)])
    along = values[heads_hook(layer)] * (start.direction @ own.heads_to_stream.double().T)
    bias = start.constant if own.bias is None else start.constant + start.direction @ own.bias.double()
    return [along.reshape(len(along), plan.n_heads, -1).sum(-1), bias[:, None]]
