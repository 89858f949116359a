"""Available SAEs: the name that the user typed flows in, the SAE's location flows out. Nothing is loaded."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from saecatalog import embedded
from saecatalog.errors import CatalogError, closest, nearest
from saecatalog.names import slug

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


@dataclass(frozen=True)
class Listed:
    """One line of the `list` command."""

    name: str
    model: str
    hook: str
    """Hook point if the id contains it, else the path in the repository."""
    width: str
    """Dictionary size if it is known without loading the SAE, else ""."""
    neuronpedia: str

    def matches(self, word: str) -> bool:
        """Whether the name, the model or the Neuronpedia id contains the word; case is ignored."""
        return word.lower() in f"{self.name} {self.model} {self.neuronpedia}".lower()


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
        return SaeSource(name, f"{owner}/{repository}", "".join(rest).strip("/"), None)
    hint = nearest(release, [*directory, embedded.RELEASE]) or "Search with 'python build.py list WORD'."
    raise CatalogError("No SAE release or folder has this name.", f"--sae {name}", hint)


def _folder_source(folder: Path) -> SaeSource:
    from saecatalog.sae_folders import check_folder

    check_folder(folder)
    return SaeSource(str(folder), folder.resolve().name, "", folder)


def list_saes(word: str = "") -> list[Listed]:
    """Every available SAE, the embedded one first, filtered by a word in its name, model or Neuronpedia id."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    listed = [_embedded_line()]
    for release, lookup in sorted(get_pretrained_saes_directory().items()):
        for sae_id, path in lookup.saes_map.items():
            neuronpedia = lookup.neuronpedia_id.get(sae_id) or ""
            listed.append(Listed(f"{release}/{sae_id}", lookup.model, _hook(sae_id, path), _width(sae_id), neuronpedia))
    return [sae for sae in listed if sae.matches(word)]


def similar_names(word: str, count: int = 5) -> dict[str, int]:
    """The names most similar to a word that matches nothing, the closest first, each with the number of SAEs it lists.

    Compares releases, ids, models and whole names, and also their beginnings: `gema-scope` is similar to the
    `gemma-scope` of `gemma-scope-2b-pt-res`, but not to the whole name.
    """
    listed = list_saes()
    names = {name for sae in listed for name in (sae.name, *sae.name.split("/", 1), sae.model)}
    beginnings = {name[: part.start()] for name in names for part in re.finditer(r"[-/_.]", name)}
    return {name: sum(sae.matches(name) for sae in listed) for name in closest(word, names | beginnings - {""}, count)}


def _embedded_line() -> Listed:
    config = json.loads((embedded.SAE_FOLDER / "cfg.json").read_text(encoding="utf-8"))
    hook = config["metadata"]["hook_name"]
    return Listed(f"{embedded.RELEASE}/{embedded.SAE_ID}", embedded.MODEL_NAME, hook, str(config["d_sae"]), "")


def _hook(sae_id: str, path: str) -> str:
    return next((name for name in (sae_id, path) if "hook" in name), path)


def _width(sae_id: str) -> str:
    """The width that many ids contain (`16k` in `width_16k`), as written there; "" if there is none."""
    parts = sae_id.replace("/", "_").split("_")
    return parts[parts.index("width") + 1] if "width" in parts[:-1] else ""


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
