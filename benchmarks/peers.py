"""This tool compared with `sae-dashboard` and `sae-vis`: the whole dictionary, on the same model, SAE and token ids.

    python benchmarks/peers.py [--tokens 16384] [--counts 256 512 1024] [--vis-counts 32 64 128] [--threads 2]
    python benchmarks/peers.py --only vis            # one part; earlier measurements are kept
    python benchmarks/peers.py --only ours --again   # measure that part again
    python benchmarks/peers.py --only wide           # `sae-dashboard` with its cache and larger batches of features

Five parts, each in its own process with the same threads and cores, in float32: the bare floor (a forward pass to the
hook and one encode of every token), `sae-dashboard` as its README uses it, the same with its activation cache,
`sae-vis` as its demo uses it, and this tool from texts to the finished site, all features, with an empty cache. The
peers are timed at a few feature counts and extrapolated by a straight line to the whole dictionary. The floor's time is
that of its loop alone, a peer's time includes loading the model once, and this tool's time is that of the whole
process. The peers' environments (Python 3.11 or 3.12, every version pinned in `benchmarks/peers/`), the stand-in model
and SAE and all results are kept in the cache folder. Prints a table, how far the tools agree, and everything as one
line of JSON.
"""

import argparse
import json
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from standin import BOS, CONTEXT, HOOK, Standin, add_arguments, gpt2_tokenizer, made, make_texts, standin

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
PARTS = {
    "floor": "bare floor",
    "ours": "this tool",
    "dashboard": "sae-dashboard",
    "cached": "sae-dashboard, cache_dir",
    "wide": "the same, 1,024 at a time",
    "vis": "sae-vis",
}
DEFAULT = [part for part in PARTS if part != "wide"]
"""The parts measured by default. `wide` is left out: no document describes that use, and it takes minutes more."""
AT_A_TIME = {"wide": 1024}
"""Features that `sae-dashboard` processes at a time, if not its default of 256."""
SAMPLE = range(32)
"""Features whose top activations are compared."""
EDGES = 6, 5
"""Positions at a window's start and end (including BOS) for which the peers never list a sequence."""
INTERVAL = 0.2
"""Seconds between two readings of a process's memory."""
ROUNDING = 1e-4
"""The peers round activations to four decimals."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """One configuration of the benchmark, and the folder with its texts, tokens and results."""

    subject: Standin
    folder: Path
    d_sae: int
    threads: int
    cache: Path

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    def records(self) -> list[Record]:
        """Every measurement so far."""
        return list(json.loads(self.results.read_text())) if self.results.exists() else []

    def keep(self, record: Record) -> None:
        """Add a measurement; it replaces an older one of the same part and count."""
        others = [r for r in self.records() if (r["part"], r["features"]) != (record["part"], record["features"])]
        unfinished = self.results.with_suffix(".part")
        unfinished.write_text(json.dumps([*others, record]))
        unfinished.replace(self.results)


def prepare(a: argparse.Namespace) -> Bench:
    """Make the stand-ins, the texts and their token ids if they do not exist yet."""
    subject = standin(a.d_sae, a.l0, a.seed, a.cache)
    name = f"peers-{a.tokens}-tokens-{subject.sae.name}-{a.threads}-threads"
    folder = made(a.cache / name, lambda folder: write_windows(folder, a.tokens // CONTEXT, a.seed, a.cache))
    return Bench(subject, folder, a.d_sae, a.threads, a.cache)


def write_windows(folder: Path, count: int, seed: int, cache: Path) -> None:
    """Write `count` texts of one window each, for this tool, and their token ids with BOS, for the others.

    The others accept windows of one length only, so every text is cut to fill a window exactly. Cuts that would be
    tokenised differently are left out.
    """
    tokenizer = gpt2_tokenizer(cache)
    windows = []
    with (folder / "windows.jsonl").open("w", encoding="utf-8") as file:
        for category, text, ids in cut_windows(make_texts(10 * count * CONTEXT, seed, tokenizer), tokenizer):
            windows.append([BOS, *ids])
            file.write(json.dumps({"text": text, "category": category}) + "\n")
            if len(windows) == count:
                break
    np.save(folder / "tokens.npy", np.array(windows, np.int64))


def cut_windows(texts: Iterator[tuple[str, str, list[int]]], tokenizer: Any) -> Iterator[tuple[str, str, list[int]]]:
    """Texts of exactly one window without BOS, cut from longer ones: category, text, token ids."""
    size = CONTEXT - 1
    for category, _, ids in texts:
        for start in range(0, len(ids) - size + 1, size):
            part = ids[start : start + size]
            text = tokenizer.decode(part)
            if text == text.strip() and tokenizer.encode(text).ids == part:
                yield category, text, part


def environment(name: str, cache: Path) -> Path:
    """The Python of a peer's own virtual environment, which is made on first use.

    Besides torch and the requirements of its build for this system, only the pinned packages are installed: one of
    `sae-dashboard`'s requirements asks for packages that it never imports and that are incompatible with this torch.
    """
    if sys.version_info >= (3, 13):
        sys.exit("The peers' pinned versions need Python 3.11 or 3.12.")
    pins = PEERS / f"{name}.txt"
    digest = sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:8]

    def install(folder: Path) -> None:
        print(f"Installing {name} (a few minutes the first time)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip: list[str | Path] = [folder / "bin/python", "-m", "pip", "install", "--quiet"]
        steps: list[list[str | Path]] = [["--constraint", pins, "torch"], ["--no-deps", "--requirement", pins]]
        for step in steps:
            subprocess.run([*pip, *step], check=True, stdout=sys.stderr)

    return made(cache / f"environment-{name}-{digest}", install) / "bin/python"


def hub(model: Path, cache: Path) -> Path:
    """A folder for HF_HOME in which the stand-in is named `gpt2`, because the peers load models only by name."""

    def link(folder: Path) -> None:
        for repository in ("gpt2", "openai-community/gpt2"):
            place = folder / "hub" / f"models--{repository.replace('/', '--')}"
            snapshot = place / "snapshots" / ("0" * 40)
            snapshot.mkdir(parents=True)
            (place / "refs").mkdir()
            (place / "refs/main").write_text(snapshot.name)
            for file in model.iterdir():
                (snapshot / file.name).symlink_to(file.resolve())

    return made(cache / f"hub-{model.name}", link)


def run(bench: Bench, command: Sequence[str | Path]) -> tuple[Record, str]:
    """Run a command on the benchmark's threads and cores: its time, CPU time and peak memory, and its last line."""
    threads = str(bench.threads)
    given = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    given |= {"HF_HOME": str(hub(bench.subject.model, bench.cache)), "PYTHONPATH": str(ROOT / "src")}
    environ = {**os.environ, **given}
    with tempfile.TemporaryFile() as output:
        usage_before, before = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        child = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT)
        peak = 0
        while child.poll() is None:
            peak = max(peak, memory(child.pid))
            with suppress(subprocess.TimeoutExpired):
                child.wait(INTERVAL)
        usage, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - before
        output.seek(0)
        words = output.read().decode(errors="replace").strip()
    if child.returncode:
        sys.exit(f"{command[1]} failed (exit code {child.returncode}):\n{words[-4000:]}")
    cpu = usage.ru_utime + usage.ru_stime - usage_before.ru_utime - usage_before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "peak_bytes": peak}, words.splitlines()[-1] if words else ""


def memory(pid: int) -> int:
    """Bytes that a process and its children use now; shared memory counts for each of them."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in (first := psutil.Process(pid), *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Limit all processes to this number of cores, if the system supports it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_worker(bench: Bench, part: str, features: int) -> Record:
    """Run one of the scripts in `peers/` on the first features."""
    name = "dashboard" if part in ("cached", "wide") else part
    python = Path(sys.executable) if part == "floor" else environment(name, bench.cache)
    with tempfile.TemporaryDirectory(dir=bench.folder) as out:
        job = {
            "model": str(bench.subject.model), "sae": str(bench.subject.sae), "hook": HOOK,
            "tokens": str(bench.folder / "tokens.npy"), "threads": bench.threads, "features": features, "out": out,
            "sample": [f for f in SAMPLE if f < features], "cached": part in ("cached", "wide"),
            "at_a_time": AT_A_TIME.get(part, 256),
        }  # fmt: skip
        measured, last = run(bench, [python, PEERS / f"{name}.py", json.dumps(job)])
    return {**measured, **json.loads(last)}


def run_ours(bench: Bench) -> Record:
    """Build the whole catalog with an empty cache, read the needed figures from the site, and remove it."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        site = folder / "site"
        command: list[str | Path] = [
            sys.executable, ROOT / "build.py", "--model", bench.subject.model, "--sae", bench.subject.sae,
            "--corpus", bench.folder / "windows.jsonl", "--concepts", folder / "none", "--features", "all",
            "--cache", folder / "cache", "--out", site,
        ]  # fmt: skip
        measured, _ = run(bench, command)
        data = next(site.rglob("data/manifest.json")).parent
        pages = [page.stat().st_size for page in data.parent.glob("features/[0-9]*[0-9].html")]
        manifest = json.loads((data / "manifest.json").read_text())
        return {
            **measured,
            "pages": len(pages),
            "bytes": sum(pages),
            "site_bytes": sum(file.stat().st_size for file in site.rglob("*") if file.is_file()),
            "tokens_counted": manifest["counts"]["tokens"],
            "peaks": peaks(data),
        }


def peaks(data: Path) -> dict[str, list[tuple[int, int, float]]]:
    """The strongest token of every window, for the sampled features: window, position (including BOS), activation."""
    texts = pd.read_parquet(data / "texts.parquet", columns=["text", "source"])
    window = texts.set_index("text").source.str.extract(r"line (\d+)$")[0].astype(int) - 1
    scores = pd.read_parquet(data / "text_scores.parquet", filters=[("feature", "in", list(SAMPLE))])
    scores["window"] = scores.text.map(window)
    scores["position"] += 1
    by_feature = scores.groupby("feature")[["window", "position", "score"]]
    return {str(feature): list(own.itertuples(index=False, name=None)) for feature, own in by_feature}


def counts(a: argparse.Namespace) -> dict[str, list[int]]:
    """The feature counts that each part is measured with."""
    own = {"floor": [0], "ours": [a.d_sae], "wide": a.wide_counts, "vis": a.vis_counts}
    return {**own, "dashboard": a.counts, "cached": a.counts}


def measure(bench: Bench, a: argparse.Namespace) -> None:
    """Run the requested measurements that do not exist yet."""
    done = {(r["part"], r["features"]) for r in bench.records()}
    for part in a.only:
        for features in counts(a)[part]:
            if (part, features) in done and not a.again:
                continue
            print(f"{PARTS[part]}, {features:,} features", file=sys.stderr, flush=True)
            with cores(bench.threads):
                found = run_ours(bench) if part == "ours" else run_worker(bench, part, features)
            bench.keep({"part": part, "features": features, **found, "commit": commit(), "date": time.strftime("%F")})


def commit() -> str:
    """The measured commit, marked if files differ from it."""
    words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def machine() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def extrapolate(records: list[Record], d_sae: int) -> Record:
    """Extrapolate a line through the seconds at each count (with saving, without loading) to the whole dictionary.

    The line's intercept counts once, or once for every batch of features if no count went beyond the first batch.
    """
    largest = records[-1]
    counts = np.array([r["features"] for r in records], float)
    seconds = np.array([r["seconds"]["work"] + r["seconds"]["save"] for r in records])
    load = float(np.median([r["seconds"]["load"] for r in records]))
    slope, start = line(counts, seconds)
    misfit = np.abs(start + slope * counts - seconds) / seconds
    batches = math.ceil(d_sae / largest["features_at_a_time"]) if counts[-1] <= largest["features_at_a_time"] else 1
    return {
        "base_points": [{"features": int(n), "seconds": round(s, 2)} for n, s in zip(counts, seconds, strict=True)],
        "load_s": round(load, 2),
        "start_s": round(start, 3),
        "starts": batches,
        "s_per_feature": round(slope, 5),
        "largest_misfit": round(float(misfit.max()), 4) if len(records) > 2 else None,
        "whole_s": round(load + batches * start + slope * d_sae, 1),
        "peak_gb": round(largest["peak_bytes"] / 1e9, 2),
        "page_kb": round(line(counts, np.array([r["bytes"] for r in records]))[0] / 1000, 1),
        "settings": {name: largest[name] for name in ("features_at_a_time", "windows_at_a_time")},
        "versions": largest["versions"],
    }


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the least-squares line; through 0 if the intercept would be negative, or for one point."""
    slope, start = np.polyfit(x, y, 1) if len(x) > 1 else (0.0, -1.0)
    return (float(slope), float(start)) if start >= 0 else (float((x * y).sum() / (x * x).sum()), 0.0)


def summary(bench: Bench, a: argparse.Namespace) -> Record:
    """All figures measured so far at the counts asked for."""
    records = sorted(bench.records(), key=lambda r: r["features"])
    by_part = {part: [r for r in records if r["part"] == part and r["features"] in counts(a)[part]] for part in PARTS}
    by_part = {part: records for part, records in by_part.items() if records}
    peers = [part for part in by_part if part not in ("floor", "ours")]
    found: Record = {part: extrapolate(by_part[part], bench.d_sae) for part in peers}
    if "floor" in by_part:
        (floor,) = by_part["floor"]
        found["floor"] = {
            "whole_s": round(floor["seconds"]["work"], 2), "peak_gb": round(floor["peak_bytes"] / 1e9, 2),
            "windows_at_a_time": floor["batch"], "versions": floor["versions"],
        }  # fmt: skip
    if "ours" in by_part:
        (ours,) = by_part["ours"]
        found["ours"] = {
            "whole_s": round(ours["wall_s"], 1), "cpu_s": round(ours["cpu_s"], 1),
            "peak_gb": round(ours["peak_bytes"] / 1e9, 2), "page_kb": round(ours["bytes"] / ours["pages"] / 1000, 1),
            "tokens": ours["tokens_counted"], "pages": ours["pages"],
            "site_mb": round(ours["site_bytes"] / 1e6, 1), "commit": ours["commit"],
        }  # fmt: skip
        found["agreement"] = {part: agreement(by_part[part][-1]["tops"], ours["peaks"]) for part in peers}
    return with_ratios(found)


def with_ratios(found: Record) -> Record:
    """Each part's time divided by the floor's and by this tool's."""
    for part in PARTS.keys() & found.keys():
        for other in {"floor", "ours"} & found.keys() - {part}:
            found[part][f"over_{other}"] = round(found[part]["whole_s"] / found[other]["whole_s"], 2)
    return found


def agreement(tops: dict[str, list[list[float]]], peaks: dict[str, list[list[float]]]) -> Record:
    """How a peer's top sequences of the sampled features compare with this tool's strongest token of each window.

    If the peer lists several tokens of a window, the strongest one counts. It never lists a token near a window's edge,
    so its strongest token may differ from ours. A feature that never fired has 20 top sequences there and none here.
    """
    found = {"features": len(tops), "windows_alike": 0, "windows_with_peak_at_edge": 0, "windows_unlike": 0}
    found |= {"peaks_missing": 0, "maxima_unlisted": 0, "silent_with_examples": 0}
    largest = 0.0
    for feature, listed in tops.items():
        ours = {int(w): (int(p), v) for w, p, v in peaks.get(feature, [])}
        theirs: dict[int, tuple[int, float]] = {}
        for w, p, v in sorted(listed, key=lambda top: -top[2]):
            if v > 0:
                theirs.setdefault(int(w), (int(p), v))
        found["silent_with_examples"] += not ours and bool(listed)
        for w, (_, v) in theirs.items():
            place, value = ours.get(w, (-1, 0.0))
            if abs(value - v) <= ROUNDING:
                largest = max(largest, abs(value - v))
                found["windows_alike"] += 1
            elif at_edge(place) and value > v:
                found["windows_with_peak_at_edge"] += 1
            else:
                found["windows_unlike"] += 1
        least = min((v for _, _, v in listed), default=0.0)
        strong = [w for w, (p, v) in ours.items() if v > least + ROUNDING and not at_edge(p)]
        found["peaks_missing"] += sum(w not in theirs for w in strong)
        if ours:
            found["maxima_unlisted"] += at_edge(max(ours.values(), key=lambda peak: peak[1])[0])
    return {**found, "largest_difference": round(largest, 6)}


def at_edge(position: int) -> bool:
    """Whether the peers leave this position out of all their examples."""
    return 0 <= position < EDGES[0] or position >= CONTEXT - EDGES[1]


def table(found: Record) -> Iterator[str]:
    """The figures as lines of text."""
    heads = ("whole, s", "x floor", "x this tool", "peak, GB", "KB a page")
    yield f"{'':26}" + "".join(f"{head:>13}" for head in heads)
    for part, words in PARTS.items():
        if part in found:
            names = ("whole_s", "over_floor", "over_ours", "peak_gb", "page_kb")
            cells = [f"{found[part][name]:,}" if name in found[part] else "" for name in names]
            yield f"{words:26}" + "".join(f"{cell:>13}" for cell in cells)
    for part in [part for part in PARTS if part in found and part not in ("floor", "ours")]:
        fit = found[part]
        points = ", ".join(f"{point['features']:,}: {point['seconds']:,} s" for point in fit["base_points"])
        misfit = "no misfit known" if fit["largest_misfit"] is None else f"largest misfit {fit['largest_misfit']:.1%}"
        yield (
            f"{PARTS[part]}: extrapolated from {points} ({misfit}): {fit['s_per_feature']} s a feature, "
            f"{fit['starts']} x {fit['start_s']} s besides, {fit['load_s']} s of loading"
        )
    if "ours" in found:
        yield f"{PARTS['ours']}: commit {found['ours']['commit']}, {found['ours']['pages']:,} feature pages"
    for part, alike in found.get("agreement", {}).items():
        yield f"{PARTS[part]}, top activations against ours: {json.dumps(alike)}"


def main() -> None:
    """Measure, and print all results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens, including BOS; a multiple of 128")
    parser.add_argument("--counts", type=int, nargs="+", default=[256, 512, 1024], help="features for sae-dashboard")
    parser.add_argument("--wide-counts", type=int, nargs="+", default=[1024, 2048], help="features for `wide`")
    parser.add_argument("--vis-counts", type=int, nargs="+", default=[32, 64, 128], help="features for sae-vis")
    parser.add_argument("--threads", type=int, default=2, help="threads and cores for everyone")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=DEFAULT, help="parts to measure")
    parser.add_argument("--again", action="store_true", help="repeat existing measurements")
    a = parser.parse_args()
    bench = prepare(a)
    measure(bench, a)
    found = summary(bench, a)
    print("\n".join(table(found)))
    settings = {"tokens": a.tokens, "d_sae": a.d_sae, "l0": a.l0, "seed": a.seed, "threads": a.threads}
    print(json.dumps({"settings": settings, "machine": machine(), "python": platform.python_version(), **found}))


if __name__ == "__main__":
    if shutil.which("git") is None:
        sys.exit("git is needed, to name the commit that was measured.")
    main()
