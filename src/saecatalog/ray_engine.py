"""The Ray engine: workers on the machines of a Ray cluster, or several processes on this one.

Settings flow in, an `Engine` flows out. Nothing else imports Ray, which is an optional package. A worker that is lost
is replaced, and what it had in hand is done again.
"""

import math
import os
import signal
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from saecatalog.config import MachinesConfig
from saecatalog.engines import Item, Result, Shared
from saecatalog.errors import CatalogError
from saecatalog.progress import notice, noticed_by

PORT = 6379
"""The port of a cluster's head, unless the address names another."""

ANSWER_SECONDS = 5
"""How long a cluster may take to answer."""

START_SECONDS = 300
"""How long no worker may be ready while there is work: a cluster may have to start machines first."""

AT_HAND = 2
"""Calls that a worker has in hand: one runs, one waits, so that no worker waits for the driver."""

AHEAD = 4
"""Results for each worker that may be finished or under way beyond the first that is not."""

TOKENS = "RAY_AUTH_MODE must be `token` if the cluster asks for a token, and `disabled` if it does not."
"""What may be wrong if a cluster is there and cannot be used: Ray does not say so."""

MISSING = "ModuleNotFoundError: No module named "
"""How Python says that a worker has no such module; it stands in what Ray says."""

PASSED_ON = ("AWS_", "AZURE_", "FSSPEC_", "GOOGLE_", "HF_", "TOKENIZERS_", "TQDM_")
"""How the environment variables begin that workers get from this process: of storage, the model hub and bars."""

LOSSES = 4
"""Workers that may be lost with the same item in hand. Then the item is the reason, or their memory."""


def connect(config: MachinesConfig) -> "Connection":
    """Start Ray on this machine, or join the cluster at an address.

    Raises CatalogError if Ray is not installed, if nothing answers, or if the cluster is too small.
    """
    try:
        # It would report its use to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    except ImportError as error:
        fix = 'Install it: pip install "saecatalog[ray]".'
        raise CatalogError(
            "Ray, which runs work on several machines, is not installed.", "--engine ray", fix
        ) from error
    return Connection(ray, config)


class Connection:
    """A connection to a cluster, which `close` ends. It is an engine."""

    def __init__(self, ray: Any, config: MachinesConfig):
        self.ray, self.config = ray, config
        where = f"--address {config.address or 'local'}"
        with _signals_kept():
            _join(ray, config.address or "local", where)
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self.workers, cpus = plan(nodes, config.workers, config.gpus_per_worker)
            self._crew = Crew(ray, self.workers, cpus, config.gpus_per_worker)
        except BaseException:
            self.close()
            raise

    def in_order(
        self, work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Result]:
        """See `Engine`. At most AHEAD results a worker are in memory or under way."""
        return self._crew.in_order(work, shared, items)

    def reaches(self, folder: Path) -> bool:
        """See `Engine`. It waits until all workers have started."""
        return self._crew.reaches(folder)

    def close(self) -> None:
        with _signals_kept():
            self.ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and then the program would end without cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _join(ray: Any, address: str, where: str) -> None:
    """Start a cluster on this machine (`local`), find the one that runs here (`auto`), or join one by its address."""
    quiet = {"include_dashboard": False} if address == "local" else {}
    if "://" in address:
        what = "Ray's client protocol is not supported."
        raise CatalogError(what, where, "Start the build on a machine of the cluster, and give HOST or HOST:PORT.")
    if address not in ("local", "auto"):
        address = _reachable(address, where)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL", **quiet)
    except ConnectionError as error:
        fix = "Start one with `ray start --head`, or leave --address out: then one starts on this machine."
        raise CatalogError("No Ray cluster answers.", where, f"{fix} {TOKENS}") from error
    except (RuntimeError, ValueError, OSError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise CatalogError(f"Ray cannot be used: {said}", where, "Check the cluster with `ray status`.") from error


def _reachable(address: str, where: str) -> str:
    """The address with a port; raises CatalogError if nothing listens there."""
    host, _, port = address.rpartition(":") if address.count(":") == 1 else (address, "", str(PORT))
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        fix = f"Start the cluster's head there with `ray start --head --port {PORT}`, or give another address."
        raise CatalogError(f"No Ray cluster answers: {error}.", where, fix) from error
    return f"{host}:{port}"


def plan(nodes: list[dict[str, float]], workers: int | None, gpus: float) -> tuple[int, float]:
    """The number of workers and the CPUs of each, given the resources of each node.

    By default there is one for each share of `gpus` GPUs, or without GPUs one on each node. Raises CatalogError if the
    cluster is too small.
    """

    def places(cpus: float) -> int:
        """How many workers with so many CPUs fit."""
        fit = (min(n.get("CPU", 0) // cpus, n.get("GPU", 0) // gpus if gpus else 1e9) for n in nodes)
        return int(sum(fit))

    total_gpus = sum(node.get("GPU", 0) for node in nodes)
    if gpus and not total_gpus // gpus:
        what = f"The cluster has {total_gpus:g} GPUs, so no worker can have {gpus:g}."
        raise CatalogError(what, f"--gpus-per-worker {gpus:g}", "Use nodes with GPUs, or leave this flag out.")
    wanted = workers or (places(1) if gpus else max(1, sum(node.get("CPU", 0) >= 1 for node in nodes)))
    for cpus in range(int(max(node.get("CPU", 0) for node in nodes)), 0, -1):
        if places(cpus) >= wanted:
            return wanted, cpus
    what = f"The cluster has room for {places(1)} workers: {len(nodes)} nodes with "
    what += f"{sum(node.get('CPU', 0) for node in nodes):g} CPUs and {total_gpus:g} GPUs."
    raise CatalogError(what, f"--workers {wanted}", "Use fewer workers or more nodes.")


@dataclass(eq=False)
class Worker:
    """An actor, and the calls that it has in hand, the oldest first; `busy_with` is the first when it was lost."""

    actor: Any
    succeeds: bool = False
    """Whether it takes the place of a lost one. There may be no room for it."""
    calls: list["Call"] = field(default_factory=list)
    lost: bool = False
    busy_with: "Call | None" = None


@dataclass(eq=False)
class Call:
    """An item under way."""

    number: int
    item: Any
    worker: Worker | None = None
    losses: int = 0


@dataclass
class Answer:
    """What a worker sends back."""

    result: Any = None
    error: CatalogError | None = None
    notices: list[str] = field(default_factory=list)


class Desk:
    """Runs in a worker: calls functions, and keeps what their calls share from one to the next."""

    def __init__(self, settings: dict[str, str]):
        # Before a library is imported that reads them.
        os.environ.update(settings)
        self._shared: tuple[str, Any] = ("", None)

    def version(self) -> str:
        """Of the program on this machine."""
        from saecatalog.stage_keys import code_digest

        return code_digest("saecatalog.build")

    def sees(self, file: str, content: bytes) -> bool:
        """Whether a file is on this machine too, and another can be written beside it."""
        path = Path(file)
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                return path.read_bytes() == content
        except OSError:
            return False

    def call(self, work: Callable[[Any, Any], Any], boxed: list[Any], item: Any) -> Answer:
        """`work(shared, item)`; `boxed` holds the reference of `shared`, which is fetched once."""
        import ray

        (reference,) = boxed
        if self._shared[0] != reference.hex():
            self._shared = ("", None)
            self._shared = (reference.hex(), ray.get(reference))
        notices: list[str] = []
        try:
            with noticed_by(notices.append):
                return Answer(work(self._shared[1], item), None, notices)
        except CatalogError as error:
            where = f"{error.where} (on {socket.gethostname()})".strip()
            return Answer(None, CatalogError(error.what, where, error.fix), notices)


class Crew:
    """The workers. One that is lost is replaced."""

    def __init__(self, ray: Any, size: int, cpus: float, gpus: float):
        self.ray, self.size = ray, size
        options = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        self._actor = ray.remote(Desk).options(**options)
        self._settings = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        self._said: set[str] = set()
        self._reached: dict[Path, bool] = {}
        self._starting: dict[Any, Worker] = {}
        self._ready: list[Worker] = []
        self._idle_since = -math.inf
        self._stillborn = 0
        for _ in range(size):
            self._start()

    def _start(self, succeeds: bool = False) -> None:
        worker = Worker(self._actor.remote(self._settings), succeeds)
        self._starting[worker.actor.version.remote()] = worker

    def in_order(self, work: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any]) -> Iterator[Any]:
        """Results in the order of the items."""
        # Workers that have started since the last call are greeted here first, however long ago that was.
        self._idle_since = time.monotonic()
        reference = [self.ray.put(shared)]
        waiting, flight, done = deque[Call](), dict[Any, Call](), dict[int, Any]()
        numbers, source = count(), iter(items)
        first = 0

        def following() -> Call | None:
            """The next call to make, if there is one that is not too far ahead."""
            if waiting:
                return waiting.popleft()
            if len(flight) + len(done) >= AHEAD * self.size:
                return None
            return next((Call(next(numbers), item) for item in source), None)

        while True:
            for worker in self._free():
                call = following()
                if call is None:
                    break
                call.worker = worker
                worker.calls.append(call)
                flight[worker.actor.call.remote(work, reference, call.item)] = call
            for finished in self._wait(flight):
                if finished in self._starting:
                    self._greet(finished)
                    continue
                call = flight.pop(finished)
                answer = self._answer(finished, call)
                if answer is None:
                    waiting.append(call)
                else:
                    done[call.number] = answer.result
            waiting = deque(sorted(waiting, key=lambda call: call.number))
            while first in done:
                yield done.pop(first)
                first += 1
            if not flight and not waiting and not done:
                more = following()
                if more is None:
                    return
                waiting.append(more)

    def reaches(self, folder: Path) -> bool:
        """Whether every worker can read and write files in a folder; not, if some have not started for a long time."""
        for asked, reached in self._reached.items():
            if folder.is_relative_to(asked):
                return reached
        self._idle_since = time.monotonic()
        until = self._idle_since + START_SECONDS
        while self._missing() and time.monotonic() < until:
            for started in self._wait({}):
                self._greet(started)
        self._reached[folder] = not self._missing() and all(self._sees(one, folder) for one in list(self._ready))
        return self._reached[folder]

    def _missing(self) -> bool:
        """Whether there is a worker that has not started yet, except for successors of lost ones."""
        return not self._ready or not all(worker.succeeds for worker in self._starting.values())

    def _sees(self, worker: Worker, folder: Path) -> bool:
        """Whether a worker can read what is written to a folder here, and write there. A lost one's successor is asked
        when it starts."""
        content = os.urandom(16)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(content)
            file.flush()
            try:
                return bool(self.ray.get(worker.actor.sees.remote(file.name, content)))
            except self.ray.exceptions.RayActorError:
                self._lose(worker)
                return True

    def _free(self) -> Iterator[Worker]:
        """A worker for the next call, as long as one has room: the one with the least in hand."""
        while self._ready:
            worker = min(self._ready, key=lambda worker: len(worker.calls))
            if len(worker.calls) >= AT_HAND:
                return
            yield worker

    def _wait(self, flight: dict[Any, Call]) -> list[Any]:
        """What is finished: calls, and workers that have started."""
        if self._ready:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > START_SECONDS:
            what = f"No worker has started within {START_SECONDS} seconds."
            raise CatalogError(what, f"--workers {self.size}", "See `ray status` for what the cluster waits for.")
        pending = [*flight, *self._starting]
        found: list[Any] = self.ray.wait(pending, num_returns=1, timeout=1)[0] if pending else []
        return found

    def _greet(self, started: Any) -> None:
        """Take a worker that has started, if it runs the same program."""
        from saecatalog.stage_keys import code_digest

        worker = self._starting.pop(started)
        try:
            version = self.ray.get(started)
        except self.ray.exceptions.RayActorError as error:
            self._stillborn += 1
            said = str(error)
            if MISSING in said:
                module = said.partition(MISSING)[2].partition("\n")[0]
                what = f"Python on a worker has no module {module}."
                fix = "Install the same saecatalog on every machine of the cluster."
                raise CatalogError(what, "--engine ray", fix) from error
            if self._stillborn > LOSSES * self.size:
                what = f"Workers end as soon as they start: {said.splitlines()[0]}"
                raise CatalogError(what, "--engine ray", f"See the logs of Ray, in /tmp/ray. {TOKENS}") from error
            self._lose(worker)
            return
        self._stillborn = 0
        if version != code_digest("saecatalog.build"):
            what = "A worker has another version of saecatalog."
            raise CatalogError(what, "--engine ray", "Install the same one on every machine of the cluster.")
        for folder in [folder for folder, reached in self._reached.items() if reached and folder.is_dir()]:
            if not self._sees(worker, folder):
                what = f"A worker that started late cannot use the folder {folder}, though the others do."
                raise CatalogError(what, "--engine ray", "Mount it on every machine of the cluster, at the same path.")
        self._ready.append(worker)

    def _answer(self, finished: Any, call: Call) -> Answer | None:
        """What a worker answered; None if it was lost before that, and the call has to be made again."""
        worker = call.worker
        assert worker is not None
        errors = self.ray.exceptions
        lost = errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError, errors.OutOfMemoryError
        try:
            answer: Answer = self.ray.get(finished)
        except lost as error:
            self._lose(worker)
            # The others that it had in hand only waited.
            call.losses += worker.busy_with is call
            if call.losses >= LOSSES:
                what = f"{LOSSES} workers ended with the same part of the work in hand."
                fix = "They may need more memory: use fewer workers on a machine, or a smaller --batch-tokens."
                raise CatalogError(what, "--engine ray", fix) from error
            return None
        worker.calls.remove(call)
        for line in answer.notices:
            if line not in self._said:
                self._said.add(line)
                notice(line)
        if answer.error is not None:
            raise answer.error
        return answer

    def _lose(self, worker: Worker) -> None:
        """Replace a worker; if only an answer of it was lost, it is ended too."""
        if worker.lost:
            return
        worker.lost, worker.busy_with = True, next(iter(worker.calls), None)
        if worker in self._ready:
            self._ready.remove(worker)
        with suppress(Exception):
            self.ray.kill(worker.actor)
        notice("a worker was lost; what it had in hand is done again")
        self._start(succeeds=True)
