"""The files of a new catalog: the program's own settings, texts and descriptions flow in, files by path flow out.

The settings file is the project's `catalog.toml`, so every setting in it is described in one place; the texts are a few
of the default catalog's. What only a new catalog has is in `resources/init`.
"""

import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from saecatalog import __version__
from saecatalog.errors import CatalogError
from saecatalog.program import COMMAND, origin
from saecatalog.resources import resource

TEXTS = (
    "corpora/README.md",
    "corpora/LICENSE",
    "corpora/everyday-conversation.txt",
    "corpora/news.txt",
    "corpora/poetry.blocks.txt",
    "corpora/python-code.blocks.txt",
    "corpora/concepts/gratitude.txt",
    "corpora/concepts/money.txt",
    "corpora/concepts/weather.txt",
    "notes/README.md",
)
"""What a new catalog takes over from the default one, besides the settings."""

OWN = {
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/pages.yml": "pages.yml",
    "notes/index.md": "index.md",
}
"""The other files, each with its name in `resources/init`."""

SETTINGS = {
    r"# The default catalog\. .*": f"# The settings of this catalog. Change them and run `{COMMAND}` in this folder.",
    r"title = .*": 'title = "My catalog"',
    r"description = .*": 'description = "The features of a small language model\'s SAE, on a few example texts."',
    r"live = true": "# live = false",
}
"""What is different in a new settings file: a pattern for a whole line, and the new line."""

UNKNOWN_ORIGIN = f"""\
# This program was installed from a local file or folder, so where others can install it from is not known. Remove the
# "# " of one of the lines below and correct it: the repository of the program, or, only if this version is on your
# package index, its name there. Until then, nothing is installed and the workflow stops.
# saecatalog @ git+https://github.com/OWNER/REPOSITORY@v{__version__}
# saecatalog=={__version__}
"""


def starter_files() -> dict[str, str]:
    """The content of every file of a new catalog, by its path."""
    copied = {path: _installed(resource(path)) for path in TEXTS}
    own = {path: resource(f"init/{name}").read_text(encoding="utf-8") for path, name in OWN.items()}
    return {"catalog.toml": settings_file(), "requirements.txt": requirements(), **copied, **own}


def settings_file() -> str:
    """The project's settings file with a new title, without what is about the default catalog alone."""
    content = _installed(resource("catalog.toml"))
    for pattern, line in SETTINGS.items():
        content, found = re.subn(rf"^{pattern}$", line, content, flags=re.MULTILINE)
        assert found == 1, pattern
    return content


def _installed(path: Path) -> str:
    """A document of the project, with its commands as an installed copy is called."""
    return path.read_text(encoding="utf-8").replace("python build.py", COMMAND)


def requirements() -> str:
    """What pip installs to publish the catalog with this program: a file of requirements."""
    return requirements_of(origin())


def requirements_of(found: dict[str, Any] | None) -> str:
    """The requirements for a program of this origin, which is in the form of PEP 610; None means a package index."""
    if found is None:
        return f"saecatalog=={__version__}\n"
    inside = f"#subdirectory={found['subdirectory']}" if found.get("subdirectory") else ""
    if "vcs_info" in found:
        vcs = found["vcs_info"]
        return f"saecatalog @ {vcs['vcs']}+{found['url']}@{vcs['commit_id']}{inside}\n"
    return UNKNOWN_ORIGIN if found["url"].startswith("file:") else f"saecatalog @ {found['url']}{inside}\n"


def write_starter(folder: Path, files: dict[str, str]) -> None:
    """Write new files into a folder, which need not exist.

    Raises CatalogError if one of them exists already. If something goes wrong, no file or folder is left behind.
    """
    taken = [path for path in sorted(files) if _is_taken(folder / path)]
    if taken:
        raise CatalogError(
            "There are such files already, and none is overwritten.",
            ", ".join(str(folder / path) for path in taken),
            "Choose an empty folder, or move them away. Nothing was written.",
        )
    with ExitStack() as undo:
        for path, content in files.items():
            target = folder / path
            for above in reversed(target.parents):
                if not above.exists():
                    above.mkdir()
                    undo.callback(above.rmdir)
            with target.open("x", encoding="utf-8", newline="\n") as file:
                undo.callback(target.unlink)
                file.write(content)
        undo.pop_all()


def _is_taken(path: Path) -> bool:
    """Whether there is such a file, or something that is not a folder where one of its folders would be."""
    above = next(part for part in path.parents if os.path.lexists(part))
    return os.path.lexists(path) or not above.is_dir()
