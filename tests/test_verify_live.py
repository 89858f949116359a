"""`check` and `verify` find what is wrong with a live part, even if the checksums are put right."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import orjson
import pytest

from saecatalog.live.bundle import part_of
from saecatalog.live.parts import read_part, write_part
from saecatalog.progress import Progress
from saecatalog.site.check_live import live_problems, read_manifest
from saecatalog.verify.evidence import Evidence, gather
from saecatalog.verify.published import Published
from saecatalog.verify.report import Report
from saecatalog.verify.run import _check_live
from saecatalog.verify.runner import SubjectSources, load_runner

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def evidence(live_site: Path) -> Evidence:
    published = Published(live_site)
    runner = load_runner(published.manifest, SubjectSources(live_site.parents[2] / "cache"))
    return gather(published, runner, [], Report(), QUIET)


@pytest.fixture
def copy(live_site: Path, tmp_path: Path) -> Path:
    return Path(copytree(live_site, tmp_path / "copy"))


def problems(evidence: Evidence, site: Path) -> list[str]:
    """What `verify` finds in the live part of a changed copy."""
    report = Report()
    seen, published = evidence.seen, Published(site)
    changed = Evidence(published, evidence.runner, [], seen, evidence.concepts_seen, report)
    assert _check_live(changed, QUIET) == []
    return [str(found) for found in report.found]


def edit_manifest(site: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = site / "live/manifest.js"
    bundle = read_manifest(path)
    change(bundle)
    path.write_text(f"saeLive({json.dumps(bundle)})\n", "utf-8")


def edit_part(site: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a part of JSON, with the checksums that fit."""
    bundle = read_manifest(site / "live/manifest.js")
    content = json.loads(read_part(site / "live", part_of(bundle, name)))
    change(content)
    part = write_part(site / "live", name, orjson.dumps(content))
    edit_manifest(site, lambda bundle: bundle["parts"].update({name: [part.bytes, part.crc32]}))


def edit_bytes(site: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    bundle = read_manifest(site / "live/manifest.js")
    part = write_part(site / "live", name, change(read_part(site / "live", part_of(bundle, name))))
    edit_manifest(site, lambda bundle: bundle["parts"].update({name: [part.bytes, part.crc32]}))


def edit_stated(site: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = site / "data/manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest["live"])
    path.write_text(json.dumps(manifest), "utf-8")


def edit_error(site: Path, name: str, value: float) -> None:
    """Change a figure of the error everywhere."""
    edit_manifest(site, lambda bundle: bundle["error"].update({name: value}))
    edit_stated(site, lambda stated: stated["error"].update({name: value}))


def swap(content: bytes) -> bytes:
    return content[: len(content) // 2][::-1] + content[len(content) // 2 :]


PLANTED: dict[str, Callable[[Path], Any]] = {
    "features: max": lambda s: edit_part(s, "features", lambda table: table["max"].reverse()),
    "features: label": lambda s: edit_part(s, "features", lambda table: table["label"].reverse()),
    "features: density": lambda s: edit_part(s, "features", lambda t: t.update(density=[0.5] * len(t["density"]))),
    "features: page": lambda s: edit_part(s, "features", lambda t: t.update(page=[1 - one for one in t["page"]])),
    "tokens": lambda s: edit_part(s, "tokenizer", lambda t: [t[name].clear() for name in ("left", "right", "made")]),
    "windows": lambda s: edit_part(s, "texts-0", lambda t: next(iter(t.values()))[0].reverse()),
    "share of": lambda s: edit_bytes(s, "weights-0", swap),
    "activations": lambda s: edit_bytes(s, "rows-0", swap),
    "norm_limit": lambda s: edit_manifest(s, lambda b: b.update(norm_limit=1e9)),
    "context": lambda s: edit_manifest(s, lambda b: b.update(context=15)),
    "bos_token_id": lambda s: edit_manifest(s, lambda b: b.update(bos_token_id=3)),
    "special_tokens": lambda s: edit_manifest(s, lambda b: b.update(special_tokens=True)),
    "bytes_first": lambda s: edit_stated(s, lambda live: live.update(bytes_first=1)),
    "error.false": lambda s: edit_stated(s, lambda live: live["error"].update(false=0.5)),
    "false firings": lambda s: edit_error(s, "false", 0.01),
    "missed firings": lambda s: edit_error(s, "missed", 0.01),
    "tokens alike": lambda s: edit_error(s, "top_five", 0.5),
    "error.firings": lambda s: edit_error(s, "firings", 12),
    "error.relative_error": lambda s: edit_error(s, "relative_error", 0.03),
    "No such file": lambda s: (s / "live/manifest.js").unlink(),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found(evidence: Evidence, copy: Path, what: str) -> None:
    PLANTED[what](copy)
    assert any(what in problem for problem in problems(evidence, copy)), problems(evidence, copy)


def test_nothing_else_is_found(evidence: Evidence, live_site: Path) -> None:
    assert problems(evidence, live_site) == []


CHECKED: dict[str, Callable[[Path], Any]] = {
    "manifest.js: cannot be read": lambda s: (s / "live/manifest.js").write_text(
        json.dumps(read_manifest(s / "live/manifest.js")), "utf-8"
    ),
    "cannot be read (TypeError": lambda s: edit_manifest(s, lambda b: b["parts"].update(kernel=3)),
    "cannot be read (ValueError": lambda s: edit_manifest(s, lambda b: b["parts"].update(kernel=["a", "b"])),
    "not list the part weights-0": lambda s: edit_manifest(s, lambda b: b["parts"].pop("weights-0")),
}


@pytest.mark.parametrize("what", CHECKED)
def test_check_finds_manifests_that_browsers_cannot_use(copy: Path, what: str) -> None:
    CHECKED[what](copy)
    files = {f"copy/{path.relative_to(copy).as_posix()}": path.stat().st_size for path in copy.rglob("*.*")}
    assert any(what in problem for problem in live_problems(copy.parent, "copy", True, files))
