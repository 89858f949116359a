"""The commands: one module each, with its flags (`add`), what it does (`run`), its help and an example."""

NAMES = ("build", "explore", "concept", "list", "compare", "remove", "check", "verify", "serve", "clean", "fetch")
"""In the order of the help; each is the name of a module."""
