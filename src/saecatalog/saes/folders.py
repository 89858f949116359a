"""Folders of SAEs, on this machine or on the Hub: an SAE's location flows in, a loaded SAE flows out."""

import os
import posixpath
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saecatalog.errors import CatalogError, nearest
from saecatalog.models.hub import hub_errors, hub_places, reason
from saecatalog.models.safe_loading import CONVERT_TENSORS, PICKLES, only_data_of_sae, pickle_error
from saecatalog.program import program_name
from saecatalog.progress import notice
from saecatalog.saes.directory import SaeSource, model_of
from saecatalog.saes.layouts import LAYOUTS, SAE_LENS, Layout, Settings, Weights, layout_of, settings_in, some

if TYPE_CHECKING:
    from sae_lens import SAE

MOST_FILES = 20_000
"""Files that are looked at, if somebody names a folder of something else."""

LONGEST_REASON = 300
"""Characters of what a library says that an error repeats."""

SHOULD_BE = "Use a folder with cfg.json and sae_weights.safetensors, as sae_lens saves it."


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
        return CatalogError(what, where, f"Choose one, as --sae {prefix}/{below[0]}. There are: {some(below)}.")
    found = [name for name in sorted(names, key=lambda name: (name.count("/"), name)) if not name.startswith(".")]
    lacks = [
        f"{' and '.join(file for file in layout.files if file not in names)} ({layout.trainer})"
        for layout in LAYOUTS
        if layout.read and sum(file in names for file in layout.files) > 0
    ]
    there = f"It has: {some(found)}." if found else "It is empty."
    missing = f" It lacks {', or '.join(lacks)}." if lacks else f" {SHOULD_BE}"
    return CatalogError("This folder does not contain an SAE.", where, there + missing)


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
    settings_in(folder / layout.files[0])


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
    fix = f"Its SAEs: {some(below)}." if below else f"Its files: {some(names)}."
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
    settings = settings_in(settings_file)
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
