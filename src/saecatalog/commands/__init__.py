"""The commands: one module each, with its flags (`add`), what it does (`run`), its help and an example."""

NAMES = (
    "init",
    "build",
    "explore",
    "concept",
    "explain",
    "list",
    "compare",
    "remove",
    "check",
    "verify",
    "serve",
    "publish",
    "export-neuronpedia",
    "compare-neuronpedia",
    "clean",
    "fetch",
    "doctor",
)
"""In the order of the help; each is the name of a module, in which a hyphen is an underscore."""
