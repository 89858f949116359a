"""Pages, rebuilds and the check of a catalog in which every feature has a page.

    python benchmarks/render.py DATA [--work DIR] [--base-url URL] [--copies N]

DATA is the `data` folder of a built catalog. With `--copies 6`, a catalog of 4,096 features has each of them six times,
under other numbers: as many pages as one of 24,576 features, without its model. Every step runs in its own process, so
that its time includes its imports. Prints a table and one line of JSON. Seconds are wall-clock time; `cpu` is the time
of all processors together, which depends less on other work on the machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parent.parent
STEPS: dict[str, Callable[[Path, str], object]] = {}
PROCESSES = (1, 2)


def step(function: Callable[[Path, str], object]) -> Callable[[Path, str], object]:
    """A step of the benchmark, which takes the working folder and the address of the site."""
    STEPS[function.__name__] = function
    return function


@step
def build(work: Path, base_url: str) -> None:
    """What `build.py` does once the analysis is there."""
    from saecatalog.build import build_site
    from saecatalog.cache import Cache
    from saecatalog.config import SiteConfig
    from saecatalog.notes import Subjects, read_notes
    from saecatalog.progress import Progress
    from saecatalog.site.inventory import check_out
    from saecatalog.site.output_folder import output_folder

    manifest = json.loads((work / "analysis/manifest.json").read_text("utf-8"))
    manifest = {**{name: value for name, value in manifest.items() if name != "pages"}, "base_url": base_url}
    corpus = manifest["corpus"]
    subjects = Subjects(manifest["sae"]["d_sae"], list(corpus["categories"]), list(corpus["concepts"]))
    config = replace(SiteConfig(), out=str(work / "site"), templates=str(work / "templates"), base_url=base_url)
    notes = read_notes(str(work / "notes"), subjects)
    with output_folder(work / "site") as workspace, Cache(work / "cache") as cache:
        analysis = cache.output("analysis", "key", partial(shutil.copytree, work / "analysis", dirs_exist_ok=True))
        build_site(analysis, manifest, notes, config, check_out(work / "site"), workspace, Progress(quiet=True))


@step
def check(work: Path, base_url: str) -> int:
    """What `build.py check` does."""
    from saecatalog.site.check import check_site

    return len(check_site(work / "site"))


def pages(work: Path, workers: int) -> None:
    """The pages of all features and nothing else."""
    from saecatalog.site.catalog import Catalog
    from saecatalog.site.render import render_catalog
    from saecatalog.tables import Tables

    (data,) = (work / "site").glob("*/*/data")
    manifest = json.loads((data / "manifest.json").read_text("utf-8"))
    tables = Tables(data)
    only = {f"features/{n}.html" for n in Catalog(tables, manifest).paged}
    render_catalog(tables, manifest, work / "templates", work / f"pages-{workers}", workers=workers, only=only)


for count in PROCESSES:
    STEPS[f"pages_{count}"] = lambda work, _, count=count: pages(work, count)  # type: ignore[misc]


def run(name: str, work: Path, base_url: str) -> dict[str, Any]:
    """Run a step in its own process; returns its seconds, processor seconds, peak memory with children, and output."""
    words = [sys.executable, __file__, "--step", name, "--work", str(work), "--base-url", base_url]
    before, started = os.times(), time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    memory = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, memory))
    watcher.start()
    said, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"The step {name} failed.")
    seconds, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"s": seconds, "cpu_s": cpu, "peak_mb": memory[0], "said": json.loads(said)}


def _watch(process: "subprocess.Popen[str]", memory: list[float]) -> None:
    """Record the peak memory of a process and its children together, counting shared pages once."""
    while process.poll() is None:
        memory[0] = max(memory[0], sum(map(_memory, _family(process.pid))))
        time.sleep(0.2)


def _family(pid: int) -> list[int]:
    """A process and all its children; none if the process has ended."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(one for child in children for one in _family(child))]


def _memory(pid: int) -> float:
    """A process's proportional share of memory, in MB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


NUMBERED = {
    **dict.fromkeys(("features", "tokens", "histograms", "contexts", "detection", "firings", "concepts"), ("feature",)),
    **dict.fromkeys(("text_scores", "categories", "logits", "logit_histograms"), ("feature",)),
    "neighbours": ("feature", "neighbour"),
    "coactivation": ("feature_a", "feature_b"),
}
"""The tables of which each copy of a feature has rows of its own, and their columns with a feature's number."""


def prepare(data: Path, work: Path, copies: int) -> None:
    """The analysis with a page for every feature, templates to edit, and notes of every kind."""
    from saecatalog.tables import Tables, write_table

    shutil.copytree(data, work / "analysis")
    multiply(work / "analysis", copies)
    features = Tables(work / "analysis")["features"]
    write_table(
        work / "analysis", "features", features.assign(page=[f"features/{n}.html" for n in features["feature"]])
    )
    shutil.copytree(ROOT / "templates", work / "templates")
    corpus = json.loads((data / "manifest.json").read_text("utf-8"))["corpus"]
    for name in note_files(corpus).values():
        path = work / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Before.", encoding="utf-8")


def multiply(analysis: Path, copies: int) -> None:
    """Give every feature so many copies; those after the first are not notable, and no effects of them are known."""
    from saecatalog.tables import Tables, write_table

    manifest = json.loads((analysis / "manifest.json").read_text("utf-8"))
    size, tables = manifest["sae"]["d_sae"], Tables(analysis)
    for name, numbers in NUMBERED.items() if copies > 1 else ():
        frame = tables.read(name)
        unnoted = {"notable": ""} if name == "features" else {}
        rest = [
            frame.assign(**unnoted, **{column: frame[column] + copy * size for column in numbers})
            for copy in range(1, copies)
        ]
        write_table(analysis, name, pd.concat([frame, *rest]))
    manifest["sae"]["d_sae"] = copies * size
    for count in ("features", "features_fired"):
        manifest["counts"][count] *= copies
    (analysis / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def note_files(corpus: dict[str, Any]) -> dict[str, str]:
    """A note of each kind, by its kind."""
    first = {kind: next(iter(corpus[kind]), None) for kind in ("categories", "concepts")}
    return {"feature": "100.md", "front page": "index.md"} | {k: f"{k}/{name}.md" for k, name in first.items() if name}


def measure(work: Path, base_url: str) -> dict[str, Any]:
    """Run every step, in the order of the result."""
    corpus = json.loads((work / "analysis/manifest.json").read_text("utf-8"))["corpus"]
    found = {"build": run("build", work, base_url)}
    # Nothing is removed before: for minutes after ext4 has removed files, it makes new ones ten times as slowly.
    for number in PROCESSES:
        found[f"feature pages, {number} processes"] = run(f"pages_{number}", work, base_url)
    found["unchanged"] = run("build", work, base_url)
    for kind, name in note_files(corpus).items():
        (work / "notes" / name).write_text("After.", encoding="utf-8")
        found[f"note edit: {kind}"] = run("build", work, base_url)
    template = work / "templates/feature.html"
    template.write_text(template.read_text("utf-8").replace("<h1>", '<h1 class="edited">'), encoding="utf-8")
    found["template edit"] = run("build", work, base_url)
    found["check"] = run("check", work, base_url)
    return found


def sizes(site: Path) -> dict[str, tuple[int, int]]:
    """Number of files and bytes of each kind."""
    count, total = Counter[str](), Counter[str]()
    for path in site.rglob("*"):
        if path.is_file():
            kind = _kind(path.relative_to(site).as_posix().split("/"))
            count[kind] += 1
            total[kind] += path.stat().st_size
    return {kind: (count[kind], size) for kind, size in total.most_common()}


def _kind(parts: list[str]) -> str:
    """The kind of a file of the site, from the parts of its path."""
    folder, name = parts[2] if len(parts) > 3 else "", parts[-1]
    if name == "search-index.js" or folder == "search":
        return "search"
    if folder not in ("features", "texts"):
        return folder if folder in ("data", "charts") else "the rest"
    if name.endswith(".embed.html"):
        return "embeds"
    if name.startswith(("index.", "page-", "all.", "table-data")):
        return f"lists of {folder}"
    return f"{folder}' pages" if name.endswith(".html") else f"{folder}' marks"


def table(found: dict[str, Any], kinds: dict[str, tuple[int, int]]) -> list[str]:
    """The results as lines of text."""
    lines = [f"{'step':30}{'s':>8}{'cpu s':>8}{'peak MB':>9}"]
    lines += [f"{name:30}{f['s']:8.1f}{f['cpu_s']:8.1f}{f['peak_mb']:9.0f}" for name, f in found.items()]
    lines += ["", f"{'kind':30}{'files':>8}{'MB':>8}{'bytes each':>12}"]
    lines += [f"{kind:30}{n:8,}{size / 1e6:8.1f}{size / n:12,.0f}" for kind, (n, size) in kinds.items()]
    files, size = (sum(column) for column in zip(*kinds.values(), strict=True))
    return [*lines, f"{'together':30}{files:8,}{size / 1e6:8.1f}"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("data", type=Path, help="the `data` folder of a built catalog")
    arguments.add_argument("--work", type=Path, help="folder to work in, which is kept; default: a temporary one")
    arguments.add_argument("--base-url", default="")
    arguments.add_argument("--copies", type=int, default=1, help="how many times the catalog has each of its features")
    arguments.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    a = arguments.parse_args()
    if a.step:
        print(json.dumps(STEPS[a.step](a.work, a.base_url)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = a.work or Path(folder) / "work"
        work.mkdir(parents=True, exist_ok=True)
        prepare(a.data, work, a.copies)
        found, kinds = measure(work, a.base_url), sizes(work / "site")
        n = kinds["features' pages"][0]
        rates = {count: n / found[f"feature pages, {count} processes"]["s"] for count in PROCESSES}
        print("\n".join(table(found, kinds)))
        print(
            "\n".join(f"{rate:,.0f} feature pages per second with {count} processes" for count, rate in rates.items())
        )
        print(f"{found['check']['said']} problems found by the check")
        print(json.dumps({"features": n, "pages_per_s": rates, "steps": found, "sizes": kinds}))


if __name__ == "__main__":
    main()
