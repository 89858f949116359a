"""A static site generator for the features of sparse autoencoders, and a library to ask the same questions in Python.

The names in `__all__` are those of `saecatalog.library`. They are imported on first use, so that `import saecatalog`
and the command line start quickly; `__init__.pyi` gives their types.
"""

from importlib import import_module

__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "Catalog",
    "CatalogError",
    "CatalogWarning",
    "Corpus",
    "Harvest",
    "Subject",
    "analyse",
    "harvest_texts",
    "load_subject",
    "open_catalog",
    "read_corpus",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("saecatalog.library"), name)
    raise AttributeError(f"module 'saecatalog' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
