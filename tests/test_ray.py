"""Builds on a Ray cluster of several nodes on this machine: the bytes of one process, whatever is lost on the way."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import SaeKind
from faults import between, killing, node_without, ray_workers, through, wait_for

import saecatalog
from saecatalog import harvest, lens
from saecatalog.build import build_from
from saecatalog.cache import CHECKSUMS
from saecatalog.cli import main
from saecatalog.config import (
    AnalysisConfig,
    Config,
    CorpusConfig,
    EffectsConfig,
    MachinesConfig,
    SiteConfig,
    SubjectConfig,
)
from saecatalog.effects import stage, steering_stage
from saecatalog.errors import CatalogError
from saecatalog.pipeline import Given, Pipeline
from saecatalog.progress import Bar, Progress, noticed_by
from saecatalog.ray_engine import connect
from saecatalog.site import page_parts, render

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
WORDS = ("cat", "dog", "mat", "lamp", "quay", "ferry", "keeper", "noon", "river", "town", "365", "sat", "ran", "the")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus that takes some seconds."""
    folder, chance = tmp_path_factory.mktemp("many"), random.Random(5)
    for name in ("one", "two"):
        lines = (" ".join(chance.choices(WORDS, k=chance.randint(3, 40))) + "." for _ in range(400))
        (folder / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


class Seen(Progress):
    """Counts the tokens that the model ran."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.tokens = 0

    def open(self, what: str, total: int | None = None, unit: str = " pages") -> Bar:
        if what == "corpus":
            self.tokens += total or 0
        return super().open(what, total, unit)


class Build:
    """Analyses a corpus with a tiny model and SAE, each time with a cache of its own."""

    def __init__(self, sae: Path, folder: Path):
        self.sae, self.folder = sae, folder
        self.seen = Seen()

    def config(self, cache: str, corpus: Path, **machines: Any) -> Config:
        return Config(
            subject=SubjectConfig(sae=str(self.sae), device="cpu", batch_tokens=32),
            corpus=CorpusConfig(paths=(str(corpus),), concepts="none"),
            site=SiteConfig(out=str(self.folder / "site"), features="all"),
            machines=MachinesConfig(**machines),
            cache=self.folder / cache,
        )

    def words(self, cache: str, corpus: Path, site: str) -> list[str]:
        """The same on the command line."""
        inputs = ["--sae", str(self.sae), "--corpus", str(corpus), "--concepts", "none", "--device", "cpu"]
        folders = ["--cache", str(self.folder / cache), "--out", str(self.folder / site)]
        return ["build", *inputs, *folders, "--batch-tokens", "32", "--quiet"]

    def __call__(self, cache: str, corpus: Path, **machines: Any) -> dict[str, bytes]:
        """The bytes of every data file."""
        self.seen = Seen()
        with Pipeline(self.config(cache, corpus, **machines), self.seen) as pipeline:
            return data_files(pipeline)


def data_files(pipeline: Pipeline) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pipeline.analysed.folder.iterdir() if path.name != CHECKSUMS}


@pytest.fixture
def build(saes: Callable[..., Path], tmp_path: Path) -> Build:
    return Build(saes("llama", SaeKind("jumprelu")), tmp_path)


@pytest.fixture(scope="module")
def single(
    saes: Callable[..., Path], many: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], int]:
    """The data files that one process makes, and the number of tokens that the model ran for them."""
    build = Build(saes("llama", SaeKind("jumprelu")), tmp_path_factory.mktemp("single"))
    files = build("cache", many)
    assert build.seen.tokens > 10_000
    assert len(files) > 15
    return files, build.seen.tokens


@pytest.fixture
def wanted(single: tuple[dict[str, bytes], int]) -> dict[str, bytes]:
    return single[0]


def test_two_nodes_give_the_bytes_of_one_process(
    cluster: Any, build: Build, many: Path, wanted: dict[str, bytes]
) -> None:
    """They see the cache, and leave there what they make."""
    with Pipeline(build.config("ray", many, address=cluster.address), Progress(quiet=True)) as pipeline:
        assert data_files(pipeline) == wanted
        assert pipeline.engine.reaches(build.folder / "ray")


def test_a_node_that_does_not_see_the_cache_changes_nothing(
    cluster: Any, build: Build, many: Path, wanted: dict[str, bytes]
) -> None:
    """Then everything is sent."""
    cache = build.folder / "ray"
    cache.mkdir()
    config = build.config("ray", many, address=cluster.address, workers=3)
    with node_without(cache, cluster.address), Pipeline(config, Progress(quiet=True)) as pipeline:
        assert not pipeline.engine.reaches(cache)
        assert data_files(pipeline) == wanted


def command(words: list[str], **settings: str) -> "subprocess.CompletedProcess[str]":
    """The program in a process of its own: Ray does not join a second cluster in one process."""
    call = [sys.executable, "-m", "saecatalog", *words]
    return subprocess.run(call, cwd=ROOT, env={**os.environ, **settings}, text=True, capture_output=True)


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (["--workers", "2"], {}),
        # The cluster of the tests asks for no token, which Ray would expect on a machine that has one.
        (["--engine", "ray", "--address", "auto"], {"RAY_AUTH_MODE": "disabled"}),
    ],
    ids=["own", "found"],
)
def test_ray_is_started_for_the_build_or_found(
    build: Build, workshop: Path, cluster: Any, flags: list[str], settings: dict[str, str]
) -> None:
    """As for several GPUs of one machine, where nothing is set up by hand; and on a node of a cluster."""
    done = command([*build.words("ray", workshop / "corpus", "ray"), *flags], **settings)
    assert done.returncode == 0, done.stderr
    assert main(build.words("single", workshop / "corpus", "single")) == 0
    found, wanted = (
        {path.name: path.read_bytes() for path in (build.folder / name).glob("*/*/data/*.parquet")}
        for name in ("ray", "single")
    )
    assert len(wanted) > 15
    assert found == wanted


def test_workers_of_a_ray_that_the_build_starts_have_its_priority(build: Build, many: Path) -> None:
    """Ray would give them the last place on the machine."""
    words = [sys.executable, "-m", "saecatalog", *build.words("ray", many, "site"), "--workers", "2"]
    settings = {name: value for name, value in os.environ.items() if name != "RAY_worker_niceness"}
    # Those of the test before may still be ending.
    before = {*ray_workers()}
    with subprocess.Popen(words, cwd=ROOT, env=settings) as driver:
        try:
            wait_for(lambda: {*ray_workers()} - before, 120)
            workers = {*ray_workers()} - before
            assert workers
            assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in workers} == {os.nice(0)}
        finally:
            driver.terminate()


def test_workers_that_are_killed_change_nothing(
    cluster: Any, build: Build, many: Path, wanted: dict[str, bytes]
) -> None:
    said: list[str] = []
    with noticed_by(said.append), killing(seed=1, times=3, pause=1) as killed:
        assert build("ray", many, address=cluster.address) == wanted
    assert killed
    assert any("a worker was lost" in line for line in said)


def test_workers_that_are_killed_change_nothing_in_weights_and_effects(
    cluster: Any, build: Build, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, size in ((lens, "CHUNK", 5), (lens, "GROUP", 2), (steering_stage, "AT_ONCE", 2)):
        monkeypatch.setattr(module, name, size)
    monkeypatch.setattr(stage, "KEPT_BYTES", 40_000)

    def files(cache: str, **machines: Any) -> dict[str, bytes]:
        config = build.config(cache, workshop / "corpus", **machines)
        config = replace(config, analysis=AnalysisConfig(notable=5), effects=EffectsConfig("notable", contexts=8))
        with Pipeline(config, Progress(quiet=True)) as pipeline:
            stages = pipeline.lens, pipeline.effects, pipeline.steering
            folders = [output.folder for output in stages if output is not None]
        return {
            path.name: path.read_bytes() for folder in folders for path in folder.iterdir() if path.name != CHECKSUMS
        }

    wanted = files("single")
    assert len(wanted) > 15
    said: list[str] = []
    with noticed_by(said.append), killing(seed=4, times=3, pause=1) as killed:
        assert files("ray", address=cluster.address) == wanted
    assert killed
    assert any("a worker was lost" in line for line in said)


def test_workers_that_are_killed_write_the_pages_of_one_process(
    cluster: Any, build: Build, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole site, from one analysis: only the pages are made by workers."""
    monkeypatch.chdir(build.folder)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    said: list[str] = []
    for site, machines in (("single", {}), ("ray", {"address": cluster.address})):
        if machines:
            monkeypatch.setattr(page_parts, "POOL_FROM", 1)
            monkeypatch.setattr(render, "PART", dict.fromkeys(render.PART, 40))
        config = build.config("cache", many, **machines)
        with (
            noticed_by(said.append),
            killing(seed=2, times=int(bool(machines)), pause=1) as killed,
            Pipeline(replace(config, site=SiteConfig(out=site, features="all")), Seen()) as pipeline,
        ):
            build_from(pipeline)
    assert killed
    assert any("a worker was lost" in line for line in said)
    found, wanted = (
        {path.relative_to(site): path.read_bytes() for path in Path(site).rglob("*") if path.is_file()}
        for site in ("ray", "single")
    )
    assert len(wanted) > 800
    assert found == wanted


def test_a_build_that_only_writes_a_few_pages_starts_no_ray(
    build: Build, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing answers at the second build's address."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    for title, machines in (("First", {}), ("Second", {"address": "127.0.0.1:1"})):
        config = build.config("cache", workshop / "corpus", **machines)
        with Pipeline(replace(config, site=replace(config.site, title=title)), Seen()) as pipeline:
            assert build_from(pipeline).rebuilt


def test_a_node_that_is_lost_changes_nothing(
    cluster: Any, build: Build, many: Path, wanted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    third = cluster.add_node(num_cpus=1)
    add, added = harvest.Shards.add, []

    def add_then_lose(self: Any, shard: Any) -> None:
        add(self, shard)
        added.append(shard)
        if len(added) == 2:
            cluster.remove_node(third, allow_graceful=False)

    monkeypatch.setattr(harvest.Shards, "add", add_then_lose)
    said: list[str] = []
    with noticed_by(said.append):
        assert build("ray", many, address=cluster.address, workers=3) == wanted
    assert any("a worker was lost" in line for line in said)


def test_a_build_that_was_killed_goes_on(
    cluster: Any, build: Build, many: Path, single: tuple[dict[str, bytes], int]
) -> None:
    """The process that builds is killed once a shard has arrived, and started again."""
    words = [*build.words("ray", many, "site"), "--address", cluster.address]
    driver = subprocess.Popen([sys.executable, "-m", "saecatalog", *words], cwd=ROOT)
    wait_for(lambda: list((build.folder / "ray").glob("shards/*/*.npz")), 120)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wanted, tokens = single
    assert build("ray", many, address=cluster.address) == wanted
    assert 0 < build.seen.tokens < tokens


def test_shared_storage_that_fails_now_and_then(
    cluster: Any,
    build: Build,
    many: Path,
    wanted: dict[str, bytes],
    s3: str,
    s3_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second build, with an empty cache, takes the stages from the storage."""
    chance, failed = random.Random(7), []

    def fails(method: str, path: str) -> int | None:
        if chance.random() > 0.1:
            return None
        failed.append(method)
        return chance.choice([0, 500, 503])

    with between(s3_server, fails) as address:
        through(address, monkeypatch)
        machines = {"address": cluster.address, "storage": s3}
        with killing(3, times=2, pause=2):
            assert build("one", many, **machines) == wanted
        assert failed
        assert build.seen.tokens > 10_000
        assert build("two", many, storage=s3) == wanted
        assert build.seen.tokens == 0
    assert not list((build.folder / "one").glob("shards/*/*"))


def test_damaged_files_in_shared_storage_are_made_again(
    cluster: Any, build: Build, many: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    shared, said = tmp_path / "shared", list[str]()
    machines = {"address": cluster.address, "storage": str(shared), "workers": 1}
    assert build("one", many, **machines) == wanted
    shards = sorted(shared.glob("shards/*/*.npz"))
    shards[0].write_bytes(shards[0].read_bytes()[:-100])
    for path in shared.glob("outputs/*/*/*.npy"):
        path.write_bytes(b"damaged")
    shutil.rmtree(next(shared.glob("outputs/analysis")))
    with noticed_by(said.append):
        assert build("two", many, **machines) == wanted
    assert any("damaged" in line and shards[0].name in line for line in said)
    assert any("is damaged; it is made again" in line and "outputs/harvest" in line for line in said)
    assert 0 < build.seen.tokens < 10_000


def test_workers_without_the_weights_are_one_clear_error(
    cluster: Any, build: Build, many: Path, tmp_path: Path
) -> None:
    from saecatalog.subject import load_subject

    own = Build(tmp_path / "sae", tmp_path)
    shutil.copytree(build.sae, own.sae)
    config = own.config("cache", many, address=cluster.address)
    with Pipeline(config, Progress(quiet=True)) as pipeline:
        given = Given(load_subject(config.subject, pipeline.cache))
    shutil.rmtree(own.sae)
    with Pipeline(config, Progress(quiet=True), given) as pipeline, pytest.raises(CatalogError) as error:
        _ = pipeline.corpus.output.folder
    assert "(on " in error.value.where
    assert str(own.sae) in str(error.value)


def test_workers_with_other_weights_are_one_clear_error(
    cluster: Any, build: Build, saes: Callable[..., Path], many: Path
) -> None:
    from saecatalog.subject import load_subject

    config = build.config("cache", many, address=cluster.address)
    other = SubjectConfig(sae=str(saes("llama", SaeKind("topk"))), device="cpu")
    with Pipeline(config, Progress(quiet=True)) as pipeline:
        given = Given(load_subject(other, pipeline.cache))
    with (
        Pipeline(config, Progress(quiet=True), given) as pipeline,
        pytest.raises(CatalogError, match=r"another model or SAE than this machine: different .*sae_sha256"),
    ):
        _ = pipeline.corpus.output.folder


@pytest.fixture
def third(cluster: Any) -> Iterator[Callable[[Path], bool]]:
    """Adds a node that takes modules from a folder, and returns whether workers on all nodes see this folder."""
    added = []

    def add(modules: Path) -> bool:
        added.append(cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(modules)}))
        connection = connect(MachinesConfig(address=cluster.address, workers=3))
        try:
            return connection.reaches(modules)
        finally:
            connection.close()

    yield add
    for node in added:
        cluster.remove_node(node)


@pytest.mark.parametrize("other", ["", "program", "library"])
def test_a_worker_with_another_version_is_refused(third: Callable[[Path], bool], tmp_path: Path, other: str) -> None:
    """Its machine has a copy of the package, or metadata of a library that come before the installed ones."""
    copy = tmp_path / "saecatalog"
    shutil.copytree(Path(saecatalog.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if not other:
        assert third(tmp_path)
        return
    if other == "program":
        with (copy / "lens.py").open("a", encoding="utf-8") as file:
            file.write("# Another version.\n")
    else:
        metadata = tmp_path / "jinja2-99.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text("Metadata-Version: 2.1\nName: Jinja2\nVersion: 99.0\n", encoding="utf-8")
    with pytest.raises(CatalogError, match="A worker has another version of saecatalog or of a library"):
        third(tmp_path)


def doze(shared: None, item: int) -> int:
    time.sleep(0.3)
    return item


OCCUPIED = """
import sys, time
import ray

ray.init(address=sys.argv[1], log_to_driver=False)


@ray.remote(num_cpus=1, resources={"third": 1})
class Occupant:
    def ready(self):
        return "occupied"


occupant = Occupant.remote()
print(ray.get(occupant.ready.remote()), flush=True)
time.sleep(600)
"""


def test_a_worker_that_waits_for_room_on_a_lost_node_is_not_awaited(cluster: Any, tmp_path: Path) -> None:
    """Another program has the node's only processor when the node is lost."""
    lost = cluster.add_node(num_cpus=1, resources={"third": 1})
    words = [sys.executable, "-c", OCCUPIED, cluster.address]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "occupied\n"
        connection = connect(MachinesConfig(address=cluster.address, workers=3))
        try:
            cluster.remove_node(lost, allow_graceful=False)
            assert connection.reaches(tmp_path)
        finally:
            connection.close()
            other.kill()


def test_a_worker_that_starts_late_and_does_not_see_a_folder_is_refused(cluster: Any, tmp_path: Path) -> None:
    """It takes the place of one on a node that was lost, and no other node has room."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    folder = tmp_path / "folder"
    folder.mkdir()
    lost = cluster.add_node(num_cpus=1)
    connection = connect(MachinesConfig(address=cluster.address, workers=3))
    try:
        assert connection.reaches(folder)
        with node_without(folder, cluster.address):
            cluster.remove_node(lost, allow_graceful=False)
            refused = pytest.raises(CatalogError, match="started late cannot use the folder")
            with noticed_by(lambda line: None), refused:
                list(connection.in_order(doze, None, range(400)))
    finally:
        connection.close()


MISSING = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "saecatalog":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
"""
"""A module that Python runs when it starts, after which it is as if the package were not installed."""


def test_a_worker_without_the_package_is_refused(third: Callable[[Path], bool], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(MISSING, encoding="utf-8")
    with pytest.raises(CatalogError, match="Python on a worker has no module 'saecatalog'"):
        third(tmp_path)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--address", "127.0.0.1:1"], "No Ray cluster answers"),
        (["--address", "no-such-host.invalid"], "No Ray cluster answers"),
        (["--address", "ray://127.0.0.1:10001"], "client protocol is not supported"),
        (["--engine", "threads", "--workers", "2"], "have no address, workers or GPUs"),
        (["--storage", "nonsense://x"], "not an address of storage"),
    ],
)
def test_what_cannot_be_is_one_clear_error(
    flags: list[str], words: str, build: Build, many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*build.words("errors", many, "out"), *flags]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert not (build.folder / "out").exists() or not list((build.folder / "out").rglob("*.html"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workers", "1000"], "The cluster has room for"),
        (["--gpus-per-worker", "1"], "no worker can have 1"),
    ],
)
def test_too_few_processors_or_gpus_are_one_clear_error(
    flags: list[str], words: str, cluster: Any, build: Build, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*build.words("few", workshop / "corpus", "few"), "--address", cluster.address, *flags]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err


def test_without_ray_installed_one_line_says_how(
    build: Build, many: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*build.words("none", many, "out"), "--engine", "ray"]) == 2
    assert 'pip install "saecatalog[ray]"' in capsys.readouterr().err


def test_ray_is_imported_only_if_it_is_asked_for(build: Build, workshop: Path) -> None:
    code = (
        "import sys; from saecatalog.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or bool({'ray', 's3fs'} & set(sys.modules)))"
    )
    words = build.words("plain", workshop / "corpus", "out")
    assert subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT).returncode == 0
