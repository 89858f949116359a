"""What the compilers need of a model: the parts of a decoder, whichever library it came from, without its names.

Tensors are those of the model, in its dtype; matrices are `[out, in]`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from saecatalog.live.program import NoProgram


@dataclass(frozen=True)
class Matrix:
    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class Norm:
    kind: str
    """`rms` or `layer`."""
    weight: Tensor | None
    bias: Tensor | None
    eps: float


@dataclass(frozen=True)
class Rotation:
    """The turns of queries and keys that tell their positions."""

    name: str
    """Layers with the same name have the same turns."""
    cos: Tensor
    sin: Tensor
    pairs: str


@dataclass(frozen=True)
class Attention:
    norm: Norm | None
    q: Matrix
    k: Matrix
    v: Matrix
    output: Matrix
    heads: int
    kv_heads: int
    scale: float
    cap: float
    """Of the scores; 0 for none."""
    window: int
    """Tokens that a token sees, itself included; 0 for all."""
    rotation: Rotation | None
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    norm_after: Norm | None = None
    """Of what is added to the residual stream."""


@dataclass(frozen=True)
class Mlp:
    norm: Norm | None
    gate: Matrix | None
    up: Matrix
    down: Matrix
    act: str
    shift: Tensor | None = None
    """Added after the gate's multiplication."""
    norm_after: Norm | None = None


@dataclass(frozen=True)
class Layer:
    attention: Attention
    mlp: Mlp | None
    parallel: bool
    """Whether attention and MLP read the same residual stream."""


@dataclass(frozen=True)
class Network:
    embedding: Tensor
    scale: float
    """Of the embedding."""
    positions: Tensor | None
    """Added to the embedding, a row for each position."""
    layer: Callable[[int], Layer]
    """A layer by its number."""


ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "relu": torch.nn.functional.relu,
}


@torch.inference_mode()
def act_kind(function: Callable[[Tensor], Tensor]) -> str:
    """Which of the known functions one is, by its values: libraries have many names for each."""
    x = torch.linspace(-8, 8, 801)
    found = function(x.clone())
    for kind, known in ACTS.items():
        if found.shape == x.shape and torch.allclose(found, known(x), rtol=0, atol=1e-5):
            return kind
    raise NoProgram("the model's activation function is not known to the live part")
