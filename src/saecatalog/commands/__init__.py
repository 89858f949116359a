"""The commands: one module each, with its flags (`add`), what it does (`run`), its help and an example."""

NAMES = ("build", "init", "explore", "concept", "list", "check", "verify", "serve", "clean", "fetch", "doctor")
"""In the order of the help; each is the name of a module."""
