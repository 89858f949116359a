from saecatalog.library import *  # noqa: F403  # the names are listed there

__version__: str
