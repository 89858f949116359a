"""Subjects as graphs of ONNX, for `live_onnxruntime`: weights flow in, a model and a file of its weights flow out.

The package `onnx` is imported when the first graph is made, because the benchmark installs it.
"""

import importlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

from saecatalog import embedded

SAE = embedded.SAE_FOLDER / "sae_weights.safetensors"
BLOCK = 32
"""Weights in a block of the default model's file, and of the graph's quantised matrices."""


class Graph:
    """A graph of ONNX in the making: constants and nodes flow in, the bytes of a model flow out."""

    def __init__(self) -> None:
        self.onnx = importlib.import_module("onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.weights = bytearray()

    def constant(self, array: np.ndarray) -> str:
        """A constant; its bytes are in a file of their own, from which the runtime copies them once."""
        kind, name = self.onnx.helper.np_dtype_to_tensor_dtype(array.dtype), f"c{len(self.constants)}"
        data = np.ascontiguousarray(array).tobytes()
        if len(data) < 64:
            self.constants.append(self.onnx.numpy_helper.from_array(array, name))
            return name
        place = {"location": "weights", "offset": str(len(self.weights)), "length": str(len(data))}
        entries = [self.onnx.StringStringEntryProto(key=key, value=value) for key, value in place.items()]
        made = self.onnx.TensorProto(name=name, data_type=kind, dims=array.shape, external_data=entries)
        made.data_location = self.onnx.TensorProto.EXTERNAL
        self.constants.append(made)
        self.weights += data + bytes(-len(data) % 64)
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", **settings: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], domain=domain, **settings))
        return name

    def half(self, array: np.ndarray) -> str:
        """A float16 constant that is read as float32."""
        return self.node("Cast", self.constant(array.astype(np.float16)), to=self.onnx.TensorProto.FLOAT)

    def blocks(self, x: str, bits: int, packed: np.ndarray, scale: np.ndarray, low: np.ndarray | None) -> str:
        """A product with a matrix [out, in] in blocks, as `q4_1` gives them; without `low`, 0 is in the middle.

        The operator multiplies d by q less a zero point, which may be a fraction: -m / d.
        """
        shape = {"N": len(scale), "K": scale.shape[1] * BLOCK, "bits": bits, "block_size": BLOCK}
        d, inputs = self.half(scale), [] if low is None else [self.half(low)]
        zero = [self.node("Neg", self.node("Div", m, d)) for m in inputs]
        return self.node("MatMulNBits", x, self.constant(packed), d, *zero, domain="com.microsoft", **shape)

    def attention(self, q: str, k: str, v: str, heads: int, kv_heads: int) -> str:
        return self.node("Attention", q, k, v, q_num_heads=heads, kv_num_heads=kv_heads, is_causal=1)

    def model(self, width: int, found: str, n_features: int) -> dict[str, bytes]:
        make, kinds = self.onnx.helper, self.onnx.TensorProto
        self.nodes.append(make.make_node("Identity", [found], ["activations"]))
        x = make.make_tensor_value_info("x", kinds.FLOAT, [1, "n", width])
        positions = make.make_tensor_value_info("positions", kinds.INT64, [1, "n"])
        out = make.make_tensor_value_info("activations", kinds.FLOAT, [1, "n", n_features])
        graph = make.make_graph(self.nodes, "subject", [x, positions], [out], self.constants)
        opsets = [make.make_opsetid("", 23), make.make_opsetid("com.microsoft", 1)]
        model = make.make_model(graph, opset_imports=opsets, ir_version=10)
        return {"model": model.SerializeToString(), "weights": bytes(self.weights)}


def q4_1(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of Q4_1 blocks, where a value is d * q + m, as packed values [out, block, 16], d and m [out, block]."""
    blocks = raw.reshape(len(raw), -1, 20)
    d, m = (blocks[..., at : at + 2].copy().view(np.float16)[..., 0] for at in (0, 2))
    values = np.concatenate([blocks[..., 4:] & 15, blocks[..., 4:] >> 4], axis=-1)
    # A block of equal values: 1 * 0 + m.
    values[d == 0] = 0
    return values[..., ::2] | values[..., 1::2] << 4, np.where(d == 0, np.float16(1), d), m


def default_subject(file: Path) -> dict[str, bytes]:
    """The embedded default, from its files. The rows of q and k are in pairs of neighbours there, which stay so."""
    reader = gguf.GGUFReader(file)
    raw = {tensor.name: np.asarray(tensor.data) for tensor in reader.tensors}
    names = (
        "attention.layer_norm_rms_epsilon rope.freq_base attention.head_count attention.head_count_kv embedding_length"
    )
    eps, theta, heads, kv_heads, width = (reader.fields[f"llama.{name}"].contents() for name in names.split())
    g = Graph()
    angles = np.outer(np.arange(128), theta ** (-np.arange(0, width // heads, 2) / (width // heads)))
    turns = [g.constant(f(angles).astype(np.float32)) for f in (np.cos, np.sin)]

    def linear(x: str, name: str) -> str:
        return g.blocks(x, 4, *q4_1(raw[f"{name}.weight"]))

    def norm(x: str, name: str) -> str:
        return g.node("RMSNormalization", x, g.constant(raw[f"{name}.weight"]), epsilon=eps)

    def rotated(x: str, n: int) -> str:
        return g.node("RotaryEmbedding", x, *turns, "positions", num_heads=n, interleaved=1)

    x = "x"
    for at in (f"blk.{layer}." for layer in range(12)):
        normed = norm(x, at + "attn_norm")
        q, k, v = (linear(normed, f"{at}attn_{name}") for name in "qkv")
        mixed = g.attention(rotated(q, heads), rotated(k, kv_heads), v, heads, kv_heads)
        x = g.node("Add", x, linear(mixed, at + "attn_output"))
        normed = norm(x, at + "ffn_norm")
        gate = linear(normed, at + "ffn_gate")
        gate = g.node("Mul", gate, g.node("Sigmoid", gate))
        x = g.node("Add", x, linear(g.node("Mul", gate, linear(normed, at + "ffn_up")), at + "ffn_down"))
    sae = load_file(SAE)
    x = g.node("Sub", x, g.half(sae["b_dec"]))
    pre = g.node("Add", g.node("MatMul", x, g.half(sae["W_enc"])), g.half(sae["b_enc"]))
    over = g.node("Greater", pre, g.half(sae["threshold"]))
    found = g.node("Where", over, g.node("Relu", pre), g.constant(np.zeros(1, np.float32)))
    return g.model(width, found, sae["W_enc"].shape[1])


def gpt2_subject(bits: int) -> dict[str, bytes]:
    """GPT-2 small up to blocks.6.hook_resid_pre and a ReLU SAE, with random weights in 16 bits, or in blocks of 8."""
    g, chance, width = Graph(), np.random.default_rng(5), 768

    def linear(x: str, n_in: int, n_out: int) -> str:
        bias = g.half(chance.normal(0, 0.02, n_out))
        if bits == 16:
            return g.node("Add", g.node("MatMul", x, g.half(chance.normal(0, 0.02, (n_in, n_out)))), bias)
        packed = chance.integers(0, 256, (n_out, n_in // BLOCK, BLOCK), np.uint8)
        return g.node("Add", g.blocks(x, bits, packed, np.full(packed.shape[:2], 3e-4), None), bias)

    def norm(x: str) -> str:
        weight, bias = (g.constant(f(width, dtype=np.float32)) for f in (np.ones, np.zeros))
        return g.node("LayerNormalization", x, weight, bias, epsilon=1e-5)

    x = g.node("Add", "x", g.node("Gather", g.half(chance.normal(0, 0.02, (1024, width))), "positions"))
    for _ in range(6):
        normed = norm(x)
        q, k, v = (linear(normed, width, width) for _ in "qkv")
        mixed = g.attention(q, k, v, 12, 12)
        x = g.node("Add", x, linear(mixed, width, width))
        inner = g.node("Gelu", linear(norm(x), width, 4 * width), approximate="tanh")
        x = g.node("Add", x, linear(inner, 4 * width, width))
    return g.model(width, g.node("Relu", linear(x, width, 24_576)), 24_576)
