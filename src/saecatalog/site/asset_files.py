"""The files every catalog has a copy of: style sheets, scripts, pictures, and Plotly.

In: the package's folder `assets/` and the installed `plotly`. Out: files in a catalog's folder `assets/`, and the style
sheet inside each embed.
"""

import re
import shutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"

LIVE = "live"
"""The folder, among the assets, with those of the live part; only catalogs that have one get them."""
SERVICE_WORKER = "live-sw.js"


def own_assets() -> list[Path]:
    """This package's scripts and pictures, which are copied into every catalog."""
    return sorted(path for path in ASSETS.iterdir() if path.is_file() and path.suffix != ".css")


def copy_live_assets(catalog: Path) -> None:
    """Copy the scripts of the live part, and its style sheet, into a catalog's folder.

    The service worker goes to the top, because it may answer only for pages below its own folder.
    """
    folder = catalog / "assets" / LIVE
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((ASSETS / LIVE).iterdir()):
        if path.suffix == ".css":
            style = style_sheet(f"{LIVE}/{path.name}")
            (folder / path.name).write_text(style, encoding="utf-8", newline="\n")
        else:
            shutil.copyfile(path, (catalog if path.name == SERVICE_WORKER else folder) / path.name)


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
    (folder / "style.css").write_text(style_sheet("tokens.css", "style.css"), encoding="utf-8", newline="\n")


def style_sheet(*names: str) -> str:
    """Style sheets joined into one, without comments and indentation."""
    text = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)
    return re.sub(r"\n\s*", "\n", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)).strip() + "\n"


def embed_style() -> str:
    """The style sheet inside each embed: the shared one without the rules that an embed does not use."""
    text = style_sheet("tokens.css", "embed.css")
    text = re.sub(
        r':root\[data-theme="dark"\] \{[^}]*\}\n|\.still(?:\.\w+| \.m\d| path\.box)[^{]* \{[^}]*\}\n', "", text
    )
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    return re.sub(r"(--[\w-]+):[^;]*;\s*", lambda found: found.group() if found.group(1) in used else "", text)
