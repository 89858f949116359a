"""Previews a built site over HTTP, on this computer only.

In: the folder of a site, a port, and the path below which to serve it, as on a host with several sites. Out: the pages,
to browsers at the loopback address.

A page elsewhere can point a name of its own at this computer and have the visitor's browser ask under that name (DNS
rebinding); it could then read the site. So only requests that name the loopback address are answered.
"""

import io
import logging
import re
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from saecatalog.errors import CatalogError
from saecatalog.program import program_name

ADDRESS = "127.0.0.1"

LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
"""The names under which the server answers, with or without a port."""

PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/")
"""Paths below which a site may be served: a browser changes none of them, and none has a hidden folder."""

RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
"""A request for one part of a file: from a byte, to a byte, or the last bytes."""

MISDIRECTED = f"This server answers only to {ADDRESS}, localhost and [::1]."


class _SiteServer(ThreadingHTTPServer):
    """A server that does not report requests that a browser has cancelled."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        logging.getLogger(__name__).debug("request from %s failed", client_address, exc_info=True)


class _SiteHandler(SimpleHTTPRequestHandler):
    """Serves the files of the site, or parts of them, to requests for the loopback address, without listings or a log.

    Hidden files, and links to hidden files or to files outside the folder, do not exist for it; nor does anything
    outside `base`, the path of the site, which begins and ends with a slash.
    """

    def __init__(self, *args: Any, base: str, **settings: Any):
        self.base = base
        super().__init__(*args, **settings)

    def send_head(self) -> Any:
        hosts = self.headers.get_all("Host", [])
        # A browser asks for a path; only a proxy is asked for a whole address, whose host would count instead.
        if not self.path.startswith("/") or len(hosts) != 1 or not LOOPBACK.fullmatch(hosts[0].strip()):
            self.send_error(421, "Misdirected Request", MISDIRECTED)
            return None
        if self.path == self.base.rstrip("/"):
            self.send_response(301)
            self.send_header("Location", self.base)
            self.end_headers()
            return None
        if not self.path.startswith(self.base) or not self._is_visible():
            self.send_error(404, "File not found")
            return None
        asked, path = RANGE.fullmatch(self.headers.get("Range", "")), Path(self.translate_path(self.path))
        # Nothing here has a mark of its version, so that whoever sends one gets the whole file.
        if asked and "If-Range" not in self.headers and path.is_file():
            return self._send_part(asked, path)
        return super().send_head()

    def _send_part(self, asked: re.Match[str], path: Path) -> Any:
        """Send the headers of a part of a file, such as a row group of a table; returns the part as a file."""
        size = path.stat().st_size
        first = max(0, size - int(asked[3])) if asked[3] else int(asked[1])
        end = min(size, int(asked[2]) + 1) if asked[2] else size
        is_there = first < end
        self.send_response(206 if is_there else 416)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}" if is_there else f"bytes */{size}")
        self.send_header("Content-Length", str(end - first if is_there else 0))
        self.end_headers()
        with path.open("rb") as file:
            file.seek(first)
            return io.BytesIO(file.read(end - first) if is_there else b"")

    def translate_path(self, path: str) -> str:
        """The file of a path, which is below `base`."""
        return super().translate_path("/" + path.removeprefix(self.base))

    def _is_visible(self) -> bool:
        """Whether the requested file is inside the site and no part of its path is hidden, links followed or not."""
        asked, site = Path(self.translate_path(self.path)), Path(self.directory).resolve()
        try:
            # For a folder, its index.html is sent.
            files = [path.resolve().relative_to(site) for path in (asked, asked / "index.html")]
        except (ValueError, OSError, RuntimeError):  # a NUL, a name too long, links in a circle
            return False
        requested = re.split(r"[/\\]", unquote(self.path.partition("?")[0]))
        return not any(part.startswith(".") for part in (*requested, *files[0].parts, *files[1].parts))

    def list_directory(self, path: Any) -> None:
        self.send_error(404, "File not found")

    def end_headers(self) -> None:
        # The browser must always show the page that was built last.
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing; the command line prints what is needed."""


def base_of(path: str) -> str:
    """A path below which to serve a site, with a slash at both ends; raises CatalogError if it cannot be one."""
    base = f"/{path.strip('/')}/" if path.strip("/") else "/"
    if not PATH.fullmatch(base):
        what = "The site cannot be served below this path."
        raise CatalogError(what, f"--path {path}", "Use letters, digits, '-', '_' and '.', such as /my-catalog/.")
    return base


def make_server(site: Path, port: int, path: str = "/") -> ThreadingHTTPServer:
    """A server of the site below a path, bound to the loopback address (port 0: any free port) and not yet running.

    Raises CatalogError if there is no site, or the port or the path cannot be used.
    """
    if not (site / "index.html").is_file():
        raise CatalogError("There is no site to serve.", str(site), f"Build it first: {program_name()}")
    try:
        return _SiteServer((ADDRESS, port), partial(_SiteHandler, directory=str(site), base=base_of(path)))
    except (OSError, OverflowError) as error:
        raise CatalogError(
            f"The port {port} cannot be used ({getattr(error, 'strerror', None) or error}).",
            f"{ADDRESS}:{port}",
            f"Choose another: {program_name()} serve --port 8001",
        ) from error


def _say_nothing(line: str) -> None:
    """The default of `serve`: print nothing."""


def serve(site: Path, port: int, path: str = "/", say: Callable[[str], None] = _say_nothing) -> None:
    """Serve the site below a path until Ctrl-C; `say` is called once, with the address."""
    with make_server(site, port, path) as server:
        say(f"http://{ADDRESS}:{server.server_port}{base_of(path)}index.html (press Ctrl-C to stop)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
