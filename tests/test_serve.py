"""The local server serves the site's files and nothing else."""

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from saecatalog.errors import CatalogError
from saecatalog.site import serve


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
    serve.serve(site, 0, said.append)
    assert len(said) == 1
    assert said[0].startswith("http://127.0.0.1:")
