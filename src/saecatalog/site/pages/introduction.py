"""The view models of the feature that introduces a catalog, on its front page and on the page about embeds.

In: a `Catalog`. Out: plain values for the templates.
"""

from typing import Any

from markupsafe import Markup

from saecatalog.site import cite
from saecatalog.site.catalog import Catalog
from saecatalog.site.pages import feature

INTRODUCED = 4
"""Examples shown of the feature."""

QUOTES = "“”,"
"""Signs around the first word of a label."""


def introduction(catalog: Catalog) -> dict[str, Any] | None:
    """A feature that shows newcomers what a feature is, with its first examples; None if no feature has a page.

    It has an embed if any has.

    It is the clearest of words and their forms, else the one with the highest contrast for a concept, else the first
    specialist, else the strongest. If possible, it is strong on as many texts as are shown, and its label begins with a
    word, which is easier to read than a symbol.
    """
    shown = sorted(catalog.embedded) or catalog.paged
    strong = [n for n in shown if catalog.features[n].n_texts_strong >= INTRODUCED] or shown
    words = [n for n in strong if catalog.ref(n).label.partition(" ")[0].strip(QUOTES).isalpha()] or strong
    frame = catalog.tables["rankings"]
    for kind in ("clearest:words", "contrast:", "specialist:", "strongest"):
        found = frame[frame["ranking"].str.startswith(kind) & frame["feature"].isin(words)]
        if len(found):
            number = int(found.sort_values(["value", "feature"], ascending=[False, True])["feature"].iloc[0])
            contexts = catalog.examples.of_features([number])[number]
            examples = feature.examples_by_band(catalog, catalog.features[number], contexts)
            return {"ref": catalog.ref(number), "examples": examples.get("top", [])[:INTRODUCED]}
    return None


def embedding(catalog: Catalog) -> dict[str, Any]:
    """What the page about embeds shows: the card of the front page's example feature, and the code for it."""
    shown = introduction(catalog)
    if shown is None or shown["ref"].number not in catalog.embedded:
        return {"ref": None}
    ref = shown["ref"]
    code = cite.feature(catalog.manifest, catalog.features[ref.number], True).embed
    all_have = len(catalog.embedded) == len(catalog.paged)
    return {
        "ref": ref,
        "frame": Markup(cite.frame(ref.number, cite.embed_page(ref.page))),
        "code": code,
        "embedded": None if all_have else " ".join(map(str, sorted(catalog.embedded))),
    }
