"""The list of known SAEs: the directory of `sae_lens` flows in, a row for each SAE with what is known of it flows out.

`sae_lens` has a function for each family of SAEs that makes an SAE's settings. Many make them from the name alone; they
are called here without a network, and what they give is taken. Where they need a file of the SAE's repository, hook and
width are read from names, where the family's names say them without doubt. All this takes some seconds, so the rows are
kept in the cache.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.util import find_spec
from inspect import getsource
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from saecatalog import embedded
from saecatalog.cache import Cache
from saecatalog.errors import CatalogError, closest
from saecatalog.json_files import write_json
from saecatalog.replacing import replaced
from saecatalog.saes.directory import model_of
from saecatalog.stage_keys import file_sha256, stage_key

if TYPE_CHECKING:
    from sae_lens.loading.pretrained_saes_directory import PretrainedSAELookup

ROWS = "rows.json"

PLAIN = "sae_lens"
"""The loader of SAEs that sae_lens saved itself."""

NAMED_HOOK = re.compile(
    r"(?:blocks\.\d+\.(?:hook_(?:resid_(?:pre|mid|post)|(?:attn|mlp)_out)|attn\.hook_z|ln[12]\.hook_normalized)|hook_embed)"
    r"(?![a-z])"
)
"""A hook of transformer_lens in a name."""

HOOKS = (
    ("connor_rob_hook_z", r"_L(\d+)_Hcat_z_", "blocks.{}.attn.hook_z"),
    ("dictionary_learning_1", r"resid_post_layer_(\d+)\b", "blocks.{}.hook_resid_post"),
    ("llama_scope", r"-L(\d+)R-", "blocks.{}.hook_resid_post"),
    ("llama_scope", r"-L(\d+)A-", "blocks.{}.hook_attn_out"),
    ("llama_scope", r"-L(\d+)M-", "blocks.{}.hook_mlp_out"),
    ("llama_scope_r1_distill", r"/L(\d+)R$", "blocks.{}.hook_resid_post"),
    ("mwhanna_transcoder", r"^layer_(\d+)\.safetensors$", "blocks.{}.mlp.hook_in"),
)
"""For loaders that take the hook from a file: the loader, how the path of an SAE says the layer, and the hook."""

ALWAYS = ("architecture", "normalize_activations")

WIDTHS = (
    r"width[_-](\d+[km])",
    r"2pow(\d+)",
    r"hook_[a-z]+(?:_[a-z]+)*_(\d+)",
    r"_ds(\d+)_",
    r"(?:^|[-_])(\d+k)(?![a-z0-9])",
)
"""How names say the width, the clearest first: `width_16k`, `2pow12`, `hook_resid_pre_768`, `ds24576`, `128k`."""


@dataclass(frozen=True)
class Listed:
    """One line of the `list` command."""

    name: str
    model: str
    hook: str
    """The hook that the SAE reads; its path in the repository if nothing installed knows the hook."""
    width: str
    """Dictionary size, as a number or as names write it (`16k`); "" if nothing installed knows it."""
    neuronpedia: str
    loader: str = PLAIN
    """The family: what `sae_lens` calls the function that loads it."""
    architecture: str = ""
    """"" if only a file of the repository says it."""
    normalization: str = ""
    """What `normalize_activations` says, but "none" if the directory has the factor that it needs; "" if unknown."""
    model_name: str = ""
    """The model that the SAE will name when it is loaded."""

    @property
    def hook_known(self) -> bool:
        return "hook" in self.hook

    def matches(self, word: str) -> bool:
        """Whether the name, the model or the Neuronpedia id contains the word; case is ignored."""
        return word.lower() in f"{self.name} {self.model} {self.neuronpedia}".lower()


def list_saes(word: str = "", cache: Cache | None = None) -> list[Listed]:
    """Every available SAE, the embedded one first, filtered by a word in its name, model or Neuronpedia id."""
    rows = _kept(cache) if cache else all_rows()
    return [sae for sae in rows if sae.matches(word)]


def _kept(cache: Cache) -> list[Listed]:
    """All rows, from the cache if they are there; a cache that cannot be written is no reason to list nothing."""

    def make(folder: Path) -> None:
        write_json(folder / ROWS, [asdict(row) for row in all_rows()])

    try:
        key = stage_key("saecatalog.saes.listing", file_sha256(_yaml()))
        return [Listed(**row) for row in cache.output("list", key, make).json(ROWS)]
    except CatalogError:
        return all_rows()


def _yaml() -> Path:
    """The file of sae_lens' directory, found without importing sae_lens, which takes seconds."""
    spec = find_spec("sae_lens")
    return Path(str(spec.origin)).parent / "pretrained_saes.yaml" if spec else Path()


@cache
def all_rows() -> list[Listed]:
    """The embedded SAE, then those of the directory, by release."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    releases = sorted(get_pretrained_saes_directory().items())
    with _no_network():
        rows = [_embedded_row(), *(_row(release, sae_id, r) for release, r in releases for sae_id in r.saes_map)]
    pages = {place: row.neuronpedia for place, row in zip(_places(releases), rows[1:], strict=True) if row.neuronpedia}
    # Two entries with one path are one SAE, such as a "canonical" one and the one that it stands for.
    shared = (pages.get(place, "") for place in _places(releases))
    return [rows[0], *(replace(row, neuronpedia=page) for row, page in zip(rows[1:], shared, strict=True))]


def _places(releases: "list[tuple[str, PretrainedSAELookup]]") -> Iterator[tuple[str, str]]:
    return ((r.repo_id, path) for _, r in releases for path in r.saes_map.values())


def _embedded_row() -> Listed:
    config = json.loads((embedded.SAE_FOLDER / "cfg.json").read_text(encoding="utf-8"))
    name, hook = f"{embedded.RELEASE}/{embedded.SAE_ID}", config["metadata"]["hook_name"]
    return Listed(
        name,
        embedded.MODEL_NAME,
        hook,
        str(config["d_sae"]),
        "",
        architecture=config["architecture"],
        model_name=embedded.MODEL_NAME,
    )


def _row(release: str, sae_id: str, lookup: "PretrainedSAELookup") -> Listed:
    path, loader = lookup.saes_map[sae_id], lookup.conversion_func or PLAIN
    settings = _settings(release, sae_id, path, lookup)
    page = lookup.neuronpedia_id.get(sae_id) or ""
    always = _always(loader)
    normalization = settings.get("normalize_activations") or always.get("normalize_activations", "")
    return Listed(
        name=f"{release}/{sae_id}",
        model=lookup.model,
        hook=settings.get("hook_name") or _hook(loader, sae_id, path),
        width=str(settings.get("d_sae") or _width(page, sae_id, release, path, lookup.repo_id)),
        neuronpedia=page,
        loader=loader,
        architecture=settings.get("architecture") or always.get("architecture", ""),
        normalization="none" if sae_id in lookup.norm_scaling_factor else normalization,
        model_name=model_of(lookup.model, settings.get("model_name") or "", page),
    )


@cache
def _always(loader: str) -> dict[str, str]:
    """Settings for which sae_lens' function of a family has one value in its source."""
    from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_CONFIG_GETTERS

    source = getsource(NAMED_PRETRAINED_SAE_CONFIG_GETTERS[loader])
    values = {name: set(re.findall(rf'"?{name}"?\]?(?::| =) "(\w+)"', source)) for name in ALWAYS}
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def _settings(release: str, sae_id: str, path: str, lookup: "PretrainedSAELookup") -> dict[str, Any]:
    """The settings that sae_lens makes for an SAE without a network; those of the directory alone if it cannot."""
    from huggingface_hub.errors import EntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.loading.pretrained_saes_directory import get_config_overrides

    overrides = get_config_overrides(release, sae_id)
    make = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[lookup.conversion_func or PLAIN]
    try:
        settings: dict[str, Any] = make(lookup.repo_id, path, "cpu", False, overrides)
    except EntryNotFoundError:
        return dict(overrides)
    # As sae_lens fills it in afterwards.
    return {**settings, "normalize_activations": settings.get("normalize_activations") or "none"}


class _UnknownShapes(dict[str, tuple[None, None]]):
    """Shapes of tensors in a file that is not read."""

    def __missing__(self, name: str) -> tuple[None, None]:
        return None, None


@contextmanager
def _no_network() -> Iterator[None]:
    """Every file of the Hub that sae_lens asks for is missing, and shapes of tensors are unknown."""
    from huggingface_hub.errors import EntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def missing(*_: object, **__: object) -> Never:
        raise EntryNotFoundError("No file is downloaded for a list.")

    with (
        replaced(loaders, "hf_hub_download", missing),
        replaced(loaders, "get_safetensors_tensor_shapes", lambda *_: _UnknownShapes()),
    ):
        yield


def _hook(loader: str, sae_id: str, path: str) -> str:
    """The hook that names of an SAE say; its path if they do not say it."""
    named = NAMED_HOOK.search(sae_id) or NAMED_HOOK.search(path)
    if named:
        return named[0]
    for family, pattern, hook in HOOKS:
        layer = re.search(pattern, path)
        if family == loader and layer:
            return hook.format(layer[1])
    return path


def _width(*names: str) -> str:
    """The width that names of an SAE say, those that come first counting first; "" if none says it."""
    for pattern in WIDTHS:
        for name in names:
            found = re.search(pattern, name)
            if found:
                return str(2 ** int(found[1])) if "2pow" in pattern else found[1]
    return ""


def similar_names(word: str, rows: Sequence[Listed], count: int = 5) -> dict[str, int]:
    """The names most similar to a word that matches nothing, the closest first, each with the number of SAEs it lists.

    Compares releases, ids, models and whole names, and also their beginnings: `gema-scope` is similar to the
    `gemma-scope` of `gemma-scope-2b-pt-res`, but not to the whole name.
    """
    names = {name for sae in rows for name in (sae.name, *sae.name.split("/", 1), sae.model)}
    beginnings = {name[: part.start()] for name in names for part in re.finditer(r"[-/_.]", name)}
    return {name: sum(sae.matches(name) for sae in rows) for name in closest(word, names | beginnings - {""}, count)}
