"""Tokens, models and SAEs in the slowest and most obvious way.

Nothing is imported from the rest of the package. Models run with plain `transformers`, one text and one window at a
time, without padding. An SAE is its matrices and its formula, written out.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from scipy import sparse
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

Module = Any
"""A model of `transformers` or a part of one. Torch does not type the attributes of modules usefully."""

Rows = Float64[np.ndarray, "row feature"]

# Tokens


def exact_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, except that it treats names of special tokens as plain text and never truncates."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


@cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's table from the characters of a vocabulary file to bytes."""
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    table = {chr(b): b for b in shown}
    for byte in range(256):
        if byte not in shown:
            table[chr(256 + len(table) - len(shown))] = byte
    return table


def decoder_steps(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """What the tokenizer's file says about how names of tokens become text, step by step."""
    if tokenizer.decoder is None:
        return [{"type": "WordPiece", "prefix": None, "cleanup": False}]
    decoder = json.loads(tokenizer.decoder.__getstate__())
    return list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]


TIDY = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What a WordPiece decoder writes without the spaces around it."""


def bytes_of_token(tokenizer: Tokenizer, token_id: int) -> bytes:
    """The bytes that a token adds to a text that has begun; none for an id beyond the vocabulary.

    The decoder of the library is not used, because it removes the space before the first of the tokens it is given.
    """
    name = tokenizer.id_to_token(token_id)
    if name is None:
        return b""
    for step in decoder_steps(tokenizer):
        kind = step["type"]
        if kind == "ByteLevel" and all(character in byte_of_character() for character in name):
            return bytes(byte_of_character()[character] for character in name)
        if kind == "ByteFallback" and re.fullmatch("<0x[0-9A-F]{2}>", name):
            return bytes([int(name[3:5], 16)])
        name = _changed(name, step)
    return str(name).encode()


def _changed(name: str, step: dict[str, Any]) -> str:
    """A token's name after one step of the decoder; steps that only concern whole texts leave it as it is."""
    match step:
        case {"type": "Replace", "pattern": {"String": old}, "content": new}:
            return name.replace(old, new)
        case {"type": "Replace", "pattern": {"Regex": old}, "content": new}:
            return re.sub(old, lambda _: str(new), name)
        case {"type": "Metaspace", "replacement": mark} | {"type": "BPEDecoder", "suffix": mark}:
            return name.replace(mark, " ")
        case {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}:
            return _after_a_word(name, prefix, cleanup)
    return name


def _after_a_word(name: str, prefix: str | None, cleanup: bool) -> str:
    """A token after another one: without `prefix` if it continues a word, otherwise after a space."""
    if prefix and name.startswith(prefix):
        return name.removeprefix(prefix)
    return f" {name}".strip(" ") if cleanup and f" {name}" in TIDY else f" {name}"


def text_of_token(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as text.

    Bytes that are not a whole character are written as <0xE2>; an id beyond the vocabulary is the empty string.
    """
    out, rest = "", bytes_of_token(tokenizer, token_id)
    while rest:
        length = next((n for n in (1, 2, 3, 4) if _decodes(rest[:n])), None)
        out += f"<0x{rest[0]:02X}>" if length is None else rest[:length].decode()
        rest = rest[length or 1 :]
    return out


def _decodes(data: bytes) -> bool:
    try:
        return len(data.decode("utf-8")) == 1
    except UnicodeDecodeError:
        return False


def token_ends(pieces: list[bytes], text: str) -> list[int] | None:
    """For each token, the number of characters of the text whose first byte is in it or in an earlier token.

    A space that the tokenizer puts before the text is part of the first character. None if the tokens' bytes do not
    spell the text.
    """
    joined, content = b"".join(pieces), text.encode()
    before = len(joined) - len(content)
    if joined != b" " * before + content or before not in (0, 1):
        return None
    first_bytes = [0, *accumulate(len(character.encode()) for character in text)][:-1]
    seen = accumulate(len(piece) for piece in pieces)
    return [bisect_left(first_bytes, max(end - before, min(before, len(content)))) for end in seen]


# Models


class HookReached(Exception):
    """Ends a forward pass once the hook has seen its values."""


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


def layers_of(model: Module) -> Module:
    """The list of a model's layers."""
    if hasattr(model, "transformer"):
        return model.transformer.h
    return model.gpt_neox.layers if hasattr(model, "gpt_neox") else model.model.layers


def windows_of(ids: list[int], context: int, bos: int | None) -> list[list[int]]:
    """The ids in windows of at most `context` tokens, counting the BOS that `window_values` prepends, if any."""
    size = context if bos is None else context - 1
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def window_values(
    model: Module, hook: str, ids: list[int], context: int, bos: int | None
) -> Iterator[Float64[np.ndarray, "token d_in"]]:
    """The values at the hook for one window after another, without BOS."""
    for window in windows_of(ids, context, bos):
        values = hook_values(model, hook, window if bos is None else [bos, *window])
        yield values if bos is None else values[1:]


@torch.no_grad()
def hook_values(model: Module, hook: str, ids: list[int]) -> Float64[np.ndarray, "token d_in"]:
    """The values at a hook for one unpadded window. The forward pass ends there.

    `hook` is named as transformer_lens names it; the values come from the modules of `transformers` alone. Raises
    ValueError for an unknown hook.
    """
    number, point = hook.removeprefix("blocks.").split(".", 1)
    module, side = _module_of(layers_of(model)[int(number)], point)
    caught: list[torch.Tensor] = []

    def before(_: Module, positional: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        caught.append(positional[0] if positional else named["hidden_states"])
        raise HookReached

    def after(_: Module, __: tuple[object, ...], out: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        caught.append(out[0] if isinstance(out, tuple) else out)
        raise HookReached

    inside = side == "in"
    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True) if inside else module.register_forward_hook(after)
    )
    try:
        model(torch.tensor([ids]), use_cache=False)
    except HookReached:
        pass
    finally:
        handle.remove()
    # One window was run, so the batch dimension is dropped: [1, token, d_in] becomes [token, d_in].
    return np.asarray(caught[0][0].double().numpy())


def _module_of(layer: Module, point: str) -> tuple[Module, str]:
    """The module of a layer, and whether the hook's value is its input ("in") or its output ("out")."""
    attention = next((getattr(layer, n) for n in ("attn", "self_attn", "attention") if hasattr(layer, n)), None)
    if point == "hook_resid_pre":
        return layer, "in"
    if point == "hook_resid_post":
        return layer, "out"
    # Gemma 2 normalises the outputs of attention and MLP before adding them to the residual stream, and the hooks are
    # after that step.
    norms_after = hasattr(layer, "post_feedforward_layernorm")
    if point == "hook_mlp_out":
        return (layer.post_feedforward_layernorm if norms_after else layer.mlp), "out"
    if point == "hook_attn_out":
        return (layer.post_attention_layernorm if norms_after else attention), "out"
    if point == "attn.hook_z":
        # The input of the output projection is the heads side by side.
        found = next((getattr(attention, n) for n in ("c_proj", "o_proj", "dense") if hasattr(attention, n)), None)
        if found is not None:
            return found, "in"
    raise ValueError(point)


# SAEs


@dataclass(frozen=True)
class Sae:
    """An SAE: its settings, and its matrices in float64."""

    config: dict[str, Any]
    """The SAE's `cfg.json`."""
    w: dict[str, Float64[np.ndarray, "..."]]
    """`W_enc` is `[d_in, d_sae]`, `W_dec` `[d_sae, d_in]`; biases and thresholds are vectors."""


@dataclass(frozen=True)
class Encoded:
    """The encoding of some rows: three arrays `[row, feature]`."""

    values: Rows
    """The activation, if the feature is active."""
    margins: Rows
    """How far each feature is from its threshold, as a share of `sizes`: active above 0, silent below."""
    sizes: Rows
    """Norm of the row times norm of the encoder's column, plus the bias; rounding errors are proportional to it."""


def sae_input(
    x: Float64[np.ndarray, "row d_in"], b_dec: Float64[np.ndarray, "d_in"], apply_b_dec: bool, normalize: str
) -> Float64[np.ndarray, "row d_in"]:
    """The input of the encoder's matrix: normalised rows, minus the decoder's bias if the settings say so."""
    return normalized(x, normalize) - b_dec if apply_b_dec else normalized(x, normalize)


def normalized(x: Float64[np.ndarray, "row d_in"], normalize: str) -> Float64[np.ndarray, "row d_in"]:
    """Each row normalised as the SAE's settings say."""
    if normalize == "layer_norm":
        # sae_lens divides by torch's standard deviation, which has d_in - 1 degrees of freedom.
        return np.asarray((x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-5))
    if normalize == "constant_norm_rescale":
        return np.asarray(x * np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True))
    return x


def encode_rows(sae: Sae, x: Float64[np.ndarray, "row d_in"]) -> Encoded:
    """The formula of each architecture; raises ValueError for an unknown architecture."""
    config, w = sae.config, sae.w
    inputs = sae_input(x, w["b_dec"], config["apply_b_dec_to_input"], config["normalize_activations"])
    reach = np.linalg.norm(normalized(x, config["normalize_activations"]), axis=1, keepdims=True)
    # [row, d_in] @ [d_in, feature]; [row, 1] * [feature].
    before, sizes = inputs @ w["W_enc"], reach * np.linalg.norm(w["W_enc"], axis=0)
    if config["architecture"] == "gated":
        return _gated(w, before, sizes)
    before, sizes = before + w["b_enc"], sizes + np.abs(w["b_enc"])
    if config["architecture"] == "standard":
        return Encoded(np.maximum(before, 0), before / sizes, sizes)
    if config["architecture"] == "jumprelu":
        return Encoded(np.maximum(before, 0), np.minimum(before, before - w["threshold"]) / sizes, sizes)
    if config["architecture"] == "topk":
        norms = np.linalg.norm(w["W_dec"], axis=1) if config["rescale_acts_by_decoder_norm"] else 1.0
        return _top_k(before * norms, sizes * norms, int(config["k"]))
    raise ValueError(config["architecture"])


def _gated(w: dict[str, np.ndarray], before: Rows, sizes: Rows) -> Encoded:
    """Active if the gate is open and the magnitude is above 0."""
    gate, gate_sizes = before + w["b_gate"], sizes + np.abs(w["b_gate"])
    magnitude = before * np.exp(w["r_mag"]) + w["b_mag"]
    sizes = sizes * np.exp(w["r_mag"]) + np.abs(w["b_mag"])
    # Both must hold, so the smaller margin decides.
    return Encoded(np.maximum(magnitude, 0), np.minimum(gate / gate_sizes, magnitude / sizes), sizes)


def _top_k(before: Rows, sizes: Rows, k: int) -> Encoded:
    """Active if among the k largest; the margin is the difference from the rival on the other side of the cut.

    The rival of a selected value is the largest unselected one; that of an unselected one is the smallest selected one.
    """
    if k >= before.shape[1]:
        return Encoded(np.maximum(before, 0), before / sizes, sizes)
    border = np.argsort(-before, axis=1, kind="stable")[:, k - 1 : k + 1]
    # Each is [row, 1]: the last selected and the first unselected value, then the sizes of both.
    (last_in, first_out), (size_in, size_out) = (
        np.take_along_axis(a, border, 1).T[:, :, None] for a in (before, sizes)
    )
    inside = before >= last_in
    lead = before - np.where(inside, first_out, last_in)
    together = sizes + np.where(inside, size_out, size_in)
    # An activation must also be above 0.
    return Encoded(np.maximum(before, 0), np.minimum(lead / together, before / sizes), sizes)


def decode_rows(
    sae: Sae, activations: Rows | sparse.csr_matrix, x: Float64[np.ndarray, "row d_in"]
) -> Float64[np.ndarray, "row d_in"]:
    """The reconstruction of each row of `x` from its activations, a dense or a sparse matrix `[row, feature]`."""
    config, w = sae.config, sae.w
    # With rescaling, activations already contain the norm of their decoder row.
    norms = np.linalg.norm(w["W_dec"], axis=1, keepdims=True) if config.get("rescale_acts_by_decoder_norm") else 1.0
    # A decoder row that is 0 adds nothing, whatever it is divided by.
    out = activations @ (w["W_dec"] / np.where(norms == 0, 1.0, norms)) + w["b_dec"]
    if config["normalize_activations"] == "layer_norm":
        out = out * x.std(1, ddof=1, keepdims=True) + x.mean(1, keepdims=True)
    if config["normalize_activations"] == "constant_norm_rescale":
        out = out * np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    return np.asarray(out)


# Weights


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


def final_norm(model: Module) -> Module:
    """The norm before the unembedding."""
    if hasattr(model, "transformer"):
        return model.transformer.ln_f
    return model.gpt_neox.final_layer_norm if hasattr(model, "gpt_neox") else model.model.norm


def cosines(row: Float64[np.ndarray, "d"], rows: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n"]:
    """Cosine of one vector with each of many; 0 if either is 0."""
    lengths = np.linalg.norm(row) * np.linalg.norm(rows, axis=1)
    return np.asarray(np.divide(rows @ row, lengths, out=np.zeros(len(rows)), where=lengths > 0))
