"""What happens to a catalog when a build is killed, stopped, or finds damaged files, a full disk or changed inputs.

    python benchmarks/reliability.py kills [--n 60] [--seed 0]     SIGKILL at file-system steps of every stage
    python benchmarks/reliability.py faults [--n 60] [--seed 0]    damaged cache files; full and read-only disks
    python benchmarks/reliability.py stops [--n 40] [--seed 0]     SIGINT and SIGTERM in every stage
    python benchmarks/reliability.py inputs                        changed inputs of the same size and age

Everything is made in a temporary folder, and everything runs through `build.py`. Each figure compares a site, byte by
byte, with the site of an uninterrupted build with an empty cache. Prints a table and, for each kind of failure, an
example. The exit code is 1 if anything fails.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from launcher import Stop
from workbench import Run, Tree, Workbench, catalogs, tree, workbench

LONGEST_DELAY = 0.05
"""Seconds between a step and a signal that follows it, at most: the signal then hits work between two steps."""
ROOT_LIST = ".saecatalog.json"
"""The list of the files of a site's root; no page reads it."""
CONTINUES = re.compile(r"same command", re.IGNORECASE)
"""What the message of a stopped build must say: that the same command goes on where it stopped."""


@dataclass
class Table:
    """Counts of what happened, by row, with an example of each kind of failure."""

    rows: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, row: str, what: str, failures: dict[str, str]) -> None:
        """Count one case: `failures` are the kinds of failure, each with its details; none is a success."""
        self.rows[row].update(["cases", *(failures or ["good"])])
        print(f"{row}, {what}: {failures or 'good'}", file=sys.stderr, flush=True)
        for kind, details in failures.items():
            self.examples.setdefault(f"{kind} ({row})", f"{what}: {details}")

    @property
    def n_failed(self) -> int:
        return sum(counts["cases"] - counts["good"] for counts in self.rows.values())

    def print(self) -> None:
        """Print the table, its totals and the examples."""
        total = sum(self.rows.values(), Counter[str]())
        columns = ["cases", "good", *sorted(total.keys() - {"cases", "good"})]
        width = max(len(row) for row in [*self.rows, "all"]) + 2
        print(" " * width + "".join(f"{name:>14}" for name in columns))
        for row, counts in [*sorted(self.rows.items()), ("all", total)]:
            print(f"{row:<{width}}" + "".join(f"{counts[name]:>14}" for name in columns))
        for kind, example in self.examples.items():
            print(f"  {kind}: {example}")


# What a build starts from, and what it should make of it.


@dataclass(frozen=True)
class Scenario:
    """A build that has something to do: what stands before it, what has changed since, and its flags."""

    cache: str = ""
    site: str = ""
    change: Callable[[Path], object] = lambda inputs: None
    words: tuple[str, ...] = ()

    def prepare(self, bench: Workbench) -> None:
        bench.reset(self.cache, self.site)
        self.change(bench.inputs)


def change_text(inputs: Path) -> None:
    path = inputs / "corpus/prose.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("The dog", "The old dog"), encoding="utf-8")


def change_template(inputs: Path) -> None:
    path = inputs / "templates/feature.html"
    path.write_text(path.read_text(encoding="utf-8") + "<!-- changed -->\n", encoding="utf-8")


def scenarios(bench: Workbench) -> dict[str, Scenario]:
    """The builds to disturb; "base" is the cache and the site of a finished build."""
    return {
        "first build": Scenario(),
        "changed text": Scenario("base", "base", change_text),
        "changed text, empty cache": Scenario("", "base", change_text),
        "changed template": Scenario("base", "base", change_template),
        "changed setting": Scenario("base", "base", words=("--top", "5")),
        "second catalog": Scenario("base", "base", words=("--sae", str(bench.inputs / "second"))),
    }


@dataclass(frozen=True)
class Expected:
    """What an undisturbed build of a scenario leaves, and the steps it takes."""

    before: Tree
    site: Tree
    cache: Tree
    run: Run


def expected(bench: Workbench, scenario: Scenario) -> Expected:
    """The site made with an empty cache (after the base, where that stands), and the steps of the scenario itself.

    Raises SystemExit if an undisturbed build fails or makes another site than with an empty cache.
    """
    bench.reset("", "base" if "--sae" in scenario.words else "")
    scenario.change(bench.inputs)
    run = _undisturbed(bench, scenario)
    site, before = tree(bench.site), dict[str, str]()
    if scenario.cache or scenario.site:
        scenario.prepare(bench)
        before = tree(bench.site)
        run = _undisturbed(bench, scenario)
    if tree(bench.site) != site:
        raise SystemExit(f"an undisturbed build differs from one with an empty cache: {difference(bench.site, site)}")
    return Expected(before, site, tree(bench.cache), run)


def _undisturbed(bench: Workbench, scenario: Scenario) -> Run:
    run = bench.build(*scenario.words)
    if run.code:
        raise SystemExit(f"an undisturbed build failed: {run.errors}")
    return run


def make_base(bench: Workbench, *variants: tuple[str, ...]) -> None:
    """Build the catalog that stands before most scenarios; `variants` are flags whose results the cache has as well."""
    if not variants and (bench.folder / "kept/base").exists():
        return
    bench.reset()
    for words in (*variants, ()):
        run = bench.build(*words)
        if run.code:
            raise SystemExit(f"the base cannot be built: {run.errors}")
    bench.keep("base")


def difference(site: Path, wanted: Tree) -> str:
    """How a site differs from what it should be, or "" if it does not."""
    found = tree(site)
    parts = {
        "missing": wanted.keys() - found.keys(),
        "surplus": found.keys() - wanted.keys(),
        "other bytes": {name for name in wanted.keys() & found.keys() if wanted[name] != found[name]},
    }
    return "; ".join(f"{len(names)} {what}, such as {min(names)}" for what, names in parts.items() if names)


def torn(site: Path, before: Tree, after: Tree) -> str:
    """Which catalog, or which file outside of the catalogs, is neither as before nor as afterwards, or ""."""
    found = tree(site)
    slugs = catalogs(before).keys() | catalogs(after).keys()
    for slug in slugs:
        state, *states = (_below(slug, files) for files in (found, before, after))
        if state not in states:
            return f"{slug} is {'mixed' if state else 'gone'}"
    # The root's list has a third state, which says that files are being replaced.
    for name in (before.keys() | after.keys()) - {ROOT_LIST}:
        if name.split("/")[0] not in slugs and found.get(name) not in (before.get(name), after.get(name)):
            return f"{name} is {'mixed' if name in found else 'gone'}"
    return ""


def _below(slug: str, site: Tree) -> Tree:
    return {name: content for name, content in site.items() if name.startswith(f"{slug}/")}


def finish(bench: Workbench, scenario: Scenario, wanted: Expected) -> dict[str, str]:
    """Run the same command again, without any cleaning, and see what is wrong with the result."""
    run = bench.build(*scenario.words)
    if run.code:
        return {"refused": run.complaint}
    found = {
        "different": difference(bench.site, wanted.site),
        "left over": ", ".join(bench.left_over()[:3]),
        "other cache": ", ".join(sorted(outputs(tree(bench.cache)) ^ outputs(wanted.cache))[:3]),
    }
    return {kind: details for kind, details in found.items() if details}


def outputs(cache: Tree) -> set[str]:
    """The outputs in a cache: a stage and a key each."""
    return {"/".join(name.split("/")[:2]) for name in cache if name.count("/") > 1}


# Kills and stops.


@dataclass(frozen=True)
class Hit:
    """A signal in a scenario."""

    scenario: str
    stop: Stop

    @property
    def words(self) -> str:
        late = f" + {self.stop.delay * 1000:.0f} ms" if self.stop.delay else ""
        return f"{self.scenario}, step {self.stop.step}{late}"


def plan(n: int, seed: int, known: dict[str, Expected], signals: Iterable[int]) -> list[Hit]:
    """Hits on all stages in turn, each at a random step of a random scenario that has the stage; half come later."""
    chance, numbers, delays = random.Random(seed), cycle(signals), cycle((False, True))
    stages = sorted({stage for wanted in known.values() for stage in wanted.run.stages})
    chance.shuffle(stages)
    hits = []
    for _, stage in zip(range(n), cycle(stages), strict=False):
        name = chance.choice([name for name, wanted in known.items() if wanted.run.stages[stage]])
        step = chance.randint(1, known[name].run.stages[stage])
        delay = chance.uniform(0, LONGEST_DELAY) if next(delays) else 0.0
        hits.append(Hit(name, Stop(stage, step, next(numbers), delay)))
    return hits


def known_scenarios(bench: Workbench, names: Collection[str]) -> dict[str, Expected]:
    """What to expect of the scenarios of these names; of all of them if there are none."""
    make_base(bench)
    found = {name: scenario for name, scenario in scenarios(bench).items() if not names or name in names}
    return {name: expected(bench, scenario) for name, scenario in found.items()}


def disturbed(bench: Workbench, scenario: Scenario, stop: Stop, *words: str) -> Run:
    """A build that gets a signal. If it ended before a late one, it is run again with the signal at the step itself."""
    scenario.prepare(bench)
    run = bench.build(*scenario.words, *words, stop=stop)
    return disturbed(bench, scenario, replace(stop, delay=0.0), *words) if run.code == 0 and stop.delay else run


def kills(bench: Workbench, n: int, seed: int, names: Collection[str] = ()) -> Table:
    """Kill builds, look at the standing catalogs, and run the same command again."""
    table, known = Table(), known_scenarios(bench, names)
    for hit in plan(n, seed, known, [signal.SIGKILL]):
        scenario, wanted = scenarios(bench)[hit.scenario], known[hit.scenario]
        run = disturbed(bench, scenario, hit.stop)
        failures = {} if run.code == 128 + signal.SIGKILL else {"not killed": f"exit code {run.code}: {run.complaint}"}
        if details := torn(bench.site, wanted.before, wanted.site):
            failures["torn"] = details
        table.add(hit.stop.stage, hit.words, failures | finish(bench, scenario, wanted))
    return table


def stops(bench: Workbench, n: int, seed: int, names: Collection[str] = ()) -> Table:
    """Stop builds as Ctrl-C and a system's shutdown do, and run the same command again."""
    table, known = Table(), known_scenarios(bench, names)
    for hit in plan(n, seed, known, [signal.SIGINT, signal.SIGTERM]):
        scenario, wanted = scenarios(bench)[hit.scenario], known[hit.scenario]
        run = disturbed(bench, scenario, hit.stop, "--quiet")
        failures = _failures_of_stop(run, hit.stop.signal)
        if left := bench.left_over():
            failures["left over"] = ", ".join(left[:3])
        if details := torn(bench.site, wanted.before, wanted.site):
            failures["torn"] = details
        row = f"{signal.Signals(hit.stop.signal).name} {hit.stop.stage}"
        table.add(row, hit.words, failures | finish(bench, scenario, wanted))
    return table


def _failures_of_stop(run: Run, number: int) -> dict[str, str]:
    """What is wrong with the exit code and the message of a stopped build."""
    failures = {}
    # Notices, as of an SAE that explains little, may come before.
    lines = [line for line in run.errors.splitlines() if line.startswith("error:")]
    if run.code != 128 + number:
        failures["exit code"] = f"{run.code}: {run.complaint}"
    if "Traceback" in run.errors:
        failures["traceback"] = run.complaint
    elif len(lines) != 1 or not CONTINUES.search(lines[0]):
        failures["message"] = repr(run.errors)
    return failures


# Damaged files, and disks that cannot be written.


def kind_of(name: str) -> str:
    """What a cache file is: its path without hashes."""
    return re.sub(r"[0-9a-f]{12,}", "*", name)


def damage(path: Path, cut: bool, chance: random.Random) -> str:
    """Flip a bit of one byte, or cut the file; its times stay. Says what was done."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    at = chance.randrange(max(1, len(content)))
    if cut or not content:
        del content[at:]
    else:
        content[at] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return f"{'cut at' if cut else 'flipped a bit of'} byte {at}"


REUSES = {
    "same build": Scenario("base", ""),
    "other setting": Scenario("base", "", words=("--top", "5", "--text-score", "mean")),
    "more texts": Scenario("base", "", change_text),
}
"""Builds that take results of the base from the cache."""


def faults(bench: Workbench, n: int, seed: int, reuses: int = len(REUSES)) -> Table:
    """Damage one file of the cache, and run the first `reuses` builds that could use it."""
    table, chance = Table(), random.Random(seed)
    make_base(bench)
    known = {name: expected(bench, scenario) for name, scenario in islice(REUSES.items(), reuses)}
    kinds = defaultdict(list)
    for file in tree(bench.folder / "kept/base/cache"):
        # What is not in an output, such as CACHEDIR.TAG, is written by each build and read by none.
        if file.count("/") > 1:
            kinds[kind_of(file)].append(file)
    for i, kind in zip(range(n), cycle(chance.sample(sorted(kinds), len(kinds))), strict=False):
        file, place = chance.choice(kinds[kind]), chance.random()
        for name, wanted in known.items():
            REUSES[name].prepare(bench)
            done = damage(bench.cache / file, bool((i + i // len(kinds)) % 2), random.Random(place))
            damaged = (bench.cache / file).read_bytes()
            run = bench.build(*REUSES[name].words)
            failures = _failures_of_reuse(bench, run, file, damaged, wanted)
            table.add(file.split("/")[0], f"{kind}, {done}, {name}", failures)
    return table


def _failures_of_reuse(bench: Workbench, run: Run, file: str, damaged: bytes, wanted: Expected) -> dict[str, str]:
    """What is wrong with a build whose cache had a damaged file: if it read the file, it must say so and replace it."""
    if run.code:
        kind = "traceback" if "Traceback" in run.errors else "refused"
        return {kind: run.complaint}
    if details := difference(bench.site, wanted.site):
        return {"wrong site": details}
    path = bench.cache / file
    said = [line for line in (run.output + "\n" + run.errors).splitlines() if "damaged" in line]
    if str(path) not in {path for _, path in run.steps}:
        return {"false alarm": said[0]} if said else {}
    if len(said) != 1 or file not in said[0]:
        return {"unsaid": f"{len(said)} lines, such as {said[:1]}"}
    return {"not replaced": file} if path.exists() and path.read_bytes() == damaged else {}


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that cannot be written: a read-only mount for the superuser, whom permissions do not bind."""
    if os.geteuid():
        folder.chmod(0o555)
    else:
        _mount("--bind", str(folder), str(folder))
        _mount("-o", "remount,bind,ro", str(folder))
    try:
        yield
    finally:
        folder.chmod(0o755) if os.geteuid() else _unmount(folder)


@contextmanager
def nearly_full(folder: Path, room: int) -> Iterator[None]:
    """A folder with what it holds on a disk of its own, with that many bytes of room."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.mkdir()
    _mount("-t", "tmpfs", "tmpfs", str(folder))
    shutil.copytree(aside, folder, dirs_exist_ok=True)
    _mount("-o", f"remount,size={shutil.disk_usage(folder).used + max(room, 1)}", str(folder))
    try:
        yield
    finally:
        shutil.rmtree(aside)
        shutil.copytree(folder, aside)
        _unmount(folder)
        folder.rmdir()
        aside.rename(folder)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True, text=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True, capture_output=True, text=True)


def disks(bench: Workbench, seed: int) -> Table:
    """Builds with a cache, site or temporary folder that is read-only or becomes full; needs the right to mount."""
    table, chance = Table(), random.Random(seed)
    make_base(bench)
    standing = Scenario("base", "base", change_text)
    wanted = expected(bench, standing)
    for part in ("cache", "site", "tmp"):
        for room in (None, 0, *(chance.randrange(4096, 200_000) for _ in range(3))):
            standing.prepare(bench)
            folder = bench.run / part
            try:
                with read_only(folder) if room is None else nearly_full(folder, room):
                    run = bench.build(*standing.words, "--quiet")
            except (subprocess.CalledProcessError, PermissionError) as error:
                print(f"skipped, as this user cannot mount: {error}", file=sys.stderr)
                return table
            what = "read-only" if room is None else f"{room:,} bytes of room"
            failures = _failures_of_disk(bench, run, wanted)
            row = f"{'read-only' if room is None else 'full'} {part}: {'refused' if run.code else 'built'}"
            table.add(row, what, failures | finish(bench, standing, wanted))
    return table


def _failures_of_disk(bench: Workbench, run: Run, wanted: Expected) -> dict[str, str]:
    """What is wrong with a build that could not write; one that had room enough must have made the site.

    A disk can become full after the new catalog took its place and before the front page did.
    """
    failures = {}
    if run.code == 0:
        if details := difference(bench.site, wanted.site):
            failures["wrong site"] = details
        return failures
    if "Traceback" in run.errors:
        failures["traceback"] = run.complaint
    elif run.code != 2 or len(re.findall("^error: ", run.errors, re.MULTILINE)) != 1:
        failures["message"] = f"exit code {run.code}: {run.complaint}"
    if left := bench.left_over():
        failures["left over"] = ", ".join(left[:3])
    if details := torn(bench.site, wanted.before, wanted.site):
        failures["torn"] = details
    if (details := difference(bench.site, wanted.before)) and "existing site is unchanged" in run.errors:
        failures["site touched"] = details
    return failures


# Changed inputs.

Edit = Callable[[dict[str, Any]], object]


def edit_json(path: Path, edit: Edit) -> None:
    """Change a JSON file, which keeps its size and its times."""
    content, stat = path.read_bytes(), path.stat()
    value = json.loads(content)
    edit(value)
    changed = json.dumps(value, ensure_ascii=False).encode().ljust(len(content))
    assert len(changed) == len(content)
    path.write_bytes(changed)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def edit_weight(path: Path, tensor: str) -> None:
    """Add 1 to one number in the middle of a tensor of float32; size and times stay."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", content)
    start, end = json.loads(content[8 : 8 + length])[tensor]["data_offsets"]
    at = 8 + length + start + (end - start) // 8 * 4
    struct.pack_into("<f", content, at, struct.unpack_from("<f", content, at)[0] + 1)
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _swap_ids(tokenizer: dict[str, Any]) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]


def _add_token(tokenizer: dict[str, Any]) -> None:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokenizer["added_tokens"].append({"id": tokenizer["model"]["vocab"]["Z"], "content": " cat", **flags})


def _set(*path: str, to: object) -> Edit:
    """An edit that sets one value, named by the keys that lead to it."""

    def edit(value: dict[str, Any]) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return edit


CHANGED_JSON: dict[str, tuple[str, Edit]] = {
    "SAE: apply_b_dec_to_input": ("sae/cfg.json", _set("apply_b_dec_to_input", to=False)),
    "SAE: normalize_activations": ("sae/cfg.json", _set("normalize_activations", to="layer_norm")),
    "SAE: dtype": ("sae/cfg.json", _set("dtype", to="bfloat16")),
    "SAE: hook": ("sae/cfg.json", _set("metadata", "hook_name", to="blocks.1.hook_resid_pre")),
    "SAE: prepend_bos": ("sae/cfg.json", _set("metadata", "prepend_bos", to=False)),
    "SAE: context_size": ("sae/cfg.json", _set("metadata", "context_size", to=12)),
    "SAE: neuronpedia_id": ("sae/cfg.json", _set("metadata", "neuronpedia_id", to="tiny/2-other")),
    "model: rms_norm_eps": ("model/config.json", _set("rms_norm_eps", to=0.5)),
    "model: rope_theta": ("model/config.json", _set("rope_parameters", "rope_theta", to=50.0)),
    "model: hidden_act": ("model/config.json", _set("hidden_act", to="relu")),
    "tokenizer: a merge": ("model/tokenizer.json", lambda tokenizer: tokenizer["model"]["merges"].pop(3)),
    "tokenizer: two ids": ("model/tokenizer.json", _swap_ids),
    "tokenizer: an added token": ("model/tokenizer.json", _add_token),
    "tokenizer: BOS": ("model/tokenizer_config.json", _set("bos_token", to="</s>")),
}
CHANGED_WEIGHTS = {
    "model: embedding": ("model/model.safetensors", "model.embed_tokens.weight"),
    "model: unembedding": ("model/model.safetensors", "lm_head.weight"),
    "SAE: encoder": ("sae/sae_weights.safetensors", "W_enc"),
    "SAE: decoder": ("sae/sae_weights.safetensors", "W_dec"),
    "SAE: b_dec": ("sae/sae_weights.safetensors", "b_dec"),
}
CHANGED_SETTINGS = {"setting: dtype": ("--dtype", "bfloat16"), "setting: context": ("--context", "12")}


CHANGED_TEXTS = {
    "corpus: a letter": ("corpus/prose.txt", "The dog", "The dot"),
    "notes: a letter": ("notes/2.md", "A note", "A nose"),
    "template: a letter": ("templates/feature.html", "Data:", "Date:"),
}


def edit_text(path: Path, old: str, new: str) -> None:
    """Replace a text by one of the same length; size and times stay."""
    stat, text = path.stat(), path.read_text(encoding="utf-8")
    assert old in text
    assert len(old) == len(new)
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def changes() -> dict[str, Scenario]:
    """A build with the base's cache and site for each changed input."""
    found = {}
    for name, (file, edit) in CHANGED_JSON.items():
        found[name] = Scenario("base", "base", lambda inputs, f=file, e=edit: edit_json(inputs / f, e))  # type: ignore[misc]
    for name, (file, tensor) in CHANGED_WEIGHTS.items():
        found[name] = Scenario("base", "base", lambda inputs, f=file, t=tensor: edit_weight(inputs / f, t))  # type: ignore[misc]
    for name, (file, old, new) in CHANGED_TEXTS.items():
        found[name] = Scenario("base", "base", lambda inputs, t=(file, old, new): edit_text(inputs / t[0], *t[1:]))  # type: ignore[misc]
    return found | {name: Scenario("base", "base", words=words) for name, words in CHANGED_SETTINGS.items()}


def inputs(bench: Workbench) -> Table:
    """Change one input at a time, with the cache of the base, and compare with an empty cache."""
    table = Table()
    ways = {"named": ("--model", str(bench.inputs / "model")), "from metadata": ()}
    make_base(bench, ways["named"])
    base = {way: expected(bench, Scenario("base", "", words=flags)).site for way, flags in ways.items()}
    for name, scenario in changes().items():
        for way, flags in ways.items():
            bench.reset()
            scenario.change(bench.inputs)
            fresh = bench.build(*scenario.words, *flags)
            wanted = tree(bench.site)
            bench.reset("base", "")
            scenario.change(bench.inputs)
            run = bench.build(*scenario.words, *flags)
            table.add(name, way, _failures_of_change(bench, run, fresh, wanted, base[way]))
    return table


def _failures_of_change(bench: Workbench, run: Run, fresh: Run, wanted: Tree, base: Tree) -> dict[str, str]:
    if fresh.code:
        return {"bad change": fresh.complaint}
    if wanted == base:
        return {"no effect": "the site with an empty cache is that of the base"}
    if run.code:
        return {"refused": run.complaint}
    details = difference(bench.site, wanted)
    return {"different": details} if details else {}


def main() -> int:
    """Run one part and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, n in (("kills", 60), ("faults", 60), ("stops", 40), ("inputs", None)):
        part = parts.add_parser(name)
        if n:
            part.add_argument("--n", type=int, default=n, help="number of cases")
            part.add_argument("--seed", type=int, default=0, help="random seed")
    a = parser.parse_args()
    with workbench() as bench:
        if a.part == "inputs":
            tables = [inputs(bench)]
        elif a.part == "faults":
            tables = [faults(bench, a.n, a.seed), disks(bench, a.seed)]
        else:
            tables = [{"kills": kills, "stops": stops}[a.part](bench, a.n, a.seed)]
    for table in tables:
        table.print()
    return int(any(table.n_failed for table in tables))


if __name__ == "__main__":
    sys.exit(main())
