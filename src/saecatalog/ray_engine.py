"""The Ray engine: workers on the machines of a Ray cluster, or several processes on this one.

Settings flow in, an `Engine` flows out; `ray_crew` has its workers. Nothing else imports Ray, which is an optional
package.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saecatalog.config import MachinesConfig
from saecatalog.engines import Item, Result, Shared
from saecatalog.errors import CatalogError
from saecatalog.ray_crew import TOKENS, Crew, alive

PORT = 6379
"""The port of a cluster's head, unless the address names another."""

SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Environment variables: a Ray that is started here reports its use to nobody, and its workers have the priority of
this process. By default, any other work on the machine would leave them next to nothing."""

ANSWER_SECONDS = 5
"""How long a cluster may take to answer."""


def connect(config: MachinesConfig) -> "Connection":
    """Start Ray on this machine, or join the cluster at an address.

    Raises CatalogError if Ray is not installed, if nothing answers, or if the cluster is too small.
    """
    try:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
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
            nodes = alive(ray)
            self.workers, cpus = plan([node["Resources"] for node in nodes], config.workers, config.gpus_per_worker)
            machines = {node["NodeID"] for node in nodes}
            self._crew = Crew(ray, self.workers, cpus, config.gpus_per_worker, machines)
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
