"""The figures of the catalog computed again in the slowest and most obvious way.

Nothing here comes from the package: models run through plain `transformers`, one text and one window at a time,
without padding; an SAE is its matrices and its formula written out; analyses are loops over dense arrays.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

# Tokens


@cache
def tokenizer_of(folder: Path) -> Tokenizer:
    """The tokenizer's own file, told to read the names of special tokens as plain text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def bos_of(folder: Path) -> int:
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return int(tokenizer_of(folder).token_to_id(config["bos_token"]))


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


def token_bytes(folder: Path, token_id: int) -> bytes:
    return bytes(byte_of_character()[c] for c in tokenizer_of(folder).id_to_token(token_id))


def token_text(folder: Path, token_id: int) -> str:
    """A token as text; bytes that make no character stand as <0xE2>."""
    name = tokenizer_of(folder).id_to_token(token_id)
    if name is None:
        return ""
    if any(character not in byte_of_character() for character in name):
        return str(name)
    out, rest = "", token_bytes(folder, token_id)
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
    first_bytes = [len(text[:n].encode()) for n in range(len(text))]
    ends, seen = [], 0
    for piece in pieces:
        seen += len(piece)
        ends.append(sum(1 for first in first_bytes if first < seen))
    return ends


# Model and SAE


@cache
def model_of(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def layers_of(model: Any) -> Any:
    return model.transformer.h if hasattr(model, "transformer") else model.model.layers


def windows_of(ids: list[int], context: int, bos: int | None) -> list[list[int]]:
    """Runs of at most `context` tokens, BOS included where there is one."""
    size = context if bos is None else context - 1
    return [ids[start : start + size] for start in range(0, len(ids), size)]


@cache
def residuals(folder: Path, hook: str, text: str, context: int, bos: int | None) -> tuple[list[int], np.ndarray]:
    """The ids of a text and the values at the hook, `[token, d_in]`, one window after another."""
    ids = token_ids(folder, text)
    rows = []
    for window in windows_of(ids, context, bos):
        values = hook_values(model_of(folder), hook, window if bos is None else [bos, *window])
        rows.append(values if bos is None else values[1:])
    values = np.concatenate(rows)
    values.flags.writeable = False
    return ids, values


@torch.no_grad()
def hook_values(model: Any, hook: str, ids: list[int]) -> np.ndarray:
    """What a hook sees of one unpadded window, from the modules of `transformers` alone."""
    number, point = hook.removeprefix("blocks.").split(".", 1)
    layer = layers_of(model)[int(number)]
    batch = torch.tensor([ids])
    if point == "hook_resid_pre":
        states = model(batch, output_hidden_states=True).hidden_states
        return states[int(number)][0].double().numpy()
    caught: list[torch.Tensor] = []
    module, side = _module_of(layer, point)
    if side == "in":
        handle = module.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    else:
        handle = module.register_forward_hook(lambda _, args, out: caught.append(out))
    model(batch)
    handle.remove()
    value = caught[0][0] if isinstance(caught[0], tuple) else caught[0]
    return value[0].double().numpy()


def _module_of(layer: Any, point: str) -> tuple[Any, str]:
    attention = layer.attn if hasattr(layer, "attn") else layer.self_attn
    if point == "hook_resid_post":
        return layer, "out"
    if point == "hook_mlp_out":
        return layer.mlp, "out"
    if point == "hook_attn_out":
        return attention, "out"
    if point == "attn.hook_z":
        return (attention.c_proj if hasattr(attention, "c_proj") else attention.o_proj), "in"
    raise ValueError(point)


def sae_input(x: np.ndarray, b_dec: np.ndarray, apply_b_dec: bool, normalize: str) -> np.ndarray:
    if normalize == "layer_norm":
        x = (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-5)
    if normalize == "constant_norm_rescale":
        x = x * np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)
    return x - b_dec if apply_b_dec else x


def encode(folder: Path, x: np.ndarray) -> np.ndarray:
    """Feature activations of each row, from the saved matrices and the formula of the architecture."""
    config = json.loads((folder / "cfg.json").read_text())
    w = {name: values.astype(np.float64) for name, values in load_file(folder / "sae_weights.safetensors").items()}
    inputs = sae_input(x, w["b_dec"], config["apply_b_dec_to_input"], config["normalize_activations"])
    before = inputs @ w["W_enc"]
    if config["architecture"] == "standard":
        return np.maximum(before + w["b_enc"], 0)
    if config["architecture"] == "jumprelu":
        before += w["b_enc"]
        return np.where(before > w["threshold"], np.maximum(before, 0), 0)
    if config["architecture"] == "gated":
        magnitude = np.maximum(before * np.exp(w["r_mag"]) + w["b_mag"], 0)
        return np.where(before + w["b_gate"] > 0, magnitude, 0)
    if config["architecture"] == "topk":
        return _top_k(before + w["b_enc"], w["W_dec"], config)
    raise ValueError(config["architecture"])


def _top_k(before: np.ndarray, decoder: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    if config["rescale_acts_by_decoder_norm"]:
        before = before * np.linalg.norm(decoder, axis=1)
    out = np.zeros_like(before)
    for row, values in enumerate(before):
        for feature in sorted(range(len(values)), key=lambda f: -values[f])[: config["k"]]:
            out[row, feature] = max(values[feature], 0)
    return out


def decode(folder: Path, activations: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The reconstruction of each row of `x`."""
    config = json.loads((folder / "cfg.json").read_text())
    w = {name: values.astype(np.float64) for name, values in load_file(folder / "sae_weights.safetensors").items()}
    if config.get("rescale_acts_by_decoder_norm"):
        activations = activations / np.linalg.norm(w["W_dec"], axis=1)
    out = activations @ w["W_dec"] + w["b_dec"]
    if config["normalize_activations"] == "layer_norm":
        out = out * x.std(1, ddof=1, keepdims=True) + x.mean(1, keepdims=True)
    if config["normalize_activations"] == "constant_norm_rescale":
        out = out * np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    return out


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
    arrays = {
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
        (t, i, float(row[feature]))
        for t, rows in enumerate(case.activations)
        for i, row in enumerate(rows)
        if row[feature] > 0
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
    won = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside)
    return won / (len(inside) * len(outside)) if inside and outside else 0.5


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


def bands(case: Case, feature: int) -> dict[str, list[tuple[int, int]]]:
    """The active tokens by rank, strongest first, in four slices that differ by one in size at most."""
    active = sorted(active_values(case, feature), key=lambda entry: (-entry[2], entry[0], entry[1]))
    names = ("q75-100", "q50-75", "q25-50", "q0-25")
    size, rest = divmod(len(active), 4)
    slices, start = {}, 0
    for number, name in enumerate(names):
        stop = start + size + (number < rest)
        slices[name] = [(text, position) for text, position, _ in active[start:stop]]
        start = stop
    return slices


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
    return min(figures, key=lambda i: (-Fraction(2 * figures[i].n_active, figures[i].n_occurrences + n_active), i))


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


@torch.no_grad()
def logit_effects(folder: Path, direction: np.ndarray) -> np.ndarray:
    """Effect of a small step along `direction` on the logits, times the scale of the final norm.

    The final norm's weight and centring are read off the module itself: it is run on inputs of known scale.
    """
    model = model_of(folder)
    norm = model.transformer.ln_f if hasattr(model, "transformer") else model.model.norm
    norm, head = norm.double(), model.get_output_embeddings().weight.double().numpy()
    x = torch.from_numpy(direction)
    centred = x - x.mean() if isinstance(norm, torch.nn.LayerNorm) else x
    scale = centred.square().mean().sqrt()
    bias = norm(torch.zeros_like(x))
    # A large input makes the norm's epsilon vanish; norm(x) * scale(x) is linear in x.
    mapped = ((norm(x * 1e6) - bias) * scale).numpy()
    norm.float()
    logits = head @ mapped
    return logits - logits.mean()
