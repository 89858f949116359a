"""The workers of the Ray engine: calls flow in, their results flow out in order, whatever is lost on the way.

A worker is an actor that keeps what its calls share. One that is lost is replaced, and what it had in hand is done
again.
"""

import math
import os
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from saecatalog.errors import CatalogError
from saecatalog.progress import notice, noticed_by

START_SECONDS = 300
"""How long no worker may be ready while there is work: a cluster may have to start machines first."""

PATIENCE_SECONDS = 20
"""How long to wait for workers before saying so."""

AT_HAND = 2
"""Calls that a worker has in hand: one runs, one waits, so that no worker waits for the driver."""

AHEAD = 4
"""Results for each worker that may be finished or under way beyond the first that is not."""

LOSSES = 4
"""Workers that may be lost with the same item in hand. Then the item is the reason, or their memory."""

PASSED_ON = ("AWS_", "AZURE_", "FSSPEC_", "GOOGLE_", "HF_", "TOKENIZERS_", "TQDM_")
"""How the environment variables begin that workers get from this process: of storage, the model hub and bars."""

TOKENS = "RAY_AUTH_MODE must be `token` if the cluster asks for a token, and `disabled` if it does not."
"""What may be wrong if a cluster is there and cannot be used: Ray does not say so."""

MISSING = "ModuleNotFoundError: No module named "
"""How Python says that a worker has no such module; it stands in what Ray says."""


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
    error: CatalogError | OSError | None = None
    notices: list[str] = field(default_factory=list)


class Desk:
    """Runs in a worker: calls functions, and keeps what their calls share from one to the next."""

    def __init__(self, settings: dict[str, str]):
        # Before a library is imported that reads them.
        os.environ.update(settings)
        self._shared: tuple[str, Any] = ("", None)

    def version(self) -> str:
        """Of the program and of the libraries on this machine."""
        from saecatalog.stage_keys import stage_key

        return stage_key("saecatalog.build")

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
            return Answer(None, CatalogError(error.what, _on_this_machine(error.where), error.fix), notices)
        except OSError as error:
            if error.errno is None:
                raise
            # Ray would send one without its number, by which the program knows a full disk and a lack of permission.
            where = _on_this_machine(str(error.filename or ""))
            return Answer(None, OSError(error.errno, os.strerror(error.errno), where), notices)


def alive(ray: Any) -> list[dict[str, Any]]:
    """The nodes of the cluster that Ray counts."""
    return [node for node in ray.nodes() if node["Alive"]]


def _on_this_machine(where: str) -> str:
    return f"{where} (on {socket.gethostname()})".strip()


class Crew:
    """The workers. One that is lost is replaced."""

    def __init__(self, ray: Any, size: int, cpus: float, gpus: float, machines: set[str]):
        """`machines` are the nodes that have room for so many workers, by Ray's names for them."""
        self.ray, self.size, self._machines = ray, size, machines
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
        said, until = self._idle_since + PATIENCE_SECONDS, self._idle_since + START_SECONDS
        while self._missing() and time.monotonic() < until:
            if time.monotonic() > said:
                said = math.inf
                notice(f"waiting for {len(self._starting)} of {self.size} workers to start; `ray status` may say why")
            for started in self._wait({}):
                self._greet(started)
        self._reached[folder] = not self._missing() and all(self._sees(one, folder) for one in list(self._ready))
        return self._reached[folder]

    def _missing(self) -> bool:
        """Whether there is a worker that has not started yet, except for those that may never find room.

        These are successors of lost ones and, once a machine is lost, all: Ray goes on counting it for a while.
        """
        if not self._ready:
            return True
        awaited = any(not worker.succeeds for worker in self._starting.values())
        return awaited and self._machines <= {node["NodeID"] for node in alive(self.ray)}

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
        from saecatalog.stage_keys import stage_key

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
        if version != stage_key("saecatalog.build"):
            what = "A worker has another version of saecatalog or of a library."
            raise CatalogError(what, "--engine ray", "Install the same ones on every machine of the cluster.")
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
