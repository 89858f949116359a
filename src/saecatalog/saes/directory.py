"""Available SAEs: the name that the user typed flows in, the SAE's location flows out. Nothing is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saecatalog import embedded
from saecatalog.errors import CatalogError, closest, nearest
from saecatalog.names import slug
from saecatalog.program import program_name

if TYPE_CHECKING:
    from sae_lens.loading.pretrained_saes_directory import PretrainedSAELookup

MISTYPED = 0.8
"""Similarity from which an unknown release is taken for a mistyped one, and not for the owner of a repository."""


@dataclass(frozen=True)
class SaeSource:
    """Where an SAE comes from."""

    name: str
    """What the user types: `release/id`, or the folder."""
    release: str
    """Release in `sae_lens`' directory, Hub repository, or the folder's name."""
    id: str
    """Id within the release or folder in the repository; empty for a folder, or the repository itself."""
    folder: Path | None
    """The folder on this machine; None for an SAE from the Hub."""


def find_sae(name: str) -> SaeSource:
    """The location of the named SAE; raises CatalogError, with similar names, if there is none.

    Whether a repository of the Hub exists is not asked here.
    """
    if name == f"{embedded.RELEASE}/{embedded.SAE_ID}":
        return SaeSource(name, embedded.RELEASE, embedded.SAE_ID, embedded.SAE_FOLDER)
    if Path(name).is_dir():
        return _folder_source(Path(name))
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    directory = get_pretrained_saes_directory()
    release, _, sae_id = name.partition("/")
    if release in directory:
        known = directory[release].saes_map
        if sae_id in known:
            return SaeSource(name, release, sae_id, None)
        hint = nearest(sae_id, known) or "Some of its SAEs: " + ", ".join(list(known)[:8]) + "."
        raise CatalogError(f"The release '{release}' has no SAE '{sae_id}'.", f"--sae {name}", hint)
    mistyped = closest(release, [*directory, embedded.RELEASE], cutoff=MISTYPED)
    if "/" in name and not mistyped and not name.startswith((".", "/", "~")):
        owner, repository, *rest = name.split("/", 2)
        source = SaeSource(name, f"{owner}/{repository}", "".join(rest).strip("/"), None)
        return _of_a_release(source, directory)
    hint = nearest(release, [*directory, embedded.RELEASE]) or f"Search with '{program_name()} list WORD'."
    raise CatalogError("No SAE release or folder has this name.", f"--sae {name}", hint)


def _of_a_release(source: SaeSource, directory: "dict[str, PretrainedSAELookup]") -> SaeSource:
    """An SAE of a repository, as a release has it, if there is one: then sae_lens knows its format.

    Raises CatalogError for a whole repository that has releases.
    """
    releases = {name: r for name, r in directory.items() if r.repo_id == source.release}
    for name, release in releases.items():
        for sae_id, path in release.saes_map.items():
            if path == source.id:
                return SaeSource(source.name, name, sae_id, None)
    if releases and not source.id:
        first = next(iter(releases))
        what = f"This repository is a collection: sae_lens lists it as {' and '.join(releases)}."
        one = f"{first}/{next(iter(releases[first].saes_map))}"
        fix = f"Choose one, such as --sae {one}: {program_name()} list {first}"
        raise CatalogError(what, f"--sae {source.name}", fix)
    return source


def _folder_source(folder: Path) -> SaeSource:
    from saecatalog.saes.folders import check_folder

    check_folder(folder)
    return SaeSource(str(folder), folder.resolve().name, "", folder)


def model_of(listed: str, named: str, page: str) -> str:
    """The model of an SAE that `sae_lens` lists: mostly the one that the SAE's settings name.

    The directory's own is taken if it is the whole of that name (`openai/gpt-oss-20b` for `gpt-oss-20b`), or if it is
    also that of the Neuronpedia page: the settings of Llama Scope for a distilled model name the model before that.
    """
    last = listed.rpartition("/")[2].lower()
    return listed if not named or listed.endswith(f"/{named}") or page.partition("/")[0] == last else named


def catalog_slug(source: SaeSource, model: str, layer: int | None, hook: str, neuronpedia_id: str | None) -> str:
    """The catalog's folder in a site: the Neuronpedia path if there is one, else model, layer, hook and release."""
    if source.folder == embedded.SAE_FOLDER:
        return embedded.SLUG
    if neuronpedia_id:
        return "/".join(slug(part) for part in neuronpedia_id.split("/"))
    kinds = {"resid": "res", "mlp": "mlp", "attn": "att", "hook_z": "att"}
    kind = next((short for long, short in kinds.items() if long in hook), "hook")
    where = kind if layer is None else f"{layer}-{kind}"
    name = slug(source.release if source.folder else f"{source.release} {source.id}")
    return f"{slug(model)}/{where}-{name}"
