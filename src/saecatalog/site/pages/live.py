"""The view model of the live page, on which readers run the model on a text of their own.

In: the manifest's entry `live`, which the stage of that name writes. Out: plain values for the template. All that the
page does with a reader's text happens in its scripts, in `assets/live/`.
"""

from typing import Any, TypedDict, cast

from saecatalog.manifest import Manifest

TEMPLATES = ("feature.html", "live.html")
"""The templates of pages that run the model; their policy must allow WebAssembly."""

_NAMES = ("marks", "client", "elements", "loader", "runner", "text", "tables", "compare", "live")
SCRIPTS = ("formats.js", *(f"live/{name}.js" for name in _NAMES))
"""The scripts of the live page, in the order in which they run."""


class Agreement(TypedDict):
    """How the activations that a reader gets differ from the catalog's own, on a sample of the corpus."""

    top_five: float
    """Share of tokens whose five strongest features are the same, in the same order."""
    missed: float
    """Share of the catalog's firings that the page misses."""
    false: float
    """Share of the page's firings that the catalog does not have."""
    relative: float
    """Mean relative difference of the activations that both have."""


class Sample(TypedDict):
    """What the agreement was measured on."""

    texts: int
    tokens: int
    firings: int


class LivePart(TypedDict):
    """The manifest's entry `live`; None there if the catalog has no live part."""

    bytes_first: int
    """What a reader downloads before the first text, without the rows of the embedding."""
    bytes_total: int
    """All files of the live part."""
    context: int
    """Tokens of the longest text, without BOS."""
    error: Agreement
    sample: Sample


def part(manifest: Manifest) -> LivePart | None:
    """The live part of a catalog; None if it has none, as in all catalogs of earlier versions."""
    return cast(LivePart | None, manifest.get("live"))


def view() -> dict[str, Any]:
    """What the live page needs besides the manifest."""
    return {"scripts": SCRIPTS}
