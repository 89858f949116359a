"""How a layer's attention and MLP read the residual stream and write to it: modules flow in, linear maps flow out.

Attention adds the sum of its heads to the residual stream: each head's values times its rows of one matrix, and a bias.
Some models normalise this sum first. A norm is linear but for its division by a scale that depends on its input.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """What a norm does, but for its division: `gain * (x - mean of x, if centred) / scale + bias`."""

    gain: Float[Tensor, "d_model"]
    """Its weight, up to a factor that all values share."""
    bias: Float[Tensor, "d_model"]
    centred: bool
    """Whether it subtracts the mean, as LayerNorm does and RMS norm does not."""

    def undivided(self, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """The linear part: what is divided by the scale."""
        return self.gain * (x - x.mean(-1, keepdim=True) if self.centred else x)

    def back(self, direction: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """The direction whose dot product with x is that of `direction` with `undivided(x)`."""
        scaled = direction * self.gain
        return scaled - scaled.mean(-1, keepdim=True) if self.centred else scaled


@dataclass(frozen=True)
class Branches:
    """Attention and the MLP of one layer."""

    heads_to_stream: Float[Tensor, "head_value d_model"]
    """Attention's output matrix, with the heads side by side."""
    bias: Float[Tensor, "d_model"] | None
    """Attention's output bias."""
    norm_after: Norm | None
    """The norm of attention's output before it is added; None if there is none."""
    norm_before_attention: Norm | None
    norm_before_mlp: Norm | None
    parallel: bool
    """Whether the MLP reads the same residual stream as attention."""


@torch.inference_mode()
def norm_of(norm: Callable[[Tensor], Tensor] | None, like: Tensor) -> Norm | None:
    """A norm as a linear map, found by running it on inputs of known scale; None stays None.

    `like` gives width (an even number), number format and device. The factor that remains in the gain is that of the
    norm's epsilon.
    """
    if norm is None:
        return None
    width = like.shape[-1]
    signs = like.new_ones((1, 1, width))
    # Half of the values are 1 and half -1: their mean is 0 and their scale is 1.
    signs[..., 1::2] = -1
    plus, minus, level = (norm(x)[0, 0].float() for x in (signs, -signs, torch.ones_like(signs)))
    gain, bias = (plus - minus) / 2 * signs[0, 0].float(), (plus + minus) / 2
    centred = bool((level - bias).abs().max() < gain.abs().max() / 8)
    return Norm(gain, bias, centred)
