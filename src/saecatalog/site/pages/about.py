"""The view model of the about page: what every figure means, what the catalog was built from, and how to cite it.

In: a `Catalog` and the descriptions in `schemas.SCHEMAS`. Out: plain values for the template.
"""

from dataclasses import dataclass
from typing import Any

from saecatalog.manifest import Manifest
from saecatalog.schemas import SCHEMAS, TABLES
from saecatalog.site import cite
from saecatalog.site.catalog import Catalog
from saecatalog.site.pages import effects


@dataclass(frozen=True)
class Definition:
    """One column of one data table: its name, its type in the file and its meaning."""

    anchor: str
    column: str
    type: str
    meaning: str


def view(catalog: Catalog) -> dict[str, Any]:
    """Everything the about page shows."""
    manifest = catalog.manifest
    return {
        "definitions": [(name, *TABLES[name], definitions(name)) for name in SCHEMAS],
        "provenance": provenance(manifest),
        "no_effects": effects.reasons(catalog),
        "n_effects": len(catalog.effects),
        "libraries": sorted(manifest["libraries"].items()),
        "settings": sorted(manifest["settings"].items()),
        "corpus": [(ref, ref.texts, ref.tokens) for ref in catalog.largest_categories],
        "more_categories": len(catalog.categories) - len(catalog.largest_categories),
        "cite": cite.catalog(manifest),
    }


def definitions(table: str) -> list[Definition]:
    """The columns of a table, in order."""
    return [Definition(f"{table}-{c}", c, str(kind), words) for c, (kind, words) in SCHEMAS[table].items()]


def provenance(manifest: Manifest) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the catalog was built from, as groups of labels and values; empty values are left out."""
    model, sae, corpus, program = (manifest[name] for name in ("model", "sae", "corpus", "program"))
    groups: list[tuple[str, list[tuple[str, object]]]] = [
        (
            "Language model",
            [
                ("Name", model["name"]),
                ("Layers", model["n_layers"]),
                ("Width of the residual stream", model["d_model"]),
                ("Source", model["source"]),
                ("Run by", model["library"]),
                ("SHA-256 of the weights", model["weights_sha256"]),
            ],
        ),
        (
            "Sparse autoencoder",
            [
                ("Name", sae["name"]),
                ("Release", sae["release"]),
                ("Id", sae["id"]),
                ("Architecture", sae["architecture"]),
                *_hooks(sae["hook"], sae["hook_out"]),
                ("Features", sae["d_sae"]),
                ("Input width", sae["d_in"]),
                ("BOS before each text", "yes" if sae["prepend_bos"] else "no"),
                ("SHA-256 of the weights", sae["weights_sha256"]),
                ("Neuronpedia", sae["neuronpedia_id"] or "This SAE is not on Neuronpedia"),
            ],
        ),
        (
            "Corpus",
            [
                ("Name", corpus["name"]),
                ("Texts", corpus["texts"]),
                ("Tokens", corpus["tokens"]),
                ("Tokens counted", manifest["counts"]["tokens"]),
                ("SHA-256", corpus["sha256"]),
                ("Texts in which names of special tokens are plain characters", corpus["plain_names"]["texts"] or ""),
            ],
        ),
        (
            "Program",
            [("Name", program["name"]), ("Version", program["version"]), ("Commit", program["commit"])],
        ),
    ]
    return [(name, [(k, _shown(v)) for k, v in lines if v not in (None, "")]) for name, lines in groups]


def _hooks(read: str, written: str) -> list[tuple[str, object]]:
    return [("Hook", read)] if read == written else [("Reads at", read), ("Writes at", written)]


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
