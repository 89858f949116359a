"""The command line of SAE Catalog: `python build.py --help`."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from saecatalog.cli import main

if __name__ == "__main__":
    code = main()
    # Everything is done and said; a signal must not break off the end of the process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)
