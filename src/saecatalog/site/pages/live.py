"""The view model of the live page, on which readers run the model on a text of their own.

In: the manifest's entry `live`, which the stage of that name writes. Out: plain values for the template. All that the
page does with a reader's text happens in its scripts, in `assets/live/`.
"""

from typing import Any, TypedDict, cast

from saecatalog.manifest import Manifest, has_live_part

TEMPLATES = ("feature.html", "live.html")
"""The templates of pages that run the model; their policy must allow WebAssembly."""

_NAMES = ("marks", "client", "elements", "loader", "runner", "text", "tables", "compare", "live")
SCRIPTS = ("formats.js", *(f"live/{name}.js" for name in _NAMES))
"""The scripts of the live page, in the order in which they run."""


class Agreement(TypedDict):
    """How the activations that a reader gets differ from the catalog's own: fields of `live.measure.LiveError`."""

    texts: int
    tokens: int
    firings: int
    top_five: float
    missed: float
    false: float
    relative_error: float
    precision: str


class LivePart(TypedDict):
    """The manifest's entry `live` in a catalog that has a live part."""

    bytes_first: int
    """What a reader downloads before the first text, without the rows of the embedding."""
    bytes_total: int
    """All files that the engine may load."""
    context: int
    """Tokens of the longest text, without BOS."""
    norm_limit: float
    special_tokens: bool
    """Whether the name of a special token in a text stands for that token."""
    error: Agreement


def part(manifest: Manifest) -> LivePart | None:
    """The live part of a catalog; None if it has none, or was built before there were any."""
    return cast(LivePart, manifest["live"]) if has_live_part(manifest) else None


def view() -> dict[str, Any]:
    """What the live page needs besides the manifest."""
    return {"scripts": SCRIPTS}
