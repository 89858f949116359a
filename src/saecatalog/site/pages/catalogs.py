"""The view model of a site's front page: its catalogs by model, their comparisons, and the corpora that they show.

In: the manifests of all catalogs and comparisons, and the number of specialists. Out: plain values for the template.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saecatalog.manifest import Manifest, without_paths
from saecatalog.names import title
from saecatalog.site.records import blocks

SpecialistCounts = Mapping[str, Mapping[str, int]]
"""By the folder of a catalog: how many specialists each of its categories with any has."""

TELL_APART = (("corpus", "name"), ("sae", "hook"), ("sae", "name"), ("settings", "text_score"))
"""What is shown beside equal titles, as far as it differs."""

SHORT_HASH = 8
"""Digits of a hash that tell apart models of one name."""

MANY_COLUMNS = 8
"""Catalogs side by side in one table; further ones are in further tables, so that each fits a page."""


@dataclass(frozen=True)
class Listed:
    """A catalog as the page lists it."""

    slug: str
    title: str
    apart: str
    """What is special about it, if others have the same title."""
    description: str
    model: str
    weights: str
    """What tells models apart: the hash of the weights, or the name in catalogs of earlier versions."""
    layer: int | None
    hook: str
    sae: str
    features: int
    pages: int
    """Features with a page."""
    texts: int
    corpus: str
    """The name of the corpus; "" in catalogs of earlier versions."""
    silent: int
    l0: float
    explained_variance: float
    sizes: Mapping[str, Mapping[str, int]]
    """Texts and tokens of each category."""


@dataclass(frozen=True)
class ModelGroup:
    """The catalogs of one model, by layer, with their comparisons and tables that put them side by side."""

    name: str
    catalogs: list[Listed]
    compared: list[tuple[str, Listed, Listed]]
    """The folder of each comparison, and its two catalogs."""
    side_by_side: list[dict[str, Any]]


def site_front(
    manifests: Iterable[Manifest], compared: Mapping[str, Manifest], specialists: SpecialistCounts
) -> dict[str, Any]:
    """The page that lists the catalogs of a site; `compared` are the manifests of its comparisons by their folders.

    Raises LookupError or TypeError if a manifest lacks something that the page shows.
    """
    ordered = sorted((without_paths(manifest) for manifest in manifests), key=_order)
    found = [_listed(manifest, ordered) for manifest in ordered]
    program = ordered[0]["program"] if ordered else {"name": "SAE Catalog", "version": ""}
    return {
        "groups": [_group(name, part, compared, specialists) for name, part in _by_model(found)],
        "corpora": _corpora(ordered, found) if len(found) > 1 else [],
        "program": f"{program['name']} {program['version']}".strip(),
    }


def _listed(manifest: Manifest, manifests: Sequence[Manifest]) -> Listed:
    sae, corpus, counts, health = (manifest[part] for part in ("sae", "corpus", "counts", "health"))
    return Listed(
        slug=manifest["slug"],
        title=manifest["title"],
        apart=_apart(manifest, manifests),
        description=manifest["description"],
        model=str(manifest["model"]["name"]),
        weights=str(manifest["model"].get("weights_sha256") or manifest["model"]["name"]),
        layer=sae.get("layer"),
        hook=sae["hook"],
        sae=sae["name"],
        features=counts["features"],
        pages=manifest["pages"]["features"],
        texts=counts["texts"],
        corpus=corpus.get("name", ""),
        silent=health["silent"],
        l0=float(health["l0_mean"]),
        explained_variance=float(health["explained_variance"]),
        sizes=corpus["categories"],
    )


def _order(manifest: Manifest) -> tuple[object, ...]:
    layer, corpus = manifest["sae"].get("layer"), manifest["corpus"].get("name", "")
    # SAEs without a layer come last.
    return layer is None, layer or 0, manifest["sae"]["hook"], manifest["sae"]["name"], corpus, manifest["slug"]


def _apart(manifest: Manifest, manifests: Sequence[Manifest]) -> str:
    """What tells a catalog from the others of the same title; "" if there is none."""
    namesakes = [other for other in manifests if other["title"] == manifest["title"]]
    if len(namesakes) == 1:
        return ""
    cells = [[str(m[part].get(name, "")) for part, name in TELL_APART] for m in namesakes]
    differing = [column for column in range(len(TELL_APART)) if len({row[column] for row in cells}) > 1]
    words = [" · ".join(filter(None, (row[column] for column in differing))) for row in cells]
    mine = words[next(place for place, other in enumerate(namesakes) if other is manifest)]
    return mine if words.count(mine) == 1 else str(manifest["slug"])


def _by_model(found: Sequence[Listed]) -> list[tuple[str, list[Listed]]]:
    """The catalogs of each model under its names, in the order of the names.

    One model may have several names, such as that on the Hub and a folder, and two models may have one name.
    """
    groups: dict[str, list[Listed]] = {}
    for listed in found:
        groups.setdefault(listed.weights, []).append(listed)
    names = {weights: ", ".join(sorted({listed.model for listed in part})) for weights, part in groups.items()}
    several = [name for name, n in Counter(names.values()).items() if n > 1]
    headings = {
        weights: f"{name} (weights {weights[:SHORT_HASH]})" if name in several else name
        for weights, name in names.items()
    }
    return sorted(((headings[weights], part) for weights, part in groups.items()), key=lambda group: group[0])


def _group(
    name: str, found: list[Listed], compared: Mapping[str, Manifest], specialists: SpecialistCounts
) -> ModelGroup:
    known = {listed.slug: listed for listed in found}
    pairs = [
        (folder, known[first], known[second])
        for folder, manifest in compared.items()
        for first, second in [manifest.get("catalogs") or ("", "")]
        if first in known and second in known
    ]
    order = list(known)
    pairs.sort(key=lambda pair: (order.index(pair[1].slug), order.index(pair[2].slug)))
    tables = [_side_by_side(list(part), specialists) for part in blocks(found, MANY_COLUMNS)] if len(found) > 1 else []
    return ModelGroup(name, found, pairs, tables)


def _side_by_side(found: list[Listed], specialists: SpecialistCounts) -> dict[str, Any]:
    """Catalogs, and for each category how many specialists it has in each of them."""
    categories = dict.fromkeys(name for listed in found for name in listed.sizes)
    rows = [(title(name), [_specialists(listed, name, specialists) for listed in found]) for name in categories]
    return {"catalogs": found, "categories": rows}


def _specialists(listed: Listed, category: str, specialists: SpecialistCounts) -> int | None:
    """The number of specialists of a category; None if the catalog does not have it."""
    return specialists.get(listed.slug, {}).get(category, 0) if category in listed.sizes else None


def _corpora(manifests: Sequence[Manifest], found: Sequence[Listed]) -> list[dict[str, Any]]:
    """The corpora of the site with the catalogs of each; those of one name with other texts are apart."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for manifest, listed in zip(manifests, found, strict=True):
        corpus = manifest["corpus"]
        group = groups.setdefault((listed.corpus, str(corpus["sha256"])), {"corpus": corpus, "catalogs": []})
        group["catalogs"].append(listed)
    return [group for _, group in sorted(groups.items(), key=lambda group: group[0])]
