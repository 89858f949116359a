"""Preview a built site at http://127.0.0.1."""

import argparse
from functools import partial

from saecatalog.commands.flags import add_site

EXAMPLE = "serve site --port 8000"
PORT = 8000


def add(p: argparse.ArgumentParser) -> None:
    add_site(p)
    p.add_argument("--port", type=int, default=PORT, help=f"port; default: {PORT}")
    p.add_argument(
        "--path", metavar="PATH", default="/", help="serve the site below this path, such as /my-catalog/; default: /"
    )


def run(a: argparse.Namespace) -> int:
    """Preview a site at http://127.0.0.1."""
    from saecatalog.site.serve import serve

    # At once, also where the output is a pipe: the server runs until it is stopped.
    serve(a.site, a.port, a.path, partial(print, flush=True))
    return 0
