"""The view model of a site's front page: its catalogs by model, their comparisons, and the corpora that they show.

In: the manifests of all catalogs and comparisons, and the number of specialists. Out: plain values for the template.
"""

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

MANY_COLUMNS = 8
"""Catalogs side by side in one table; further ones are in further tables, so that each fits a page."""


@dataclass(frozen=True)
class Listed:
    """A catalog in a list: its folder, its title, and, if others have the same title, what is special about it."""

    slug: str
    title: str
    apart: str
    manifest: Manifest


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
    """The page that lists the catalogs of a site; `compared` are the manifests of its comparisons by their folders."""
    found = _listed([without_paths(manifest) for manifest in manifests])
    program = found[0].manifest["program"] if found else {"name": "SAE Catalog", "version": ""}
    corpora = _corpora(found)
    return {
        "groups": [_group(name, part, compared, specialists) for name, part in _by_model(found).items()],
        "corpora": corpora if len(found) > 1 else [],
        "program": f"{program['name']} {program['version']}".strip(),
    }


def _listed(manifests: Sequence[Manifest]) -> list[Listed]:
    """The catalogs in the order of their layers."""
    ordered = sorted(manifests, key=_order)
    return [Listed(m["slug"], m["title"], _apart(m, ordered), m) for m in ordered]


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


def _by_model(found: Sequence[Listed]) -> dict[str, list[Listed]]:
    """The catalogs by the name of their model, in the order of the names."""
    groups: dict[str, list[Listed]] = {}
    for listed in sorted(found, key=lambda listed: str(listed.manifest["model"]["name"])):
        groups.setdefault(listed.manifest["model"]["name"], []).append(listed)
    return groups


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
    """What can be compared at a glance: the SAE's health, and how many specialists each category has."""
    categories = dict.fromkeys(name for listed in found for name in listed.manifest["corpus"].get("categories", {}))
    rows = [(title(name), [_specialists(listed, name, specialists) for listed in found]) for name in categories]
    return {"catalogs": found, "categories": rows}


def _specialists(listed: Listed, category: str, specialists: SpecialistCounts) -> int | None:
    """The number of specialists of a category; None if the catalog does not have it."""
    if category not in listed.manifest["corpus"].get("categories", {}):
        return None
    return specialists.get(listed.slug, {}).get(category, 0)


def _corpora(found: Sequence[Listed]) -> list[dict[str, Any]]:
    """The corpora of the site with the catalogs of each; those of one name with other texts are apart."""
    groups: dict[tuple[str, str], list[Listed]] = {}
    for listed in found:
        corpus = listed.manifest["corpus"]
        groups.setdefault((str(corpus.get("name", "")), str(corpus["sha256"])), []).append(listed)
    return [
        {"name": name, "corpus": part[0].manifest["corpus"], "catalogs": part}
        for (name, _), part in sorted(groups.items(), key=lambda group: group[0])
    ]
