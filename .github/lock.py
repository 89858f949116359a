"""Writes the lock files, which give the SHA-256 of every file of every pinned package.

    make locks

`constraints.txt` says which versions; uv looks up the files, for all platforms and Python versions at once.

    locks/site.txt    what the program needs
    locks/test.txt    what only the tests and the documentation need
    locks/tools.txt   the tools of `make sbom` and `make audit`, for an environment of their own

With such a file, pip installs nothing but what was looked at when the file was made. torch is in none of them, nor is
what only its builds for GPUs need: given hashes, pip would always take the package index's build, which on Linux needs
gigabytes for a GPU, even where a build for the CPU is at hand. The Makefile installs torch by its version alone.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = "# Made by `make locks`.\n"
ELSEWHERE = re.compile(r"sys_platform == '(?:win32|emscripten)'")
"""Markers of packages that only unsupported platforms need."""


def name_of(line: str) -> str:
    """The normalised name of the package that a requirement pins."""
    return re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()


def resolve(*words: str) -> dict[str, str]:
    """The pinned and hashed requirements that uv finds for its arguments: name to lines."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    flags = ["--no-header", "--no-annotate", "--python-version", "3.11", *words]
    found = subprocess.run([*command, *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    blocks = re.split(r"\n(?=\S)", found.strip())
    return {name_of(block): block + "\n" for block in blocks if not ELSEWHERE.search(block)}


def main() -> None:
    """Write the files."""
    pinned = {name_of(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()} - {"torch"}
    project = ("pyproject.toml", "--constraint", "constraints.txt")
    site, everything = resolve(*project), resolve(*project, "--extra", "test", "--extra", "docs")
    parts = {
        "site": {name: block for name, block in site.items() if name in pinned},
        "test": {name: block for name, block in everything.items() if name in pinned - site.keys()},
        "tools": resolve(".github/tools.txt"),
    }
    (ROOT / "locks").mkdir(exist_ok=True)
    for part, blocks in parts.items():
        (ROOT / f"locks/{part}.txt").write_text(HEADER + "".join(blocks.values()), encoding="utf-8")


if __name__ == "__main__":
    main()
