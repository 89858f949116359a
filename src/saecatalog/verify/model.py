"""Models in the slowest and most obvious way: token ids flow in, the values at hooks flow out.

Nothing is imported from the rest of the package but the rest of this reference. Models run with plain `transformers`,
one text and one window at a time, without padding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float64
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from saecatalog.verify.places import Module, Place, final_norm, place_of

Values = Float64[np.ndarray, "token width"]


class HookReached(Exception):
    """Ends a forward pass once the hooks have seen their values."""


def load_model(name: str, dtype: str, trust_remote_code: bool = False) -> Module:
    """A model from a folder or the Hub, with attention implemented in Python (`eager`)."""
    model = AutoModelForCausalLM.from_pretrained(
        name,
        dtype=getattr(torch, dtype),
        attn_implementation="eager",
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
    )
    return model.eval()


@dataclass(frozen=True)
class Window:
    """Tokens of one text that are run together."""

    lead: list[int]
    """The tokens before, run as context and not counted."""
    counted: list[int]


def windows_of(ids: list[int], context: int, bos: int | None, overlap: int = 0) -> list[Window]:
    """The ids in windows of at most `context` tokens, counting the BOS that `window_values` prepends, if any.

    All but the first begin with `overlap` tokens of the window before. Every token is counted once.
    """
    size = context if bos is None else context - 1
    if not ids:
        return []
    starts = [0, *range(size, len(ids), size - overlap)]
    stops = [*starts[1:], len(ids)]
    return [Window(ids[max(0, a - overlap) : a], ids[a:b]) for a, b in zip(starts, stops, strict=True)]


def window_values(
    model: Module, hooks: Sequence[str], ids: list[int], context: int, bos: int | None, overlap: int = 0
) -> Iterator[list[Values]]:
    """The values at each hook for the counted tokens of one window after another."""
    for window in windows_of(ids, context, bos, overlap):
        front = [*([] if bos is None else [bos]), *window.lead]
        yield [values[len(front) :] for values in values_at(model, hooks, [*front, *window.counted])]


@contextmanager
def in_double(model: Module) -> Iterator[None]:
    """Inside the block, a model in single precision computes embeddings, products and layer norms in double precision.

    How far the values at a hook then move shows how far rounding has moved them. Where layers cancel what earlier ones
    wrote, that is a hundred times as far as elsewhere. Weights are converted one by one, so that none is kept.
    """
    products = {torch.nn.Linear: _product, Conv1D: _product, torch.nn.LayerNorm: _layer_norm}
    patched = [(part, products[type(part)]) for part in model.modules() if type(part) in products]
    embeddings = [part for part in model.modules() if isinstance(part, torch.nn.Embedding)]
    handles = [part.register_forward_hook(lambda _, __, out: out.double()) for part in embeddings]
    for part, compute in patched:
        vars(part)["forward"] = partial(compute, part)
    try:
        yield
    finally:
        for part, _ in patched:
            del vars(part)["forward"]
        for handle in handles:
            handle.remove()


def _product(part: Module, x: torch.Tensor) -> torch.Tensor:
    # GPT-2 stores its matrices the other way round.
    weight = part.weight.T if isinstance(part, torch.nn.Linear) else part.weight
    out = x.double() @ weight.double()
    return out if part.bias is None else out + part.bias.double()


def _layer_norm(part: Module, x: torch.Tensor) -> torch.Tensor:
    weight, bias = (None if values is None else values.double() for values in (part.weight, part.bias))
    return torch.nn.functional.layer_norm(x.double(), part.normalized_shape, weight, bias, part.eps)


def hook_values(model: Module, hook: str, ids: list[int]) -> Values:
    """The values at one hook for one unpadded window."""
    return values_at(model, [hook], ids)[0]


@torch.no_grad()
def values_at(model: Module, hooks: Sequence[str], ids: list[int]) -> list[Values]:
    """The values at hooks for one unpadded window, heads side by side. The forward pass ends at the last of them.

    Hooks are named as transformer_lens names them, or by modules; the values come from the modules of `transformers`
    alone. Raises ValueError for an unknown hook.
    """
    places = [place_of(model, hook) for hook in hooks]
    caught: dict[Place, torch.Tensor] = {}
    handles = [_listen(model, place, caught, len(set(places))) for place in set(places)]
    try:
        model(torch.tensor([ids]), use_cache=False)
    except HookReached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    # One window was run, so the batch dimension is dropped: [1, token, width] becomes [token, width].
    return [_changed(model, place, caught[place].double().numpy().reshape(len(ids), -1)) for place in places]


def _listen(model: Module, place: Place, caught: dict[Place, torch.Tensor], n_places: int) -> Module:
    """Keep the first values at a place; end the forward pass if those of all places are known."""

    def keep(value: torch.Tensor) -> None:
        # Copied, because some models change the residual stream in place.
        caught.setdefault(place, value.clone())
        if len(caught) == n_places:
            raise HookReached

    def before(_: Module, positional: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        keep(positional[0] if positional else named["hidden_states"])

    def after(_: Module, __: tuple[object, ...], out: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        keep(out[0] if isinstance(out, tuple) else out)

    module = model.get_submodule(place.module)
    if place.side == "in":
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def _changed(model: Module, place: Place, values: Values) -> Values:
    change = CHANGES.get(place.change)
    return change(model, model.get_submodule(place.module), values) if change else values


def _once_for_each_head(model: Module, _: Module, values: Values) -> Values:
    return np.tile(values, n_heads(model))


def _projected_by_head(model: Module, projection: Module, values: Values) -> Values:
    """What each head adds to the output, without the bias that all share: `[token, head * d_model]`."""
    weight = projection.weight.double().numpy()
    # GPT-2 stores its matrices the other way round.
    weight = weight.T if isinstance(projection, torch.nn.Linear) else weight
    parts = zip(np.split(values, n_heads(model), axis=1), np.split(weight, n_heads(model)), strict=True)
    return np.concatenate([z @ w for z, w in parts], axis=1)


def normalised(_: Module, norm: Module, values: Values) -> Values:
    """The output of a norm before its weight and bias. A LayerNorm subtracts the mean, an RMS norm does not."""
    centred = values - values.mean(1, keepdims=True) if "LayerNorm" in type(norm).__name__ else values
    epsilon = float(getattr(norm, "eps", None) or norm.variance_epsilon)
    return np.asarray(centred / np.sqrt((centred**2).mean(1, keepdims=True) + epsilon))


CHANGES: dict[str, Callable[[Module, Module, Values], Values]] = {
    "once for each head": _once_for_each_head,
    "projected by head": _projected_by_head,
    "normalised": normalised,
}
"""What is computed from the input of a module, for hooks that no module has as its input or output."""


def n_heads(model: Module) -> int:
    return int(model.config.get_text_config().num_attention_heads)


@torch.no_grad()
def direct_effects(model: Module, direction: Float64[np.ndarray, "d_model"]) -> Float64[np.ndarray, "d_vocab"]:
    """Effect of a small step along `direction` on the logits, times the scale of the final norm, minus the mean.

    The final norm's weight and centring are found by running the module itself on inputs of known scale.
    """
    norm, head = final_norm(model).double(), model.get_output_embeddings().weight
    x = torch.from_numpy(direction).double()
    centred = x - x.mean() if isinstance(norm, torch.nn.LayerNorm) else x
    scale = centred.square().mean().sqrt()
    bias = norm(torch.zeros_like(x))
    # With a large input the norm's epsilon is negligible, and norm(x) * scale(x) is linear in x.
    mapped = (norm(x * 1e6) - bias) * scale
    norm.to(head.dtype)
    # The unembedding [d_vocab, d_model] in parts, because all of it in float64 would take gigabytes.
    logits = np.concatenate([(part.double() @ mapped).numpy() for part in head.split(1 << 14)])
    return np.asarray(logits - logits.mean())
