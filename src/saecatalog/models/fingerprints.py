"""What was loaded, by content: a loaded model, tokenizer or SAE flows in, a hash flows out.

The hashes tell apart what computes differently. They do not depend on where something was loaded from or on its name.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from saecatalog.stage_keys import digest

NAMES = {"_name_or_path", "name_or_path", "model_name", "tokenizer_name", "vocab_file", "tokenizer_file"}
"""Settings that say where something was loaded from or what it is called."""

WHERE = {"device", "is_local", "local_files_only", "transformers_version", "_commit_hash"}
"""Settings about this machine or the libraries, which the keys contain in another way."""

PLACE = re.compile(r" at 0x[0-9a-fA-F]+")
"""A place in memory, which some objects show."""


def weights_sha256(module: torch.nn.Module) -> str:
    """SHA-256 over the names and bytes of a module's parameters as loaded, in the order of their names."""
    return _tensors_sha256(module.named_parameters())


def model_settings(model: Any) -> str:
    """A hash of everything but the parameters that a model computes with: its classes, settings and buffers."""
    inner = getattr(model, "original_model", None)
    # A model of transformers has a config; one of transformer_lens has a cfg and may contain one of transformers.
    plain_model = model if inner is None else inner
    configs = (getattr(model, "cfg", None), getattr(plain_model, "config", None))
    settings = [_settings(config) for config in configs if config is not None]
    return digest([_name(model), _name(inner)], settings, _tensors_sha256(model.named_buffers()))


def sae_settings(sae: Any) -> str:
    """A hash of an SAE's class, settings and buffers."""
    return digest(_name(sae), _settings(sae.cfg), _tensors_sha256(sae.named_buffers()))


def tokenizer_hash(tokenizer: Any) -> str:
    """A hash of everything that decides how a text is cut into tokens and how a token is shown."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else plain(tokenizer.get_vocab())
    return digest(_name(tokenizer), rules, plain(tokenizer.special_tokens_map), plain(tokenizer.init_kwargs))


def _settings(config: Any) -> object:
    return plain(config.to_dict())


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def plain(value: object) -> object:
    """A value as JSON: without settings that are only names, and the same in every process."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items() if key not in NAMES | WHERE}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, torch.Tensor):
        return _tensors_sha256([("", value)])
    fields = getattr(value, "__dict__", None)
    content = plain(fields) if fields else PLACE.sub("", repr(value))
    return getattr(value, "__qualname__", None) or [_name(value), content]


def _tensors_sha256(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda named: named[0]):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
