"""Models of plain `transformers`: a model with any decoder flows in, a `LanguageModel` flows out.

A hook is a module (`transformer.h.3`, whose output it is), a module with `.input` or `.output`, or has a name of
`transformer_lens` (`blocks.3.hook_resid_pre`), which is looked up in `decoder_layer`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from saecatalog.errors import nearest
from saecatalog.models.branches import Branches, norm_of
from saecatalog.models.decoder_layer import (
    POINTS,
    Layer,
    Place,
    input_of,
    is_norm,
    output_of,
    place_of,
    record_calls,
    same,
    with_input,
)
from saecatalog.models.language_model import PROOF_TOKENS, Change, LanguageModel, LogitParts, NoSuchHook, layer_of
from saecatalog.models.resuming import Decoder, Past, returns_tuple

SIDES = {".input": "in", ".output": "out"}


def is_module_path(hook: str) -> bool:
    """Whether a hook's name is not one of transformer_lens, so that it must be the path of a module."""
    return not re.match(r"(blocks\.\d+\.|hook_|ln_final\.)", hook)


class HookReached(Exception):
    """Ends a forward pass when every hook has seen its values."""


class PlainModel(LanguageModel):
    """A model of `transformers` with hooks on its modules."""

    library = "transformers"

    def __init__(self, module: Any, tokenizer: Any):
        super().__init__(module, tokenizer)
        config = module.config.get_text_config()
        self.d_model, self.n_layers = int(config.hidden_size), int(config.num_hidden_layers)
        self.d_vocab = int(config.vocab_size)
        self.n_ctx = int(getattr(config, "max_position_embeddings", 0) or 1 << 20)
        self.n_heads = int(getattr(config, "num_attention_heads", 1))
        self._places: dict[str, Place] = {}
        self._residual: set[str] = set()
        self._layers_seen: dict[int, Layer] = {}

    def prepare(self, hooks: Sequence[str]) -> None:
        for hook in hooks:
            self._places[hook] = self._find(hook)

    def place(self, hook: str) -> Place:
        """Where the values at a hook are that the model is ready to give."""
        return self._places[hook]

    def _find(self, hook: str) -> Place:
        if hook == "hook_embed":
            return Place(self._path_of(self.module.get_input_embeddings()), "out")
        place = self._module_place(hook) if is_module_path(hook) else None
        number = layer_of(place.module if place else hook)
        if number is None:
            if place is None:
                raise NoSuchHook(f"Plain transformers cannot give the values at '{hook}'.")
            return place
        if number >= self.n_layers:
            raise NoSuchHook(f"The model has no layer {number}: its layers are 0 to {self.n_layers - 1}.")
        layer = self._layer(number)
        place = place or place_of(hook.split(".", 2)[2], layer)
        if self._in_residual(place, layer):
            self._residual.add(hook)
        return place

    def _module_place(self, hook: str) -> Place:
        """The place that a module's path names; layers are found by their number if the path is another class's."""
        modules = dict(self.module.named_modules())
        for end, side in {"": "out", **SIDES}.items():
            path = hook.removesuffix(end)
            if not hook.endswith(end):
                continue
            if path in modules:
                return Place(path, side)
            inside = re.match(r".*\b(?:layers|h|blocks)\.(\d+)((?:\..*)?)$", path)
            moved = f"{self._layers}.{inside[1]}{inside[2]}" if inside else ""
            if moved in modules:
                return Place(moved, side)
        raise NoSuchHook(f"The model does not have the module '{hook}'.", nearest(hook, modules))

    @property
    def _layers(self) -> str:
        """The path of the list of layers: one for text, where a model also reads images."""
        decoder = self.module.get_decoder()
        for name, part in decoder.named_modules(prefix=self._path_of(decoder)):
            if isinstance(part, torch.nn.ModuleList) and len(part) == self.n_layers:
                return str(name)
        raise NoSuchHook("The layers of this model were not found.")

    def _path_of(self, module: torch.nn.Module) -> str:
        return next(str(name) for name, part in self.module.named_modules() if part is module)

    @torch.inference_mode()
    def _calls(self, inside: torch.nn.Module) -> Any:
        tokens = torch.arange(PROOF_TOKENS, device=self.module.device)[None] % self.d_vocab
        return record_calls(self.module, inside, self._path_of(inside), tokens)

    def _layer(self, number: int) -> Layer:
        if number not in self._layers_seen:
            path = f"{self._layers}.{number}"
            self._layers_seen[number] = Layer(path, self._calls(self.module.get_submodule(path)))
        return self._layers_seen[number]

    def _in_residual(self, place: Place, layer: Layer) -> bool:
        """Whether values are the residual stream or added to it, by comparison with those that are known to be."""
        if place.change or place.module not in layer.calls:
            return False
        known = []
        for point in ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out"):
            try:
                known.append(layer.value(place_of(point, layer)))
            except NoSuchHook:
                continue
        return any(same(layer.value(place), value) for value in known)

    def caught(self, hooks: Sequence[str], tokens: Tensor, whole: bool) -> list[list[Tensor]]:
        places = [self._places[hook] for hook in hooks]
        found: list[list[Tensor]] = [[] for _ in hooks]
        handles = []
        for place, values in zip(places, found, strict=True):
            module = self.module.get_submodule(place.module)

            def catch(_: Any, given: Any, named: Any, *out: Any, values: list[Tensor] = values) -> None:
                value = output_of(out[0]) if out else input_of(given, named)
                # Some models go on to change the tensor in place.
                values.extend([] if value is None else [value.clone()])
                if not whole and all(found):
                    raise HookReached

            register = module.register_forward_hook if place.side == "out" else module.register_forward_pre_hook
            handles.append(register(catch, with_kwargs=True))
        try:
            self.module(tokens, use_cache=False)
        except HookReached:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return [[self._changed(v, place) for v in values] for values, place in zip(found, places, strict=True)]

    def _changed(self, value: Tensor, place: Place) -> Tensor:
        if place.change == "normalized":
            return without_weight(self.module.get_submodule(place.module), value)
        if place.change == "repeated":
            return value.unsqueeze(2).expand(-1, -1, self.n_heads, -1)
        if place.change == "heads" and value.shape[-1] % self.n_heads == 0:
            return torch.unflatten(value, -1, (self.n_heads, -1))
        return value

    @contextmanager
    def changing(self, hook: str, change: Change) -> Iterator[None]:
        place = self._places[hook]
        if place.change not in ("", "heads"):
            raise NoSuchHook(f"Plain transformers cannot replace the values at '{hook}'.")

        def changed(value: Tensor) -> Tensor:
            return change(self._changed(value, place)).reshape(value.shape)

        def enter(_: Any, given: Any, named: Any) -> Any:
            value = input_of(given, named)
            return (given, named) if value is None else with_input(given, named, changed(value))

        def leave(_: Any, __: Any, out: Any) -> Any:
            return (changed(out[0]), *out[1:]) if isinstance(out, tuple) else changed(out)

        module = self.module.get_submodule(place.module)
        handle = (
            module.register_forward_hook(leave)
            if place.side == "out"
            else module.register_forward_pre_hook(enter, with_kwargs=True)
        )
        try:
            yield
        finally:
            handle.remove()

    def logits(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.module(tokens, use_cache=False).logits
        return logits

    def start_layer(self, hook: str) -> int:
        layer = layer_of(self._places[hook].module)
        if layer is None:
            raise NoSuchHook(f"The hook '{hook}' is not in a layer.")
        return layer

    def entering(self, layer: int, tokens: Tensor) -> Tensor:
        side, number = ("input", layer) if layer < self.n_layers else ("output", layer - 1)
        hook = f"{self._layers}.{number}.{side}"
        self._places.setdefault(hook, Place(f"{self._layers}.{number}", SIDES[f".{side}"]))
        return self.values([hook], tokens)[0]

    def is_entry(self, hook: str) -> bool:
        return self._places[hook] == Place(f"{self._layers}.{self.start_layer(hook)}", "in")

    def remember(self, layer: int, tokens: Tensor, residual: Tensor) -> tuple[Past, Tensor]:
        return self._decoder.remember(layer, tokens, residual)

    def logits_from(
        self,
        layer: int,
        tokens: Tensor,
        residual: Tensor,
        at: Tensor | None,
        past: Past | None = None,
        also: Tensor | None = None,
    ) -> Tensor:
        return self._decoder.logits_from(layer, tokens, residual, at, past, also)

    def next_logits(self, tokens: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        return self._decoder.next_logits(tokens, memory)

    @property
    def _decoder(self) -> Decoder:
        layers, head = self.module.get_submodule(self._layers), self.module.get_output_embeddings()
        return Decoder(self.module, layers, head, self._in_tuple)

    @cached_property
    def _in_tuple(self) -> bool:
        """Whether layers return tuples."""
        tokens = torch.arange(PROOF_TOKENS, device=self.module.device)[None] % self.d_vocab
        return returns_tuple(self.module.get_submodule(self._layers), lambda: self.logits(tokens))

    def adds_to_residual(self, hook: str) -> bool:
        return hook in self._residual

    def logit_parts(self) -> LogitParts:
        head = self.module.get_output_embeddings()
        norm = self._final_norm(head)
        unembedding = head.weight.detach().T.float()
        if norm is None:
            return LogitParts(unembedding, None, False)
        weight = getattr(norm, "weight", None)
        gain = None if weight is None else weight.detach().float() + int(_adds_one(norm))
        # A norm that subtracts the mean makes equal values 0.
        centred = not without_weight(norm, torch.ones_like(head.weight[:1])).any()
        return LogitParts(unembedding, gain, bool(centred))

    def branches(self, layer: int) -> Branches:
        found = self._layer(layer)
        matrix: Any = found.projection(found.attention).module
        # GPT-2 stores its matrices the other way round.
        weight = matrix.weight.detach().T if isinstance(matrix, torch.nn.Linear) else matrix.weight.detach()
        bias = None if matrix.bias is None else matrix.bias.detach()
        written = self.module.get_submodule(found.written_by(found.attention).module)
        after = None if written is found.attention.module else norm_of(written, weight)
        read = (found.norm_before(branch) for branch in (found.attention, found.mlp))
        attention, mlp = (norm_of(norm.module if norm else None, weight) for norm in read)
        return Branches(weight, bias, after, attention, mlp, found.parallel)

    def usual_name(self, hook: str) -> str:
        place = self._places.get(hook) or self._find(hook)
        number = layer_of(place.module)
        if not is_module_path(hook) or number is None:
            return hook
        layer = self._layer(number)
        return next((f"blocks.{number}.{point}" for point in POINTS if _is_at(point, place, layer)), hook)

    def _final_norm(self, head: torch.nn.Module) -> Any:
        """The norm whose output the unembedding reads; None if there is none."""
        calls = self._calls(self.module)
        read = next(call.before for call in calls if call.module is head)
        return next((c.module for c in calls if is_norm(c.module) and same(c.after, read)), None)


def _is_at(point: str, place: Place, layer: Layer) -> bool:
    """Whether a hook of transformer_lens has the same values as a place."""
    try:
        other = place_of(point, layer)
        return not (place.change or other.change) and same(layer.value(other), layer.value(place))
    except (KeyError, NoSuchHook):
        return False


def _with_weight(norm: torch.nn.Module, value: Tensor, weight: float) -> Tensor:
    """A norm's output if its weight were one number and its bias 0."""
    parameters = {
        name: torch.full_like(parameter, 0.0 if name.endswith("bias") else weight)
        for name, parameter in norm.named_parameters()
    }
    out: Tensor = functional_call(norm, parameters, (value,))
    return out


def _adds_one(norm: torch.nn.Module) -> bool:
    """Whether a norm multiplies by 1 + weight, as Gemma's does."""
    some = torch.arange(1, 1 + next(norm.parameters()).numel(), device=next(norm.parameters()).device).float()
    return bool(_with_weight(norm, some.to(next(norm.parameters()).dtype), 0.0).any())


def without_weight(norm: torch.nn.Module, value: Tensor) -> Tensor:
    """The normalised values before the norm's weight and bias: `hook_normalized` of transformer_lens."""
    if not any(True for _ in norm.parameters()):
        out: Tensor = norm(value)
        return out
    return _with_weight(norm, value, 0.0 if _adds_one(norm) else 1.0)
