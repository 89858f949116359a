"""Effects by ablation in the slowest and most obvious way: one context flows in, its predictions flow out.

Nothing is imported from the rest of the package but the rest of this reference. Predictions are whole passes of plain
`transformers` over one unpadded window, with one hook that subtracts.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from saecatalog.verify.model import n_heads
from saecatalog.verify.places import Module, place_of
from saecatalog.verify.sae import Sae, decode_rows

REACH = 4
"""As the table's description says: the sampled token and the 3 before it."""


@dataclass(frozen=True)
class Context:
    """One sampled token with its window up to it."""

    ids: list[int]
    """The window, BOS included; the sampled token is the last."""
    read: Float64[np.ndarray, "position d_in"]
    """What the SAE reads at each position."""
    activations: Float64[np.ndarray, "position"]
    """The feature's activation at each position where it is taken out; 0 elsewhere."""


def contribution(
    sae: Sae, read: Float64[np.ndarray, "position d_in"], feature: int, activations: Float64[np.ndarray, "position"]
) -> Float64[np.ndarray, "position d_out"]:
    """What a feature adds to the reconstruction: with its activation alone, minus with none."""
    alone = np.zeros((len(read), sae.d_sae))
    alone[:, feature] = activations
    return np.asarray(decode_rows(sae, alone, read) - decode_rows(sae, np.zeros_like(alone), read))


def control(sae: Sae, context: Context, feature: int, other: int) -> Float64[np.ndarray, "position d_out"]:
    """The contribution of another feature's direction, with the norm of the feature's own at each position."""
    own = np.linalg.norm(contribution(sae, context.read, feature, context.activations), axis=1, keepdims=True)
    direction = contribution(sae, context.read, other, np.ones(len(context.read)))
    return np.asarray(direction / np.linalg.norm(direction, axis=1, keepdims=True) * own)


def log_probabilities(
    model: Module, hook: str, ids: list[int], removed: Float64[np.ndarray, "position d_out"], head: int | None = None
) -> Float64[np.ndarray, "d_vocab"]:
    """Log probabilities of the token after the window, with something subtracted from the values at a hook."""
    return np.asarray(_logits(model, hook, ids, removed, head)[-1].double().log_softmax(-1).numpy())


def token_losses(
    model: Module, hook: str, ids: list[int], removed: Float64[np.ndarray, "position d_out"]
) -> Float64[np.ndarray, "predicted"]:
    """The loss in nats on each token of a window but the first, with something subtracted from the values at a hook."""
    logits = _logits(model, hook, ids, removed)
    return np.array([-float(row.double().log_softmax(-1)[i]) for row, i in zip(logits[:-1], ids[1:], strict=True)])


@torch.no_grad()
def _logits(
    model: Module, hook: str, ids: list[int], removed: Float64[np.ndarray, "position d_out"], head: int | None = None
) -> torch.Tensor:
    """The logits after each token of the window: `[position, d_vocab]`."""
    place = place_of(model, hook)
    if place.change:
        raise ValueError(f"values at '{hook}' cannot be replaced")
    wide = removed
    if head is not None:
        wide = np.zeros((len(ids), n_heads(model), removed.shape[1]))
        wide[:, head] = removed
    delta = torch.from_numpy(wide.reshape(1, len(ids), -1))

    def less(value: torch.Tensor) -> torch.Tensor:
        return value - delta.to(value.dtype).reshape(value.shape)

    def before(_: Module, given: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> tuple[object, object]:
        if given:
            return (less(given[0]), *given[1:]), named
        return given, {**named, "hidden_states": less(named["hidden_states"])}

    def after(_: Module, __: tuple[object, ...], out: torch.Tensor | tuple[torch.Tensor, ...]) -> object:
        return (less(out[0]), *out[1:]) if isinstance(out, tuple) else less(out)

    module = model.get_submodule(place.module)
    if place.side == "in":
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after)
    try:
        logits: torch.Tensor = model(torch.tensor([ids]), use_cache=False).logits[0]
    finally:
        handle.remove()
    return logits


def divergence(with_: Float64[np.ndarray, "d_vocab"], without: Float64[np.ndarray, "d_vocab"]) -> float:
    """The sum of p_with * log(p_with / p_without)."""
    return float((np.exp(with_) * (with_ - without)).sum())
