"""The engine, outside a browser: a bundle and token ids flow in, the activations of every feature flow out.

It runs the same kernel on the same parts as the page's `engine.js`, with `wasmtime` in place of a browser. The build
measures the error of the live part with it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import wasmtime
from jaxtyping import Float32, Int32

from saecatalog.live.bundle import TILE, Bundle, read_rows, read_weights
from saecatalog.live.kernel import BINARY
from saecatalog.live.packing import BLOCK, PACKINGS

FEATURES_AT_ONCE = 512
PAGE = 1 << 16
"""Bytes by which the memory of WebAssembly grows."""

NORMS = {"rms": 0, "layer": 1, "deviation": 2}
ACTS = {"relu": 0, "silu": 1, "gelu": 2, "gelu_tanh": 3}


@dataclass(frozen=True)
class Run:
    """The firings of a text's tokens, token by token; features ascend within a token."""

    tokens: Int32[np.ndarray, "firing"]
    features: Int32[np.ndarray, "firing"]
    activations: Float32[np.ndarray, "firing"]
    norms: Float32[np.ndarray, "token"]
    """Norm of what the SAE reads."""


class Memory:
    """The memory of the kernel; what is reserved after a `mark` is given back by `reset`."""

    def __init__(self, store: wasmtime.Store, exports: Any):
        self._store, self._memory = store, exports["memory"]
        self._next: int = exports["__heap_base"].value(store)
        self._mark = self._used = self._next

    def reserve(self, size: int) -> int:
        """The address of `size` bytes, which are 0."""
        at = -(-self._next // 16) * 16
        self._next = at + size
        missing = self._next - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // PAGE))
        # What was never reserved before is 0 already.
        self._memory.write(self._store, bytes(max(0, min(self._next, self._used) - at)), at)
        self._used = max(self._used, self._next)
        return at

    def mark(self) -> None:
        self._mark = self._next

    def reset(self) -> None:
        self._next = self._mark

    def write(self, at: int, content: bytes) -> None:
        self._memory.write(self._store, content, at)

    def floats(self, at: int, count: int) -> Float32[np.ndarray, "count"]:
        return np.frombuffer(self._memory.read(self._store, at, at + 4 * count), "<f4")

    def integers(self, at: int, count: int) -> Int32[np.ndarray, "count"]:
        return np.frombuffer(self._memory.read(self._store, at, at + 4 * count), "<i4")


class Engine:
    """A bundle, loaded."""

    def __init__(self, bundle: Bundle, folder: Path):
        self.bundle, self.folder = bundle, folder
        runtime, module = _compiled()
        store = wasmtime.Store(runtime)
        exports: Any = wasmtime.Instance(store, module, []).exports(store)
        exports["_initialize"](store)
        self.call: Callable[..., Any] = lambda name, *values: exports[name](store, *values)
        self.memory = Memory(store, exports)
        self._weights = self.memory.reserve(bundle["weights"])
        self.memory.write(self._weights, read_weights(bundle, folder))
        self.memory.mark()

    def run(self, ids: Sequence[int]) -> Run:
        """Run the tokens of one window, BOS included; the firings of all of them."""
        self.memory.reset()
        pass_ = Pass(self, ids)
        firings = [found for step in self.bundle["program"]["steps"] for found in pass_.do(step)]
        tokens, features, activations = (np.concatenate(part) for part in zip(*firings, strict=True))
        order = np.argsort(tokens, kind="stable")
        run = Run(tokens[order], features[order], activations[order], pass_.norms())
        last = self.bundle["program"]["steps"][-1]
        return strongest(run, last["k"]) if last["kind"] == "topk" else run


class Pass:
    """The steps of a program on one window."""

    def __init__(self, engine: Engine, ids: Sequence[int]):
        self.engine, self.ids, self.n = engine, ids, len(ids)
        self.call, self.memory = engine.call, engine.memory
        program, tensors = engine.bundle["program"], engine.bundle["tensors"]
        self.widths: dict[str, int] = program["buffers"]
        self.tensors: dict[str, dict[str, Any]] = tensors
        # Rows are filled up with zeros to whole blocks, which no step changes.
        self.strides = {name: -(-width // BLOCK) * BLOCK for name, width in self.widths.items()}
        self.at = {name: self.memory.reserve(4 * self.n * stride) for name, stride in self.strides.items()}
        widest = max(-(-tensor["columns"] // BLOCK) * BLOCK for tensor in tensors.values() if tensor["rows"] > 1)
        self.scratch = self.memory.reserve(4 * max(TILE * widest, self.n))

    def norms(self) -> Float32[np.ndarray, "token"]:
        read, to = self.engine.bundle["program"]["read"], self.memory.reserve(4 * self.n)
        self.call("norms", self.at[read], to, self.n, self.strides[read], self.widths[read])
        return self.memory.floats(to, self.n)

    def do(self, step: dict[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Do one step; the last one yields tokens, features and activations of firings."""
        yield from getattr(self, f"_{step['op']}")(**{_python(key): v for key, v in step.items() if key != "op"}) or ()

    def _address(self, tensor: str | None) -> int:
        return 0 if tensor is None else self.engine._weights + self.tensors[tensor]["at"]

    def _rows(self, packing: str, packed: bytes, to: int, rows: int, columns: int) -> None:
        self.memory.write(held := self.memory.reserve(len(packed)), packed)
        self.call("unpack", PACKINGS[packing].code, held, to, rows, -(-columns // BLOCK))

    def _embed(self, to: str, table: str, scale: float) -> None:
        embedding = self.engine.bundle["embedding"]
        rows = read_rows(self.engine.bundle, self.engine.folder, list(self.ids))
        packed = b"".join(rows[token] for token in self.ids)
        self._rows(embedding["packing"], packed, self.at[to], self.n, embedding["columns"])
        self._scale(to, scale)

    def _positions(self, to: str, table: str) -> None:
        tensor = self.tensors[table]
        rows = self.memory.reserve(4 * self.n * self.strides[to])
        blocks = self.strides[to] // BLOCK
        self.call("unpack", PACKINGS[tensor["packing"]].code, self._address(table), rows, self.n, blocks)
        self.call("add", self.at[to], rows, self.n * self.strides[to])

    def _norm(
        self, kind: str, from_: str, to: str, weight: str | None, bias: str | None, eps: float, parts: int
    ) -> None:
        strides = self.strides[from_], self.strides[to]
        width, weights = self.widths[to] // parts, (self._address(weight), self._address(bias))
        self.call("norm", self.at[from_], self.at[to], self.n, *strides, parts, width, NORMS[kind], *weights, eps)

    def _linear(self, from_: str, to: str, weight: str, bias: str | None) -> None:
        rows = -(-self.widths[to] // TILE) * TILE
        self._product(from_, weight, 0, rows, self._address(bias), self.at[to], self.strides[to])

    def _product(self, from_: str, weight: str, first: int, rows: int, bias: int, to: int, stride: int) -> None:
        packing = PACKINGS[self.tensors[weight]["packing"]]
        at = self._address(weight) + first * packing.row_bytes(self.widths[from_])
        blocks = self.strides[from_] // BLOCK
        self.call(
            "linear", self.at[from_], self.n, self.strides[from_], packing.code, at, blocks, rows, bias, to, stride,
            self.scratch,
        )  # fmt: skip

    def _rotate(self, on: str, heads: int, cos: str, sin: str, pairs: str) -> None:
        turned = self.tensors[cos]["columns"] // self.engine.bundle["context"]
        self.call(
            "rotate", self.at[on], self.n, self.strides[on], heads, self.widths[on] // heads, turned,
            self._address(cos), self._address(sin), int(pairs == "neighbours"),
        )  # fmt: skip

    def _attention(
        self, q: str, k: str, v: str, to: str, heads: int, kv_heads: int, scale: float, cap: float, window: int
    ) -> None:
        self.call(
            "attention", self.at[q], self.strides[q], self.at[k], self.strides[k], self.at[v], self.strides[v],
            self.at[to], self.strides[to], 0, self.n, heads, kv_heads, self.widths[q] // heads,
            self.widths[v] // kv_heads, scale, cap, window, self.scratch,
        )  # fmt: skip

    def _act(self, on: str, kind: str) -> None:
        self.call("act", self.at[on], self.n * self.strides[on], ACTS[kind])

    def _multiply(self, on: str, by: str) -> None:
        self.call("multiply", self.at[on], self.at[by], self.n * self.strides[on])

    def _add(self, on: str, by: str) -> None:
        self.call("add", self.at[on], self.at[by], self.n * self.strides[on])

    def _copy(self, from_: str, to: str) -> None:
        self.call("scale_to", self.at[from_], self.at[to], 1.0, self.n * self.strides[to])

    def _scale(self, on: str, by: float) -> None:
        self.call("scale_to", self.at[on], self.at[on], by, self.n * self.strides[on])

    def _shift(self, on: str, by: str) -> None:
        self.call("shift", self.at[on], self.n, self.strides[on], self._address(by), self.widths[on])

    def _encode(
        self,
        from_: str,
        weight: str,
        bias: str | None,
        kind: str,
        threshold: str | None = None,
        scale: str | None = None,
        magnitude_bias: str | None = None,
        k: int = 0,
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        pre, found = self.memory.reserve(4 * self.n * FEATURES_AT_ONCE), self.n * FEATURES_AT_ONCE
        out = [self.memory.reserve(4 * found) for _ in range(3)]
        gated = kind == "gated"
        d_sae = self.tensors[weight]["rows"]
        for first in range(0, d_sae, FEATURES_AT_ONCE):
            features = min(FEATURES_AT_ONCE, d_sae - first)
            rows = -(-features // TILE) * TILE
            vectors = {
                name: self._address(name) + 4 * first if name else 0
                for name in (bias, threshold, scale, magnitude_bias)
            }
            self._product(from_, weight, first, rows, 0 if gated else vectors[bias], pre, FEATURES_AT_ONCE)
            count = self.call(
                "select", pre, self.n, FEATURES_AT_ONCE, features, first, vectors[threshold],
                vectors[bias] if gated else 0, vectors[scale], vectors[magnitude_bias], *out,
            )  # fmt: skip
            yield (
                self.memory.integers(out[0], count),
                self.memory.integers(out[1], count),
                self.memory.floats(out[2], count),
            )


@cache
def _compiled() -> tuple[wasmtime.Engine, wasmtime.Module]:
    """The kernel, compiled for this machine."""
    runtime = wasmtime.Engine()
    return runtime, wasmtime.Module.from_file(runtime, str(BINARY))


def _python(key: str) -> str:
    return "from_" if key == "from" else key


def strongest(run: Run, k: int) -> Run:
    """The `k` largest activations of each token; of equal ones, those of the first features."""
    order = np.lexsort((run.features, -run.activations, run.tokens))
    starts = np.searchsorted(run.tokens, run.tokens)
    kept = np.sort(order[np.arange(len(order)) - starts < k])
    return Run(run.tokens[kept], run.features[kept], run.activations[kept], run.norms)
