"""Tools for every benchmark: memory use of a block, a description of the machine, and output of figures."""

import json
import os
import platform
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LIBRARIES = ("torch", "transformer-lens", "sae-lens", "numpy", "scipy", "pandas", "pyarrow")
SAMPLE_SECONDS = 0.05


@dataclass
class Memory:
    """Megabytes beyond what the process used at an earlier time."""

    anonymous: float = 0.0
    """Peak of the memory that belongs to the process alone."""
    resident: float = 0.0
    """Peak of all resident memory, including memory-mapped files, which the system may drop."""


def held() -> tuple[float, float]:
    """Anonymous and resident memory now, in megabytes; 0 if there is no /proc (only Linux has it)."""
    path = Path("/proc/self/status")
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines()) if path.exists() else {}
    anonymous, resident = (int(lines.get(name, "0").split()[0]) * 1024 / 1e6 for name in ("RssAnon", "VmRSS"))
    return anonymous, resident


@contextmanager
def peak_memory(before: tuple[float, float] | None = None) -> Iterator[Memory]:
    """Watch this process's memory from a thread while the block runs; `before` is a result of `held`, default now."""
    start, memory, done = before or held(), Memory(), threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_SECONDS):
            anonymous, resident = held()
            memory.anonymous = max(memory.anonymous, anonymous - start[0])
            memory.resident = max(memory.resident, resident - start[1])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()


def machine() -> dict[str, Any]:
    """The machine and the software of a measurement."""
    models = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "commit": commit.stdout.strip(),
    }


def report(figures: Mapping[str, Any]) -> None:
    """Print the figures, one per line, then all of them with the machine as one line of JSON."""
    for name, value in figures.items():
        shown = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        print(f"{name.replace('_', ' '):44}{shown:>20}")
    print(json.dumps({**figures, "machine": machine()}, ensure_ascii=False))
