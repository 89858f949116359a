"""The files of a catalog's live part: the output of its stage and the tables flow in, the folder `live/` flows out.

Besides the parts that the engine runs, a reader needs what the catalog knows of each feature, and the texts of the
examples as the model read them.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from saecatalog.live.bundle import LIVE, listed
from saecatalog.live.parts import Part, write_part
from saecatalog.site.catalog import Catalog
from saecatalog.site.charts import script_json
from saecatalog.site.records import Row

TEXT_BYTES = 1 << 18
"""A part with texts ends when it has so many bytes: a reader who edits an example loads one."""


def write_live(catalog: Catalog, live: Path, folder: Path) -> None:
    """Write the live part of a catalog into `folder`, beside its page."""
    folder.mkdir(exist_ok=True)
    for file in live.glob("*.js"):
        shutil.copyfile(file, folder / file.name)
    manifest = json.loads((live / LIVE).read_bytes())
    parts = [write_part(folder, "features", orjson.dumps(_features(catalog), option=orjson.OPT_SERIALIZE_NUMPY))]
    parts += _texts(catalog, folder)
    manifest["parts"] |= listed(parts)
    (folder / "manifest.js").write_text(f"saeLive({script_json(manifest)})\n", encoding="utf-8")


def _features(catalog: Catalog) -> dict[str, Any]:
    """What pages show of each feature of the dictionary."""
    frame = catalog.tables.read("features", ["label", "max", "density", "n_active", "page"])
    return {
        "label": frame["label"].tolist(),
        "max": frame["max"].to_numpy(np.float32),
        "density": frame["density"].to_numpy(np.float64),
        "n_active": frame["n_active"].to_numpy(np.int64),
        "page": (frame["page"] != "").to_numpy(np.int8),
    }


def _texts(catalog: Catalog, folder: Path) -> Iterator[Part]:
    """The texts of the examples in parts, and a part that says which text is in which of them."""
    places, number, held, size = {}, 0, {}, 0
    for text in _in_examples(catalog):
        row = catalog.texts[text]
        held[text], places[text] = list(_windows(row, catalog)), number
        size += len(row.content)
        if size >= TEXT_BYTES:
            yield write_part(folder, f"texts-{number}", orjson.dumps(held))
            number, held, size = number + 1, {}, 0
    yield write_part(folder, f"texts-{number}", orjson.dumps(held))
    yield write_part(folder, "windows", orjson.dumps(places))


def _in_examples(catalog: Catalog) -> list[str]:
    frame = catalog.tables.read("contexts", ["feature", "text"])
    found: list[str] = frame["text"][frame["feature"].isin(catalog.paged)].drop_duplicates().tolist()
    return found


def _windows(row: Row, catalog: Catalog) -> Iterator[tuple[int, str]]:
    """Of each window of a text, its first counted token and the characters that the model read."""
    settings = catalog.manifest["settings"]
    size = settings["context"] - int(catalog.manifest["sae"]["prepend_bos"])
    ends = [0, *row.token_ends]
    start = 0
    while start < len(row.token_ends):
        lead = settings["overlap"] if start else 0
        stop = min(start - lead + size, len(row.token_ends))
        yield start, row.content[ends[start - lead] : ends[stop]]
        start = stop
