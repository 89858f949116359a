"""The kernel: C with SIMD, compiled to WebAssembly. `build` makes `kernel.wasm` from `kernel.c`.

The compiler is the `ziglang` package of a fixed version, so the same source gives the same bytes on every machine.
"""

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "kernel.c"
BINARY = Path(__file__).parent / "kernel.wasm"

FLAGS = (
    "-target", "wasm32-wasi", "-mexec-model=reactor", "-mcpu=generic+simd128", "-O3", "-ffp-contract=off",
    "-Wall", "-Wextra", "-Werror",
    "-Wl,--strip-all", "-Wl,--export=__heap_base", "-Wl,-z,stack-size=65536",
)  # fmt: skip


def build(out: Path) -> None:
    """Compile the kernel; raises subprocess.CalledProcessError, after the compiler's words, if that fails."""
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", str(out), str(SOURCE)], check=True)


if __name__ == "__main__":
    build(BINARY)
