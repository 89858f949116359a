"""Passes that begin before a later layer: a residual stream flows in, and the layers before are passed through.

All decoders of `transformers` are run in this way, those inside a TransformerBridge too, because none can be told where
to begin.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache


@dataclass(frozen=True)
class Past:
    """What later tokens attend to: the keys and values of some positions, from one layer on."""

    layers: list[tuple[Float[Tensor, "window head position d_head"], Float[Tensor, "window head position d_head"]]]

    @property
    def length(self) -> int:
        """The number of positions."""
        return self.layers[0][0].shape[2]


@contextmanager
def beginning_at(
    layers: torch.nn.ModuleList, start: int, residual: Float[Tensor, "window position d_model"], in_tuple: bool
) -> Iterator[None]:
    """Inside the block, a pass skips the layers before `start`, and that layer reads `residual`.

    `in_tuple` says whether layers return a tuple that begins with the residual stream.
    """

    def skip(*given: Any, **named: Any) -> Any:
        hidden = given[0] if given else named["hidden_states"]
        return (hidden, None) if in_tuple else hidden

    def enter(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((residual, *given[1:]), named) if given else (given, {**named, "hidden_states": residual})

    # First of its hooks, so that hooks which change what the layer reads see the residual stream given here.
    handle = layers[start].register_forward_pre_hook(enter, with_kwargs=True, prepend=True)
    skipped = list(layers)[:start]
    for layer in skipped:
        # Set past `__setattr__`, because the layers of a bridge hand attributes on to what they wrap.
        vars(layer)["forward"] = skip
    try:
        yield
    finally:
        handle.remove()
        for layer in skipped:
            del vars(layer)["forward"]


@contextmanager
def only_at(
    head: torch.nn.Module, at: Int[Tensor, "window"] | None, also: Float[Tensor, "row d_model"] | None = None
) -> Iterator[None]:
    """Inside the block, the unembedding reads one position of each window; logits are `[window, 1, d_vocab]`.

    It reads the rows of `also` before them. None stands for all positions of the windows, and nothing else.
    """
    if at is None:
        yield
        return

    def select(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = given[0]
        chosen = hidden[torch.arange(len(hidden), device=hidden.device), at]
        return ((chosen if also is None else torch.cat([also, chosen]))[:, None], *given[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def reads_of(head: torch.nn.Module) -> Iterator[list[Float[Tensor, "window position d_model"]]]:
    """Inside the block, what the unembedding would read at every position is added to the list, pass by pass."""
    seen: list[Tensor] = []

    def see(_: Any, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    handle = head.register_forward_pre_hook(see)
    try:
        yield seen
    finally:
        handle.remove()


def returns_tuple(layers: torch.nn.ModuleList, run: Callable[[], object]) -> bool:
    """Whether layers return a tuple, as seen in the pass that `run` makes."""
    seen: list[bool] = []
    handle = layers[0].register_forward_hook(lambda _, __, out: seen.append(isinstance(out, tuple)))
    try:
        run()
    finally:
        handle.remove()
    return bool(seen and seen[0])


def cache_of(past: Past | None, skipped: int) -> DynamicCache:
    """A cache of transformers with a past; the `skipped` layers before it have zeros, whose number tells positions."""
    # Made without the model's settings, so that sliding windows keep all positions too; masks leave the old ones out.
    cache = DynamicCache()
    if past is not None:
        first = past.layers[0][0]
        none = first.new_zeros((len(first), 1, past.length, 1))
        for layer, (keys, values) in enumerate([(none, none)] * skipped + past.layers):
            cache.update(keys, values, layer)
    return cache


def past_of(cache: DynamicCache, layer: int) -> Past:
    """The keys and values in a cache of transformers from a layer on."""
    return Past([(part.keys, part.values) for part in cache.layers[layer:]])


@dataclass(frozen=True)
class Decoder:
    """A decoder of `transformers` whose passes begin before a later layer; the methods are those of `LanguageModel`."""

    module: Any
    """The whole model, which is called."""
    layers: torch.nn.ModuleList
    head: torch.nn.Module
    """The unembedding."""
    in_tuple: bool
    """Whether layers return a tuple that begins with the residual stream."""

    def remember(self, layer: int, tokens: Tensor, residual: Tensor) -> tuple[Past, Tensor]:
        cache = cache_of(None, layer)
        with reads_of(self.head) as read:
            self._run(layer, tokens, residual, tokens.new_zeros(len(tokens)), cache)
        return past_of(cache, layer), read[0]

    def logits_from(
        self,
        layer: int,
        tokens: Tensor,
        residual: Tensor,
        at: Tensor | None,
        past: Past | None = None,
        also: Tensor | None = None,
    ) -> Tensor:
        return self._run(layer, tokens, residual, at, past and cache_of(past, layer), also)

    def _run(
        self,
        layer: int,
        tokens: Tensor,
        residual: Tensor,
        at: Tensor | None,
        cache: DynamicCache | None,
        also: Tensor | None = None,
    ) -> Tensor:
        kept = {"past_key_values": cache, "use_cache": True} if cache is not None else {"use_cache": False}
        with beginning_at(self.layers, layer, residual, self.in_tuple), only_at(self.head, at, also):
            logits: Tensor = self.module(tokens, **kept).logits
        return logits if at is None else logits[:, 0]

    def next_logits(self, tokens: Tensor, memory: DynamicCache | None = None) -> tuple[Tensor, DynamicCache]:
        last = torch.full((len(tokens),), tokens.shape[1] - 1, device=tokens.device)
        with only_at(self.head, last):
            out = self.module(tokens, past_key_values=memory, use_cache=True)
        return out.logits[:, 0], out.past_key_values
