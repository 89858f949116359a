"""Download the default model into the cache; otherwise the first build that needs it does so."""

import argparse

from saecatalog.commands.flags import add_cache
from saecatalog.commands.settings import cache_of

EXAMPLE = "fetch"


def add(p: argparse.ArgumentParser) -> None:
    add_cache(p)


def run(a: argparse.Namespace) -> int:
    """Download the default model into the cache."""
    from saecatalog import embedded
    from saecatalog.cache import Cache
    from saecatalog.models.default_model import downloaded

    with Cache(cache_of(a)) as cache:
        print(f"The default model is at {downloaded(cache).file(embedded.GGUF)}")
    return 0
