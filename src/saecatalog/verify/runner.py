"""Independent runs: the manifest's model and SAE flow in, the values that the SAE reads in each window flow out.

This shares nothing with the harvest: it uses `transformers` alone, one unpadded window at a time, and the SAE's
matrices. Shared are locating and guarding the files, making the SAE's matrices of them (`sae_folders`), and the hashes
that tell whether they match the manifest.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64
from tokenizers import Encoding, Tokenizer

from saecatalog import embedded
from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.errors import CatalogError
from saecatalog.models.default_model import converted
from saecatalog.models.model_loading import hub_name
from saecatalog.models.safe_loading import only_data_of_model
from saecatalog.saes.directory import SaeSource, find_sae
from saecatalog.saes.folders import load_sae
from saecatalog.verify.model import Values, load_model, window_values
from saecatalog.verify.places import Module, final_norm, is_in_stream
from saecatalog.verify.published import Manifest
from saecatalog.verify.report import Report
from saecatalog.verify.sae import Sae, decode_rows, encode_rows
from saecatalog.verify.tokens import bytes_of_token, exact_tokenizer, token_ends

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
class Hook:
    """A hook that the SAE reads or writes, and how its values are made from those of plain `transformers`."""

    name: str
    source: str
    """The hook of the model as it was published that has the same values: another one if weights were folded."""
    head: int | None
    """The attention head that is meant; None for all."""
    width: int
    """The number of values of a token that the SAE reads or writes."""
    centred: bool
    """True if the SAE was trained on a model in which everything written to the residual stream has mean 0."""

    def values(self, model: Module, found: Values) -> Values:
        """The values that the SAE knows, from those of the model as it was published."""
        if self.centred:
            # Heads are side by side, each with a mean of its own.
            parts = found.reshape(len(found), -1, int(model.config.get_text_config().hidden_size))
            found = (parts - parts.mean(2, keepdims=True)).reshape(found.shape)
        return found if self.head is None else found[:, self.head * self.width : (self.head + 1) * self.width]


@dataclass(frozen=True)
class Runner:
    """A model and an SAE, loaded without transformer_lens."""

    model: Module
    tokenizer: Tokenizer
    """Names of special tokens are plain characters for it."""
    special_tokenizer: Tokenizer
    """The same one, except that they are special tokens."""
    sae: Sae
    hooks: tuple[Hook, ...]
    """What the SAE reads, and what it writes if that is another hook."""
    context: int
    """Tokens in a window, BOS and overlap included."""
    overlap: int
    """Tokens of the window before that are run again as context."""
    bos: int | None
    has_bos: bool
    """Whether there is a token to begin a window with, for an SAE that wants one."""

    def twin(self) -> "Runner":
        """A copy for another thread, with its own modules over the same weights."""
        # deepcopy does not copy what its memo contains.
        weights: dict[int, object] = {id(t): t for t in [*self.model.parameters(), *self.model.buffers()]}
        return replace(self, model=copy.deepcopy(self.model, weights))

    @property
    def hook(self) -> str:
        """What the SAE reads."""
        return self.hooks[0].name

    @property
    def writes_to_stream(self) -> bool:
        """Whether a decoder row is a direction of the residual stream."""
        wide = self.sae.d_out == self.model.config.get_text_config().hidden_size
        return wide and self.hooks[-1].head is None and is_in_stream(self.model, self.hooks[-1].name)

    def windows(
        self, ids: list[int]
    ) -> Iterator[tuple[Float64[np.ndarray, "token d_in"], Float64[np.ndarray, "token d_out"]]]:
        """What the SAE reads and what it is to write in each window of a text: the counted tokens, without BOS."""
        names = [hook.source for hook in self.hooks]
        for found in window_values(self.model, names, ids, self.context, self.bos, self.overlap):
            values = [hook.values(self.model, v) for hook, v in zip(self.hooks, found, strict=True)]
            yield values[0], values[-1]

    def token_ids(self, content: str, special_tokens: bool = False) -> list[int]:
        """The tokens of a text; `special_tokens` says whether it may hold special ones."""
        return list(self._encoding(content, special_tokens).ids)

    def token_ends(self, content: str, special_tokens: bool = False) -> list[int]:
        """End of each token's characters: from the tokens' bytes if they spell the text, else from their spans."""
        encoding = self._encoding(content, special_tokens)
        spelled = token_ends([bytes_of_token(self.tokenizer, i) for i in encoding.ids], content)
        if spelled is not None:
            return spelled
        ends = np.maximum.accumulate([end for _, end in encoding.offsets]).tolist()
        return [*ends[:-1], len(content)]

    def _encoding(self, content: str, special_tokens: bool) -> Encoding:
        tokenizer = self.special_tokenizer if special_tokens else self.tokenizer
        return tokenizer.encode(content, add_special_tokens=False)


def load_runner(manifest: Manifest, sources: SubjectSources) -> Runner:
    """Load the model and the SAE that the manifest names.

    Raises CatalogError if either cannot be loaded, or if the slow reference does not support its hook or formula.
    """
    config = sources.subject(manifest)
    sae, metadata = _load_sae(find_sae(config.sae))
    name = _model_name(manifest, sources)
    model, tokenizer = _load_model(name, config.dtype, config.trust_remote_code)
    try:
        hooks = _hooks(manifest, model, sae, metadata)
    except ValueError as error:
        raise _unsupported(str(manifest["sae"]["hook"]), sae, error) from error
    runner = Runner(
        model=model,
        tokenizer=exact_tokenizer(tokenizer.backend_tokenizer),
        special_tokenizer=exact_tokenizer(tokenizer.backend_tokenizer, special_tokens=True),
        sae=sae,
        hooks=hooks,
        context=int(manifest["settings"]["context"]),
        overlap=int(manifest["settings"].get("overlap", 0)),
        bos=_bos(manifest, tokenizer) if manifest["sae"]["prepend_bos"] else None,
        has_bos=_has_bos(manifest, model, tokenizer),
    )
    _try(runner, config.dtype)
    return runner


def _hooks(manifest: Manifest, model: Module, sae: Sae, metadata: "SAEMetadata") -> tuple[Hook, ...]:
    """The hooks that the manifest names; a transcoder has two. Raises ValueError if values cannot be recomputed."""
    read = str(manifest["sae"]["hook"])
    named = [(read, metadata.hook_head_index, sae.d_in)]
    if sae.is_transcoder:
        named.append((str(manifest["sae"]["hook_out"]), metadata.hook_head_index_out, sae.d_out))
    return tuple(_hook(model, metadata, *which) for which in named)


def _hook(model: Module, metadata: "SAEMetadata", name: str, head: int | None, width: int) -> Hook:
    """A hook, with what transformer_lens changes of the model's weights on loading as the SAE's metadata asks for."""
    asked = metadata.model_from_pretrained_kwargs or {}
    # Only LayerNorms ignore the mean, so that it can be left out of the residual stream.
    centred = bool(asked.get("center_writing_weights")) and type(final_norm(model)).__name__ == "LayerNorm"
    if asked.get("fold_value_biases") and name.endswith(("hook_z", "hook_result")):
        raise ValueError("fold_value_biases, which takes the bias of the values out of the heads' results")
    # With its weight folded into the MLP's matrix, the norm before the MLP only normalises.
    source = name.replace(".mlp.hook_in", ".ln2.hook_normalized") if asked.get("fold_ln") else name
    return Hook(name, source, head, width, centred and name.endswith(WRITTEN))


WRITTEN = (
    *("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_in", "hook_mlp_in"),
    *("hook_attn_out", "hook_mlp_out", "mlp.hook_out", "attn.hook_result", "hook_embed"),
)
"""The hooks at which values are the residual stream or are written to it."""


def _bos(manifest: Manifest, tokenizer: "PreTrainedTokenizerFast") -> int:
    """The id that begins a window: transformer_lens, with which SAEs are trained, takes EOS where there is no BOS."""
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if bos is None:
        raise CatalogError("The tokenizer has no BOS.", str(manifest["model"]["name"]), "The manifest says it has one.")
    return int(bos)


def _has_bos(manifest: Manifest, model: Module, tokenizer: "PreTrainedTokenizerFast") -> bool:
    """Whether the model has an embedding of BOS; EOS will do where transformer_lens runs the model."""
    bos = tokenizer.bos_token_id
    if bos is None and manifest["model"].get("library", "transformer_lens") == "transformer_lens":
        bos = tokenizer.eos_token_id
    return bos is not None and int(bos) < len(model.get_input_embeddings().weight)


def _try(runner: Runner, dtype: str) -> None:
    """Run two tokens, so that an unsupported SAE or model is reported before any work."""
    try:
        if runner.sae.architecture == "matching_pursuit" and dtype != "float32":
            raise ValueError(f"each choice of a matching pursuit depends on the one before, and on rounding in {dtype}")
        ((read, written),) = replace(runner, context=8, overlap=0).windows([0, 1])
        written - decode_rows(runner.sae, encode_rows(runner.sae, read).values, read)
    except (ValueError, AttributeError, IndexError, KeyError) as error:
        raise _unsupported(runner.hook, runner.sae, error) from error


def _unsupported(hook: str, sae: Sae, error: Exception) -> CatalogError:
    what = f"the hook '{hook}', the architecture '{sae.architecture}'"
    return CatalogError("The verifier does not support this SAE on this model.", what, f"Not supported: {error}")


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


def load_decoder(manifest: Manifest) -> Float64[np.ndarray, "feature d_out"]:
    """The decoder of a catalog's SAE alone. Raises CatalogError if it is not here, or is another one now."""
    from saecatalog.models.fingerprints import weights_sha256

    source = find_sae(str(manifest["sae"]["name"]))
    if weights_sha256(load_sae(source, "cpu")) != manifest["sae"]["weights_sha256"]:
        raise CatalogError("The SAE is not the one of the manifest.", source.name, ELSEWHERE)
    return _load_sae(source)[0].w["W_dec"]


def _model_name(manifest: Manifest, sources: SubjectSources) -> str:
    """What `transformers` calls the model: a folder, or a name on the Hub."""
    name = sources.subject(manifest).model or ""
    if name in embedded.MODEL_ALIASES:
        with Cache(sources.cache) as cache:
            return str(converted(cache).folder)
    if Path(name).is_dir():
        return name
    return hub_name(name)


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
