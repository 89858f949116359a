"""Compares two catalogs: what both published flows in; tables and the facts about the comparison flow out.

Two SAEs are matched feature by feature. One SAE on two corpora needs no matching: there, what changed is listed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import saecatalog
from saecatalog.cache import Cache
from saecatalog.compare.decoders import decoder, why_not_one_space
from saecatalog.compare.matches import Both, Decoders, match_features
from saecatalog.compare.matching import Directions
from saecatalog.compare.published import Side, check_comparable, shared_texts
from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest
from saecatalog.site.comparisons import shown

LEAST_SHARED = 20
"""With fewer shared texts than this, correlations are not computed: all of them would be chance."""

Columns = dict[str, Any]
"""The columns of one table: arrays or lists of one length."""


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison, and what it was made from."""

    tables: dict[str, Columns]
    manifest: Manifest


def compare(sides: Both, cache: Cache, tick: Callable[[str], object]) -> Comparison:
    """Compare two catalogs; `tick` is called before each step, with its name.

    Raises CatalogError if they are not of one model or have nothing that can be compared.
    """
    check_comparable(*sides)
    texts = shared_texts(*sides)
    facts = {**facts_of(sides), "shared_texts": len(texts)}
    if _identity(sides[0]) == _identity(sides[1]):
        tick("changes")
        same = {feature: feature for feature in range(sides[0].d_sae)}
        tables = {"changes": changes(*sides), "coverage": coverage(sides, (same, same))}
        return Comparison(tables, {**facts, "kind": "corpora"})
    decoders, reason = _decoders(sides, cache, tick)
    if len(texts) < LEAST_SHARED:
        if decoders is None:
            what = f"The catalogs share {len(texts)} texts, too few to compare activations. {reason}"
            fix = f"Build both on one corpus: at least {LEAST_SHARED} texts must be in both."
            raise CatalogError(what, " and ".join(side.slug for side in sides), fix)
        texts = []
    matches, by_chance = match_features(sides, texts, decoders, tick)
    found = {"kind": "features", "compared_texts": len(texts), "pairs_by_chance": by_chance, "no_decoders": reason}
    tables = {"matches": matches, "coverage": coverage(sides, _partners(sides, matches))}
    return Comparison(tables, {**facts, **found})


def _identity(side: Side) -> tuple[object, ...]:
    """What makes two SAEs one."""
    sae = side.manifest["sae"]
    return tuple(sae.get(name) for name in ("weights_sha256", "settings_hash", "hook", "hook_out"))


def facts_of(sides: Both) -> Manifest:
    """What a comparison says about its catalogs."""
    return {
        "catalogs": [side.slug for side in sides],
        "facts": [shown(side.manifest) for side in sides],
        "row_pages": [side.has_row_page for side in sides],
        "program": {"name": "saecatalog", "version": saecatalog.__version__},
    }


def _decoders(sides: Both, cache: Cache, tick: Callable[[str], object]) -> tuple[Decoders, str]:
    """The decoder rows of both, or None and a sentence with the reason why they cannot be compared."""
    streams = all(side.writes_to_stream for side in sides)
    reason = why_not_one_space(sides[0].manifest, sides[1].manifest, streams)
    if reason:
        return None, f"Decoder rows are not compared, because {reason}."
    tick("decoders")
    try:
        first, second = (Directions(decoder(side.manifest, cache)) for side in sides)
    except CatalogError as error:
        return None, f"Decoder rows are not compared, because an SAE could not be loaded: {error.what}"
    return (first, second), ""


def _partners(sides: Both, matches: Columns) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """The match of each matched feature, for both sides."""
    matched = matches["status"] == "matched"
    first, second = (
        dict(zip(matches["feature"][rows].tolist(), matches["match"][rows].tolist(), strict=True))
        for rows in (matched & (matches["catalog"] == side.slug) for side in sides)
    )
    return first, second


def coverage(sides: Both, partners: tuple[Mapping[int, int], Mapping[int, int]]) -> Columns:
    """How many specialists each category of both catalogs has, and how many of these have a partner that is one too."""
    pairs = [_specialists(side) for side in sides]
    rows = []
    for side, mine, others, partner in zip(sides, pairs, pairs[::-1], partners, strict=True):
        for category, size in side.manifest["corpus"]["categories"].items():
            features = mine.get(category, set())
            shared = {partner[feature] for feature in features if feature in partner} & others.get(category, set())
            rows.append((side.slug, category, size["texts"], len(features), len(shared)))
    names = ("catalog", "category", "n_texts", "specialists", "shared")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _specialists(side: Side) -> dict[str, set[int]]:
    """The specialists of each category that has any."""
    groups = side.specialists.groupby("category")["feature"]
    return {str(name): set(features.tolist()) for name, features in groups}


def changes(first: Side, second: Side) -> Columns:
    """What differs between one SAE's features on two corpora, feature by feature."""
    a, b = first.features, second.features
    fires = [(frame["n_active"] > 0).to_numpy() for frame in (a, b)]
    density = [frame["density"].to_numpy() for frame in (a, b)]
    both = fires[0] & fires[1]
    low, high = (np.stack([frame[f"density_{end}"] for frame in (a, b)]) for end in ("low", "high"))
    columns = {
        "feature": a["feature"].to_numpy(),
        "status": np.select([both, *fires], ["both", "only first", "only second"], "silent"),
        "ratio": np.divide(density[1], density[0], out=np.full(len(a), np.nan), where=both),
        "apart": low.max(0) > high.min(0),
        "specialist_first": first.specialist_of,
        "specialist_second": second.specialist_of,
    }
    for which, frame in (("first", a), ("second", b)):
        columns |= {f"{name}_{which}": frame[name].to_numpy() for name in ("label", "page", "density", "max")}
    return columns
