"""The subject of a catalog: names of a model and an SAE flow in, a `Subject` that runs both flows out.

SAEs are loaded with `sae_lens`. The SAE's metadata names the model, the hooks and the context it was trained on. A
transcoder reads at one hook and writes at another; any other SAE writes what it reads.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from sae_lens import Transcoder
from torch import Tensor

from saecatalog import embedded, loaded_files
from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.errors import CatalogError
from saecatalog.models.fingerprints import model_settings, sae_settings, tokenizer_hash, weights_sha256
from saecatalog.models.hub import check_downloads
from saecatalog.models.language_model import LanguageModel, layer_of
from saecatalog.models.model_loading import LoadedModel, ModelRequest, load_model
from saecatalog.models.safe_loading import (
    HOOKED,
    check_finite,
    code_files,
    model_arguments,
    sha256_with_code,
)
from saecatalog.progress import notice
from saecatalog.saes.directory import SaeSource, catalog_slug, find_sae
from saecatalog.saes.folders import load_sae, sae_places
from saecatalog.subject_info import SubjectInfo

UNSUPPORTED = {
    "abstopk": "its activations may be negative, and a feature is active here when its activation is above 0",
    "temporal": "its activations depend on other positions",
}
"""Architectures of sae_lens for which the pages' figures would be misleading, and why."""

UNFOLDED = {
    "expected_average_only_in": "fold_activation_norm_scaling_factor(FACTOR)",
    "covariance_whitening": "fold_activation_whitening(MEAN, MATRIX, INVERSE)",
}
"""Normalisations that sae_lens applies in training only, and the method of an SAE that puts them into its weights."""


CROSS_LAYER = re.compile(r"\bclt\b", re.IGNORECASE)
"""In the names of releases and folders of cross-layer transcoders, which sae_lens loads one layer at a time."""


class Subject:
    """A model and an SAE, loaded."""

    def __init__(
        self, model: LanguageModel, sae: Any, info: SubjectInfo, device: torch.device, files: loaded_files.Record
    ):
        self.model, self.sae, self.info, self.device = model, sae, info, device
        self.files = files
        """The state of the files it was loaded from."""

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    def values(
        self, tokens: Int[Tensor, "window position"]
    ) -> tuple[Float[Tensor, "window position d_in"], Float[Tensor, "window position d_out"]]:
        """What the SAE reads and what it is to write at every position; the same tensor unless it is a transcoder."""
        return hook_values(self.model, self.sae, tokens)

    def encode(self, read: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Feature activations; 0 where a feature is silent."""
        activations: Tensor = self.sae.encode(read.to(self.sae.dtype))
        return activations

    def decode(
        self, activations: Float[Tensor, "*batch d_sae"], read: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """The SAE's reconstruction of what it is to write; `activations` are those of `read`, encoded last."""
        reconstruction: Tensor = self.sae.decode(activations)
        skip = getattr(self.sae, "W_skip", None)
        return reconstruction if skip is None else reconstruction + read.to(self.sae.dtype) @ skip.T

    def replica(self) -> "Subject":
        """A second subject that shares every weight, for another thread: models keep state during a pass."""
        return Subject(self.model.replica(), _share_sae(self.sae), self.info, self.device, self.files)


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


def hooks_of(sae: Any, where: str) -> tuple[str, ...]:
    """The hook that an SAE reads; of a transcoder, also the one that it writes.

    Raises CatalogError if the SAE's metadata does not name them.
    """
    metadata = sae.cfg.metadata
    read, written = metadata.hook_name, metadata.hook_name_out
    if metadata.hf_hook_name and (not read or read.endswith("hook_mlp_in")):
        # Gemma Scope 2 was trained on the output of the norm, but transformer_lens' hook_mlp_in is before the norm.
        read, written = metadata.hf_hook_name, metadata.hf_hook_name_out or written
    if not read:
        fix = "Add the name of a hook of the model to its cfg.json, as sae_lens does (metadata: hook_name)."
        raise CatalogError("This SAE does not name its hook.", where, fix)
    if not isinstance(sae, Transcoder):
        return (str(read),)
    if not written:
        fix = "Add the name of that hook to its cfg.json, as sae_lens does (metadata: hook_name_out)."
        raise CatalogError("This transcoder does not name the hook that it writes to.", where, fix)
    return str(read), str(written)


def hook_values(model: LanguageModel, sae: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What an SAE reads, `[window, position, d_in]`, and what it is to write, `[window, position, d_out]`."""
    metadata = sae.cfg.metadata
    hooks = hooks_of(sae, "")
    heads = (metadata.hook_head_index, metadata.hook_head_index_out)
    rows = [_rows(value, head) for value, head in zip(model.values(hooks, tokens), heads, strict=False)]
    return rows[0], rows[-1]


def _rows(values: Tensor, head: int | None) -> Tensor:
    """Values at a hook as sae_lens feeds them to an SAE: one head, or all heads side by side."""
    return (values if head is None else values[:, :, head]).flatten(2)


def model_error(subject: Subject, what: str, where: str = "") -> CatalogError:
    """The error for values that a model computes and that are not finite. It names the first weight that is not."""
    weights = subject.model.module.named_parameters()
    bad = next((name for name, weight in weights if not torch.isfinite(weight).all()), None)
    fix = f"Its weights are finite, but what it computes is too large for {subject.info.dtype}."
    if subject.info.dtype != "float32":
        fix += " Use --dtype float32."
    if bad is not None:
        fix = f"The model's weight '{bad}' is not finite: use another copy of the model."
    return CatalogError(what, where or f"--model {subject.info.model_name} --dtype {subject.info.dtype}", fix)


# Weights made in the caller's inference mode could not be shared with replicas.
@torch.inference_mode(False)
def load_subject(config: SubjectConfig, cache: Cache) -> Subject:
    """Load the SAE and the model that it (or the user) names, and check that they fit together.

    Raises CatalogError if either is unknown, cannot be reached or could run code, if a weight of the SAE is not finite,
    or if width or hook do not match.
    """
    started = loaded_files.now()
    # A library may have allowed TF32, with which a GPU rounds products to 10 bits.
    torch.set_float32_matmul_precision("highest")
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
    where = f"--sae {source.name}"
    hooks = hooks_of(sae, where)
    wanted = ModelRequest(
        name=str(model_name),
        kind=metadata.model_class_name or HOOKED,
        arguments=model_arguments(metadata, config.dtype, where),
        hooks=hooks,
        dtype=getattr(torch, config.dtype),
        device=device,
        trust_remote_code=config.trust_remote_code,
        where=where,
    )
    loaded = load_model(wanted, cache)
    _check_ids(loaded.model, str(model_name))
    _check_widths(loaded.model, sae, hooks, where, device)
    info = _describe(config, source, sae, loaded, str(model_name), hooks)
    if config.trust_remote_code:
        info = replace(info, model_sha256=sha256_with_code(info.model_sha256, code_files(loaded.places)))
    places = [*loaded.places, *sae_places(source)]
    check_downloads(places)
    if config.trust_remote_code:
        # A model's code may read anything, so nothing tells whether it is as it was: it is loaded in every build.
        places = []
    return Subject(loaded.model, sae, info, device, loaded_files.record(places, started, [str(model_name)]))


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
    if architecture in UNSUPPORTED:
        what = f"SAEs of the architecture '{architecture}' are not supported: {UNSUPPORTED[architecture]}."
        raise CatalogError(what, source.name, "Choose an SAE of another architecture.")
    normalisation = sae.cfg.normalize_activations
    if normalisation in UNFOLDED:
        what = f"The SAE's weights do not contain its normalisation '{normalisation}', so its input would be wrong."
        fix = f"Load it with sae_lens, call {UNFOLDED[normalisation]}, and use the folder that save_model writes."
        raise CatalogError(what, f"--sae {source.name}", fix)
    return _on_flat_rows(sae)


@torch.inference_mode()
def _check_widths(model: LanguageModel, sae: Any, hooks: tuple[str, ...], where: str, device: torch.device) -> None:
    """Raise CatalogError if the values at a hook are not as wide as the SAE's weights."""
    tokens = torch.zeros((1, 2), dtype=torch.long, device=device)
    metadata = sae.cfg.metadata
    heads = (metadata.hook_head_index, metadata.hook_head_index_out)
    widths = (sae.cfg.d_in, getattr(sae.cfg, "d_out", None))
    for hook, head, width, values in zip(hooks, heads, widths, model.values(hooks, tokens), strict=False):
        if head is not None and (values.ndim < 4 or head >= values.shape[2]):
            what = f"The SAE is of attention head {head}, which the model does not have at '{hook}'."
            raise CatalogError(what, where, "Use the model the SAE was trained on.")
        found = _rows(values, head).shape[-1]
        if found != width:
            what = f"The SAE expects {width} values per position, but the model has {found} at '{hook}'."
            raise CatalogError(what, where, "Use the model the SAE was trained on.")


def _check_ids(model: LanguageModel, name: str) -> None:
    """Raise CatalogError if the tokenizer can find a token in a text that the model has no embedding for."""
    tokenizer = model.tokenizer
    # Special tokens occur only in texts that hold them on purpose; the harvest checks the ids of all texts.
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    highest = max(set(tokenizer.get_vocab().values()) - special, default=0)
    if highest >= model.d_vocab:
        what = f"The tokenizer has ids up to {highest}, but the model has embeddings for {model.d_vocab} ids only."
        raise CatalogError(what, f"--model {name}", "Use the tokenizer that the model was trained with.")


def _checked_context(wanted: int | None, trained: object, most: int) -> int:
    """The tokens of a window: as many as wanted, or as the SAE was trained on if the model takes so many.

    Raises CatalogError if the model does not take as many as wanted, or if the SAE names no number that can be.
    """
    good = isinstance(trained, int) and trained > 1
    if not wanted and trained and not good:
        what = f"The SAE's settings give a context_size of {trained!r}, which is no number of tokens for a window."
        raise CatalogError(what, "metadata of the SAE", "Set one of 2 or more with --context.")
    if wanted is not None and wanted > most:
        what = f"The model takes at most {most:,} tokens at once, BOS included."
        raise CatalogError(what, f"--context {wanted}", f"Use a number up to {most}.")
    return min(wanted or (trained if isinstance(trained, int) and trained else 128), most)


def _checked_overlap(overlap: int, size: int) -> int:
    """The overlap of windows of at most `size` tokens; raises CatalogError if a window would have no new token."""
    if overlap >= size:
        what = f"A window holds {size} tokens, so it cannot begin with {overlap} tokens of the window before it."
        raise CatalogError(what, f"--overlap {overlap}", f"Use a number below {size}, or a larger --context.")
    return overlap


def _describe(
    config: SubjectConfig, source: SaeSource, sae: Any, loaded: LoadedModel, model_name: str, hooks: tuple[str, ...]
) -> SubjectInfo:
    metadata, model = sae.cfg.metadata, loaded.model
    name = embedded.MODEL_NAME if model_name in embedded.MODEL_ALIASES else model_name
    layer = layer_of(hooks[0])
    bos = _bos(metadata.prepend_bos is not False, model, name)
    context = _checked_context(config.context, metadata.context_size, model.n_ctx)
    return SubjectInfo(
        slug=catalog_slug(source, Path(name).name, layer, hooks[0], metadata.neuronpedia_id),
        model_name=name,
        model_source=loaded.source,
        d_model=model.d_model,
        n_layers=model.n_layers,
        d_vocab=model.d_vocab,
        model_sha256=weights_sha256(model.module),
        model_settings=model_settings(model.module),
        tokenizer_hash=tokenizer_hash(model.tokenizer),
        sae_name=source.name,
        release=source.release,
        sae_id=source.id,
        library=model.library,
        architecture=str(sae.cfg.architecture()),
        d_in=int(sae.cfg.d_in),
        d_sae=int(sae.cfg.d_sae),
        d_out=int(getattr(sae.cfg, "d_out", sae.cfg.d_in)),
        hook=hooks[0],
        hook_out=hooks[-1],
        cross_layer=isinstance(sae, Transcoder) and bool(CROSS_LAYER.search(f"{source.release}/{source.id}")),
        layer=layer,
        prepend_bos=bos is not None,
        bos_token_id=bos,
        context=context,
        overlap=_checked_overlap(config.overlap, context - int(bos is not None)),
        dtype=config.dtype,
        device=next(sae.parameters()).device.type,
        neuronpedia_id=metadata.neuronpedia_id or None,
        sae_sha256=weights_sha256(sae),
        sae_settings=sae_settings(sae),
    )


def _bos(wanted: bool, model: LanguageModel, name: str) -> int | None:
    """The id that begins every window; None if the SAE wants none or the tokenizer has none that the model knows.

    `name` is the model's, for a notice.
    """
    if not wanted:
        return None
    bos: int | None = model.tokenizer.bos_token_id
    if bos is None or bos >= model.d_vocab:
        notice(f"the tokenizer of {name} has no BOS token, so windows begin without one, though the SAE expects it")
        return None
    return bos
