"""Independent runs: the manifest's model and SAE flow in, the values that the SAE reads in each window flow out.

This shares nothing with the harvest: it uses `transformers` alone, one unpadded window at a time, and the SAE's
matrices. Only locating and guarding the files is shared, and the hashes that tell whether they match the
manifest.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64
from tokenizers import Tokenizer

from saecatalog import embedded
from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.default_model import converted
from saecatalog.errors import CatalogError
from saecatalog.sae_directory import SaeSource, find_sae
from saecatalog.sae_folders import load_sae
from saecatalog.safe_loading import only_data_of_model
from saecatalog.verify.model import (
    Module,
    Sae,
    bytes_of_token,
    encode_rows,
    exact_tokenizer,
    final_norm,
    load_model,
    token_ends,
    window_values,
)
from saecatalog.verify.published import Manifest
from saecatalog.verify.report import Report

if TYPE_CHECKING:
    from sae_lens.saes.sae import SAEMetadata
    from transformers import PreTrainedTokenizerFast

ELSEWHERE = "Use --model, --sae or --cache to say where it is; a manifest may name folders of another machine."


@dataclass(frozen=True)
class SubjectSources:
    """Where to find the model and the SAE on this machine."""

    cache: Path
    """Folder with the embedded model."""
    model: str | None = None
    """Folder or Hub name; None means the one in the manifest."""
    sae: str | None = None
    """`release/id` or a folder; None means the one in the manifest."""
    trust_remote_code: bool = False
    """Run Python files that come with `model`, which must then be named: a manifest may be somebody else's."""

    def subject(self, manifest: Manifest) -> SubjectConfig:
        """The model and the SAE as settings of a build."""
        source = str(manifest["model"]["source"])
        named = embedded.MODEL_NAME if source == embedded.GGUF else source
        sae, dtype = self.sae or str(manifest["sae"]["name"]), str(manifest["settings"]["dtype"])
        trust = self.trust_remote_code and self.model is not None
        return SubjectConfig(sae, self.model or named, device="cpu", dtype=dtype, trust_remote_code=trust)


@dataclass(frozen=True)
class Runner:
    """A model and an SAE, loaded without transformer_lens."""

    model: Module
    tokenizer: Tokenizer
    sae: Sae
    hook: str
    context: int
    """Tokens in a window, BOS included."""
    bos: int | None
    centred: bool
    """True if the SAE was trained on the residual stream minus its mean over the width."""
    head: int | None
    """The attention head that the SAE reads; None if it reads all."""

    def twin(self) -> "Runner":
        """A copy for another thread, with its own modules over the same weights."""
        # deepcopy does not copy what its memo contains.
        weights: dict[int, object] = {id(t): t for t in [*self.model.parameters(), *self.model.buffers()]}
        return replace(self, model=copy.deepcopy(self.model, weights))

    def windows(self, ids: list[int]) -> Iterator[Float64[np.ndarray, "token d_in"]]:
        """The values that the SAE reads in each window of a text, without BOS."""
        for values in window_values(self.model, self.hook, ids, self.context, self.bos):
            if self.head is not None:
                # The heads are side by side in [token, head * d_head].
                width = self.sae.w["W_enc"].shape[0]
                values = values[:, self.head * width : (self.head + 1) * width]
            yield values - values.mean(1, keepdims=True) if self.centred else values

    def token_ids(self, content: str) -> list[int]:
        return list(self.tokenizer.encode(content, add_special_tokens=False).ids)

    def token_ends(self, content: str) -> list[int]:
        """End of each token's characters: from the tokens' bytes if they spell the text, else from their spans."""
        encoding = self.tokenizer.encode(content, add_special_tokens=False)
        spelled = token_ends([bytes_of_token(self.tokenizer, i) for i in encoding.ids], content)
        if spelled is not None:
            return spelled
        ends = np.maximum.accumulate([end for _, end in encoding.offsets]).tolist()
        return [*ends[:-1], len(content)]


def load_runner(manifest: Manifest, sources: SubjectSources) -> Runner:
    """Load the model and the SAE that the manifest names.

    Raises CatalogError if either cannot be loaded, or if the slow reference does not support its hook or formula.
    """
    config = sources.subject(manifest)
    sae, metadata = _load_sae(find_sae(config.sae))
    name = _model_name(manifest, sources)
    model, tokenizer = _load_model(name, config.dtype, config.trust_remote_code)
    runner = Runner(
        model=model,
        tokenizer=exact_tokenizer(tokenizer.backend_tokenizer),
        sae=sae,
        hook=str(manifest["sae"]["hook"]),
        context=int(manifest["settings"]["context"]),
        bos=int(tokenizer.bos_token_id) if manifest["sae"]["prepend_bos"] else None,
        centred=_is_centred(model, metadata, str(manifest["sae"]["hook"])),
        head=metadata.hook_head_index,
    )
    _try(runner)
    return runner


def _is_centred(model: Module, metadata: "SAEMetadata", hook: str) -> bool:
    """Whether the SAE was trained on a model in which everything written to the residual stream has mean 0.

    transformer_lens can change a model in that way only if its norms are LayerNorms, which ignore the mean.
    """
    wanted = (metadata.model_from_pretrained_kwargs or {}).get("center_writing_weights")
    written = any(point in hook for point in ("resid", "mlp_out", "attn_out"))
    return bool(wanted) and written and type(final_norm(model)).__name__ == "LayerNorm"


def _try(runner: Runner) -> None:
    """Run two tokens, so that an unsupported SAE or model is reported before any work."""
    try:
        (values,) = replace(runner, context=8).windows([0, 1])
        encode_rows(runner.sae, values)
    except (ValueError, AttributeError, IndexError, KeyError) as error:
        what = f"the hook '{runner.hook}', the architecture '{runner.sae.config['architecture']}'"
        raise CatalogError(
            "The verifier does not support this SAE on this model.", what, f"Not supported: {error}"
        ) from error


def _load_sae(source: SaeSource) -> tuple[Sae, "SAEMetadata"]:
    """The matrices as sae_lens loads them, and the SAE's metadata."""
    try:
        sae = load_sae(source, "cpu")
    except CatalogError:
        raise
    except Exception as error:
        raise CatalogError("The SAE cannot be loaded.", source.name, f"{_first_line(error)}\n  {ELSEWHERE}") from error
    weights = {name: tensor.detach().double().numpy() for name, tensor in sae.state_dict().items()}
    return Sae({**sae.cfg.to_dict(), "architecture": sae.cfg.architecture()}, weights), sae.cfg.metadata


def _model_name(manifest: Manifest, sources: SubjectSources) -> str:
    """What `transformers` calls the model: a folder, or a name on the Hub."""
    name = sources.subject(manifest).model or ""
    if name in embedded.MODEL_ALIASES:
        with Cache(sources.cache) as cache:
            return str(converted(cache).folder)
    if Path(name).is_dir():
        return name
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((official for official, aliases in MODEL_ALIASES.items() if name in aliases), name)


def _load_model(name: str, dtype: str, trust: bool) -> tuple[Module, "PreTrainedTokenizerFast"]:
    from transformers import AutoTokenizer

    try:
        with only_data_of_model(name, trust):
            return load_model(name, dtype, trust), AutoTokenizer.from_pretrained(name, trust_remote_code=trust)
    except CatalogError:
        raise
    except Exception as error:
        raise CatalogError("The model cannot be loaded.", name, f"{_first_line(error)}\n  {ELSEWHERE}") from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def check_weights(manifest: Manifest, sources: SubjectSources, report: Report) -> None:
    """Check by their hashes that the model and the SAE found here are those of the manifest.

    The hashes are of the modules as the build loads them, so the build's own loader is used here.
    """
    from saecatalog.subject import load_subject

    with Cache(sources.cache) as cache:
        info = load_subject(sources.subject(manifest), cache).info
    at = report.at("manifest.json")
    at.same("model.weights_sha256", manifest["model"]["weights_sha256"], info.model_sha256)
    at.same("sae.weights_sha256", manifest["sae"]["weights_sha256"], info.sae_sha256)
