"""How the program was installed and started: its command flows out, for messages that name one, and its origin."""

import json
import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

COMMAND = "saecatalog"
"""The command of an installed copy."""

MODULE = Path(__file__).absolute().with_name("__main__.py")


def program_name() -> str:
    """`python build.py` in a checkout, `saecatalog` where it is installed, or `python -m saecatalog`."""
    started = Path(sys.argv[0])
    if started.name == "build.py":
        return f"python {shlex.quote(sys.argv[0])}"
    return f"python -m {COMMAND}" if started.absolute() == MODULE else COMMAND


def origin() -> dict[str, Any] | None:
    """Where the installed copy came from, in the form of PEP 610; None for a package index."""
    try:
        found = distribution(COMMAND).read_text("direct_url.json")
    except PackageNotFoundError:
        return {"url": Path(__file__).as_uri()}
    known: dict[str, Any] | None = json.loads(found) if found else None
    return known
