"""A slow interpreter of programs, one step at a time in float64, written from the definitions in `live/program.py`."""

import math
from typing import Any

import numpy as np

from saecatalog.live.program import EMBEDDING, Program


def run(program: Program, ids: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the SAE reads `[token, d_in]` and its feature activations `[token, d_sae]` for one window of token ids."""
    # Of the embedding only some rows are needed.
    tensors = {n: tensor if n == EMBEDDING else tensor.astype(np.float64) for n, tensor in program.tensors.items()}
    buffers: dict[str, np.ndarray] = {}
    encoded = np.zeros((0, 0))
    for step in program.steps:
        if step["op"] == "encode":
            encoded = encode(step, buffers, tensors)
        else:
            STEPS[step["op"]](step, buffers, tensors, np.asarray(ids))
        for name, values in buffers.items():
            assert values.shape == (len(ids), program.buffers[name]), (step, name)
    return buffers[program.read], encoded


def embed(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    b[step["to"]] = step["scale"] * w[step["table"]][ids].astype(np.float64)


def positions(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    b[step["to"]] = b[step["to"]] + w[step["table"]][: len(ids)]


def norm(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    x = b[step["from"]].reshape(len(ids), step["parts"], -1)
    if step["kind"] == "rms":
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + step["eps"])
    elif step["kind"] == "layer":
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + step["eps"])
    else:
        assert step["kind"] == "deviation"
        x = (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True, ddof=1) + step["eps"])
    if step["weight"] is not None:
        x = x * w[step["weight"]]
    if step["bias"] is not None:
        x = x + w[step["bias"]]
    b[step["to"]] = x.reshape(len(ids), -1)


def linear(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    b[step["to"]] = b[step["from"]] @ w[step["weight"]].T
    if step["bias"] is not None:
        b[step["to"]] = b[step["to"]] + w[step["bias"]]


def rotate(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    cos, sin = (w[step[name]][: len(ids), None, :] for name in ("cos", "sin"))
    heads = b[step["on"]].reshape(len(ids), step["heads"], -1).copy()
    half = cos.shape[-1]
    first, second = slice(0, half), slice(half, 2 * half)
    if step["pairs"] == "neighbours":
        first, second = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    x, y = heads[..., first].copy(), heads[..., second].copy()
    heads[..., first], heads[..., second] = x * cos - y * sin, y * cos + x * sin
    b[step["on"]] = heads.reshape(len(ids), -1)


def attention(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    n, heads, kv_heads = len(ids), step["heads"], step["kv_heads"]
    q = b[step["q"]].reshape(n, heads, -1)
    k, v = (b[step[name]].reshape(n, kv_heads, -1) for name in ("k", "v"))
    out = np.zeros_like(q)
    for head in range(heads):
        shared = head // (heads // kv_heads)
        for t in range(n):
            seen = range(max(0, t - step["window"] + 1) if step["window"] else 0, t + 1)
            scores = step["scale"] * (k[seen, shared] @ q[t, head])
            if step["cap"]:
                scores = step["cap"] * np.tanh(scores / step["cap"])
            shares = np.exp(scores - scores.max())
            out[t, head] = shares / shares.sum() @ v[seen, shared]
    b[step["to"]] = out.reshape(n, -1)


def act(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    x = b[step["on"]]
    b[step["on"]] = {
        "gelu": lambda: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
        "gelu_tanh": lambda: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
        "silu": lambda: x / (1 + np.exp(-x)),
        "relu": lambda: np.maximum(x, 0),
    }[step["kind"]]()


def multiply(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    b[step["on"]] = b[step["on"]] * b[step["by"]]


def add(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    b[step["on"]] = b[step["on"]] + b[step["by"]]


def copy(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    b[step["to"]] = b[step["from"]].copy()


def shift(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    b[step["on"]] = b[step["on"]] + w[step["by"]]


def scale(step: Any, b: Any, w: Any, ids: np.ndarray) -> None:
    b[step["on"]] = b[step["on"]] * step["by"]


STEPS = {
    "embed": embed,
    "positions": positions,
    "norm": norm,
    "linear": linear,
    "rotate": rotate,
    "attention": attention,
    "act": act,
    "multiply": multiply,
    "add": add,
    "copy": copy,
    "shift": shift,
    "scale": scale,
}


def encode(step: Any, b: Any, w: Any) -> np.ndarray:
    without_bias = b[step["from"]] @ w[step["weight"]].T
    pre = without_bias if step["bias"] is None else without_bias + w[step["bias"]]
    kind = step["kind"]
    if kind == "jumprelu":
        return np.where((pre > w[step["threshold"]]) & (pre > 0), pre, 0)
    if kind == "gated":
        magnitude = without_bias * w[step["scale"]] + w[step["magnitude_bias"]]
        return np.where(pre > 0, np.maximum(magnitude, 0), 0)
    positive = np.maximum(pre, 0)
    if kind == "topk":
        # A stable sort keeps the first of equal ones first.
        for row in positive:
            row[np.argsort(-row, kind="stable")[step["k"] :]] = 0
    else:
        assert kind == "relu"
    return positive
