"""A layer of any decoder of `transformers`: what its modules computed flows in, the places of the usual hooks flow out.

Names of modules mean different things in different architectures: `post_attention_layernorm` is before the MLP in Llama
and after attention in Gemma. So places are found by following the values of a forward pass from module to module, and
a place is used only if the values add up: what attention and MLP write must make the difference between the residual
streams.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from saecatalog.models.language_model import NoSuchHook

ADDS_UP = 0.02
"""Largest error of a sum, as a share of what is added; a scale that is forgotten makes a larger one."""


@dataclass(frozen=True)
class Place:
    """Where the values at a hook are, in terms of modules."""

    module: str
    """Path of a module in the model."""
    side: str
    """`in` for the module's input, `out` for its output."""
    change: str = ""
    """What is done with the value: `normalized` (as the module, a norm, does before its weight), `heads` (split into
    attention heads) or `repeated` (once for each attention head)."""


@dataclass(frozen=True)
class Call:
    """What one module computed in a forward pass."""

    path: str
    module: torch.nn.Module
    before: Tensor | None
    """Its first input that is a tensor of floats."""
    after: Tensor | None
    """Its output, or the first element of a tuple."""


def first_tensor(values: Iterator[Any] | Sequence[Any]) -> Tensor | None:
    """The first tensor of floating point numbers."""
    return next((v for v in values if isinstance(v, Tensor) and v.is_floating_point()), None)


def input_of(given: Sequence[Any], named: dict[str, Any]) -> Tensor | None:
    """What a module reads: the argument that transformers calls `hidden_states`, or else the first tensor of floats."""
    return first_tensor([*given, named.get("hidden_states"), *named.values()])


def with_input(given: tuple[Any, ...], named: dict[str, Any], value: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a module with another value in the place of what it reads (see `input_of`)."""
    before = input_of(given, named)
    return tuple(value if v is before else v for v in given), {k: value if v is before else v for k, v in named.items()}


def output_of(out: Any) -> Tensor | None:
    return first_tensor(out if isinstance(out, tuple) else (out,))


def record_calls(model: torch.nn.Module, inside: torch.nn.Module, prefix: str, tokens: Tensor) -> list[Call]:
    """The calls of a module's parts and of itself in one forward pass, in the order in which they end."""
    calls: list[Call] = []
    entered: dict[str, list[Tensor | None]] = {}
    handles = []
    for name, module in inside.named_modules(prefix=prefix):

        def enter(_: Any, given: Any, named: dict[str, Any], path: str = name) -> None:
            entered.setdefault(path, []).append(_copy(input_of(given, named)))

        def leave(part: Any, _: Any, __: Any, out: Any, path: str = name) -> None:
            calls.append(Call(path, part, entered[path].pop(), _copy(output_of(out))))

        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, with_kwargs=True))
    try:
        model(tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _copy(value: Tensor | None) -> Tensor | None:
    """A copy, because some models go on to change the tensor in place."""
    return None if value is None else value.clone()


def same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape and torch.equal(a, b)


def is_norm(module: torch.nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


class Layer:
    """One layer of a decoder, seen in a forward pass."""

    def __init__(self, path: str, calls: list[Call]):
        self.path = path
        self.calls = {call.path: call for call in calls}
        self.whole = self.calls[path]
        children = [call for call in calls if call.path.rpartition(".")[0] == path]
        self.parts = [c for c in children if is_norm(c.module) or any(True for _ in c.module.parameters())]

    @cached_property
    def attention(self) -> Call:
        return self._only("attention", [c for c in self._branches if "att" in c.path.rpartition(".")[2].lower()])

    @cached_property
    def mlp(self) -> Call:
        return self._only("MLP", [c for c in self._branches if "att" not in c.path.rpartition(".")[2].lower()])

    @property
    def _branches(self) -> list[Call]:
        return [c for c in self.parts if not is_norm(c.module)]

    @property
    def _norms(self) -> list[Call]:
        return [c for c in self.parts if is_norm(c.module)]

    def _only(self, what: str, found: list[Call]) -> Call:
        if len(found) != 1:
            raise NoSuchHook(f"It is not clear which module of '{self.path}' is its {what}.")
        return found[0]

    def norm_before(self, branch: Call) -> Call | None:
        """The norm whose output attention or the MLP reads; None if it reads the residual stream itself."""
        return next((norm for norm in self._norms if same(norm.after, branch.before)), None)

    def written_by(self, branch: Call) -> Place:
        """What attention or the MLP adds to the residual stream: its output, after a norm of its own if it has one."""
        self.check_sums()
        return self._written(branch)

    def _written(self, branch: Call) -> Place:
        norm = next((norm for norm in self._norms if same(norm.before, branch.after)), None)
        return Place((norm or branch).path, "out")

    def entry(self, branch: Call) -> Place:
        """Where the residual stream enters the branch: before its norm."""
        return Place((self.norm_before(branch) or branch).path, "in")

    def value(self, place: Place) -> Tensor:
        call = self.calls[place.module]
        found = call.before if place.side == "in" else call.after
        if found is None:
            raise NoSuchHook(f"'{place.module}' has no {place.side}put that is a tensor.")
        return found

    @cached_property
    def parallel(self) -> bool:
        """Whether attention and MLP read the same residual stream, so that there is none between them."""
        return same(self.value(self.entry(self.mlp)), self.whole.before)

    def check_sums(self) -> None:
        """Raise NoSuchHook unless attention and MLP write what makes the difference between the residual streams."""
        start, end = self.value(Place(self.path, "in")), self.value(Place(self.path, "out"))
        attention, mlp = (self.value(self._written(branch)) for branch in (self.attention, self.mlp))
        middle = start if self.parallel else self.value(self.entry(self.mlp))
        sums = [(start, attention + mlp, end)] if self.parallel else [(start, attention, middle), (middle, mlp, end)]
        for before, added, after in sums:
            rounding = 4 * torch.finfo(before.dtype).eps * before.float().norm(dim=-1)
            error = (after.float() - before.float() - added.float()).norm(dim=-1)
            if (error > ADDS_UP * added.float().norm(dim=-1) + rounding).any():
                what = "What attention and MLP write does not add up to the difference between the residual streams"
                raise NoSuchHook(f"{what} in '{self.path}', so it is not clear where these hooks are in this model.")

    def projection(self, branch: Call) -> Call:
        """The last matrix of attention or of the MLP, whose output is the branch's."""
        inner = [c for c in self.calls.values() if c.path.startswith(f"{branch.path}.") and _is_matrix(c.module)]
        return self._only(f"output matrix in '{branch.path}'", [c for c in inner if same(c.after, branch.after)])


def _is_matrix(module: torch.nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2


def place_of(point: str, layer: Layer) -> Place:
    """The place of a hook of transformer_lens in a layer; raises NoSuchHook if it cannot be told."""
    if point not in POINTS:
        raise NoSuchHook(f"Plain transformers cannot give the values at '{point}'.", f"It can at {', '.join(POINTS)}.")
    place: Place = POINTS[point](layer)
    return place


def _middle(layer: Layer) -> Place:
    if layer.parallel:
        raise NoSuchHook("Attention and MLP run side by side in this model, so it has no 'hook_resid_mid'.")
    layer.check_sums()
    return layer.entry(layer.mlp)


def _normalized(layer: Layer, branch: Call) -> Place:
    norm = layer.norm_before(branch)
    if norm is None:
        raise NoSuchHook(f"There is no norm before '{branch.path}'.")
    return Place(norm.path, "in", "normalized")


POINTS: dict[str, Any] = {
    "hook_resid_pre": lambda layer: Place(layer.path, "in"),
    "hook_resid_mid": _middle,
    "hook_resid_post": lambda layer: Place(layer.path, "out"),
    "hook_attn_in": lambda layer: Place(layer.path, "in", "repeated"),
    "hook_attn_out": lambda layer: layer.written_by(layer.attention),
    "hook_mlp_in": lambda layer: layer.entry(layer.mlp),
    "hook_mlp_out": lambda layer: layer.written_by(layer.mlp),
    "attn.hook_z": lambda layer: Place(layer.projection(layer.attention).path, "in", "heads"),
    "mlp.hook_in": lambda layer: Place(layer.mlp.path, "in"),
    "mlp.hook_post": lambda layer: Place(layer.projection(layer.mlp).path, "in"),
    "mlp.hook_out": lambda layer: Place(layer.mlp.path, "out"),
    "ln1.hook_normalized": lambda layer: _normalized(layer, layer.attention),
    "ln2.hook_normalized": lambda layer: _normalized(layer, layer.mlp),
}
"""Hooks of a layer by the names of transformer_lens, and where their values are."""
