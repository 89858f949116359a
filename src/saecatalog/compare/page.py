"""Renders the page of a comparison: its tables and its manifest flow in, the bytes of `index.html` flow out."""

from pathlib import Path

from saecatalog.compare import tables
from saecatalog.manifest import Manifest
from saecatalog.site.pages import compare
from saecatalog.site.templates import environment
from saecatalog.site.writer import Page

PAGE = "index.html"


def render(manifest: Manifest, data: Path, templates: Path) -> bytes:
    """The page of a comparison, from its folder `data`. It is two folders below the site's root."""
    up = "../../"
    first, second = compare.names_of(manifest, up)
    title = f"{manifest['facts'][0]['model']['name']}: {first.short} and {second.short}"
    words = f"A comparison of {first.title} and {second.title}."
    view = compare.view(manifest, tables.read(data, manifest["kind"]), up)
    page = Page(title, title, words, PAGE, "", up, "", "")
    return environment(templates).get_template("compare.html").render(view, page=page).encode("utf-8", "replace")
