"""Loading a model: its name and the hooks of an SAE flow in, a `LanguageModel` that has these hooks flows out.

`transformer_lens` runs the models that it knows, because most SAEs were trained with it. Plain `transformers` runs the
others, and where `transformer_lens` does not have the hook.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from saecatalog import embedded
from saecatalog.cache import Cache
from saecatalog.errors import CatalogError, nearest
from saecatalog.models.default_model import converted
from saecatalog.models.hooked_model import HookedModel
from saecatalog.models.hub import hub_errors, hub_places
from saecatalog.models.language_model import LanguageModel, NoSuchHook, layer_of
from saecatalog.models.plain_model import PlainModel, is_module_path
from saecatalog.models.safe_loading import HOOKED, PROCESSING, only_data_of_model
from saecatalog.progress import notice

BRIDGE, PLAIN = "TransformerBridge", "AutoModelForCausalLM"
"""Classes of models, besides HOOKED, that an SAE's metadata may name."""


UNKNOWN_KIND = ("Unrecognized configuration class", "does not recognize this architecture")
"""What transformers says of a model that is no language model, or newer than itself."""


@dataclass(frozen=True)
class ModelRequest:
    """The model that an SAE needs."""

    name: str
    """Folder or name on the Hub."""
    kind: str
    """The class that the SAE's metadata names, with which it was trained."""
    arguments: dict[str, bool]
    """The checked keyword arguments of the SAE's metadata."""
    hooks: tuple[str, ...]
    """The hooks that the SAE reads and writes."""
    dtype: torch.dtype
    device: torch.device
    trust_remote_code: bool
    where: str
    """The SAE, for errors."""

    @property
    def is_plain(self) -> bool:
        """Whether only plain `transformers` has these hooks, or the SAE was trained with it."""
        return self.kind == PLAIN or any(map(is_module_path, self.hooks))


@dataclass(frozen=True)
class LoadedModel:
    """A model, and where it came from."""

    model: LanguageModel
    source: str
    """What the weights were loaded from."""
    places: list[Path]
    """Where its files are; those in the cache have checksums."""


def load_model(wanted: ModelRequest, cache: Cache) -> LoadedModel:
    """Load a model and prove its hooks.

    Raises CatalogError if the model is unknown, cannot be reached, could run code, has no tokenizer or lacks a hook.
    """
    name = wanted.name
    if name in embedded.MODEL_ALIASES:
        folder = converted(cache).folder
        model = _from_folder(wanted, folder, embedded.MODEL_NAME)
        return LoadedModel(model, embedded.GGUF, [])
    if Path(name).is_dir():
        return LoadedModel(_from_folder(wanted, Path(name), name), name, [Path(name)])
    known = known_models()
    if name not in known and "/" not in name and not wanted.is_plain:
        fix = nearest(name, known) or "Use a model that transformer_lens lists, a name on the Hub, or a folder."
        raise CatalogError("transformer_lens has no model of this name.", f"--model {name}", fix)
    with hub_errors("model", f"--model {name}", nearest(name, known)):
        model = _from_hub(wanted)
    return LoadedModel(model, name, hub_places(hub_name(name)))


def _from_folder(wanted: ModelRequest, folder: Path, name: str) -> LanguageModel:
    bridge = None
    if not wanted.is_plain:
        with _loading(str(folder), wanted):
            bridge = _bridge_from_folder(wanted, folder, name)
    return _first_with_hooks(wanted, bridge, str(folder))


@contextmanager
def _loading(name: str, wanted: ModelRequest) -> Iterator[None]:
    """Errors of the library as one for users, but for those of the Hub; only data is loaded."""
    from transformers.utils import logging

    in_folder = Path(name).is_dir()
    if in_folder:
        # Loading from a folder takes a second or two and downloads nothing, so it needs no progress bar.
        logging.disable_progress_bar()
    try:
        with only_data_of_model(name, wanted.trust_remote_code):
            yield
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        if not in_folder and not any(words in reason for words in UNKNOWN_KIND):
            raise
        raise CatalogError("This model cannot be loaded.", name, f"transformers says: {reason}") from error


def _bridge_from_folder(wanted: ModelRequest, folder: Path, name: str) -> HookedModel | None:
    """The folder's model in a TransformerBridge; None if transformer_lens does not know its architecture."""
    from transformer_lens.model_bridge import TransformerBridge

    module, tokenizer = _plain_parts(wanted, str(folder))
    try:
        # This loads the tokenizer once more.
        bridge = TransformerBridge.boot_transformers(name, hf_model=module, tokenizer=tokenizer, dtype=wanted.dtype)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        _tell_why_plain(error, str(folder))
        return None
    steps = {step: wanted.arguments.get(step, False) for step in PROCESSING}
    if any(steps.values()):
        # As HookedTransformer would on loading with the SAE's keyword arguments.
        bridge.process_weights(**steps)
    return HookedModel(bridge.eval())


def _tell_why_plain(error: Exception, name: str) -> None:
    """Say why plain `transformers` runs a model, unless transformer_lens just does not know its architecture."""
    if "architecture" not in str(error).lower():
        why = (str(error).splitlines() or [""])[0]
        notice(f"{name}: plain transformers runs this model, as transformer_lens fails: {type(error).__name__}: {why}")


def _plain_parts(wanted: ModelRequest, name: str) -> tuple[Any, Any]:
    """A model of `transformers` and its tokenizer, from a folder or the Hub."""
    from transformers import AutoModelForCausalLM

    trust = wanted.trust_remote_code
    module = AutoModelForCausalLM.from_pretrained(
        name, dtype=wanted.dtype, use_safetensors=True, trust_remote_code=trust
    )
    return module.to(wanted.device).eval(), _tokenizer(wanted, name)


def _tokenizer(wanted: ModelRequest, name: str) -> Any:
    """A model's tokenizer; without its files, transformers raises an error or makes one that knows no words."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=wanted.trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        if not Path(name).is_dir() or "trust_remote_code" in str(error):
            raise
        raise _no_tokenizer(name, f"transformers says: {str(error).splitlines()[0]}") from error
    if set(tokenizer.get_vocab().values()) <= set(tokenizer.added_tokens_decoder):
        raise _no_tokenizer(name, "Save it in the model's folder: AutoTokenizer.from_pretrained(NAME).save_pretrained.")
    return tokenizer


def _no_tokenizer(name: str, fix: str) -> CatalogError:
    return CatalogError("This model has no tokenizer.", name, fix)


def _first_with_hooks(wanted: ModelRequest, hooked: HookedModel | None, name: str) -> LanguageModel:
    """The model if it has the hooks, otherwise the same one in plain `transformers` if that has them."""
    missing: NoSuchHook | None = None
    if hooked is not None:
        try:
            hooked.prove(wanted.hooks, wanted.device)
            return hooked
        except NoSuchHook as error:
            missing = error
            if any((layer_of(hook) or 0) >= hooked.n_layers for hook in wanted.hooks):
                raise _hook_error(error, wanted) from error
            # Its memory is released before the model is loaded again.
            hooked = None
    if any(wanted.arguments.values()):
        raise _hook_error(missing or NoSuchHook("transformer_lens does not know this model."), wanted)
    try:
        return _plain(wanted, name)
    except NoSuchHook as error:
        raise _hook_error(missing or error, wanted) from error


def _plain(wanted: ModelRequest, name: str) -> LanguageModel:
    with _loading(name, wanted):
        module, tokenizer = _plain_parts(wanted, name)
    if wanted.kind != PLAIN and tokenizer.bos_token is None and wanted.name in known_models():
        # As transformer_lens does, with which SAEs of this model are trained.
        tokenizer.bos_token = tokenizer.eos_token
    module.set_attn_implementation("eager")
    model = PlainModel(module, tokenizer)
    model.prove(wanted.hooks, wanted.device)
    return model


def _hook_error(error: NoSuchHook, wanted: ModelRequest) -> CatalogError:
    return CatalogError(str(error), wanted.where, error.hint or "Use the model the SAE was trained on.")


def _from_hub(wanted: ModelRequest) -> LanguageModel:
    """A model from the Hub, loaded as the SAE's training loaded it if that is possible."""
    hooked = None
    if not wanted.is_plain:
        with only_data_of_model(wanted.name, wanted.trust_remote_code):
            hooked = _hooked_from_hub(wanted)
    return _first_with_hooks(wanted, hooked, hub_name(wanted.name))


def _hooked_from_hub(wanted: ModelRequest) -> HookedModel | None:
    """A model of `transformer_lens`; None if it does not know the model."""
    name, trust = wanted.name, wanted.trust_remote_code
    if wanted.kind == BRIDGE:
        return _bridge_from_hub(wanted)
    if wanted.kind != HOOKED:
        fix = f"Choose an SAE of a {HOOKED}, a {BRIDGE} or an {PLAIN}."
        raise CatalogError(f"Models of the class '{wanted.kind}', which the SAE names, are not supported.", name, fix)
    if name not in known_models():
        return None
    from sae_lens.load_model import load_model

    given = {**wanted.arguments, "dtype": wanted.dtype, "use_safetensors": True, "trust_remote_code": trust}
    try:
        # transformer_lens prints a line when it has finished; standard output is reserved for our own results.
        with redirect_stdout(io.StringIO()):
            module: Any = load_model(HOOKED, name, device=str(wanted.device), model_from_pretrained_kwargs=given)
    except (AttributeError, KeyError, NotImplementedError) as error:
        # It reads settings of some models, such as Phi, where older versions of transformers had them.
        _tell_why_plain(error, name)
        return None
    return HookedModel(module.eval())


def _bridge_from_hub(wanted: ModelRequest) -> HookedModel | None:
    from transformer_lens.model_bridge import TransformerBridge

    trust = wanted.trust_remote_code
    try:
        bridge = TransformerBridge.boot_transformers(
            wanted.name, device=str(wanted.device), dtype=wanted.dtype, trust_remote_code=trust, **wanted.arguments
        )
    except ValueError as error:
        if "architecture" not in str(error).lower():
            raise
        return None
    return HookedModel(bridge.eval())


def hub_name(name: str) -> str:
    """The name on the Hub of a model that transformer_lens may call differently."""
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((official for official, aliases in MODEL_ALIASES.items() if name in aliases), name)


def known_models() -> list[str]:
    from transformer_lens.supported_models import MODEL_ALIASES, OFFICIAL_MODEL_NAMES

    return [*OFFICIAL_MODEL_NAMES, *(alias for aliases in MODEL_ALIASES.values() for alias in aliases)]
