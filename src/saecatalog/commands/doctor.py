"""Say what is here: versions, devices, memory, cache, model hub, browser for the tests.
Exit code 1 if a build cannot run here: a library is missing or too old, or the cache cannot be written.

With --json: one object with the fields version, folder, python, executable, platform, cores, memory,
cache, cache_size, cache_free, libraries, devices, default_model, hub, node, chromium and problems.
Sizes are in bytes; what is not here or not known is null."""

import argparse
from dataclasses import asdict

from saecatalog.commands.flags import add_cache, add_json
from saecatalog.commands.output import print_json
from saecatalog.commands.settings import cache_of

EXAMPLE = "doctor"


def add(p: argparse.ArgumentParser) -> None:
    add_cache(p)
    add_json(p)


def run(a: argparse.Namespace) -> int:
    """Print what this machine has. Returns 1 if a build cannot run here."""
    from saecatalog.doctor import examine

    report = examine(cache_of(a))
    if a.json:
        print_json(asdict(report))
    else:
        print("\n".join(report.lines()))
    return 1 if report.problems else 0
