"""Models of `transformer_lens`: a HookedTransformer or a TransformerBridge flows in, a `LanguageModel` flows out."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformer_lens import TransformerLensKeyValueCache
from transformer_lens.model_bridge import TransformerBridge

from saecatalog.errors import nearest
from saecatalog.models.branches import Branches, norm_of
from saecatalog.models.language_model import PROOF_TOKENS, Change, LanguageModel, LogitParts, NoSuchHook, layer_of
from saecatalog.models.resuming import Decoder, Past, only_at, reads_of, returns_tuple

FLAGS = {
    "hook_mlp_in": "set_use_hook_mlp_in",
    "hook_attn_in": "set_use_attn_in",
    "attn.hook_result": "set_use_attn_result",
    "hook_q_input": "set_use_split_qkv_input",
    "hook_k_input": "set_use_split_qkv_input",
    "hook_v_input": "set_use_split_qkv_input",
}
"""Hooks that are off until a setter of the model switches them on."""


class HookedModel(LanguageModel):
    """A model of `transformer_lens`, whose hooks have names such as `blocks.3.hook_resid_pre`."""

    library = "transformer_lens"

    def __init__(self, module: Any):
        super().__init__(module, module.tokenizer)
        config = module.cfg
        self.d_model, self.n_layers, self.d_vocab = int(config.d_model), int(config.n_layers), int(config.d_vocab)
        self.n_ctx = int(getattr(config, "n_ctx", 0) or 1 << 20)
        self.n_heads = int(config.n_heads)

    def prepare(self, hooks: Sequence[str]) -> None:
        for hook in hooks:
            setter = next((setter for end, setter in FLAGS.items() if hook.endswith(end)), None)
            if hook not in self.module.hook_dict:
                raise NoSuchHook(
                    f"The model does not have the SAE's hook '{hook}'.", nearest(hook, self.module.hook_dict)
                )
            if setter is not None:
                self._switch_on(hook, setter)

    def _switch_on(self, hook: str, setter: str) -> None:
        try:
            getattr(self.module, setter)(True)
        except (AssertionError, NotImplementedError, ValueError) as error:
            raise NoSuchHook(f"This model cannot switch on the hook '{hook}'.", f"{error}") from error

    def caught(self, hooks: Sequence[str], tokens: Tensor, whole: bool) -> list[list[Tensor]]:
        stop = self._stop(hooks)
        if len(hooks) == 1 and self._returned(hooks[0]):
            # The shortened pass returns the residual stream, so that no hook function is needed.
            return [[self.module(tokens, stop_at_layer=stop)]]
        found: list[list[Tensor]] = [[] for _ in hooks]

        def catch(place: list[Tensor]) -> Any:
            return lambda value, hook: place.append(value)

        functions = [(hook, catch(place)) for hook, place in zip(hooks, found, strict=True)]
        end = {} if stop is None else {"stop_at_layer": stop}
        with self._hooked(functions):
            self.module(tokens, **end)
        return found

    @contextmanager
    def _hooked(self, functions: Sequence[tuple[str, Any]]) -> Iterator[None]:
        """Inside the block, hooks have functions, as in `run_with_hooks`, which looks up all names for each of them."""
        points, added = self.module.hook_dict, []
        try:
            for hook, function in functions:
                points[hook].add_hook(function)
                added.append(points[hook])
            yield
        finally:
            for point in reversed(added):
                point.fwd_hooks.pop().hook.remove()

    def _stop(self, hooks: Sequence[str]) -> int | None:
        """The layer before which a forward pass may end; None to run the whole model."""
        layers = [layer_of(hook) for hook in hooks if hook.startswith("blocks.")]
        if len(layers) < len(hooks):
            return None
        if len(hooks) == 1 and self._is_input(hooks[0]):
            return layers[0]
        stop = max(layer + 1 for layer in layers if layer is not None)
        return stop if stop < self.n_layers else None

    def _is_input(self, hook: str) -> bool:
        """Whether a hook's values are the output of an earlier layer."""
        return hook.endswith(".hook_resid_pre") and layer_of(hook) != 0

    def _returned(self, hook: str) -> bool:
        """Whether a pass that ends before layer `_stop` returns the values at the hook."""
        return self._is_input(hook) or (hook.endswith(".hook_resid_post") and self._stop([hook]) is not None)

    def changing(self, hook: str, change: Change) -> AbstractContextManager[None]:
        return self._hooked([(hook, lambda value, hook: change(value))])

    def logits(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.module(tokens)
        return logits

    def start_layer(self, hook: str) -> int:
        layer = layer_of(hook) if hook.startswith("blocks.") else None
        if layer is None:
            raise NoSuchHook(f"The hook '{hook}' is not in a layer.")
        return layer

    def entering(self, layer: int, tokens: Tensor) -> Tensor:
        hook = f"blocks.{layer}.hook_resid_pre" if layer < self.n_layers else f"blocks.{layer - 1}.hook_resid_post"
        return self.values([hook], tokens)[0]

    def next_logits(self, tokens: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        if self._decoder:
            return self._decoder.next_logits(tokens, memory)
        last = torch.full((len(tokens),), tokens.shape[1] - 1, device=tokens.device)
        memory = memory or self._own_cache(len(tokens))
        with only_at(self.module.unembed, last):
            return self.module(tokens, past_kv_cache=memory)[:, 0], memory

    def is_entry(self, hook: str) -> bool:
        return hook.endswith(".hook_resid_pre")

    def remember(self, layer: int, tokens: Tensor, residual: Tensor) -> tuple[Past, Tensor]:
        if self._decoder:
            return self._decoder.remember(layer, tokens, residual)
        own, head = self._own_cache(len(tokens)), self.module.unembed
        with reads_of(head) as read, only_at(head, tokens.new_zeros(len(tokens))):
            self.module(residual, start_at_layer=layer, past_kv_cache=own)
        pairs = [(e.past_keys.transpose(1, 2), e.past_values.transpose(1, 2)) for e in own.entries[layer:]]
        return Past(pairs), read[0]

    def logits_from(
        self,
        layer: int,
        tokens: Tensor,
        residual: Tensor,
        at: Tensor | None,
        past: Past | None = None,
        also: Tensor | None = None,
    ) -> Tensor:
        if self._decoder:
            return self._decoder.logits_from(layer, tokens, residual, at, past, also)
        own = past and self._own_cache(len(tokens))
        for entry, (keys, values) in zip(own.entries[layer:] if own else (), past.layers if past else (), strict=True):
            entry.past_keys, entry.past_values = keys.transpose(1, 2), values.transpose(1, 2)
        with only_at(self.module.unembed, at, also):
            logits: Tensor = self.module(residual, start_at_layer=layer, past_kv_cache=own)
        return logits if at is None else logits[:, 0]

    @property
    def _decoder(self) -> Decoder | None:
        """The decoder of `transformers` inside a bridge; a HookedTransformer has none."""
        if not isinstance(self.module, TransformerBridge):
            return None
        return Decoder(self.module.original_model, self.module.blocks, self.module.unembed, self._in_tuple)

    def _own_cache(self, windows: int) -> TransformerLensKeyValueCache:
        """An empty cache of transformer_lens."""
        cache: TransformerLensKeyValueCache = TransformerLensKeyValueCache.init_cache(
            self.module.cfg, self.module.W_U.device, windows
        )
        return cache

    @cached_property
    def _in_tuple(self) -> bool:
        """Whether the layers inside a bridge return tuples."""
        tokens = torch.arange(PROOF_TOKENS, device=self.module.W_U.device)[None] % self.d_vocab
        return returns_tuple(self.module.blocks, lambda: self.module.original_model(tokens, use_cache=False))

    def adds_to_residual(self, hook: str) -> bool:
        return any(point in hook for point in ("resid", "mlp_out", "attn_out", "hook_mlp_in"))

    def logit_parts(self) -> LogitParts:
        centred = "LN" in str(self.module.cfg.normalization_type or "")
        return LogitParts(self.module.W_U.detach().float(), self._gain(), centred)

    def _gain(self) -> Tensor | None:
        norm = getattr(self.module, "ln_final", None)
        for name in ("w", "weight"):
            weight = getattr(norm, name, None)
            if isinstance(weight, torch.Tensor):
                # Gemma's norm multiplies by 1 + weight; HookedTransformer has folded the 1 in, the bridge has not.
                bridge = isinstance(self.module, TransformerBridge)
                return weight.detach().float() + int(bridge and getattr(self.module.cfg, "rmsnorm_uses_offset", False))
        return None

    def branches(self, layer: int) -> Branches:
        block = self.module.blocks[layer]
        weight, bias = block.attn.W_O.detach().flatten(0, 1), block.attn.b_O
        after, attention, mlp = (norm_of(getattr(block, name, None), weight) for name in ("ln1_post", "ln1", "ln2"))
        parallel = bool(getattr(self.module.cfg, "parallel_attn_mlp", False))
        return Branches(weight, None if bias is None else bias.detach(), after, attention, mlp, parallel)
