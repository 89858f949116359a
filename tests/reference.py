"""The parts of the slow reference that only tests need: models and SAEs from folders.

The rest is in `tokens`, `model` and `sae` of `saecatalog.verify`, which `verify` uses too.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from saecatalog.verify.model import direct_effects, load_model, window_values
from saecatalog.verify.sae import Sae, decode_rows, encode_rows
from saecatalog.verify.tokens import bytes_of_token, exact_tokenizer, text_of_token


@cache
def tokenizer_of(folder: Path) -> Tokenizer:
    """The tokenizer in a model's folder, set to treat special tokens as plain text."""
    return exact_tokenizer(Tokenizer.from_file(str(folder / "tokenizer.json")))


def bos_of(folder: Path) -> int:
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    found = tokenizer_of(folder).token_to_id(config["bos_token"])
    assert found is not None
    return int(found)


def token_ids(folder: Path, text: str) -> list[int]:
    return list(tokenizer_of(folder).encode(text, add_special_tokens=False).ids)


def token_bytes(folder: Path, token_id: int) -> bytes:
    return bytes_of_token(tokenizer_of(folder), token_id)


def token_text(folder: Path, token_id: int) -> str:
    return text_of_token(tokenizer_of(folder), token_id)


@cache
def model_of(folder: Path) -> Any:
    return load_model(str(folder), "float32")


@cache
def residuals(folder: Path, hook: str, text: str, context: int, bos: int | None) -> tuple[list[int], np.ndarray]:
    """The ids of a text and the values at the hook, `[token, d_in]`, one window after another."""
    ids = token_ids(folder, text)
    values = np.concatenate([found for (found,) in window_values(model_of(folder), [hook], ids, context, bos)])
    values.flags.writeable = False
    return ids, values


@cache
def sae_of(folder: Path) -> Sae:
    config = json.loads((folder / "cfg.json").read_text())
    weights = load_file(folder / "sae_weights.safetensors")
    return Sae(config, {name: values.astype(np.float64) for name, values in weights.items()})


def encode(folder: Path, x: np.ndarray) -> np.ndarray:
    """Feature activations of each row, from the saved matrices and the formula of the architecture."""
    encoded = encode_rows(sae_of(folder), x)
    return np.where(encoded.margins > 0, encoded.values, 0)


def decode(folder: Path, activations: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The reconstruction of each row of `x`."""
    return decode_rows(sae_of(folder), activations, x)


def logit_effects(folder: Path, direction: np.ndarray) -> np.ndarray:
    return direct_effects(model_of(folder), direction)
