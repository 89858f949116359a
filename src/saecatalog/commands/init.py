"""Start a new catalog: settings, example texts, notes, and a workflow that publishes it."""

import argparse
import shlex
from pathlib import Path

from saecatalog.program import program_name

EXAMPLE = "init my-catalog"


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder of the new catalog; default: the current folder. No file is overwritten",
    )


def run(a: argparse.Namespace) -> int:
    """Write the files of a new catalog and say what to do next."""
    from saecatalog.starter import UNKNOWN_ORIGIN, starter_files, write_starter

    files = starter_files()
    write_starter(a.folder, files)
    print(f"Wrote {len(files)} files:")
    for path in sorted(files):
        print(f"  {a.folder / path}")
    settings, site = (shlex.quote(str(a.folder / name)) for name in ("catalog.toml", "site"))
    print("To build the site of the example texts and look at it:")
    print(f"  {program_name()} build {settings}")
    print(f"  {program_name()} serve {site}")
    print("README.md says how to publish it. Change corpora/ for other texts, and catalog.toml for everything else.")
    if files["requirements.txt"] == UNKNOWN_ORIGIN:
        print("First say in requirements.txt where to install this program from: it came from a local file or folder.")
    return 0
