"""What catalogs cost on many machines, on paper: `python benchmarks/scale.py` prints the tables of `docs/scale.md`.

    python benchmarks/scale.py             # the tables
    python benchmarks/scale.py --measure   # measures here what writing and merging shards costs

In: the costs of single steps, measured on a CPU (`Costs`) or derived from published rates (`Machine`). Out: for each
scenario the GPU-hours, the time of every step, and the sizes. Nothing is simulated that a formula gives: shards are
equal, workers are always busy, and the steps after the harvest begin when it ends.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARD_TOKENS = 8192


@dataclass(frozen=True)
class Costs:
    """What a core of a CPU takes, and what a step writes. `docs/scale.md` says where each was measured."""

    merge_entry: float = 12e-9
    """Seconds to check an active entry of a shard, read it twice, and write it into the store."""
    merge_shard: float = 0.0026
    """Seconds for each shard besides."""
    shard: float = 0.013
    """Seconds of a worker to write a shard and name it by its checksum."""
    analysis_entry: float = 2.0e-6
    analysis_feature: float = 0.9e-3
    """Core-seconds of all analyses for each active entry, and for each feature."""
    page: float = 1 / 280
    """Core-seconds for a page."""
    entry_bytes: int = 8
    token_bytes: int = 20
    """Bytes in a shard for each active entry and for each token."""
    feature_table_bytes: float = 3100
    score_bytes: float = 1.5
    """Bytes of the data tables for each feature, and of `text_scores` for each active entry."""
    feature_site_bytes: float = 446
    """Bytes for each feature without a page: its row, and its part of the search."""
    feature_page_bytes: float = 15_700
    text_page_bytes: float = 29_000
    text_tokens: int = 174
    """The size of a page, and the mean length of a text."""
    pages: int = 1000
    """Features with a page."""


@dataclass(frozen=True)
class Machine:
    """Published rates, and how much of them is assumed to be reached. None of this was measured."""

    bf16: float = 989e12 * 0.4
    """FLOP/s of the model: an H100 in bfloat16, 40 % used."""
    float32: float = 67e12 * 0.6
    """FLOP/s of the SAE, which runs in its own type: an H100 in float32, 60 % used."""
    network: float = 10e9 / 8 * 0.8
    """Bytes per second into the machine that merges: 10 Gbit/s, 80 % used."""
    cores: int = 8
    """Cores beside each GPU, for analyses and pages."""


@dataclass(frozen=True)
class Model:
    """A language model: parameters of its blocks, width and vocabulary, and the active features of a token."""

    name: str
    parameters: float
    width: int
    vocabulary: int
    l0: float


GPT2 = Model("GPT-2 small", 85e6, 768, 50_257, 65)
GEMMA = Model("Gemma-2-9B", 8.3e9, 3584, 256_000, 100)


@dataclass(frozen=True)
class Scenario:
    """Catalogs of some layers of a model, each with an SAE of `features`, on the same `tokens`."""

    model: Model
    features: int
    tokens: int
    layers: int
    gpus: int


@dataclass(frozen=True)
class Outcome:
    """The seconds of each step, and the bytes of all layers together."""

    gpu: float
    """GPU-seconds of the model, the SAE and the weights, which are the step `model pass`."""
    steps: dict[str, float]
    """Wall-clock seconds of each step on all machines; the first three go on at the same time."""
    sent: float
    """Bytes of all shards, which cross the network once."""
    site: float
    """Bytes of the published sites."""

    @property
    def wall(self) -> float:
        """Seconds from the start to the finished sites."""
        harvest, network, merge, *later = self.steps.values()
        return max(harvest, network, merge) + sum(later)

    @property
    def bottleneck(self) -> str:
        """The step that takes longest."""
        return max(self.steps, key=lambda name: self.steps[name])


def outcome(s: Scenario, costs: Costs, machine: Machine) -> Outcome:
    """The cost of a scenario.

    A layer's catalog runs the model up to its own hook, which on average is half of the model: passes are not shared.
    """
    entries, shards, texts = s.tokens * s.model.l0, s.tokens / SHARD_TOKENS, s.tokens / costs.text_tokens
    token = s.model.parameters / machine.bf16 + 2 * s.model.width * s.features / machine.float32
    # Direct effects on the vocabulary, and the nearest of all decoder rows.
    weights = 2 * s.features * s.model.width * (s.model.vocabulary + s.features) / machine.float32
    gpu = s.layers * (s.tokens * token + shards * costs.shard + weights)
    sent = s.layers * (entries * costs.entry_bytes + s.tokens * costs.token_bytes)
    analyses = s.layers * (entries * costs.analysis_entry + s.features * costs.analysis_feature)
    pages = s.layers * (min(costs.pages, s.features) + texts)
    cores = machine.cores * s.gpus
    steps = {
        "model pass": gpu / s.gpus,
        "network": sent / machine.network,
        "merge": s.layers * (entries * costs.merge_entry + shards * costs.merge_shard),
        "analyses": analyses / cores,
        "pages": pages * costs.page / cores,
    }
    data = s.features * costs.feature_table_bytes + entries * costs.score_bytes
    html = s.features * costs.feature_site_bytes + min(costs.pages, s.features) * costs.feature_page_bytes
    return Outcome(gpu, steps, sent, s.layers * (data + html + texts * costs.text_page_bytes))


WIDTHS, TOKENS = (1 << 14, 1 << 17, 1 << 20), (10**6, 10**7, 10**8)
TABLES: dict[str, list[Scenario]] = {
    "One layer, eight GPUs (GPT-2 small: one)": [
        Scenario(GPT2, 24_576, 10**6, 1, 1),
        *(Scenario(GEMMA, width, tokens, 1, 8) for width in WIDTHS for tokens in TOKENS),
    ],
    "Many layers, 64 GPUs": [
        Scenario(GEMMA, width, tokens, layers, 64) for layers in (26, 42) for width in WIDTHS[1:] for tokens in TOKENS
    ],
    "More GPUs for the same work": [Scenario(GEMMA, 1 << 17, 10**7, 26, gpus) for gpus in (1, 2, 4, 8, 16, 32, 64)],
}


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s"


def size(value: float) -> str:
    """A number of bytes in the unit that suits it."""
    unit = next(unit for unit in (1e12, 1e9, 1e6) if value >= unit or unit == 1e6)
    return f"{value / unit:.1f} { {1e12: 'TB', 1e9: 'GB', 1e6: 'MB'}[unit] }"


def rows(scenarios: Sequence[Scenario], costs: Costs, machine: Machine) -> Iterator[str]:
    """The scenarios as the lines of a Markdown table."""
    steps = list(outcome(scenarios[0], costs, machine).steps)
    heads = ["model", "features", "tokens", "layers", "GPUs", "GPU-hours", *steps, "all", "longest", "shards", "sites"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * 5 + "|--:" * (2 + len(steps)) + "|---|--:|--:|"
    for s in scenarios:
        found = outcome(s, costs, machine)
        cells = [s.model.name, f"{s.features:,}", f"{s.tokens / 1e6:,.0f}M", str(s.layers), str(s.gpus)]
        cells += [f"{found.gpu / 3600:.2g}", *map(seconds, found.steps.values()), seconds(found.wall)]
        yield f"| {' | '.join([*cells, found.bottleneck, size(found.sent), size(found.site)])} |"


def tables(costs: Costs, machine: Machine) -> str:
    """All tables, as they stand in `docs/scale.md`."""
    parts = ["\n".join([f"**{words}**", "", *rows(part, costs, machine)]) for words, part in TABLES.items()]
    return "\n\n".join(parts)


def measure_merge(l0: int = 100, shards: int = 60, d_out: int = 768) -> dict[str, float]:
    """Seconds to write a shard, and to merge it, for each shard and each active entry."""
    import numpy as np

    from saecatalog.shards import Folder, Shard, Shards
    from saecatalog.store import Piece, write_store
    from saecatalog.texts.windows import TokenizedTexts, Window

    chance, window, found = np.random.default_rng(0), 128, {}
    for density in (1, l0):
        keys = [n.to_bytes(16, "big") for n in range(shards * SHARD_TOKENS // window)]
        windows = [Window(n * window, (n + 1) * window, 0, key) for n, key in enumerate(keys)]
        n_tokens = shards * SHARD_TOKENS
        texts = TokenizedTexts(
            np.zeros(n_tokens, np.int32), np.zeros(n_tokens, np.int32), np.array([0, n_tokens]), ("made up",)
        )
        with tempfile.TemporaryDirectory() as name:
            made, start = Shards(Folder(Path(name) / "shards"), keys), time.perf_counter()
            for first in range(0, len(keys), SHARD_TOKENS // window):
                norms, entries = np.ones(SHARD_TOKENS, np.float32), SHARD_TOKENS * density
                mine = np.frombuffer(b"".join(keys[first : first + SHARD_TOKENS // window]), np.uint8).reshape(-1, 16)
                features = chance.integers(0, 1 << 20, entries, dtype=np.int32)
                piece = Piece(
                    mine,
                    np.full(len(mine), window),
                    np.full(SHARD_TOKENS, density),
                    features,
                    features.astype(np.float32),
                    norms,
                    norms,
                    norms,
                    np.zeros(1, np.int32),
                    np.zeros((1, d_out), np.int64),
                )
                made.add(Shard.of([piece]))
            found[f"write {density}"] = (time.perf_counter() - start) / shards
            start = time.perf_counter()
            (Path(name) / "store").mkdir()
            files = Shards(Folder(Path(name) / "shards"), keys).files()
            write_store(Path(name) / "store", files, windows, texts, 1 << 20)
            found[f"merge {density}"] = (time.perf_counter() - start) / shards
    entry = (found[f"merge {l0}"] - found["merge 1"]) / (SHARD_TOKENS * (l0 - 1))
    return {"merge_entry": entry, "merge_shard": found["merge 1"] - SHARD_TOKENS * entry, "shard": found[f"write {l0}"]}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--measure", action="store_true", help="measure what merging costs here")
    if arguments.parse_args().measure:
        for name, value in measure_merge().items():
            print(f"{name:12} {value:.3g}")
    else:
        print(tables(Costs(), Machine()))


if __name__ == "__main__":
    main()
