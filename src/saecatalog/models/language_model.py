"""A model as the rest of the program sees it: token ids flow in, the values at hooks and the map to logits flow out.

`HookedModel` runs a model of `transformer_lens`, `PlainModel` one of plain `transformers`.
"""

import copy
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecatalog.models.branches import Branches
from saecatalog.models.resuming import Past

PROOF_TOKENS = 8
"""Tokens of the forward pass that proves a hook."""

Change = Callable[[Tensor], Tensor]
"""Makes the value that a pass goes on with, from the value `[window, position, ...]` that it has at a hook."""


class NoSuchHook(Exception):
    """A model cannot give the values at a hook; the message says why, and `hint` what else there is."""

    def __init__(self, reason: str, hint: str = ""):
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True)
class LogitParts:
    """How the residual stream becomes logits, but for the final norm's division."""

    unembedding: Float[Tensor, "d_model d_vocab"]
    gain: Float[Tensor, "d_model"] | None
    """The final norm's weight; None if it was folded into the unembedding or if there is none."""
    centred: bool
    """Whether the final norm subtracts the mean, as LayerNorm does and RMS norm does not."""


class LanguageModel(ABC):
    """A decoder-only language model with its tokenizer."""

    library: str
    """What runs the model, for the manifest."""
    d_model: int
    n_layers: int
    d_vocab: int
    """Rows of the unembedding: token ids are below this."""
    n_ctx: int
    """Most positions in a window."""
    n_heads: int
    """Attention heads of a layer."""

    def __init__(self, module: Any, tokenizer: Any):
        self.module, self.tokenizer = module, tokenizer

    @abstractmethod
    def prepare(self, hooks: Sequence[str]) -> None:
        """Make ready to give the values at these hooks; raises NoSuchHook if the model does not have them."""

    @abstractmethod
    def caught(self, hooks: Sequence[str], tokens: Int[Tensor, "window position"], whole: bool) -> list[list[Tensor]]:
        """Every value `[window, position, ...]` that each hook saw in one forward pass.

        The pass ends as soon as each hook has seen one, or a little later; only if `whole`, it may see more.
        """

    @abstractmethod
    def changing(self, hook: str, change: Change) -> AbstractContextManager[None]:
        """Inside the block, every pass goes on with what `change` makes of the value at a hook.

        This holds for passes of this object and for calls of its `module`. Raises NoSuchHook if the value cannot be
        replaced.
        """

    @abstractmethod
    def logits(self, tokens: Int[Tensor, "window position"]) -> Float[Tensor, "window position d_vocab"]:
        """The logits of a pass through the whole model."""

    @abstractmethod
    def start_layer(self, hook: str) -> int:
        """The layer before which a pass can begin in which the value at a hook is changed; raises NoSuchHook."""

    @abstractmethod
    def is_entry(self, hook: str) -> bool:
        """Whether the values at a hook are the residual stream before its layer."""

    @abstractmethod
    def entering(self, layer: int, tokens: Int[Tensor, "window position"]) -> Float[Tensor, "window position d_model"]:
        """The residual stream before a layer; before layer `n_layers` means after the last one."""

    @abstractmethod
    def remember(
        self, layer: int, tokens: Int[Tensor, "window position"], residual: Float[Tensor, "window position d_model"]
    ) -> tuple[Past, Float[Tensor, "window position d_model"]]:
        """What a pass that begins with the residual stream before a layer leaves behind.

        The keys and values of that layer and all later ones, and what the unembedding reads.
        """

    @abstractmethod
    def logits_from(
        self,
        layer: int,
        tokens: Int[Tensor, "window position"],
        residual: Float[Tensor, "window position d_model"],
        at: Int[Tensor, "window"] | None,
        past: Past | None = None,
        also: Float[Tensor, "row d_model"] | None = None,
    ) -> Float[Tensor, "window *position d_vocab"]:
        """The logits at one position of each window, from a pass that begins with the residual stream before a layer.

        If `at` is None, they are those of every position. With a past, the windows are its continuation. What
        `changing` does at hooks in that layer and later ones holds. With `at`, the logits of `also`, values that the
        unembedding reads, come before those of the windows.
        """

    @abstractmethod
    def next_logits(
        self, tokens: Int[Tensor, "window position"], memory: Any = None
    ) -> tuple[Float[Tensor, "window d_vocab"], Any]:
        """The logits after the last token, and the memory of all tokens for a pass that goes on with further ones.

        `memory` is that of the tokens before: keys and values of every layer.
        """

    @abstractmethod
    def adds_to_residual(self, hook: str) -> bool:
        """Whether the values at a hook are the residual stream itself or are added to it."""

    @abstractmethod
    def logit_parts(self) -> LogitParts: ...

    @abstractmethod
    def branches(self, layer: int) -> Branches:
        """How a layer's attention and MLP read and write; raises NoSuchHook if it cannot be told."""

    def usual_name(self, hook: str) -> str:
        """The name that transformer_lens has for a hook; the name itself if it is one, or if there is none."""
        return hook

    def values(self, hooks: Sequence[str], tokens: Int[Tensor, "window position"]) -> list[Tensor]:
        """The values `[window, position, ...]` at each hook, from a forward pass that ends at the last of them."""
        return [found[0] for found in self.caught(hooks, tokens, whole=False)]

    @torch.inference_mode()
    def prove(self, hooks: Sequence[str], device: torch.device) -> None:
        """Run a forward pass in which each hook must see one value, or the same one several times.

        HookedTransformer normalises the input of queries, keys and values separately, so that a hook in that norm fires
        three times with the same values. Raises NoSuchHook.
        """
        self.prepare(hooks)
        tokens = torch.arange(PROOF_TOKENS, device=device)[None] % self.d_vocab
        for hook, found in zip(hooks, self.caught(hooks, tokens, whole=True), strict=True):
            if not found:
                raise NoSuchHook(f"The hook '{hook}' is never reached in a forward pass.")
            if not all(torch.equal(found[0], value) for value in found[1:]):
                raise NoSuchHook(f"The hook '{hook}' is reached {len(found)} times, with different values each time.")

    def replica(self) -> "LanguageModel":
        """A second model that shares every weight, for another thread: models keep state during a pass."""
        other = copy.copy(self)
        other.module = share(self.module)
        return other


def layer_of(hook: str) -> int | None:
    """The layer in a hook's name (`blocks.3.hook_resid_pre`, `transformer.h.3`); None if it contains none."""
    match = re.search(r"\.(\d+)(\.|$)", hook)
    return int(match[1]) if match else None


def share(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of a module whose parameters and buffers are the same tensors."""
    shared: dict[int, Any] = {id(t): t for t in [*module.parameters(), *module.buffers()]}
    for name in ("tokenizer", "cfg"):
        if hasattr(module, name):
            shared[id(getattr(module, name))] = getattr(module, name)
    with warnings.catch_warnings():
        # transformer_lens warns that two wrappers share one config, which is intended here.
        warnings.simplefilter("ignore")
        return copy.deepcopy(module, shared)
