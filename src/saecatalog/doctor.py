"""What this machine has of what the program needs: the cache's folder flows in, a report flows out.

Each fact is looked up where the program itself looks. Nothing is written or downloaded.
"""

import os
import platform
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import saecatalog
from saecatalog.errors import CatalogError

HUB_SECONDS = 4.0
"""How long the hub may take to answer."""


@dataclass(frozen=True)
class Report:
    """What is here. Sizes are in bytes; None stands for what is not here or not known."""

    version: str
    folder: str
    """Where the program lies."""
    python: str
    executable: str
    platform: str
    cores: int
    memory: int | None
    cache: str
    cache_size: int
    cache_free: int
    """Free space on the disk with the cache."""
    libraries: dict[str, str | None]
    """The version of every library that the program needs."""
    devices: dict[str, int | None]
    """What a model can run on, with the memory of GPUs; empty if a library is missing."""
    default_model: bool | None
    """Whether the model of the default catalog is in the cache."""
    hub: str | None
    """The model hub: `reachable`, `unreachable`, or `off` (HF_HUB_OFFLINE is set)."""
    node: str | None
    """The program that runs the live part in `verify` and in the tests."""
    chromium: str | None
    """The program that runs the browser tests."""
    problems: list[str]
    """Why a build cannot run here, one sentence each."""

    def lines(self) -> list[str]:
        """The report as lines for a terminal."""
        facts = {
            "saecatalog": f"{self.version}, {self.folder}",
            "Python": f"{self.python}, {self.executable}",
            "platform": self.platform,
            "cores": str(self.cores),
            "memory": _words(self.memory),
            "devices": ", ".join(n + (f" ({_words(size)})" if size else "") for n, size in self.devices.items()),
            "cache": f"{self.cache}, {_words(self.cache_size)}; {_words(self.cache_free)} free on this disk",
            "default model": "in the cache" if self.default_model else "not in the cache; a build downloads it",
            "model hub": self.hub,
            "Node": self.node or "not found; only `verify` and the tests use it, for the live part",
            "Chromium": self.chromium or "not found; only the tests use it",
            "libraries": ", ".join(f"{name} {found or '(missing)'}" for name, found in self.libraries.items()),
        }
        lines = [f"{name:<15}{fact or 'unknown'}" for name, fact in facts.items()]
        return [*lines, *(f"{'problem':<15}{problem}" for problem in self.problems or ["none"])]


def examine(cache: Path) -> Report:
    """Look at everything. Importing torch takes most of the time, some seconds."""
    needed = _requirements()
    libraries = {item.name: _version(item.name) for item in needed}
    whole = bool(libraries) and all(libraries.values())
    return Report(
        version=saecatalog.__version__,
        folder=str(Path(__file__).parent),
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        cores=_cores(),
        memory=_memory(),
        cache=str(cache),
        cache_size=_size_below(cache),
        cache_free=shutil.disk_usage(_existing(cache)).free,
        libraries=libraries,
        devices=_devices() if whole else {},
        default_model=_has_default_model(cache) if whole else None,
        hub=_hub() if whole else None,
        node=_node(),
        chromium=shutil.which("chromium") or shutil.which("chromium-browser"),
        problems=[*_problems(needed, libraries), *_cache_problems(cache)],
    )


# Libraries


def _requirements() -> list[Requirement]:
    """What the program needs, without what only its tests need; nothing if it is not installed."""
    try:
        found = [Requirement(line) for line in requires("saecatalog") or []]
    except PackageNotFoundError:
        return []
    return [item for item in found if item.marker is None or item.marker.evaluate({"extra": ""})]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _problems(needed: list[Requirement], libraries: dict[str, str | None]) -> Iterator[str]:
    if not needed:
        yield "saecatalog is not installed, so its libraries are not known; in a checkout, run `make site`."
        return
    python = metadata("saecatalog")["Requires-Python"]
    if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        yield f"Python {platform.python_version()} is here, but {python} is needed."
    for item in needed:
        found = libraries[item.name]
        if found is None:
            yield f"{item.name} is missing."
        elif not item.specifier.contains(found, prereleases=True):
            yield f"{item.name} {found} is here, but {item} is needed."


# Machine


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int | None:
    """The memory of the machine, or what its container may use."""
    if not hasattr(os, "sysconf"):
        return None
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    words = limit.read_text().strip() if limit.is_file() else ""
    return min(machine, int(words)) if words.isdigit() else machine


def _devices() -> dict[str, int | None]:
    import torch

    found: dict[str, int | None] = {"cpu": None}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found[f"cuda:{index} {properties.name}"] = properties.total_memory
    if torch.backends.mps.is_available():
        found["mps"] = None
    return found


def _node() -> str | None:
    from saecatalog.live.node import node

    try:
        return node()
    except CatalogError:
        return None


# Cache and hub


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(part for part in (folder, *folder.absolute().parents) if part.exists())


def _size_below(folder: Path) -> int:
    """Total size of the files; one that goes away meanwhile does not count."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(above, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _cache_problems(cache: Path) -> Iterator[str]:
    place = _existing(cache)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield f"The cache {cache} cannot be written; --cache names another folder."


def _has_default_model(folder: Path) -> bool:
    from saecatalog.cache import Cache
    from saecatalog.models.default_model import downloaded

    return downloaded(Cache(folder)).path.exists()


def _hub() -> str:
    """Whether the model hub answers, which is not waited for longer than HUB_SECONDS."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "off (HF_HUB_OFFLINE is set)"
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS))
        except Exception:  # Whatever fails, in any library below: there is no answer.
            return

    # Looking up a name has no time limit of its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(HUB_SECONDS)
    return f"{'reachable' if answers else 'unreachable'} ({constants.ENDPOINT})"


def _words(size: int | None) -> str:
    return "" if size is None else f"{size / 1e9:.1f} GB"
