"""How trainers save SAEs: a folder and its settings flow in, the settings of `sae_lens` and the weights flow out.

Every trainer has its own file names and formulas. A folder is recognised by its files. Those of other trainers than
`sae_lens` are read as it reads them where it does that right, and are otherwise refused by what they have that it would
leave out.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from saecatalog.errors import CatalogError
from saecatalog.replacing import replaced

Settings = dict[str, Any]
Weights = dict[str, Any]

SHOWN = 8
"""How many files and folders an error names."""


@dataclass(frozen=True)
class Layout:
    """How a trainer saves an SAE."""

    trainer: str
    files: tuple[str, ...]
    """Files that the folder must have: first the settings, then the weights."""
    read: Callable[[Path, Settings], tuple[Settings, Weights]] | None = None
    """Reads the folder and its settings into those of `sae_lens`, and the weights; None if it cannot be read."""
    beside: str = ""
    """A file that is read if there is one, relative to the folder."""


def layout_of(names: Iterable[str]) -> Layout | None:
    """The layout of a folder with these files; None if there is none that fits."""
    found = set(names)
    return next((layout for layout in LAYOUTS if found.issuperset(layout.files)), None)


def some(names: list[str]) -> str:
    """Some of these names, for an error."""
    more = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def settings_in(path: Path) -> Settings:
    """The settings in a JSON file, which must be a table; none if the trainer writes no JSON."""
    if path.suffix != ".json":
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"It holds a {type(content).__name__}, not a table.")
    except ValueError as error:
        raise CatalogError("The SAE's configuration cannot be read.", str(path), str(error)) from None
    return content


def _with_metadata(settings: Settings, **metadata: Any) -> Settings:
    """Settings as today's sae_lens writes them."""
    from sae_lens import __version__

    kept = {name: value for name, value in metadata.items() if value is not None}
    return {**settings, "metadata": {"sae_lens_version": __version__, "prepend_bos": True, **kept}}


def _refuse(where: Path, what: str, fix: str) -> NoReturn:
    raise CatalogError(f"This SAE cannot be loaded: {what}.", str(where), fix)


def _sparsify(folder: Path, settings: Settings) -> tuple[Settings, Weights]:
    """An SAE of EleutherAI's `sparsify`: the k largest of relu(W_enc (x - b_dec) + b_enc).

    Not read by sae_lens' own function, which transposes `W_dec` and, if `normalize_decoder` is set, leaves out `b_dec`.
    """
    from sae_lens.loading.pretrained_sae_loaders import load_safetensors_weights

    file = folder / "cfg.json"
    other = [
        name for name in ("transcode", "skip_connection", "embed_skip", "gram_lookup", "signed") if settings.get(name)
    ]
    if settings.get("activation", "topk") != "topk":
        other.append(f"activation {settings['activation']!r}")
    if other:
        _refuse(file, f"sae_lens has no SAE with {' and '.join(other)}", "Choose one trained without.")
    weights = load_safetensors_weights(folder / "sae.safetensors", dtype="float32")
    d_sae, d_in = weights["encoder.weight"].shape
    beside = folder.parent / "config.json"
    training = settings_in(beside) if beside.is_file() else {}
    found = _with_metadata(
        {"architecture": "topk", "k": settings["k"], "d_in": d_in, "d_sae": d_sae, "apply_b_dec_to_input": True},
        model_name=settings.get("model_name") or training.get("model"),
        hook_name=settings.get("hook_name") or _hook_of_module(folder.resolve().name, file),
        context_size=training.get("ctx_len"),
    )
    names = {"W_enc": weights["encoder.weight"].T.contiguous(), "b_enc": weights["encoder.bias"]}
    return found, {**names, "W_dec": weights["W_dec"], "b_dec": weights["b_dec"]}


def _hook_of_module(module: str, file: Path) -> str:
    """The hook where the output of a whole layer is, given the name of the layer's module."""
    layer = re.fullmatch(r"(?:[a-z_]+\.)?(?:layers|h)\.(\d+)", module)
    if layer is None:
        fix = 'Add the hook to its cfg.json, such as "hook_name": "blocks.3.hook_mlp_out".'
        _refuse(file, f"it reads the output of the module '{module}', the folder's name, and not of a layer", fix)
    return f"blocks.{layer[1]}.hook_resid_post"


DICTIONARIES = (
    *("AutoEncoder", "AutoEncoderTopK", "GatedAutoEncoder", "JumpReluAutoEncoder"),
    *("BatchTopKSAE", "MatryoshkaBatchTopKSAE"),
)
"""Classes of `dictionary_learning` for which sae_lens has the formula; it takes any other for the first."""


def _dictionary_learning(folder: Path, settings: Settings) -> tuple[Settings, Weights]:
    """An SAE of `dictionary_learning`, read by sae_lens, which takes every SAE for one of the residual stream.

    As in sae_lens' releases of such SAEs, activations of gated and JumpReLU SAEs are not multiplied by the norms of the
    decoder's rows.
    """
    from sae_lens.loading import pretrained_sae_loaders as loaders

    file, trainer = folder / "config.json", settings["trainer"]
    if trainer["dict_class"] not in DICTIONARIES:
        _refuse(
            file, f"sae_lens has no formula for the class {trainer['dict_class']}", f"It has: {some([*DICTIONARIES])}."
        )
    place = str(trainer.get("submodule_name") or "")
    if "resid_post" not in (place or str(folder.resolve())):
        fix = (
            'If it is the residual stream after the layer, set "submodule_name": "resid_post" in its trainer settings.'
        )
        _refuse(file, f"it reads {place or 'a place that it does not name'}", fix)
    found, weights = _read_by(loaders.dictionary_learning_sae_huggingface_loader_1, folder.absolute())
    return {**found, "model_name": trainer["lm_name"]}, weights


def _llama_scope(folder: Path, settings: Settings) -> tuple[Settings, Weights]:
    """An SAE of Llama Scope, read by sae_lens. Its factor for the size of activations is folded into the weights."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    reads, writes = settings["hook_point_in"], settings.get("hook_point_out")
    if writes not in (None, reads):
        _refuse(
            folder / "hyperparams.json", f"it reads {reads} and writes {writes}", "Choose one that is no transcoder."
        )
    found, weights = _read_by(loaders.llama_scope_sae_huggingface_loader, folder.absolute(), dtype="float32")
    factor = found["d_in"] ** 0.5 / settings["dataset_average_activation_norm"]["in"]
    scaled = {
        "W_enc": weights["W_enc"] * factor,
        "W_dec": weights["W_dec"] / factor,
        "b_dec": weights["b_dec"] / factor,
    }
    return {**found, "normalize_activations": "none"}, {**weights, **scaled}


def _gemma_scope(folder: Path, settings: Settings) -> tuple[Settings, Weights]:
    """An SAE of Gemma Scope or Gemma Scope 2, whose model and hook only the names of its folders tell."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    path = folder.absolute()
    roots = [parent for parent in path.parents if parent.name.startswith("gemma-scope-")]
    if not roots:
        example = "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"
        _refuse(
            folder, "names of folders tell its model and hook, and these do not", f"Keep them as on the Hub: {example}."
        )
    two = (folder / "params.safetensors").is_file()
    loader = loaders.gemma_3_sae_huggingface_loader if two else loaders.gemma_2_sae_huggingface_loader
    return _read_by(loader, path, roots[0])


def _read_by(
    loader: Callable[..., Any], folder: Path, repository: Path | None = None, **changed: Any
) -> tuple[Settings, Weights]:
    """What a function of sae_lens that reads a folder of the Hub makes of a folder on this machine.

    It is told the name of the repository, the folder above if there is none, without the path to it.
    """
    from huggingface_hub.errors import EntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from safetensors import safe_open

    root = repository or folder.parent

    def local(repo_id: str, filename: str, subfolder: str = "", **_: Any) -> str:
        path = root / subfolder / filename
        if not path.is_file():
            raise EntryNotFoundError(f"There is no file {path}.")
        return str(path)

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        with safe_open(local(repo_id, filename), framework="pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    with (
        replaced(loaders, "hf_hub_download", local),
        replaced(loaders, "get_safetensors_tensor_shapes", shapes),
    ):
        settings, weights, _ = loader(root.name, folder.relative_to(root).as_posix(), "cpu", False, changed)
    return settings, weights


SAE_LENS = Layout("sae_lens", ("cfg.json", "sae_weights.safetensors"), lambda *_: ({}, {}))
LAYOUTS = (
    SAE_LENS,
    Layout("sparsify", ("cfg.json", "sae.safetensors"), _sparsify, beside="../config.json"),
    Layout("dictionary_learning", ("config.json", "ae.pt"), _dictionary_learning),
    Layout("Llama Scope", ("hyperparams.json", "checkpoints/final.safetensors"), _llama_scope),
    Layout("Llamascopium", ("config.json", "sae_weights.safetensors")),
    Layout("Gemma Scope", ("params.npz",), _gemma_scope),
    Layout("Gemma Scope 2", ("config.json", "params.safetensors"), _gemma_scope),
    Layout("temporal SAEs", ("conf.yaml", "latest_ckpt.safetensors")),
)
"""The first that fits counts."""
