"""Previews a built site over HTTP, on this computer only.

In: the folder of a site and a port. Out: the pages, to browsers at the loopback address.

A page elsewhere can point a name of its own at this computer and have the visitor's browser ask under that name (DNS
rebinding); it could then read the site. So only requests that name the loopback address are answered.
"""

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

MISDIRECTED = f"This server answers only to {ADDRESS}, localhost and [::1]."


class _SiteServer(ThreadingHTTPServer):
    """A server that does not report requests that a browser has cancelled."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        logging.getLogger(__name__).debug("request from %s failed", client_address, exc_info=True)


class _SiteHandler(SimpleHTTPRequestHandler):
    """Serves the files of the site to requests for the loopback address, without listings or a log.

    Hidden files, and links to hidden files or to files outside the folder, do not exist for it.
    """

    def send_head(self) -> Any:
        hosts = self.headers.get_all("Host", [])
        # A browser asks for a path; only a proxy is asked for a whole address, whose host would count instead.
        if not self.path.startswith("/") or len(hosts) != 1 or not LOOPBACK.fullmatch(hosts[0].strip()):
            self.send_error(421, "Misdirected Request", MISDIRECTED)
            return None
        if not self._is_visible():
            self.send_error(404, "File not found")
            return None
        return super().send_head()

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
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing; the command line prints what is needed."""


def make_server(site: Path, port: int) -> ThreadingHTTPServer:
    """A server of the site, bound to the loopback address (port 0: any free port) and not yet running.

    Raises CatalogError if there is no site or the port cannot be used.
    """
    if not (site / "index.html").is_file():
        raise CatalogError("There is no site to serve.", str(site), f"Build it first: {program_name()}")
    try:
        return _SiteServer((ADDRESS, port), partial(_SiteHandler, directory=str(site)))
    except (OSError, OverflowError) as error:
        raise CatalogError(
            f"The port {port} cannot be used ({getattr(error, 'strerror', None) or error}).",
            f"{ADDRESS}:{port}",
            f"Choose another: {program_name()} serve --port 8001",
        ) from error


def _say_nothing(line: str) -> None:
    """The default of `serve`: print nothing."""


def serve(site: Path, port: int, say: Callable[[str], None] = _say_nothing) -> None:
    """Serve the site until Ctrl-C; `say` is called once, with the address."""
    with make_server(site, port) as server:
        say(f"http://{ADDRESS}:{server.server_port}/index.html (press Ctrl-C to stop)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
