"""The keys of the stages: names for cached outputs, made from everything that an output depends on.

A key is a hash of the module that makes the output, of every module of this package that this one imports, of the
libraries they import, and of the stage's inputs. What a module imports is read from its source, so nobody has to keep
a list: a stage whose code changed is never served from the cache.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from modulefinder import ModuleFinder
from pathlib import Path

PACKAGE = Path(__file__).parent


def digest(*parts: object) -> str:
    """A short hash of JSON-like parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def stage_key(module: str, *inputs: object) -> str:
    """The key of what a module makes from its inputs; `module` is its full name, as in `saecatalog.harvest`.

    An input that is the output of another stage is given by its own key.
    """
    return digest(module, code_digest(module), libraries_of(module, PACKAGE), *inputs)


def code_digest(module: str) -> str:
    """A hash of the sources and data files that a module depends on."""
    files = files_of(module, PACKAGE)
    return digest([[file.relative_to(PACKAGE).as_posix(), _sha256(file)] for file in files])


@cache
def files_of(module: str, package: Path) -> list[Path]:
    """The files of every module of the package that a module imports, at its top or inside a function, itself included.

    The other files of a package's folder (style sheets, scripts, the embedded SAE) count with the package.
    """
    modules = _imports(module, package).modules.values()
    found = [Path(file) for part in modules if (file := getattr(part, "__file__", None))]
    folders = [file.parent for file in found if file.name == "__init__.py"]
    return sorted({*found, *(file for folder in folders for file in _data_files(folder))})


@cache
def libraries_of(module: str, package: Path) -> dict[str, str]:
    """The installed version of every library that a module imports, by the library's import name; "" where missing."""
    names = {name.partition(".")[0] for name in _imports(module, package).badmodules}
    return {name: _version(name) for name in sorted(names - sys.stdlib_module_names - {package.name})}


@cache
def _imports(module: str, package: Path) -> ModuleFinder:
    """What a module imports: `modules` are found in the package, `badmodules` are all others, libraries among them."""
    finder = ModuleFinder(path=[str(package.parent)])
    finder.import_hook(module)
    return finder


def _data_files(folder: Path) -> Iterator[Path]:
    """The files below a package's folder that are no modules, and are not in a package of their own."""
    for path in folder.iterdir():
        if not path.is_dir():
            if path.suffix != ".py":
                yield path
        elif path.name != "__pycache__" and not (path / "__init__.py").exists():
            yield from _data_files(path)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@cache
def _version(name: str) -> str:
    # A distribution's name and the name it is imported by differ in case, hyphens and underscores at most.
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
