"""The local server serves the site's files and nothing else."""

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from ranges import RangeFile

from saecatalog.errors import CatalogError
from saecatalog.schemas import SCHEMAS
from saecatalog.site import serve
from saecatalog.tables import Coded, TableWriter


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "empty").mkdir(parents=True)
    (folder / "index.html").write_text("<title>The site</title>", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
def port(site: Path) -> Iterator[int]:
    """The port of a running server of the site."""
    with serve.make_server(site, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def get(port: int, path: str) -> tuple[int, bytes]:
    """Request a path exactly as written; a client library would normalise it first."""
    connection = HTTPConnection(serve.ADDRESS, port, timeout=10)
    connection.request("GET", path)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, body


@pytest.mark.parametrize("path", ["/index.html", "/", "/index.html?sort=max"])
def test_a_file_is_served(port: int, path: str) -> None:
    assert get(port, path) == (200, b"<title>The site</title>")


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/link.txt", "/empty/", "/none.html", "/a%00b", "//etc/passwd"]
)
def test_nothing_outside_the_site_is_served(port: int, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    status, body = get(port, path)
    assert status == 404
    assert b"secret" not in body
    assert capfd.readouterr() == ("", "")


def test_the_address_is_the_loopback_one(site: Path) -> None:
    with serve.make_server(site, 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_an_error_that_names_it(site: Path) -> None:
    with socket.create_server((serve.ADDRESS, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CatalogError, match=str(port)):
            serve.serve(site, port)


def test_a_port_that_cannot_be(site: Path) -> None:
    with pytest.raises(CatalogError, match="70000"):
        serve.serve(site, 70000)


def test_a_folder_without_a_site(tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as error:
        serve.serve(tmp_path, 0)
    assert error.value.where == str(tmp_path)


def test_ctrl_c_ends_quietly(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def interrupted(self: object, poll_interval: float = 0.5) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serve.ThreadingHTTPServer, "serve_forever", interrupted)
    serve.serve(site, 0, say=said.append)
    assert len(said) == 1
    assert said[0].startswith("http://127.0.0.1:")


# Requests exactly as a hostile page or program would send them


def ask(port: int, request: bytes) -> bytes:
    """The whole reply to some bytes."""
    with socket.create_connection((serve.ADDRESS, port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8000"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_loopback_names_are_answered(host: str, method: str, port: int) -> None:
    reply = ask(port, f"{method} /index.html HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.0 200 ")
    assert (b"The site" in reply) == (method == "GET")


MISDIRECTED = {
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "no host, 1.0": "GET / HTTP/1.0\r\n\r\n",
    "0.9": "GET /\r\n\r\n",
    "empty host": "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "another name": "GET / HTTP/1.1\r\nHost: rebound.example:8000\r\n\r\n",
    "another address": "GET / HTTP/1.1\r\nHost: 0.0.0.0:8000\r\n\r\n",
    "a name that begins alike": "GET / HTTP/1.1\r\nHost: 127.0.0.1.rebound.example\r\n\r\n",
    "a name that ends alike": "GET / HTTP/1.1\r\nHost: rebound.localhost\r\n\r\n",
    "a user": "GET / HTTP/1.1\r\nHost: localhost@rebound.example\r\n\r\n",
    "a port that is none": "GET / HTTP/1.1\r\nHost: localhost:x\r\n\r\n",
    "two hosts": "GET / HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n",
    "twice the same": "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "a whole address": "GET http://rebound.example/index.html HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "head": "HEAD / HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
    "a missing file": "GET /none.html HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
}


@pytest.mark.parametrize("request_", MISDIRECTED.values(), ids=MISDIRECTED)
def test_any_other_host_gets_a_short_refusal(request_: str, port: int) -> None:
    """Otherwise a page elsewhere could read the site, by giving its own name this computer's address."""
    reply = ask(port, request_.encode())
    assert b"The site" not in reply
    assert b"200" not in reply.split(b"\r\n")[0]
    if not request_.startswith("GET /\r\n"):  # HTTP/0.9 has no status
        assert reply.startswith(b"HTTP/1.0 421 ")
    assert (b"answers only to 127.0.0.1" in reply) == (not request_.startswith("HEAD"))


@pytest.fixture
def hidden(site: Path) -> Path:
    """The site with hidden files and folders in it, and with links to them."""
    (site / ".git").mkdir()
    (site / ".git" / "config").write_text("secret", encoding="utf-8")
    (site / ".env").write_text("secret", encoding="utf-8")
    (site / "data" / ".cache").mkdir(parents=True)
    (site / "data" / ".cache" / "index.html").write_text("secret", encoding="utf-8")
    (site / "env.txt").symlink_to(site / ".env")
    (site / "cache").symlink_to(site / "data" / ".cache")
    (site / "empty" / "index.html").symlink_to(site.parent / "secret.txt")
    (site / "circle").symlink_to(site / "circle")
    return site


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/.env",
        "/%2eenv",
        "/%2Eenv?x=1",
        "/.git/config",
        "/%2egit%2fconfig",
        "//.git/config",
        "/data/.cache/",
        "/data/.cache",
        "/data/%2ecache/index.html",
        "/data/../.env",
        "/./.env",
        "/data%2f%2e%2e%2f%2eenv",
        "/data\\..\\.env",
        "/\\.env",
        "/env.txt",
        "/cache/",
        "/cache/index.html",
        "/empty/",
        "/empty/index.html",
        "/circle",
        "/" + "a" * 5000,
    ],
)
def test_hidden_files_do_not_exist(path: str, method: str, hidden: Path, port: int) -> None:
    reply = ask(port, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.0 404 ")
    assert b"secret" not in reply


def test_a_site_below_a_hidden_folder_is_served(tmp_path: Path) -> None:
    """Only what is hidden within the site does not exist."""
    folder = tmp_path / ".previews" / "site"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("The site", encoding="utf-8")
    with serve.make_server(folder, 0) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert get(server.server_port, "/index.html") == (200, b"The site")
        thread.join()


# Below a path, as a project's site on GitHub Pages


@pytest.fixture
def below(site: Path) -> Iterator[int]:
    """The port of a server of the site below /papers/my-catalog/."""
    (site / "tiny").mkdir()
    (site / "tiny" / "index.html").write_text("tiny", encoding="utf-8")
    (site / "papers").write_text("a file named like the path", encoding="utf-8")
    with serve.make_server(site, 0, "papers/my-catalog") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/papers/my-catalog/", b"<title>The site</title>"),
        ("/papers/my-catalog/index.html?sort=max", b"<title>The site</title>"),
        ("/papers/my-catalog/tiny/index.html", b"tiny"),
        ("/papers/my-catalog/papers", b"a file named like the path"),
    ],
)
def test_a_site_is_served_below_a_path(below: int, path: str, body: bytes) -> None:
    assert get(below, path) == (200, body)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/tiny/index.html",
        "/papers",
        "/papers/",
        "/papers/index.html",
        "/papers/my-catalogue/index.html",
        "/papers/my-catalog/../index.html",
        "/papers/my-catalog/../my-catalog/index.html",
        "/papers/my-catalog/%2e%2e/%2e%2e/secret.txt",
        "/papers/my-catalog//papers/my-catalog/index.html",
        "/papers%2fmy-catalog/index.html",
        "/papers/my-catalog/link.txt",
    ],
)
def test_nothing_outside_the_path_is_served(below: int, path: str) -> None:
    """A link that leaves the site is seen as what it would be once published: broken."""
    status, body = get(below, path)
    assert status == 404
    assert b"site</title>" not in body
    assert b"secret" not in body


@pytest.mark.parametrize(
    ("path", "target"),
    [("/papers/my-catalog", "/papers/my-catalog/"), ("/papers/my-catalog/tiny", "/papers/my-catalog/tiny/")],
)
def test_a_folder_without_a_slash_leads_to_the_one_with_it(below: int, path: str, target: str) -> None:
    reply = ask(below, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.0 301 ")
    assert f"\r\nLocation: {target}\r\n".encode() in reply


@pytest.mark.parametrize(
    ("path", "base"), [("", "/"), ("/", "/"), ("//", "/"), ("a", "/a/"), ("/a/b_1.2/", "/a/b_1.2/")]
)
def test_paths_have_a_slash_at_both_ends(path: str, base: str) -> None:
    assert serve.base_of(path) == base


@pytest.mark.parametrize(
    "path", ["..", "a/../b", "a//b", ".git", "a b", "a?b", "a#b", "a%2fb", "a\\b", "é", "a\n", "<b>"]
)
def test_a_path_that_a_browser_would_change_is_refused(site: Path, path: str) -> None:
    with pytest.raises(CatalogError, match="--path"):
        serve.make_server(site, 0, path)


def test_the_address_that_is_said_has_the_path(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(serve.ThreadingHTTPServer, "serve_forever", lambda self: None)
    serve.serve(site, 0, "my-catalog", said.append)
    assert said[0].partition(" ")[0].endswith("/my-catalog/index.html")


def part(port: int, asked: str, *more: tuple[str, str]) -> tuple[int, str | None, bytes]:
    """Request a part of the front page."""
    connection = HTTPConnection(serve.ADDRESS, port, timeout=10)
    connection.request("GET", "/index.html", headers={"Range": asked, **dict(more)})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, reply.headers["Content-Range"], body


@pytest.mark.parametrize("span", ["0-0", "7-", "3-6", "22-23", "-5", "-999", "0-999"])
def test_a_part_of_a_file_is_served(port: int, span: str) -> None:
    whole = b"<title>The site</title>"
    first, _, last = span.partition("-")
    start, stop = (int(first), int(last or 22) + 1) if first else (max(0, len(whole) - int(last)), len(whole))
    wanted = whole[start:stop]
    assert part(port, f"bytes={span}") == (206, f"bytes {start}-{start + len(wanted) - 1}/{len(whole)}", wanted)


@pytest.mark.parametrize("span", ["23-", "99-100", "-0", "5-4"])
def test_a_part_that_is_not_there_is_refused(port: int, span: str) -> None:
    assert part(port, f"bytes={span}") == (416, "bytes */23", b"")


@pytest.mark.parametrize("span", ["bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "0-1"])
def test_the_whole_file_is_served_for_what_is_not_one_part(port: int, span: str) -> None:
    assert part(port, span) == (200, None, b"<title>The site</title>")
    assert part(port, "bytes=0-1", ("If-Range", '"x"'))[0] == 200


def test_a_part_is_refused_where_the_whole_is(port: int) -> None:
    connection = HTTPConnection(serve.ADDRESS, port, timeout=10)
    connection.request("GET", "/link.txt", headers={"Range": "bytes=0-3"})
    assert connection.getresponse().status == 404
    connection.close()


def test_one_feature_of_a_large_table_is_a_small_part_of_it(tmp_path: Path) -> None:
    """Of 200,000 features with two tokens each; the rows are those that reading the whole file gives."""
    count = 200_000
    blank = {name: np.zeros(count * 2) for name in SCHEMAS["tokens"]} | {
        "token": Coded(["a"], np.zeros(count * 2, int))
    }
    noise = np.random.default_rng(0).random(count * 2)
    rows = blank | {"feature": np.repeat(np.arange(count), 2), "share": noise}
    with TableWriter(tmp_path, ["tokens"]) as writer:
        writer.write("tokens", rows)
    (tmp_path / "index.html").touch()
    with serve.make_server(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        file = RangeFile(f"http://{serve.ADDRESS}:{server.server_port}/tokens.parquet")
        found = pq.read_table(file, filters=[("feature", "==", 123_456)], pre_buffer=False)
        server.shutdown()
        thread.join()
    assert found["share"].to_pylist() == noise[246_912:246_914].tolist()
    assert sum(file.asked) < file.size / 4
