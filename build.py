"""The command line of SAE Catalog: `python build.py --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from saecatalog.cli import run

if __name__ == "__main__":
    run()
