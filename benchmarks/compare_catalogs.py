"""Time and memory of `compare`, on two catalogs of the full-size stand-in: one model, two SAEs of 24,576 features.

    python benchmarks/standin.py                # the model, an SAE and a corpus: prints their paths
    python benchmarks/standin.py --l0 32        # another SAE for the same model
    python build.py --model MODEL --sae SAE_64 --corpus CORPUS --out SITE
    python build.py --model MODEL --sae SAE_32 --corpus CORPUS --out SITE
    python benchmarks/compare_catalogs.py SITE

`compare` runs in a process of its own, so that the peak of memory is its own. The second run finds the decoders in the
cache.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(words: list[str]) -> tuple[float, float]:
    """Seconds and the peak of resident memory, in gigabytes, of a command; its output is shown."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(ROOT / "build.py"), *words])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed")
    # In kilobytes on Linux, in bytes on macOS.
    unit = 1e9 if sys.platform == "darwin" else 1e6
    return time.perf_counter() - started, used.ru_maxrss / unit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("catalogs", nargs="*", help="two catalogs; default: all pairs of one model")
    arguments = parser.parse_args()
    words = ["compare", *(arguments.catalogs or ["--all"]), "--site", str(arguments.site), "--quiet"]
    for name in ("first run", "again"):
        seconds, gigabytes = run(words)
        print(f"{name}: {seconds:.1f} s, {gigabytes:.2f} GB at most")


if __name__ == "__main__":
    main()
