"""Checks of what a live part tells besides what it runs: its settings, the figures of features, the texts of examples.

A page takes them from files of its own, so they are compared with the tables and the manifest of the catalog. All of
them are there without the model, and without Node.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from saecatalog.live.bundle import Bundle, part_of
from saecatalog.live.parts import read_part
from saecatalog.site.check_live import read_manifest
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.report import SINGLE, Checker

MANIFEST = "live/manifest.js"

SIX_DIGITS = 1e-5
"""How precisely the manifest gives the limit on norms."""


def check_live_files(e: Evidence) -> None:
    """Compare the live part's manifest, its table of features and its texts with the catalog."""
    bundle = read_manifest(e.published.folder / MANIFEST)
    at = e.report.at(MANIFEST)
    _check_settings(at, bundle, e)
    _check_stated(e.report.at("manifest.json", "live"), bundle, e.manifest["live"])
    _check_features(at, _part(e, bundle, "features"), e)
    _check_texts(bundle, e)


def _part(e: Evidence, bundle: Bundle, name: str) -> Any:
    return json.loads(read_part(e.published.folder / "live", part_of(bundle, name)))


def _check_settings(at: Checker, bundle: Bundle, e: Evidence) -> None:
    at.same("context", bundle["context"], e.runner.context)
    at.same("prepend_bos", bundle["prepend_bos"], e.runner.bos is not None)
    if e.runner.bos is not None:
        at.same("bos_token_id", bundle["bos_token_id"], e.runner.bos)
    at.same("d_sae", bundle["d_sae"], e.published.d_sae)
    at.close("norm_limit", bundle["norm_limit"], e.manifest["health"]["norm_limit"], SIX_DIGITS)
    special = e.published["texts"]["special_tokens"]
    at.same("special_tokens", bundle["special_tokens"], bool(special.any()))


def _check_stated(at: Checker, bundle: Bundle, stated: dict[str, Any]) -> None:
    """What the pages say of the live part."""
    later = ("features", "windows", "texts-")
    sizes = {name: size for name, (size, _) in bundle["parts"].items() if not name.startswith(later)}
    at.same("bytes_total", stated["bytes_total"], sum(sizes.values()))
    first = sum(size for name, size in sizes.items() if not name.startswith("rows-"))
    at.same("bytes_first", stated["bytes_first"], first)
    at.same("context", stated["context"], bundle["context"] - int(bundle["prepend_bos"]))
    for name in ("norm_limit", "special_tokens"):
        at.same(name, stated[name], bundle[name])
    for name, value in bundle["error"].items():
        at.same(f"error.{name}", stated["error"].get(name), value)


def _check_features(at: Checker, shown: dict[str, list[Any]], e: Evidence) -> None:
    table = e.published["features"].sort_values("feature")
    at.lists("features: label", shown["label"], table["label"].tolist())
    at.lists("features: n_active", shown["n_active"], table["n_active"].tolist())
    at.lists("features: page", shown["page"], (table["page"] != "").astype(int).tolist())
    for name in ("max", "density"):
        found, wanted = np.array(shown[name], float), table[name].to_numpy(float)
        good = len(found) == len(wanted) and np.allclose(found, wanted, rtol=SINGLE, atol=0)
        at.holds(good, f"features: {name}", "the figures are not those of the table of features")


def _check_texts(bundle: Bundle, e: Evidence) -> None:
    """The texts of all examples on the features' pages, window by window."""
    places: dict[str, int] = _part(e, bundle, "windows")
    features, contexts = e.published["features"], e.published["contexts"]
    paged = features.loc[features["page"] != "", "feature"]
    wanted = set(contexts.loc[contexts["feature"].isin(paged), "text"])
    e.report.at(MANIFEST).lists("windows", sorted(places), sorted(wanted))
    parts = {number: _part(e, bundle, f"texts-{number}") for number in set(places.values())}
    rows = e.published["texts"].set_index("text")
    for text in sorted(wanted & places.keys()):
        row = rows.loc[text]
        found = [list(window) for window in parts[places[text]].get(text, [])]
        read = [list(window) for window in _windows(row["content"], [int(end) for end in row["token_ends"]], e)]
        e.report.at(MANIFEST, f"text {text}").holds(found == read, "windows", "they are not those that the model reads")


def _windows(content: str, ends: list[int], e: Evidence) -> Iterator[tuple[int, str]]:
    """Of each window, the first token that counts in it and the characters of all of its tokens."""
    size, overlap = e.runner.context - int(e.runner.bos is not None), e.runner.overlap
    first = 0
    while first < len(ends):
        begin = max(0, first - overlap)
        after = min(begin + size, len(ends))
        yield first, content[ends[begin - 1] if begin else 0 : ends[after - 1]]
        first = after
