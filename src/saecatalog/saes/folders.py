"""Folders of SAEs, on this machine or in a repository of the Hub: an SAE's location flows in, a loaded SAE flows out.

Every trainer has its own file names and formulas. A folder is recognised by its files. Those of other trainers are read
as `sae_lens` reads them where it does that right, and are otherwise refused by what they have that it would leave out.
"""

import json
import os
import posixpath
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from saecatalog.errors import CatalogError, nearest
from saecatalog.models.hub import hub_errors, hub_places, reason
from saecatalog.models.safe_loading import CONVERT_TENSORS, PICKLES, only_data_of_sae, pickle_error
from saecatalog.program import program_name
from saecatalog.progress import notice
from saecatalog.replacing import replaced
from saecatalog.saes.directory import SaeSource, model_of

if TYPE_CHECKING:
    from sae_lens import SAE

Settings = dict[str, Any]
Weights = dict[str, Any]

MOST_FILES = 20_000
"""Files that are looked at, if somebody names a folder of something else."""

SHOWN = 8
"""How many files and folders an error names."""

LONGEST_REASON = 300
"""Characters of what a library says that an error repeats."""

SHOULD_BE = "Use a folder with cfg.json and sae_weights.safetensors, as sae_lens saves it."


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


def load_sae(source: SaeSource, device: str) -> "SAE[Any]":
    """The SAE at a location, in float32 unless it is a folder that says otherwise.

    Raises CatalogError if there is none, if the Hub cannot be reached, or if its files could run code or say something
    that would be left out.
    """
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    where = f"--sae {source.name}"
    if source.folder is not None:
        with only_data_of_sae(source):
            return _load_folder(source.folder, str(source.folder), device)
    listed = get_pretrained_saes_directory().get(source.release)
    if listed is None:
        # The name may have been meant as a folder.
        with hub_errors("SAE", f"{where}, which is no folder here", _hint(source)), only_data_of_sae(source):
            return _load_folder(_downloaded(source), where, device, dtype="float32")
    with hub_errors("SAE", where), only_data_of_sae(source), _told(where):
        sae = SAE.from_pretrained(source.release, source.id, device=device).eval()
    _name_model(sae.cfg.metadata, listed.model, where)
    return sae


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Say in one line each what sae_lens' function for a family of SAEs warns about.

    Such as that a layer of a cross-layer transcoder is no whole. Its other warnings are about what a build does itself.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    texts = [str(w.message) for w in caught if Path(w.filename).name == "pretrained_sae_loaders.py"]
    for text in dict.fromkeys(texts):
        notice(f"{where}: sae_lens says: {' '.join(text.split())}")


def _name_model(metadata: Any, listed: str, where: str) -> None:
    """Let an SAE of the directory name its model in full, and the right one."""
    named = metadata.model_name or ""
    metadata.model_name = model_of(listed, named, metadata.neuronpedia_id or "")
    if not metadata.model_name.endswith(named):
        notice(f"{where}: the model is {listed}, as in sae_lens' directory and Neuronpedia; its settings say {named}")


def _hint(source: SaeSource) -> str:
    """What to do if the Hub has no such repository."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return nearest(source.release, get_pretrained_saes_directory()) or f"Search with '{program_name()} list WORD'."


def sae_places(source: SaeSource) -> list[Path]:
    """Where the files of an SAE are, once it was loaded: folders and files."""
    from sae_lens.loading.pretrained_saes_directory import get_repo_id_and_folder_name

    if source.folder is not None:
        places = [source.folder]
    else:
        places = hub_places(*get_repo_id_and_folder_name(source.release, source.id))
    folder = places[-1]
    layout = layout_of(_names(folder)) if folder.is_dir() else None
    if layout is not None:
        others = [(folder / file).parent for file in layout.files] + [folder / layout.beside]
        places += [place for place in others if place != folder and place.exists()]
    return places


# What is there


def layout_of(names: Iterable[str]) -> Layout | None:
    """The layout of a folder with these files; None if there is none that fits."""
    found = set(names)
    return next((layout for layout in LAYOUTS if found.issuperset(layout.files)), None)


def choices(names: Iterable[str], root: str = "") -> list[str]:
    """The folders below a folder, "" for itself, that are SAEs."""
    parents: dict[str, set[str]] = {}
    for name in names:
        parts = name.removeprefix(root).split("/")
        for i in range(len(parts)):
            parents.setdefault("/".join(parts[:i]), set()).add("/".join(parts[i:]))
    return sorted((folder for folder, files in parents.items() if layout_of(files)), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts `layer_2` before `layer_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def not_an_sae(names: Iterable[str], where: str, prefix: str) -> CatalogError:
    """The error for a folder that is not an SAE: what it has, which SAEs are below it, or what it lacks.

    `prefix` and a folder below are the name of an SAE for the flag `--sae`.
    """
    names = list(names)
    below = choices(names)
    if below:
        what = f"This is not one SAE, but a collection of {len(below):,}."
        return CatalogError(what, where, f"Choose one, as --sae {prefix}/{below[0]}. There are: {_some(below)}.")
    found = [name for name in sorted(names, key=lambda name: (name.count("/"), name)) if not name.startswith(".")]
    lacks = [
        f"{' and '.join(file for file in layout.files if file not in names)} ({layout.trainer})"
        for layout in LAYOUTS
        if layout.read and sum(file in names for file in layout.files) > 0
    ]
    there = f"It has: {_some(found)}." if found else "It is empty."
    missing = f" It lacks {', or '.join(lacks)}." if lacks else f" {SHOULD_BE}"
    return CatalogError("This folder does not contain an SAE.", where, there + missing)


def _some(names: list[str]) -> str:
    more = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _names(folder: Path) -> list[str]:
    """The files in a folder and below, with `/`, those directly in it first; none of hidden folders."""
    return list(islice(_walk(folder), MOST_FILES))


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(root, name) for name in sorted(files))
        yield from (path.relative_to(folder).as_posix() for path in paths if path.is_file())


def check_folder(folder: Path) -> None:
    """Raise CatalogError if a folder is not that of an SAE."""
    names = _names(folder)
    layout = layout_of(names)
    pickles = [name for name in names if Path(name).suffix in PICKLES and "/" not in name]
    if layout is None and pickles and "cfg.json" in names:
        raise pickle_error(str(folder / pickles[0]), CONVERT_TENSORS.format(folder / pickles[0]))
    if layout is None:
        raise not_an_sae(names, str(folder), str(folder))
    _settings(folder / layout.files[0])


def _settings(path: Path) -> Settings:
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


# Repositories


def _downloaded(source: SaeSource) -> Path:
    """The folder of an SAE of the Hub on this machine, with the files that it needs."""
    from huggingface_hub import hf_hub_download

    names = hub_files(source.release)
    start = f"{source.id}/" if source.id else ""
    here = [name.removeprefix(start) for name in names if name.startswith(start)]
    layout, where = layout_of(here), f"--sae {source.name}"
    if layout is None:
        if not here:
            raise _no_such_folder(source, names)
        raise not_an_sae(here, where, source.name)
    # Before gigabytes are downloaded.
    _reader(layout, where)
    wanted = [start + file for file in layout.files]
    beside = posixpath.normpath(f"{start}{layout.beside}") if layout.beside else ""
    paths = [hf_hub_download(source.release, name) for name in [*wanted, *([beside] if beside in names else [])]]
    return Path(paths[0]).parent


def _no_such_folder(source: SaeSource, names: list[str]) -> CatalogError:
    below = choices(names)
    fix = f"Its SAEs: {_some(below)}." if below else f"Its files: {_some(names)}."
    return CatalogError(f"The repository {source.release} has no folder '{source.id}'.", f"--sae {source.name}", fix)


def hub_files(repository: str) -> list[str]:
    """The files of a repository of the Hub, or, if it cannot be reached, those that were downloaded before."""
    from huggingface_hub import HfApi

    try:
        return list(HfApi().list_repo_files(repository))
    except Exception as error:
        _, *kept = hub_places(repository)
        if not kept or reason(error) != "unreachable":
            raise
        return _names(kept[0])


# Loading


def _load_folder(folder: Path, where: str, device: str, dtype: str | None = None) -> "SAE[Any]":
    """The SAE of a folder of any trainer."""
    from sae_lens import SAE

    layout = layout_of(_names(folder))
    if layout is None:
        raise not_an_sae(_names(folder), where, where)
    settings_file = folder / layout.files[0]
    settings = _settings(settings_file)
    read = _reader(layout, where)
    try:
        if layout is SAE_LENS:
            _check_sae_lens(settings, str(settings_file))
            return SAE.load_from_disk(folder, device=device, dtype=dtype).eval()
        found, weights = read(folder, settings)
        given = {"architecture": "standard", "normalize_activations": "none", **found, "device": device}
        return SAE.load_from_disk(folder, device, "float32", lambda *_, **__: (given, weights)).eval()
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        # What is wrong with a shape is in the second line.
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        said = f"The setting {reason} is missing." if isinstance(error, KeyError) else f"sae_lens says: {reason}"
        raise CatalogError("This SAE cannot be loaded.", str(settings_file), said) from error


def _reader(layout: Layout, where: str) -> Callable[[Path, Settings], tuple[Settings, Weights]]:
    """What reads a folder of this layout; raises CatalogError if nothing does."""
    if layout.read is None:
        what = f"This SAE was saved by {layout.trainer}, which sae_lens cannot load from a folder."
        raise CatalogError(what, where, f"Load it there and save it with sae_lens. {SHOULD_BE}")
    return layout.read


def _check_sae_lens(settings: Settings, where: str) -> None:
    """Raise CatalogError for settings of a newer sae_lens; say which settings mean nothing to the installed one."""
    from packaging.version import Version
    from sae_lens import __version__
    from sae_lens.registry import SAE_CLASS_REGISTRY

    metadata = settings.get("metadata")
    if metadata is None:
        return  # the format before version 6, in which settings of the training stood beside those of the SAE
    if not isinstance(metadata, dict):
        raise CatalogError("The SAE's metadata are not a table.", where, f"They are: {metadata!r}.")
    version = str(metadata.get("sae_lens_version") or __version__)
    newer = Version(version) > Version(__version__)
    upgrade = f"It was saved by sae_lens {version}, and {__version__} is installed: install the newer one."
    architecture = str(settings.get("architecture"))
    if architecture not in SAE_CLASS_REGISTRY:
        fix = upgrade if newer else f"It knows: {', '.join(sorted(SAE_CLASS_REGISTRY))}."
        raise CatalogError(f"sae_lens knows no architecture '{architecture}'.", where, fix)
    known = {field.name for field in fields(SAE_CLASS_REGISTRY[architecture][1])}
    unknown = sorted(settings.keys() - known - {"architecture", "metadata"})
    if unknown and newer:
        raise CatalogError(f"sae_lens does not know the setting {' or '.join(unknown)}.", where, upgrade)
    if unknown:
        notice(f"{where}: sae_lens does not know the setting {' or '.join(unknown)}, and leaves it out")
    elif newer:
        notice(f"{where}: saved by sae_lens {version}, and read by {__version__}")


# Other trainers


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
    training = _settings(beside) if beside.is_file() else {}
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
            file, f"sae_lens has no formula for the class {trainer['dict_class']}", f"It has: {_some([*DICTIONARIES])}."
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
