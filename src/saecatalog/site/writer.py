"""Writes pages and the scripts of their charts.

In: a view, its template and its path. Out: a file below the catalog's folder. `render.py` knows which pages there are.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from saecatalog.manifest import Manifest
from saecatalog.site import cite
from saecatalog.site.asset_files import embed_style
from saecatalog.site.catalog import Catalog
from saecatalog.site.charts import Heatmap, script_json
from saecatalog.site.pages import live
from saecatalog.site.templates import CSP, EFFECTS_SECTION, LIVE_CSP, LIVE_SECTION, SECTIONS, environment

CARD = "assets/card.png"


@dataclass(frozen=True)
class Page:
    """The path and the names of a page; `root` is the relative path back to the catalog's folder.

    `heading` is its own name and `site` that of the catalog. `address` is the page's URL and `card` that of the picture
    shown in link previews; both are "" if unknown.
    """

    heading: str
    site: str
    description: str
    path: str
    section: str
    root: str
    address: str
    card: str

    @property
    def title(self) -> str:
        """What a browser's tab shows."""
        return self.heading if self.heading == self.site else f"{self.heading} · {self.site}"


class Writer:
    """Renders templates with the values that every page needs, and writes the results below `out`.

    If `only` is given, it writes only these paths. `put` writes a file (default: `write_whole`).
    """

    def __init__(
        self,
        catalog: Catalog,
        templates: Path,
        out: Path,
        only: Collection[str] | None = None,
        put: Callable[[str, bytes], None] | None = None,
    ):
        self.catalog, self.out, self.only, self._put = catalog, out, only, put or write_whole
        self.env = environment(templates)
        self._template = cache(self.env.get_template)
        manifest = catalog.manifest
        self.live = live.part(manifest)
        self.sections = _sections(manifest, self.live is not None)
        up = "../" * len(manifest["slug"].split("/"))
        self.env.globals.update(m=manifest, categories=catalog.category, up=up)
        self.env.globals.update(sections=self.sections, live=self.live)
        self.style = Markup(embed_style())
        self._folders: set[str] = set()

    def wants(self, *paths: str) -> bool:
        """Whether any of these files is to be written; paths are relative to the catalog's folder."""
        return self.only is None or any(path in self.only for path in paths)

    def wants_in(self, folder: str) -> bool:
        """Whether any file in this folder may be written: faster than asking for each."""
        return self.only is None or any(path.startswith(f"{folder}/") for path in self.only)

    def page(self, template: str, path: str, title: str, description: str, **view: Any) -> None:
        """Write one page, if it is wanted."""
        if not self.wants(path):
            return
        depth = path.count("/")
        section = next((name for name, _ in self.sections if depth and name.split("/")[0] == path.split("/")[0]), path)
        manifest = self.catalog.manifest
        page = Page(
            title,
            manifest["title"],
            description,
            path,
            section,
            "../" * depth,
            cite.address(manifest, path) if manifest["base_url"] else "",
            cite.address(manifest, CARD) if manifest["base_url"] else "",
        )
        runs_model = self.live is not None and template in live.TEMPLATES
        csp = Markup(LIVE_CSP if runs_model else CSP)
        self.write(path, self._template(template).render(view, page=page, csp=csp))

    def embed(self, path: str, view: dict[str, Any]) -> None:
        """Write the embed of a feature, given the path of its page."""
        manifest, name = self.catalog.manifest, f"Feature {view['f'].feature}"
        page = {"title": name, "full": cite.address(manifest, path) if manifest["base_url"] else ""}
        html = self._template("feature_embed.html").render(view, page=page, style=self.style)
        self.write(cite.embed_page(path), html)

    def chart(self, chart: Heatmap | None) -> None:
        """Write the script with a heatmap's numbers."""
        if chart is not None:
            call = f"saeFigure({script_json(chart.source)},{script_json(chart.data)});\n"
            self.write(f"charts/{chart.source}.js", call)

    def write(self, path: str, text: str | Callable[[], str]) -> None:
        """Write a file below `out`, if it is wanted, from its text or from a function that makes the text.

        Lone surrogates, which UTF-8 cannot encode, become question marks.
        """
        if not self.wants(path):
            return
        folder, _, _ = path.rpartition("/")
        if folder not in self._folders:
            (self.out / folder).mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)
        self._put(f"{self.out}/{path}", (text if isinstance(text, str) else text()).encode("utf-8", "replace"))


def _sections(manifest: Manifest, live: bool) -> tuple[tuple[str, str], ...]:
    """The pages that every page links to, with the words of the links: those that this catalog has."""
    first, rest = SECTIONS[:1], SECTIONS[1:]
    return (*((LIVE_SECTION,) if live else ()), *first, *((EFFECTS_SECTION,) if manifest.get("effects") else ()), *rest)


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file with only three system calls, because there are tens of thousands of files.

    Raises OSError if it does not fit.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        # The system may write only the part that fits. It says why when it is given the rest.
        while content:
            content = content[os.write(handle, content) :]
    finally:
        os.close(handle)
