"""The figures of the catalog computed again in the slowest and most obvious way.

Nothing here comes from the package: models run through plain `transformers`, one text and one window at a time,
without padding; an SAE is its matrices and its formula written out; analyses are loops over dense arrays.
"""

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

# Tokens


def exact(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, told to read the names of special tokens as plain text and to cut nothing off."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


@cache
def tokenizer_of(folder: Path) -> Tokenizer:
    """The tokenizer's own file, read exactly."""
    return exact(Tokenizer.from_file(str(folder / "tokenizer.json")))


def bos_of(folder: Path) -> int:
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    found = tokenizer_of(folder).token_to_id(config["bos_token"])
    assert found is not None
    return int(found)


def token_ids(folder: Path, text: str) -> list[int]:
    return list(tokenizer_of(folder).encode(text, add_special_tokens=False).ids)


@cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's table from the characters of a vocabulary file to bytes."""
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    table = {chr(b): b for b in shown}
    for byte in range(256):
        if byte not in shown:
            table[chr(256 + len(table) - len(shown))] = byte
    return table


def is_byte_level(tokenizer: Tokenizer) -> bool:
    """Whether the characters of a token's name stand for bytes."""
    return "ByteLevel" in repr(tokenizer.decoder)


def token_bytes(folder: Path, token_id: int) -> bytes:
    return bytes_of_token(tokenizer_of(folder), token_id)


def bytes_of_token(tokenizer: Tokenizer, token_id: int) -> bytes:
    return bytes(byte_of_character()[c] for c in tokenizer.id_to_token(token_id) or "")


def token_text(folder: Path, token_id: int) -> str:
    return text_of_token(tokenizer_of(folder), token_id)


def text_of_token(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as text; bytes that make no character stand as <0xE2>, an id beyond the vocabulary as nothing."""
    name = tokenizer.id_to_token(token_id)
    if name is None:
        return ""
    if not is_byte_level(tokenizer):
        text = str(tokenizer.decode([token_id], skip_special_tokens=False))
        return str(name) if "\ufffd" in text else text
    if any(character not in byte_of_character() for character in name):
        return str(name)
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


def token_ends(pieces: list[bytes], text: str) -> list[int]:
    """After each token, the number of characters whose first byte has been seen."""
    first_bytes = [0, *accumulate(len(character.encode()) for character in text)][:-1]
    ends, seen = [], 0
    for piece in pieces:
        seen += len(piece)
        ends.append(bisect_left(first_bytes, seen))
    return ends


# Model and SAE


class HookReached(Exception):
    """Ends a forward pass once the hook has seen its values."""


@cache
def model_of(folder: Path) -> Any:
    return load_model(str(folder), "float32")


def load_model(name: str, dtype: str) -> Any:
    """A model of a folder or of the Hub, with the slow and obvious attention."""
    model = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype), attn_implementation="eager")
    return model.eval()


def layers_of(model: Any) -> Any:
    if hasattr(model, "transformer"):
        return model.transformer.h
    return model.gpt_neox.layers if hasattr(model, "gpt_neox") else model.model.layers


def windows_of(ids: list[int], context: int, bos: int | None) -> list[list[int]]:
    """Runs of at most `context` tokens, BOS included where there is one."""
    size = context if bos is None else context - 1
    return [ids[start : start + size] for start in range(0, len(ids), size)]


@cache
def residuals(folder: Path, hook: str, text: str, context: int, bos: int | None) -> tuple[list[int], np.ndarray]:
    """The ids of a text and the values at the hook, `[token, d_in]`, one window after another."""
    ids = token_ids(folder, text)
    values = np.concatenate(list(window_values(model_of(folder), hook, ids, context, bos)))
    values.flags.writeable = False
    return ids, values


def window_values(model: Any, hook: str, ids: list[int], context: int, bos: int | None) -> Iterator[np.ndarray]:
    """The values at the hook of one window after another, BOS left out."""
    for window in windows_of(ids, context, bos):
        values = hook_values(model, hook, window if bos is None else [bos, *window])
        yield values if bos is None else values[1:]


@torch.no_grad()
def hook_values(model: Any, hook: str, ids: list[int]) -> np.ndarray:
    """What a hook sees of one unpadded window, from the modules of `transformers` alone; the pass ends there."""
    number, point = hook.removeprefix("blocks.").split(".", 1)
    module, side = _module_of(layers_of(model)[int(number)], point)
    caught: list[Any] = []

    def before(_: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        caught.append(positional[0] if positional else named["hidden_states"])
        raise HookReached

    def after(_: Any, __: Any, out: Any) -> None:
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
    return np.asarray(caught[0][0].double().numpy())


def _module_of(layer: Any, point: str) -> tuple[Any, str]:
    """The module of a layer whose input or output is the hook's value; ValueError where there is none."""
    attention = next((getattr(layer, n) for n in ("attn", "self_attn", "attention") if hasattr(layer, n)), None)
    if point == "hook_resid_pre":
        return layer, "in"
    if point == "hook_resid_post":
        return layer, "out"
    # Gemma 2 norms what attention and MLP give before it is added to the residual stream; the hooks see that.
    norms_after = hasattr(layer, "post_feedforward_layernorm")
    if point == "hook_mlp_out":
        return (layer.post_feedforward_layernorm if norms_after else layer.mlp), "out"
    if point == "hook_attn_out":
        return (layer.post_attention_layernorm if norms_after else attention), "out"
    if point == "attn.hook_z":
        found = next((getattr(attention, n) for n in ("c_proj", "o_proj", "dense") if hasattr(attention, n)), None)
        if found is not None:
            return found, "in"
    raise ValueError(point)


@dataclass(frozen=True)
class Sae:
    """An SAE: its settings, and its matrices in float64."""

    config: dict[str, Any]
    w: dict[str, np.ndarray]


@dataclass(frozen=True)
class Encoded:
    """What an SAE makes of some rows: three arrays `[row, feature]`."""

    values: np.ndarray
    """The activation, where the feature is active."""
    margins: np.ndarray
    """How far each decision is from tipping, as a share of `sizes`: above 0 active, below 0 not."""
    sizes: np.ndarray
    """Norm of the row times norm of the encoder's column, plus the bias: rounding errors are shares of it."""


@cache
def sae_of(folder: Path) -> Sae:
    config = json.loads((folder / "cfg.json").read_text())
    weights = load_file(folder / "sae_weights.safetensors")
    return Sae(config, {name: values.astype(np.float64) for name, values in weights.items()})


def sae_input(x: np.ndarray, b_dec: np.ndarray, apply_b_dec: bool, normalize: str) -> np.ndarray:
    return normalized(x, normalize) - b_dec if apply_b_dec else normalized(x, normalize)


def normalized(x: np.ndarray, normalize: str) -> np.ndarray:
    if normalize == "layer_norm":
        return np.asarray((x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-5))
    if normalize == "constant_norm_rescale":
        return np.asarray(x * np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True))
    return x


def encode(folder: Path, x: np.ndarray) -> np.ndarray:
    """Feature activations of each row, from the saved matrices and the formula of the architecture."""
    encoded = encode_rows(sae_of(folder), x)
    return np.where(encoded.margins > 0, encoded.values, 0)


def encode_rows(sae: Sae, x: np.ndarray) -> Encoded:
    """The formula of each architecture; raises ValueError for one that has none here."""
    config, w = sae.config, sae.w
    inputs = sae_input(x, w["b_dec"], config["apply_b_dec_to_input"], config["normalize_activations"])
    reach = np.linalg.norm(normalized(x, config["normalize_activations"]), axis=1, keepdims=True)
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


def _gated(w: dict[str, np.ndarray], before: np.ndarray, sizes: np.ndarray) -> Encoded:
    """Active where the gate is open and the magnitude is above 0."""
    gate, gate_sizes = before + w["b_gate"], sizes + np.abs(w["b_gate"])
    magnitude = before * np.exp(w["r_mag"]) + w["b_mag"]
    sizes = sizes * np.exp(w["r_mag"]) + np.abs(w["b_mag"])
    return Encoded(np.maximum(magnitude, 0), np.minimum(gate / gate_sizes, magnitude / sizes), sizes)


def _top_k(before: np.ndarray, sizes: np.ndarray, k: int) -> Encoded:
    """Active among the k largest: the rival is the largest value left out, or the smallest one let in."""
    if k >= before.shape[1]:
        return Encoded(np.maximum(before, 0), before / sizes, sizes)
    border = np.argsort(-before, axis=1, kind="stable")[:, k - 1 : k + 1]
    (last_in, first_out), (size_in, size_out) = (
        np.take_along_axis(a, border, 1).T[:, :, None] for a in (before, sizes)
    )
    inside = before >= last_in
    lead = before - np.where(inside, first_out, last_in)
    together = sizes + np.where(inside, size_out, size_in)
    return Encoded(np.maximum(before, 0), np.minimum(lead / together, before / sizes), sizes)


def decode(folder: Path, activations: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The reconstruction of each row of `x`."""
    return decode_rows(sae_of(folder), activations, x)


def decode_rows(sae: Sae, activations: Any, x: np.ndarray) -> np.ndarray:
    """The reconstruction of each row of `x` from its activations, a dense or a sparse matrix."""
    config, w = sae.config, sae.w
    rescaled = config.get("rescale_acts_by_decoder_norm")
    out = activations @ (w["W_dec"] / np.linalg.norm(w["W_dec"], axis=1, keepdims=True) if rescaled else w["W_dec"])
    out = out + w["b_dec"]
    if config["normalize_activations"] == "layer_norm":
        out = out * x.std(1, ddof=1, keepdims=True) + x.mean(1, keepdims=True)
    if config["normalize_activations"] == "constant_norm_rescale":
        out = out * np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    return np.asarray(out)


# A corpus


def corpus_hash(texts: list[tuple[str, str, str]]) -> str:
    """SHA-256 over id, category and content of every text in order, each as a JSON list in ASCII."""
    return hashlib.sha256("".join(json.dumps(list(text)) for text in texts).encode()).hexdigest()


def content_digest(content: str) -> str:
    """What a text's id says of its content."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:10]


# A corpus with its activations, dense


@dataclass
class Case:
    """Texts with everything the analyses may look at, one array per text."""

    text_ids: list[str]
    categories: list[str]
    tokens: list[list[int]]
    activations: list[np.ndarray]
    """`[token, feature]`, float32."""
    norms: list[np.ndarray]
    squared_errors: list[np.ndarray]

    @property
    def d_sae(self) -> int:
        return int(self.activations[0].shape[1])


def case_of(folder: Path, text_ids: list[str], categories: list[str]) -> Case:
    """The files of a store, read one entry at a time."""
    a = {p.stem: np.load(p) for p in folder.glob("*.npy")}
    n_tokens, d_sae = (int(n) for n in a["shape"])
    dense = np.zeros((n_tokens, d_sae), np.float32)
    for token in range(n_tokens):
        for entry in range(a["indptr"][token], a["indptr"][token + 1]):
            dense[token, a["features"][entry]] = a["activations"][entry]
    spans = [(int(a["text_offsets"][t]), int(a["text_offsets"][t + 1])) for t in range(len(text_ids))]
    return Case(
        text_ids,
        categories,
        [a["token_ids"][i:j].tolist() for i, j in spans],
        [dense[i:j] for i, j in spans],
        [a["norms"][i:j] for i, j in spans],
        [a["squared_errors"][i:j] for i, j in spans],
    )


def save_case(folder: Path, case: Case, residual: list[np.ndarray] | None = None) -> None:
    """Write a store by hand, in the documented arrays; without residuals the bands hold zeros."""
    dense, norms = np.concatenate(case.activations), np.concatenate(case.norms).astype(np.float32)
    rows, columns = np.nonzero(dense)
    bands = np.array([math.floor(8 * math.log2(norm)) for norm in norms.tolist()])
    x = np.concatenate(residual) if residual else np.zeros((len(norms), 1))
    lengths = [len(ids) for ids in case.tokens]
    arrays: dict[str, np.ndarray] = {
        "text_offsets": np.array([sum(lengths[:t]) for t in range(len(lengths) + 1)], np.int64),
        "token_ids": np.concatenate(case.tokens).astype(np.int32),
        "token_ends": np.concatenate([np.arange(1, n + 1) for n in lengths]).astype(np.int32),
        "norms": norms,
        "squared_errors": np.concatenate(case.squared_errors).astype(np.float32),
        "indptr": np.array([int((rows < t).sum()) for t in range(len(dense) + 1)], np.int64),
        "features": columns.astype(np.int32),
        "activations": dense[rows, columns].astype(np.float32),
        "bands": np.unique(bands).astype(np.int32),
        "band_sums": np.array([x[bands == b].sum(0) for b in np.unique(bands)], np.float64),
        "shape": np.array(dense.shape, np.int64),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def norm_limit(median: float, multiple: float) -> float:
    """The documented limit: the multiple of the median, moved up to the next eighth of an octave."""
    edge = -200 * 8
    while 2.0 ** (edge / 8) < median * multiple:
        edge += 1
    return float(2.0 ** (edge / 8))


def median_norm(case: Case) -> float:
    ordered = sorted(float(norm) for norms in case.norms for norm in norms)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def without_massive(case: Case, multiple: float, median: float | None = None) -> tuple[Case, list[list[bool]]]:
    """The case with nothing active on massive positions, and which positions count."""
    limit = norm_limit(median_norm(case) if median is None else median, multiple)
    keep = [[float(norm) <= limit for norm in norms] for norms in case.norms]
    cleared = [np.where(np.array(k)[:, None], a, np.float32(0)) for k, a in zip(keep, case.activations, strict=True)]
    return Case(case.text_ids, case.categories, case.tokens, cleared, case.norms, case.squared_errors), keep


# Analyses: each takes a case without massive positions and which positions count


def active_values(case: Case, feature: int) -> list[tuple[int, int, float]]:
    """(text, position, activation) of every active token, in the order of the corpus."""
    return [
        (t, int(i), float(rows[i, feature]))
        for t, rows in enumerate(case.activations)
        for i in np.flatnonzero(rows[:, feature] > 0)
    ]


def text_scores(case: Case, keep: list[list[bool]], kind: str) -> dict[tuple[int, int], tuple[float, int]]:
    """(score, position) of every text and feature whose score is above 0."""
    scores = {}
    for t, rows in enumerate(case.activations):
        for feature in range(case.d_sae):
            values = [float(row[feature]) for row in rows]
            peak = values.index(max(values))
            if kind == "max" and values[peak] > 0:
                scores[t, feature] = values[peak], peak
            if kind == "last" and values[-1] > 0:
                scores[t, feature] = values[-1], len(values) - 1
            if kind == "mean" and values[peak] > 0:
                scores[t, feature] = float(np.float32(math.fsum(values) / sum(keep[t]))), peak
    return scores


def score_matrix(scores: dict[tuple[int, int], tuple[float, int]], n_texts: int, d_sae: int) -> np.ndarray:
    matrix = np.zeros((n_texts, d_sae))
    for (text, feature), (score, _) in scores.items():
        matrix[text, feature] = score
    return matrix


def auroc(inside: list[float], outside: list[float]) -> float:
    """The share of pairs won, half for a tie."""
    rest = np.array(outside, float)
    won = sum(np.count_nonzero(rest < a) + np.count_nonzero(rest == a) / 2 for a in inside)
    return won / (len(inside) * len(outside)) if inside and outside else 0.5


def auroc_range(inside: list[float], outside: list[float], same: float) -> tuple[float, float]:
    """The least and the most it can be where two scores that differ by a share of `same` may stand either way.

    Two scores of exactly 0 are a tie.
    """
    if not inside or not outside:
        return 0.5, 0.5
    rest, pairs = np.array(outside, float), len(inside) * len(outside)
    won, open_ = 0.0, 0.0
    for a in inside:
        near = np.abs(rest - a) <= same * a
        won += float(np.count_nonzero((rest < a) & ~near)) if a else np.count_nonzero(rest == 0) / 2
        open_ += float(np.count_nonzero(near)) if a else 0.0
    return won / pairs, (won + open_) / pairs


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson (1927): the shares p with |k/n - p| = z sqrt(p (1-p) / n), roots of a quadratic."""
    z = 1.959963984540054
    a, b, c = 1 + z * z / n, -(2 * k / n + z * z / n), (k / n) ** 2
    root = math.sqrt(max(b * b - 4 * a * c, 0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def benjamini_hochberg(p: list[float]) -> list[float]:
    """The smallest false discovery rate at which each test passes."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    q, smallest = [0.0] * len(p), 1.0
    for rank in range(len(p), 0, -1):
        smallest = min(smallest, p[order[rank - 1]] * len(p) / rank)
        q[order[rank - 1]] = smallest
    return q


def surroundings(case: Case, text: int, position: int, near: int = 4) -> tuple[int | None, ...]:
    """The token and its neighbours in the text; None beyond its ends."""
    ids = case.tokens[text]
    return tuple(ids[i] if 0 <= i < len(ids) else None for i in range(position - near, position + near + 1))


def top_contexts(case: Case, feature: int, top: int) -> list[tuple[int, int, float, int]]:
    """(text, position, activation, hidden): the strongest token of each text, once per group of near-duplicates."""
    peaks: dict[int, tuple[int, float]] = {}
    for text, position, value in active_values(case, feature):
        if text not in peaks or value > peaks[text][1]:
            peaks[text] = position, value
    ordered = sorted(peaks.items(), key=lambda item: (-item[1][1], item[0]))
    groups: dict[tuple[int | None, ...], list[tuple[int, int, float]]] = {}
    for text, (position, value) in ordered:
        groups.setdefault(surroundings(case, text, position), []).append((text, position, value))
    return [(*members[0], len(members) - 1) for members in groups.values()][:top]


BANDS = ("q75-100", "q50-75", "q25-50", "q0-25")
"""The quarters of a feature's active tokens, the strongest first."""


def bands(case: Case, feature: int) -> dict[str, list[tuple[int, int]]]:
    """The active tokens by rank, strongest first, cut at the three quartiles; see `band_of`."""
    active = sorted(active_values(case, feature), key=lambda entry: (-entry[2], entry[0], entry[1]))
    slices: dict[str, list[tuple[int, int]]] = {name: [] for name in BANDS}
    for rank, (text, position, _) in enumerate(active):
        slices[band_of(rank, len(active))].append((text, position))
    return slices


def band_of(rank: int, n: int) -> str:
    """The band of the token with this rank, 0 the strongest, among `n` active ones.

    Counted from the weakest, the lower, middle and upper quartile lie at 1/4, 2/4 and 3/4 of n - 1, between two tokens
    or on one, which then belongs to the stronger band.
    """
    from_weakest = n - 1 - rank
    return BANDS[3 - sum(4 * from_weakest >= quarters * (n - 1) for quarters in (1, 2, 3))]


@dataclass(frozen=True)
class TokenFigures:
    """What a feature does on one token id."""

    n_active: int
    n_occurrences: int
    total: float


def token_figures(case: Case, keep: list[list[bool]], feature: int) -> dict[int, TokenFigures]:
    """Of each token id on which the feature is active."""
    occurrences: dict[int, int] = {}
    values: dict[int, list[float]] = {}
    for ids, kept, rows in zip(case.tokens, keep, case.activations, strict=True):
        for token, counted, row in zip(ids, kept, rows, strict=True):
            occurrences[token] = occurrences.get(token, 0) + counted
            if row[feature] > 0:
                values.setdefault(token, []).append(float(row[feature]))
    return {token: TokenFigures(len(v), occurrences[token], sum(v)) for token, v in values.items()}


def best_token(figures: dict[int, TokenFigures]) -> int:
    """The token id with the largest F1, the smallest id in a tie; exact fractions."""
    n_active = sum(f.n_active for f in figures.values())
    return min(figures, key=lambda i: (-f1(figures[i], n_active), i))


def pair_figures(case: Case, keep: list[list[bool]], feature: int) -> dict[tuple[int | None, int], TokenFigures]:
    """Of each two tokens in a row on whose second the feature is active; None stands before a text's first token."""
    occurrences: dict[tuple[int | None, int], int] = {}
    values: dict[tuple[int | None, int], list[float]] = {}
    for ids, kept, rows in zip(case.tokens, keep, case.activations, strict=True):
        pairs: list[tuple[int | None, int]] = list(zip([None, *ids[:-1]], ids, strict=True))
        for pair, counted, value in zip(pairs, kept, rows[:, feature].tolist(), strict=True):
            occurrences[pair] = occurrences.get(pair, 0) + counted
            if value > 0:
                values.setdefault(pair, []).append(value)
    return {pair: TokenFigures(len(v), occurrences[pair], sum(v)) for pair, v in values.items()}


def f1(figures: TokenFigures, n_active: int) -> Fraction:
    """F1 of the rule "active on every one of these": 2 / (1 / precision + 1 / recall)."""
    return Fraction(2 * figures.n_active, figures.n_occurrences + n_active)


def start_share(case: Case, feature: int) -> float:
    """Share of the total activation that falls on the first token of a text."""
    total = math.fsum(value for _, _, value in active_values(case, feature))
    first = math.fsum(value for _, position, value in active_values(case, feature) if position == 0)
    return first / total if total else 0.0


def quantile(values: list[float], q: float) -> float:
    """By straight lines between the sorted values; 0 of nothing."""
    if not values:
        return 0.0
    ordered, place = sorted(values), q * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of a population; 0 of nothing."""
    if not values:
        return 0.0, 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


def shape_of(values: list[float]) -> tuple[float, float, float]:
    """Standard deviation, skewness and excess kurtosis of a population."""
    mean, spread = mean_and_spread(values)
    if not spread:
        return 0.0, 0.0, 0.0
    scaled = [(v - mean) / spread for v in values]
    cubes, fourths = math.fsum(z**3 for z in scaled), math.fsum(z**4 for z in scaled)
    return spread, cubes / len(values), fourths / len(values) - 3


def bin_counts(values: list[float], edges: list[float], slack: float = 0.0) -> list[tuple[int, int]]:
    """For each bin the values surely in it and those possibly in it, where edges are uncertain by `slack`.

    A bin holds its lower edge; the last one holds its upper edge too, and nothing lies outside the first and the last.
    """
    v = np.array(values, float)
    counts = []
    for number, (low, high) in enumerate(pairwise(edges)):
        first, last = number == 0, number == len(edges) - 2
        surely = ((v >= low + slack) | first) & ((v < high - slack) | last)
        possibly = ((v >= low - slack) | first) & ((v < high + slack) | last)
        counts.append((int(surely.sum()), int(possibly.sum())))
    return counts


def halves(text_ids: list[str], categories: list[str]) -> list[str]:
    """The half of each text: the texts of a category take turns in the order of their ids."""
    half: dict[str, str] = {}
    for category in set(categories):
        members = sorted(i for i, c in zip(text_ids, categories, strict=True) if c == category)
        half |= {text: "second" if turn % 2 else "first" for turn, text in enumerate(members)}
    return [half[text] for text in text_ids]


def balanced_score(strong: dict[str, int], sizes: dict[str, int], category: str) -> Fraction:
    """Size of the category times (its strong rate less the strong rates of all others), exactly."""
    rates = {c: Fraction(strong.get(c, 0), n) for c, n in sizes.items() if n}
    if category not in rates:
        return Fraction(0)
    return sizes[category] * (2 * rates[category] - sum(rates.values()))


def ratio(inside: Fraction | float, outside: Fraction | float) -> float:
    """How many times larger the one rate is: infinite where only it is above 0, and 0 where it is 0."""
    if not inside:
        return 0.0
    return float(inside / outside) if outside else math.inf


def strong_threshold(scores: list[float]) -> float:
    """The 90 % quantile of the scores above 0, rounded to two significant digits."""
    return float(f"{quantile(scores, 0.9):.2g}")


def phi(n_a: int, n_b: int, n_both: int, n: int) -> float:
    """Pearson's correlation of two yes/no variables from their counts; 0 where either never changes."""
    spread = n_a * n_b * (n - n_a) * (n - n_b)
    return (n * n_both - n_a * n_b) / math.sqrt(spread) if spread else 0.0


def clusters(pairs: list[tuple[int, int]]) -> list[list[int]]:
    """The groups that chains of pairs join, largest first, then by their smallest member."""
    joined: dict[int, set[int]] = {}
    for a, b in pairs:
        joined.setdefault(a, set()).add(b)
        joined.setdefault(b, set()).add(a)
    groups, seen = [], set[int]()
    for start in joined:
        group, queue = set[int](), [start]
        while queue:
            feature = queue.pop()
            if feature not in seen:
                seen.add(feature)
                group.add(feature)
                queue += joined[feature]
        if group:
            groups.append(sorted(group))
    return sorted(groups, key=lambda g: (-len(g), g[0]))


def pair_counts(active: np.ndarray) -> np.ndarray:
    """How many rows each pair of columns shares, dense."""
    return active.astype(np.int64).T @ active.astype(np.int64)


def correlations(active: np.ndarray) -> np.ndarray:
    """Pearson's correlation of every pair of yes/no columns; 0 where either never changes."""
    changes = [f for f in range(active.shape[1]) if 0 < active[:, f].sum() < len(active)]
    out = np.zeros((active.shape[1], active.shape[1]))
    if changes:
        out[np.ix_(changes, changes)] = np.corrcoef(active[:, changes].T.astype(float))
    return out


def explained_variance(residual: np.ndarray, reconstruction: np.ndarray) -> float:
    """1 - (squared error) / (squared distance from the mean), summed over positions and dimensions."""
    error = sum(float(((x - y) ** 2).sum()) for x, y in zip(residual, reconstruction, strict=True))
    mean = residual.mean(0)
    return 1 - error / sum(float(((x - mean) ** 2).sum()) for x in residual)


def ranked(rows: list[Any], key: Callable[[Any], Any], top: int) -> list[Any]:
    """The first `top` rows by a key."""
    return sorted(rows, key=key)[:top]


# Weights


def logit_effects(folder: Path, direction: np.ndarray) -> np.ndarray:
    return direct_effects(model_of(folder), direction)


@torch.no_grad()
def direct_effects(model: Any, direction: np.ndarray) -> np.ndarray:
    """Effect of a small step along `direction` on the logits, times the scale of the final norm.

    The final norm's weight and centring are read off the module itself: it is run on inputs of known scale.
    """
    norm, head = final_norm(model).double(), model.get_output_embeddings().weight
    x = torch.from_numpy(direction).double()
    centred = x - x.mean() if isinstance(norm, torch.nn.LayerNorm) else x
    scale = centred.square().mean().sqrt()
    bias = norm(torch.zeros_like(x))
    # A large input makes the norm's epsilon vanish; norm(x) * scale(x) is linear in x.
    mapped = (norm(x * 1e6) - bias) * scale
    norm.to(head.dtype)
    logits = np.concatenate([(part.double() @ mapped).numpy() for part in head.split(1 << 14)])
    return np.asarray(logits - logits.mean())


def final_norm(model: Any) -> Any:
    if hasattr(model, "transformer"):
        return model.transformer.ln_f
    return model.gpt_neox.final_layer_norm if hasattr(model, "gpt_neox") else model.model.norm


def cosines(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Cosine of one vector with each of many; 0 where either is 0."""
    lengths = np.linalg.norm(row) * np.linalg.norm(rows, axis=1)
    return np.asarray(np.divide(rows @ row, lengths, out=np.zeros(len(rows)), where=lengths > 0))
