"""Programs: the first layers of a model and the encoder of an SAE as a flat list of steps over named buffers.

A program runs on one window of tokens. Every buffer is a float32 array `[token, width]`, and token t of a buffer is
written from token t of others, but for `attention`, which also reads the tokens before. Steps are JSON objects; every
name in them is that of a buffer or of a tensor. b[t] is token t's row of buffer b, and id_t the token's id.

    embed      to, table, scale          b[t] = scale * table[id_t]; `table` is always the tensor "embedding"
    positions  to, table                 b[t] += table[t]
    norm       kind, from, to, weight, bias, eps, parts
                                         Each row is split into `parts` equal parts (the heads, for norms of queries and
                                         keys), and each is normalised by itself, then times `weight`, plus `bias`
                                         (null, or width / parts values). x is one part, var its biased variance:
                                             rms        x / sqrt(mean(x^2) + eps)
                                             layer      (x - mean(x)) / sqrt(var + eps)
                                             deviation  (x - mean(x)) / (sqrt(var * n / (n - 1)) + eps), n values
                                         `from` and `to` may be the same buffer.
    linear     from, to, weight, bias    to = from @ weight.T + bias; weight is [width of to, width of from], bias null
                                         or as wide as `to`; never in place
    rotate     on, heads, cos, sin, pairs
                                         cos and sin are [context, r / 2]. In each head the first r values are turned in
                                         pairs, (i, i + r/2) for "halves" and (2i, 2i + 1) for "neighbours":
                                         x' = x cos - y sin, y' = y cos + x sin, with row t for token t
    attention  q, k, v, to, heads, kv_heads, scale, cap, window
                                         Head h of `heads` queries reads head h // (heads / kv_heads) of k and v.
                                         score = scale * q.k; cap > 0: score = cap * tanh(score / cap). Softmax over the
                                         token itself and those before it; window > 0: over the last `window` of them.
                                         `to` is none of q, k and v.
    act        on, kind                  gelu (x times the normal distribution's share below x), gelu_tanh (its usual
                                         approximation), silu (x / (1 + exp(-x))), relu
    multiply   on, by                    on *= by (buffers of the same width)
    add        on, by                    on += by (buffers of the same width)
    copy       from, to                  to = from
    shift      on, by                    on += by (a tensor, the same for every token)
    scale      on, by                    on *= by (a number)
    encode     from, weight, bias, kind, ...
                                         Always the last step, and the only one. pre = from @ weight.T + bias, weight is
                                         [d_sae, d_in]. Only values > 0 are output:
                                             relu      max(pre, 0)
                                             jumprelu  threshold: pre where pre > threshold and pre > 0
                                             topk      k: the k largest of max(pre, 0); of equal ones, the first
                                             gated     scale, magnitude_bias: where pre > 0 (with the gate's `bias`),
                                                       max(0, from @ weight.T * scale + magnitude_bias)

Every buffer is written before it is read, and `read` is not written after the step that completes it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

EMBEDDING = "embedding"
"""The tensor with a row for each token id, of which a page loads only the rows that it needs."""

Step = dict[str, Any]


class NoProgram(Exception):
    """A model or an SAE that has no live part; the message says why, for readers."""


@dataclass(frozen=True)
class Program:
    """What a page runs."""

    buffers: dict[str, int]
    """The width of each buffer."""
    steps: list[Step]
    tensors: dict[str, Float32[np.ndarray, "..."]]
    """Vectors, and matrices in rows."""
    read: str
    """The buffer with the value at the SAE's hook, before the SAE's own preprocessing."""
