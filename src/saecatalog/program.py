"""How the program was started; its command flows out, for messages that name one."""

import shlex
import sys
from pathlib import Path

COMMAND = "saecatalog"
"""The command of an installed copy."""

MODULE = Path(__file__).absolute().with_name("__main__.py")


def program_name() -> str:
    """`python build.py` in a checkout, `saecatalog` where it is installed, or `python -m saecatalog`."""
    started = Path(sys.argv[0])
    if started.name == "build.py":
        return f"python {shlex.quote(sys.argv[0])}"
    return f"python -m {COMMAND}" if started.absolute() == MODULE else COMMAND
