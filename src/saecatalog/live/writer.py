"""Steps of a model: a network and a hook flow in, the steps up to the hook and the buffer with its values flow out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saecatalog.live.network import Attention, Layer, Matrix, Mlp, Network, Norm, Rotation
from saecatalog.live.program import EMBEDDING, NoProgram, Program, Step

RESIDUAL = "residual"

Stages = Iterator[tuple[str, str]]
"""Names of hooks, and the buffers that hold their values when all steps written so far have run."""


class Writer:
    """A program that is being written."""

    def __init__(self) -> None:
        self.buffers: dict[str, int] = {}
        self.steps: list[Step] = []
        self.tensors: dict[str, Any] = {}

    def program(self, read: str) -> Program:
        return Program(self.buffers, self.steps, self.tensors, read)

    def buffer(self, name: str, width: int) -> str:
        if self.buffers.setdefault(name, width) != width:
            raise NoProgram("the model's layers differ in width")
        return name

    def step(self, op: str, **fields: Any) -> None:
        self.steps.append({"op": op, **fields})

    def tensor(self, name: str, value: Tensor) -> str:
        """The name of a tensor, which is added in float32 unless it is there."""
        if name not in self.tensors:
            array = value.detach().to("cpu", torch.float32).contiguous().numpy()
            self.tensors[name] = np.ascontiguousarray(array)
        return name

    def optional(self, name: str, value: Tensor | None) -> str | None:
        return None if value is None else self.tensor(name, value)

    def linear(self, name: str, matrix: Matrix, source: str, to: str) -> str:
        weight = self.tensor(f"{name}.weight", matrix.weight)
        bias = self.optional(f"{name}.bias", matrix.bias)
        target = self.buffer(to, int(matrix.weight.shape[0]))
        self.step("linear", **{"from": source, "to": target, "weight": weight, "bias": bias})
        return target

    def norm(self, name: str, norm: Norm | None, source: str, to: str, parts: int = 1, bare: bool = False) -> str:
        """Normalise a buffer, without weight and bias if `bare`; the buffer itself if there is no norm."""
        if norm is None:
            return source
        weight = None if bare else self.optional(f"{name}.weight", norm.weight)
        bias = None if bare else self.optional(f"{name}.bias", norm.bias)
        target = self.buffer(to, self.buffers[source])
        how = {"kind": norm.kind, "eps": norm.eps, "parts": parts, "weight": weight, "bias": bias}
        self.step("norm", **{"from": source, "to": target}, **how)
        return target


def write_network(out: Writer, network: Network, layer: int | None, point: str) -> str:
    """Write the steps up to a hook of a layer, or to `hook_embed`; the buffer that holds its values.

    Raises NoProgram if the hook is not one of those that the steps pass.
    """
    for found, buffer in _stages(out, network, layer, point):
        if found == point:
            return buffer
    raise NoProgram(f"the live part does not reach the SAE's hook '{point}'")


def _stages(out: Writer, network: Network, layer: int | None, wanted: str) -> Stages:
    table = out.tensor(EMBEDDING, network.embedding)
    out.step("embed", to=out.buffer(RESIDUAL, network.embedding.shape[1]), table=table, scale=network.scale)
    if layer is None:
        yield "hook_embed", RESIDUAL
        return
    if network.positions is not None:
        out.step("positions", to=RESIDUAL, table=out.tensor("positions", network.positions))
    for number in range(layer):
        for _ in _layer(out, network.layer(number), f"layers.{number}", ""):
            pass
    yield from _layer(out, network.layer(layer), f"layers.{layer}", wanted)


def _is_in_mlp(point: str) -> bool:
    return point.startswith(("hook_mlp", "mlp.", "ln2."))


def _layer(out: Writer, layer: Layer, name: str, wanted: str) -> Stages:
    yield "hook_resid_pre", RESIDUAL
    if not (layer.parallel and _is_in_mlp(wanted)):
        yield from _attention(out, layer.attention, f"{name}.attention", wanted)
    if not layer.parallel:
        out.step("add", on=RESIDUAL, by="attention")
        yield "hook_resid_mid", RESIDUAL
    if layer.mlp is not None:
        yield "hook_mlp_in", RESIDUAL
        yield from _mlp(out, layer.mlp, f"{name}.mlp", wanted)
    if layer.parallel:
        out.step("add", on=RESIDUAL, by="attention")
    if layer.mlp is not None:
        out.step("add", on=RESIDUAL, by="mlp")
    yield "hook_resid_post", RESIDUAL


def _attention(out: Writer, part: Attention, name: str, wanted: str) -> Stages:
    if wanted == "ln1.hook_normalized":
        yield wanted, out.norm(f"{name}.norm", part.norm, RESIDUAL, "normed", bare=True)
    source = out.norm(f"{name}.norm", part.norm, RESIDUAL, "normed")
    yield "attn.hook_in", source
    for letter, matrix in (("q", part.q), ("k", part.k), ("v", part.v)):
        out.linear(f"{name}.{letter}", matrix, source, letter)
    for letter, norm, heads in (("q", part.q_norm, part.heads), ("k", part.k_norm, part.kv_heads)):
        out.norm(f"{name}.{letter}_norm", norm, letter, letter, heads)
        _rotate(out, part.rotation, letter, heads)
    counts = {"heads": part.heads, "kv_heads": part.kv_heads}
    how = {"scale": part.scale, "cap": part.cap, "window": part.window}
    out.step("attention", q="q", k="k", v="v", to=out.buffer("z", out.buffers["q"]), **counts, **how)
    yield "attn.hook_z", "z"
    yield "attn.hook_out", out.linear(f"{name}.output", part.output, "z", "attention")
    yield "hook_attn_out", out.norm(f"{name}.norm_after", part.norm_after, "attention", "attention")


def _rotate(out: Writer, rotation: Rotation | None, on: str, heads: int) -> None:
    if rotation is not None:
        cos, sin = (out.tensor(f"{rotation.name}.{part}", getattr(rotation, part)) for part in ("cos", "sin"))
        out.step("rotate", on=on, heads=heads, cos=cos, sin=sin, pairs=rotation.pairs)


def _mlp(out: Writer, part: Mlp, name: str, wanted: str) -> Stages:
    if wanted == "ln2.hook_normalized":
        yield wanted, out.norm(f"{name}.norm", part.norm, RESIDUAL, "normed", bare=True)
    source = out.norm(f"{name}.norm", part.norm, RESIDUAL, "normed")
    yield "mlp.hook_in", source
    first = (f"{name}.up", part.up) if part.gate is None else (f"{name}.gate", part.gate)
    hidden = out.linear(*first, source, "hidden")
    yield "mlp.hook_pre", hidden
    out.step("act", on=hidden, kind=part.act)
    if part.gate is not None:
        out.step("multiply", on=hidden, by=out.linear(f"{name}.up", part.up, source, "up"))
    if part.shift is not None:
        out.step("shift", on=hidden, by=out.tensor(f"{name}.shift", part.shift))
    yield "mlp.hook_post", hidden
    yield "mlp.hook_out", out.linear(f"{name}.down", part.down, hidden, "mlp")
    yield "hook_mlp_out", out.norm(f"{name}.norm_after", part.norm_after, "mlp", "mlp")
