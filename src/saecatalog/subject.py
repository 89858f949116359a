"""The subject of a catalog: names of a model and an SAE flow in, a `Subject` that runs both flows out.

Models are loaded with `transformer_lens`, SAEs with `sae_lens`. The SAE's metadata names the model, the hook and the
context it was trained on.
"""

import copy
import io
import re
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecatalog import embedded, loaded_files
from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.default_model import converted
from saecatalog.errors import CatalogError, nearest
from saecatalog.fingerprints import model_settings, sae_settings, tokenizer_hash, weights_sha256
from saecatalog.hub import check_downloads, hub_errors, hub_places
from saecatalog.sae_directory import SaeSource, catalog_slug, find_sae
from saecatalog.sae_folders import load_sae, sae_places
from saecatalog.safe_loading import (
    HOOKED,
    PROCESSING,
    check_finite,
    code_files,
    model_arguments,
    only_data_of_model,
    sha256_with_code,
)
from saecatalog.subject_info import SubjectInfo

UNSUPPORTED = {
    "abstopk": "its activations may be negative, and a feature is active here when its activation is above 0",
    "temporal": "its activations depend on other positions",
}
"""Architectures of sae_lens for which the pages' figures would be misleading, and why."""


@dataclass(frozen=True)
class Hook:
    """The point in the model where the SAE reads."""

    name: str
    layer: int | None
    """Layer of the hook; None if its name does not contain one."""
    stop_at_layer: int | None
    """The forward pass ends before this layer; None runs the whole model."""
    returned: bool
    """True if the shortened pass returns the hook's values, the residual stream, so that no hook function is needed."""


class Subject:
    """A model and an SAE, loaded."""

    def __init__(
        self, model: Any, sae: Any, hook: Hook, info: SubjectInfo, device: torch.device, files: loaded_files.Record
    ):
        self.model, self.sae, self.hook, self.info, self.device = model, sae, hook, info, device
        self.files = files
        """The state of the files it was loaded from."""

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    def residual(self, tokens: Int[Tensor, "window position"]) -> Float[Tensor, "window position d_in"]:
        """What the SAE reads at every position, from a forward pass that ends at the hook."""
        return hook_values(self.model, self.hook, self.sae, tokens)

    def encode(self, residual: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Feature activations; 0 where a feature is silent."""
        activations: Tensor = self.sae.encode(residual.to(self.sae.dtype))
        return activations

    def decode(self, activations: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """The SAE's reconstruction of the rows it encoded last."""
        reconstruction: Tensor = self.sae.decode(activations)
        return reconstruction

    def replica(self) -> "Subject":
        """A second subject that shares every weight, for another thread: models keep state during a pass."""
        return Subject(_share(self.model), _share_sae(self.sae), self.hook, self.info, self.device, self.files)


def _share_sae(sae: Any) -> Any:
    """A new SAE that shares the weights of another. A copy would not do: its normalisation has state in closures."""
    other = type(sae)(sae.cfg).eval()
    other.load_state_dict(sae.state_dict(), assign=True)
    return _on_flat_rows(other)


def _on_flat_rows(sae: Any) -> Any:
    """Switch off the SAE's own reshaping of attention heads, because `hook_values` returns flat rows."""
    if sae.cfg.reshape_activations == "hook_z":
        sae.turn_off_forward_pass_hook_z_reshaping()
    return sae


def _share(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of a module whose parameters and buffers are the same tensors."""
    shared: dict[int, Any] = {id(t): t for t in [*module.parameters(), *module.buffers()]}
    for name in ("tokenizer", "cfg"):
        if hasattr(module, name):
            shared[id(getattr(module, name))] = getattr(module, name)
    with warnings.catch_warnings():
        # transformer_lens warns that two wrappers share one config, which is intended here.
        warnings.simplefilter("ignore")
        return copy.deepcopy(module, shared)


def hook_values(model: Any, hook: Hook, sae: Any, tokens: Tensor) -> Tensor:
    """The values at the hook: `[window, position, d_in]`."""
    values: Tensor
    if hook.returned:
        values = model(tokens, stop_at_layer=hook.stop_at_layer)
    else:
        caught: list[Tensor] = []

        def catch(value: Tensor, hook: Any) -> None:
            caught.append(value)

        stop = {} if hook.stop_at_layer is None else {"stop_at_layer": hook.stop_at_layer}
        model.run_with_hooks(tokens, fwd_hooks=[(hook.name, catch)], **stop)
        (values,) = caught
    head = sae.cfg.metadata.hook_head_index
    if head is not None:
        values = values[:, :, head]
    return values.flatten(2)


def model_error(subject: Subject, what: str, where: str = "") -> CatalogError:
    """The error for values that a model computes and that are not finite. It names the first weight that is not."""
    weights = subject.model.named_parameters()
    bad = next((name for name, weight in weights if not torch.isfinite(weight).all()), None)
    fix = f"Its weights are finite, but what it computes is too large for {subject.info.dtype}."
    if subject.info.dtype != "float32":
        fix += " Use --dtype float32."
    if bad is not None:
        fix = f"The model's weight '{bad}' is not finite: use another copy of the model."
    return CatalogError(what, where or f"--model {subject.info.model_name} --dtype {subject.info.dtype}", fix)


def load_subject(config: SubjectConfig, cache: Cache) -> Subject:
    """Load the SAE and the model that it (or the user) names, and check that they fit together.

    Raises CatalogError if either is unknown, cannot be reached or could run code, if a weight of the SAE is not finite,
    or if width or hook do not match.
    """
    started = loaded_files.now()
    if config.trust_remote_code and not config.model:
        # Otherwise an SAE's metadata would say whose code runs.
        raise CatalogError("It is not said which model's code may run.", "--trust-remote-code", "Add --model NAME.")
    device = torch.device(_device(config.device))
    source = find_sae(config.sae)
    sae = _load_sae(source, device)
    check_finite(sae, f"--sae {source.name}")
    metadata = sae.cfg.metadata
    model_name = config.model or metadata.model_name
    if not model_name:
        raise CatalogError("This SAE does not name its model.", f"--sae {source.name}", "Add --model NAME.")
    arguments = model_arguments(metadata, config.dtype, f"--sae {source.name}")
    kind = metadata.model_class_name or HOOKED
    model, model_source, places = _load_model(model_name, kind, arguments, config, device, cache)
    if not metadata.hook_name:
        fix = "Add the name of a hook of the model to its cfg.json, as sae_lens does (metadata: hook_name)."
        raise CatalogError("This SAE does not name its hook.", f"--sae {source.name}", fix)
    hook = _find_hook(metadata.hook_name, model, source)
    _check_width(model, hook, sae, source, device)
    info = _describe(config, source, sae, model, str(model_name), model_source, hook)
    if config.trust_remote_code:
        info = replace(info, model_sha256=sha256_with_code(info.model_sha256, code_files(places)))
    places = [*places, *sae_places(source)]
    check_downloads(places)
    if config.trust_remote_code:
        # A model's code may read anything, so nothing tells whether it is as it was: it is loaded in every build.
        places = []
    return Subject(model, sae, hook, info, device, loaded_files.record(places, started, [str(model_name)]))


def _device(wanted: str) -> str:
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise CatalogError("This device cannot be used.", f"--device {wanted}", f"torch says: {reason}") from None
    return wanted


def _load_sae(source: SaeSource, device: torch.device) -> Any:
    sae = load_sae(source, str(device))
    architecture = str(sae.cfg.architecture())
    if architecture in UNSUPPORTED or "transcoder" in architecture:
        reason = UNSUPPORTED.get(architecture, "it does not reconstruct what it reads")
        fix = "Choose an SAE of another architecture."
        raise CatalogError(f"SAEs of the architecture '{architecture}' are not supported: {reason}.", source.name, fix)
    return _on_flat_rows(sae)


def _load_model(
    name: str, kind: str, arguments: dict[str, bool], config: SubjectConfig, device: torch.device, cache: Cache
) -> tuple[Any, str, list[Path]]:
    """The model, the source it was loaded from, and where its files are; those in the cache have checksums.

    `kind` and `arguments` are the class and the checked keyword arguments of the SAE's metadata.
    """
    torch_dtype, trust = getattr(torch, config.dtype), config.trust_remote_code
    if name in embedded.MODEL_ALIASES:
        folder = converted(cache).folder
        return _bridge_from_folder(folder, embedded.MODEL_NAME, torch_dtype, device, trust=False), embedded.GGUF, []
    if Path(name).is_dir():
        bridge = _bridge_from_folder(Path(name), name, torch_dtype, device, trust)
        _process(bridge, arguments)
        return bridge, name, [Path(name)]
    with hub_errors("model", f"--model {name}", nearest(name, _known_models())), only_data_of_model(name, trust):
        model = _load_hub_model(kind, name, arguments, torch_dtype, device, trust)
    return model, name, hub_places(_hub_name(name))


def _hub_name(name: str) -> str:
    """The name on the Hub of a model that transformer_lens may call differently."""
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((official for official, aliases in MODEL_ALIASES.items() if name in aliases), name)


def _bridge_from_folder(folder: Path, name: str, dtype: torch.dtype, device: torch.device, trust: bool) -> Any:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    # Loading from a folder takes a second or two and downloads nothing, so it needs no progress bar.
    logging.disable_progress_bar()
    try:
        with only_data_of_model(str(folder), trust):
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=trust
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
            model = model.to(device).eval()
            # This loads the tokenizer once more.
            return TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=tokenizer, dtype=dtype).eval()
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise CatalogError("This model cannot be loaded.", str(folder), f"transformers says: {reason}") from error


def _process(bridge: Any, arguments: dict[str, bool]) -> None:
    """Change the weights as `HookedTransformer` would on loading with the SAE's keyword arguments."""
    wanted = {step: arguments.get(step, False) for step in PROCESSING}
    if any(wanted.values()):
        bridge.process_weights(**wanted)


def _load_hub_model(
    kind: str, name: str, arguments: dict[str, bool], dtype: torch.dtype, device: torch.device, trust: bool
) -> Any:
    """The model as the SAE's training loaded it, with the class and keyword arguments of the SAE's metadata."""
    if kind == "TransformerBridge":
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(
            name, device=str(device), dtype=dtype, trust_remote_code=trust, **arguments
        ).eval()
    if kind != HOOKED:
        fix = "Choose an SAE of a HookedTransformer or a TransformerBridge."
        raise CatalogError(f"Models of the class '{kind}', which the SAE names, are not supported.", name, fix)
    if name not in _known_models():
        fix = nearest(name, _known_models()) or "Use a model that transformer_lens lists, or a folder."
        raise CatalogError("transformer_lens has no model of this name.", f"--model {name}", fix)
    from sae_lens.load_model import load_model

    given = {**arguments, "dtype": dtype, "use_safetensors": True, "trust_remote_code": trust}
    # transformer_lens prints a line when it has finished; standard output is reserved for our own results.
    with redirect_stdout(io.StringIO()):
        return load_model(kind, name, device=str(device), model_from_pretrained_kwargs=given).eval()


def _known_models() -> list[str]:
    from transformer_lens.supported_models import MODEL_ALIASES, OFFICIAL_MODEL_NAMES

    return [*OFFICIAL_MODEL_NAMES, *(alias for aliases in MODEL_ALIASES.values() for alias in aliases)]


def _find_hook(name: str, model: Any, source: SaeSource) -> Hook:
    """How to get the values at the SAE's hook with as little computation as possible."""
    if name not in model.hook_dict:
        hint = nearest(name, model.hook_dict) or "Use the model the SAE was trained on."
        raise CatalogError(f"The model does not have the SAE's hook '{name}'.", f"--sae {source.name}", hint)
    match = re.match(r"blocks\.(\d+)\.(.*)", name)
    if match is None:
        return Hook(name, None, None, returned=False)
    layer, point = int(match[1]), match[2]
    if point == "hook_resid_pre" and layer > 0:
        return Hook(name, layer, layer, returned=True)
    last = layer + 1 >= model.cfg.n_layers
    return Hook(name, layer, None if last else layer + 1, returned=point == "hook_resid_post" and not last)


@torch.inference_mode()
def _check_width(model: Any, hook: Hook, sae: Any, source: SaeSource, device: torch.device) -> None:
    width = hook_values(model, hook, sae, torch.zeros((1, 2), dtype=torch.long, device=device)).shape[-1]
    if width != sae.cfg.d_in:
        raise CatalogError(
            f"The SAE expects {sae.cfg.d_in} values per position, but the model has {width} at '{hook.name}'.",
            f"--sae {source.name}",
            "Use the model the SAE was trained on.",
        )


def _checked_overlap(overlap: int, size: int) -> int:
    """The overlap of windows of at most `size` tokens; raises CatalogError if a window would have no new token."""
    if overlap >= size:
        what = f"A window holds {size} tokens, so it cannot begin with {overlap} tokens of the window before it."
        raise CatalogError(what, f"--overlap {overlap}", f"Use a number below {size}, or a larger --context.")
    return overlap


def _describe(
    config: SubjectConfig, source: SaeSource, sae: Any, model: Any, model_name: str, model_source: str, hook: Hook
) -> SubjectInfo:
    metadata = sae.cfg.metadata
    n_ctx = int(getattr(model.cfg, "n_ctx", 0) or 1 << 20)
    name = embedded.MODEL_NAME if model_name in embedded.MODEL_ALIASES else model_name
    prepend_bos = bool(metadata.prepend_bos) if metadata.prepend_bos is not None else True
    context = min(config.context or metadata.context_size or 128, n_ctx)
    return SubjectInfo(
        slug=catalog_slug(source, Path(name).name, hook.layer, hook.name, metadata.neuronpedia_id),
        model_name=name,
        model_source=model_source,
        d_model=int(model.cfg.d_model),
        n_layers=int(model.cfg.n_layers),
        d_vocab=int(model.cfg.d_vocab),
        model_sha256=weights_sha256(model),
        model_settings=model_settings(model),
        tokenizer_hash=tokenizer_hash(model.tokenizer),
        sae_name=source.name,
        release=source.release,
        sae_id=source.id,
        architecture=str(sae.cfg.architecture()),
        d_in=int(sae.cfg.d_in),
        d_sae=int(sae.cfg.d_sae),
        hook=hook.name,
        layer=hook.layer,
        prepend_bos=prepend_bos,
        bos_token_id=model.tokenizer.bos_token_id if prepend_bos else None,
        context=context,
        overlap=_checked_overlap(config.overlap, context - int(prepend_bos)),
        dtype=config.dtype,
        device=next(sae.parameters()).device.type,
        neuronpedia_id=metadata.neuronpedia_id or None,
        sae_sha256=weights_sha256(sae),
        sae_settings=sae_settings(sae),
    )
