"""How the program was started; its command flows out, for messages that name one."""

import shlex
import sys
from pathlib import Path

COMMAND = "saecatalog"
"""The command of an installed copy."""


def program_name() -> str:
    """`python build.py` in a checkout, `saecatalog` where it is installed, or `python -m saecatalog`."""
    started = Path(sys.argv[0]).name
    if started == "build.py":
        return f"python {shlex.quote(sys.argv[0])}"
    return "python -m saecatalog" if started == "__main__.py" else COMMAND
