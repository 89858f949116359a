"""Preview a built site at http://127.0.0.1."""

import argparse

from saecatalog.commands.flags import add_site

EXAMPLE = "serve site --port 8000"
PORT = 8000


def add(p: argparse.ArgumentParser) -> None:
    add_site(p)
    p.add_argument("--port", type=int, default=PORT, help=f"port; default: {PORT}")


def run(a: argparse.Namespace) -> int:
    """Preview a site at http://127.0.0.1."""
    from saecatalog.site.serve import serve

    serve(a.site, a.port, print)
    return 0
