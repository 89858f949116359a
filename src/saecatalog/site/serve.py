"""Previews a built site over HTTP, on this computer only.

In: the folder of a site and a port. Out: the pages, to browsers at the loopback address.
"""

import logging
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from saecatalog.errors import CatalogError

ADDRESS = "127.0.0.1"


class _SiteServer(ThreadingHTTPServer):
    """A server that does not report requests that a browser has cancelled."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        logging.getLogger(__name__).debug("request from %s failed", client_address, exc_info=True)


class _SiteHandler(SimpleHTTPRequestHandler):
    """Serves the files of the site, without listings or a log, and without links to files outside the folder."""

    def send_head(self) -> Any:
        try:
            asked = Path(self.translate_path(self.path)).resolve()
        except ValueError:
            asked = None
        if asked is None or not asked.is_relative_to(Path(self.directory).resolve()):
            self.send_error(404, "File not found")
            return None
        return super().send_head()

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
        raise CatalogError("There is no site to serve.", str(site), "Build it first: python build.py")
    try:
        return _SiteServer((ADDRESS, port), partial(_SiteHandler, directory=str(site)))
    except (OSError, OverflowError) as error:
        raise CatalogError(
            f"The port {port} cannot be used ({getattr(error, 'strerror', None) or error}).",
            f"{ADDRESS}:{port}",
            "Choose another: python build.py serve --port 8001",
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
