"""Checks the live part of a catalog: the files of a site flow in, every problem flows out.

What a reader's browser would refuse, or load for nothing, is found here: parts that are missing, damaged, too large or
of no use, and weights that are not where the manifest says.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from saecatalog.live.bundle import Bundle, part_of, parts_needed
from saecatalog.live.packing import PACKINGS
from saecatalog.live.parts import read_part

PART_MAX = 20_000_000
"""Bytes. Larger files are refused by some hosts, and a download that breaks off is lost."""

NOT_PARTS = ("index.html", "manifest.js")


def live_problems(site: Path, catalog: str, stated: bool, files: Mapping[str, int]) -> Iterator[str]:
    """The problems of one catalog's live part; `stated` says whether the catalog's manifest has one."""
    folder, manifest = f"{catalog}/live", f"{catalog}/live/manifest.js"
    there = {path.removeprefix(f"{folder}/") for path in files if path.startswith(f"{folder}/")}
    if not stated or manifest not in files:
        if stated:
            yield f"{manifest}: missing, though the catalog has a live part"
        yield from (f"{folder}/{name}: the catalog has no live part" for name in sorted(there) if not stated)
        return
    try:
        bundle = read_manifest(site / manifest)
        wanted = parts_needed(bundle)
        parts = {part.file: part for part in (part_of(bundle, name) for name in bundle["parts"])}
        yield from (f"{manifest}: {problem}" for problem in _misplaced(bundle))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{manifest}: cannot be read ({type(error).__name__}: {error})"
        return
    yield from (f"{manifest}: does not list the part {name}" for name in wanted if name not in bundle["parts"])
    yield from (f"{folder}/{name}: not a part of the live part" for name in sorted(there - {*parts, *NOT_PARTS}))
    for name, part in parts.items():
        size = files.get(f"{folder}/{name}", 0)
        if size > PART_MAX:
            yield f"{folder}/{name}: {size / 1e6:.1f} MB, over the limit of {PART_MAX / 1e6:.0f} MB"
        try:
            read_part(site / folder, part)
        except OSError:
            yield f"{folder}/{name}: missing"
        except ValueError as error:
            yield f"{folder}/{name}: {error}"


def read_manifest(path: Path) -> Bundle:
    """The manifest in a script; raises ValueError if it is not one."""
    text = path.read_text(encoding="utf-8").strip()
    if not (text.startswith("saeLive(") and text.endswith(")")):
        raise ValueError("it is not a call of saeLive")
    found: Bundle = json.loads(text[len("saeLive(") : -1])
    return found


def _misplaced(bundle: Bundle) -> Iterator[str]:
    """Tensors outside the weights."""
    for name, tensor in bundle["tensors"].items():
        size = tensor["rows"] * PACKINGS[tensor["packing"]].row_bytes(tensor["columns"])
        if tensor["rows"] == 1:
            size = 4 * tensor["columns"]
        if not 0 <= tensor["at"] <= bundle["weights"] - size:
            yield f"the tensor {name} is not among the weights"
