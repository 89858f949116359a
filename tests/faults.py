"""Faults that tests inject: a storage server that fails now and then, and worker processes that are killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from saecatalog.ray_engine import SETTINGS

SECRETS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3-compatible server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine, with a processor each."""
    from ray.cluster_utils import Cluster

    os.environ.update(SETTINGS)
    # A node is lost if it refuses a connection three times within seconds. One that is only slow has half a minute.
    os.environ.update(RAY_health_check_period_ms="1000", RAY_health_check_failure_threshold="3")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@contextmanager
def node_without(folder: Path, address: str) -> Iterator[None]:
    """A node of a cluster, with a processor, on which a folder of this machine is empty."""
    hide = ["unshare", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*hide, "true"], capture_output=True).returncode:
        pytest.skip("hiding a folder from a process needs `unshare` and the rights of root")
    start = f"{sys.executable} -m ray.scripts.scripts start --address {address} --num-cpus 1 --block"
    words = [*hide, f"mount -t tmpfs none {folder} && exec {start}"]
    settings = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONUNBUFFERED": "1"}
    said = folder.with_suffix(".log")
    with (
        said.open("w") as log,
        subprocess.Popen(words, env=settings, stdout=log, stderr=log, start_new_session=True) as node,
    ):
        try:
            wait_for(lambda: "Ray runtime started" in said.read_text())
            yield
        finally:
            # Asked to end, it would wait half a minute for its workers.
            os.killpg(node.pid, signal.SIGKILL)


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a folder in a new bucket."""
    import boto3

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    through(s3_server, monkeypatch)
    name = f"bucket-{os.urandom(4).hex()}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/some/folder"


def through(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new connections to S3 go to this server; fsspec would use an earlier one again."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def between(server: str, fails: Callable[[str, str], int | None]) -> Iterator[str]:
    """The address of a proxy before an HTTP server.

    `fails(method, path)` says with which status a request fails; 0 closes the connection, None lets it through.
    """

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._body()
            status = fails(self.command, self.path)
            if status == 0:
                self.close_connection = True
                self.connection.close()
                return
            if status is not None:
                self._send(status, {"Content-Type": "application/xml"}, DENIED if status == 403 else b"")
                return
            headers = {n: v for n, v in self.headers.items() if n.lower() not in ("transfer-encoding", "expect")}
            behind = HTTPConnection(server.removeprefix("http://"))
            behind.request(self.command, self.path, body, headers)
            answer = behind.getresponse()
            self._send(answer.status, dict(answer.getheaders()), answer.read())
            behind.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            whole = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return whole

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "date", "server", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """The tests need no log."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()


def ray_workers() -> list[int]:
    """The processes in which the clusters of this process run workers of this program, as the system names them."""
    return processes("ray::Desk")


def processes(words: str) -> list[int]:
    """The processes that this one started, directly or not, with these words in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if words.encode() in (folder / "cmdline").read_bytes() and os.getpid() in _ancestors(int(folder.name)):
                    found.append(int(folder.name))
            except OSError:  # it ended
                continue
    return sorted(found)


def _ancestors(pid: int) -> Iterator[int]:
    """The processes that started a process, from its parent on."""
    while pid > 1:
        # Behind the name of the program, which may hold anything.
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid


@contextmanager
def killing(seed: int, times: int, pause: float) -> Iterator[list[int]]:
    """Within the block, a worker that the seed chooses is killed every `pause` seconds, `times` times in all."""
    chance, killed, stop = random.Random(seed), [], threading.Event()

    def kill() -> None:
        while len(killed) < times and not stop.wait(pause * (0.5 + chance.random())):
            if working := [pid for pid in ray_workers() if _is_busy(pid)]:
                pid = chance.choice(working)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        stop.set()
        killer.join()


def _is_busy(pid: int) -> bool:
    """Whether a process has a call in hand: Ray puts its name into the command line."""
    try:
        return b"ray::Desk.call" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is true; fails if it does not become true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
