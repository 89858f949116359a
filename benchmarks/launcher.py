"""Runs the command line in a process of its own, and sends that process a signal at a chosen file-system step.

    python benchmarks/launcher.py PROGRAM

PROGRAM is the folder with `build.py`. Requests flow in on standard input, one JSON object a line, and exit codes flow
out. The libraries and the program are loaded once, and what the keys of the stages say about its code is found once;
each build is a fork, so that a build of a tiny model takes a second and not ten. The build itself is `build.py`, run as
from a shell. Steps are Python's audit events: whatever the program opens, makes, renames, links or removes.
"""

import gc
import json
import os
import re
import runpy
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

PATH_OF = {
    "open": 0, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1,
    "os.truncate": 0, "os.utime": 0, "os.chmod": 0,
}  # fmt: skip
"""The audit events that count as steps, and which of their arguments is the path that changes."""

STAGES = ("subject", "harvest", "lens", "analysis.run", "site.publish")
"""The modules with the stages. Builds would find out by themselves about one that is missing here."""

SECONDS = 300.0
"""A build that takes longer hangs, and is ended with the exit code HUNG."""
HUNG = 124


@dataclass(frozen=True)
class Stop:
    """A signal at a step of a stage, counted from 1, or some seconds after it."""

    stage: str
    step: int
    signal: int = signal.SIGKILL
    delay: float = 0.0


@dataclass(frozen=True)
class Request:
    """One build: its arguments, and the folders whose steps count."""

    words: list[str]
    inputs: str
    run: str
    """The folder with `cache`, `site` and `tmp`, the temporary folder of the build."""
    stop: Stop | None = None


def stage_of(event: str, path: Path, inputs: Path, run: Path) -> str | None:
    """The stage of a build that touches a path: the folder of the cache, or the part of the site; None for neither."""
    if inputs in path.parents:
        return "loads the model" if path.relative_to(inputs).parts[0] in ("model", "sae", "second") else "reads inputs"
    if run not in path.parents:
        return None
    top, *inside = path.relative_to(run).parts
    if top == "site":
        if event in ("os.rename", "os.rmdir"):
            return "site: swaps"
        return "site: catalog" if len(inside) > 2 else "site: root"
    word = re.match(r"\w+", inside[0].lstrip(".")) if inside else None
    return f"{top}: {word[0]}" if word else top


class Steps:
    """The audit hook of a build: writes down each step, and sends the signal at the chosen one."""

    def __init__(self, request: Request, log: int):
        self.stop, self.log = request.stop, log
        self.inputs, self.run = Path(request.inputs), Path(request.run)
        self.counts: Counter[str] = Counter()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        name = arguments[PATH_OF[event]] if event in PATH_OF else None
        if not isinstance(name, str | bytes | os.PathLike):
            return
        path = Path(os.path.abspath(os.fsdecode(name)))
        stage = stage_of(event, path, self.inputs, self.run)
        if stage is None:
            return
        self.counts[stage] += 1
        os.write(self.log, f"{stage}\t{event}\t{path}\n".encode())
        if self.stop and self.stop.stage == stage and self.stop.step == self.counts[stage]:
            self._send(self.stop)

    def _send(self, stop: Stop) -> None:
        def send() -> None:
            time.sleep(stop.delay)
            os.killpg(0, stop.signal)

        if stop.delay:
            threading.Thread(target=send, daemon=True).start()
        else:
            send()


def _build(request: Request, program: Path) -> None:
    """The life of a fork: redirect its output, count its steps, and be `python build.py`."""
    os.setpgid(0, 0)
    run = Path(request.run)
    log = os.open(run / "steps", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(run / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.environ["TMPDIR"] = str(run / "tmp")
    os.chdir(program)
    # Whoever starts this in the background of a shell ignores Ctrl-C, and so would the build.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["build.py", *request.words]
    sys.addaudithook(Steps(request, log))
    runpy.run_path("build.py", run_name="__main__")


def _fork(request: Request, program: Path) -> int:
    """Run a build; its exit code as a shell shows it, 128 and the signal's number where a signal ended it."""
    child = os.fork()
    if child == 0:
        # Never returns into the loop of requests: `SystemExit` ends the process as it ends any program.
        _build(request, program)
        sys.exit(0)
    deadline = time.monotonic() + SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return HUNG
        time.sleep(0.01)


def load_libraries() -> None:
    """Import what takes long. The libraries read these variables then, as the command line sets them for each build."""
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    import pandas  # noqa: F401
    import plotly.graph_objects  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sae_lens  # noqa: F401
    import scipy.stats  # noqa: F401
    from transformer_lens.model_bridge import TransformerBridge  # noqa: F401
    from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: F401


def load_program(program: Path) -> None:
    """Import what `build.py` imports, and find out once which files and libraries each stage depends on."""
    sys.path.insert(0, str(program / "src"))
    from saecatalog import build, harvest, stage_keys, subject  # noqa: F401
    from saecatalog.analysis import run  # noqa: F401
    from saecatalog.site import publish  # noqa: F401

    for stage in STAGES:
        stage_keys.files_of(f"saecatalog.{stage}", stage_keys.PACKAGE)
        stage_keys.libraries_of(f"saecatalog.{stage}", stage_keys.PACKAGE)


def serve(requests: IO[str], codes: IO[str], program: Path) -> None:
    """Answer each request with the exit code of its build."""
    for line in requests:
        given = json.loads(line)
        stop = given.pop("stop")
        code = _fork(Request(**given, stop=stop and Stop(**stop)), program)
        print(code, file=codes, flush=True)


def encoded(request: Request) -> str:
    """A request as one line."""
    return json.dumps(asdict(request)) + "\n"


if __name__ == "__main__":
    program = Path(sys.argv[1])
    load_libraries()
    load_program(program)
    # The builds need not look through these objects, which takes seconds of each.
    gc.collect()
    gc.freeze()
    serve(sys.stdin, sys.stdout, program)
