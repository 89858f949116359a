"""Writes pages, chart scripts, styles and assets.

In: a view, its template and its path. Out: a file below the catalog's folder. `render.py` knows which pages there are.
"""

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from markupsafe import Markup

from saecatalog.site import cite
from saecatalog.site.catalog import Catalog
from saecatalog.site.charts import Heatmap, script_json
from saecatalog.site.templates import SECTIONS, environment

ASSETS = Path(__file__).parent / "assets"
CARD = "assets/card.png"


@dataclass(frozen=True)
class Page:
    """The path and the names of a page; `root` is the relative path back to the catalog's folder.

    `address` is the page's URL and `card` that of the picture shown in link previews; both are "" if unknown.
    """

    title: str
    description: str
    path: str
    section: str
    root: str
    address: str
    card: str


class Writer:
    """Renders templates with the values that every page needs, and writes the results below `out`."""

    def __init__(self, catalog: Catalog, templates: Path, out: Path, only: Collection[str] | None = None):
        self.catalog, self.out, self.only = catalog, out, only
        self.env = environment(templates)
        manifest = catalog.manifest
        self.env.globals.update(m=manifest, categories=catalog.category, up="../" * len(manifest["slug"].split("/")))
        self.style = Markup(_embed_style())
        self._folders: set[str] = set()

    def wants(self, *paths: str) -> bool:
        """Whether any of these files is to be written; paths are relative to the catalog's folder."""
        return self.only is None or any(path in self.only for path in paths)

    def page(self, template: str, path: str, title: str, description: str, **view: Any) -> None:
        """Write one page, if it is wanted."""
        if not self.wants(path):
            return
        depth = path.count("/")
        section = next((name for name, _ in SECTIONS if depth and name.split("/")[0] == path.split("/")[0]), path)
        manifest = self.catalog.manifest
        page = Page(
            title if title == manifest["title"] else f"{title} · {manifest['title']}",
            description,
            path,
            section,
            "../" * depth,
            cite.address(manifest, path) if manifest["base_url"] else "",
            cite.address(manifest, CARD) if manifest["base_url"] else "",
        )
        self.write(path, self.env.get_template(template).render(view, page=page))

    def embed(self, path: str, view: dict[str, Any]) -> None:
        """Write the embed of a feature, given the path of its page."""
        manifest, name = self.catalog.manifest, f"Feature {view['f'].feature}"
        page = {"title": name, "full": cite.address(manifest, path) if manifest["base_url"] else ""}
        html = self.env.get_template("feature_embed.html").render(view, page=page, style=self.style)
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
        # Only three system calls, because tens of thousands of files are written.
        handle = os.open(f"{self.out}/{path}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(handle, (text if isinstance(text, str) else text()).encode("utf-8", "replace"))
        finally:
            os.close(handle)


def own_assets() -> list[Path]:
    """This package's scripts and pictures, which are copied into every catalog."""
    return sorted(path for path in ASSETS.iterdir() if path.suffix != ".css")


def plotly_bundle() -> Path:
    """Plotly's script from the installed `plotly` package."""
    # Importing it only for its path would take a second.
    found = find_spec("plotly")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def copy_assets(folder: Path, names: Iterable[str | Path]) -> None:
    """Copy files into `folder` and write the style sheet; a name is that of a file among this package's assets."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(ASSETS / name, folder / Path(name).name)
    (folder / "style.css").write_text(_styles("tokens.css", "style.css"), encoding="utf-8", newline="\n")


def _styles(*names: str) -> str:
    """Style sheets joined into one, without comments and indentation."""
    text = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)
    return re.sub(r"\n\s*", "\n", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)).strip() + "\n"


def _embed_style() -> str:
    """The style sheet inside each embed: the shared one without the rules that an embed does not use."""
    text = _styles("tokens.css", "embed.css")
    text = re.sub(
        r':root\[data-theme="dark"\] \{[^}]*\}\n|\.still(?:\.\w+| \.m\d| path\.box)[^{]* \{[^}]*\}\n', "", text
    )
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    return re.sub(r"(--[\w-]+):[^;]*;\s*", lambda found: found.group() if found.group(1) in used else "", text)
