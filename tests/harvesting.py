"""Helpers for tests that harvest."""

from pathlib import Path
from typing import Any

import numpy as np

from saecatalog.harvest import harvest
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import tokenize

EXACT = (
    "text_offsets",
    "token_ids",
    "token_ends",
    "norms",
    "target_norms",
    "squared_errors",
    "indptr",
    "features",
    "activations",
    "bands",
    "band_sums",
    "shape",
)
"""Arrays that must not change by a byte: all of them."""


def make_text(number: int, content: str, category: str = "c") -> Text:
    return Text(f"t{number}", category, "made here", content)


def run(subject: Any, texts: list[Any], folder: Path, batch_tokens: int = 256) -> Path:
    """Harvest texts into a new folder, which is returned."""
    folder.mkdir(parents=True)
    harvest(subject, tokenize(texts, subject.tokenizer), batch_tokens, folder, lambda n: None)
    return folder


def load_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a store by name."""
    return {p.stem: np.load(p) for p in folder.glob("*.npy")}
