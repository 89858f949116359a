"""The keys of the stages: names of cached outputs, derived from everything that an output depends on.

A key is a hash of the module that makes the output, of every module of this package that this one imports, of the
libraries they import, and of the stage's inputs. Imports are read from the source, so there is no list to
maintain: after a change to its code, a stage is never taken from the cache.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType
from typing import Any

PACKAGE = Path(__file__).parent

DISTRIBUTIONS = {"yaml": "PyYAML"}
"""The distributions of libraries that are imported by another name."""


def digest(*parts: object) -> str:
    """A short hash of JSON-like parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def stage_key(module: str, *inputs: object) -> str:
    """The key of a module's output for some inputs; `module` is its full name, such as `saecatalog.harvest`.

    If an input is the output of another stage, pass the key of that stage.
    """
    return digest(module, code_digest(module), libraries_of(module, PACKAGE), *inputs)


def code_digest(module: str) -> str:
    """A hash of the sources and data files that a module depends on."""
    files = files_of(module, PACKAGE)
    return digest([[file.relative_to(PACKAGE).as_posix(), file_sha256(file)] for file in files])


@cache
def files_of(module: str, package: Path) -> list[Path]:
    """The files of a module and of all modules of the package that it imports, at the top or inside a function.

    The other files in a package's folder (style sheets, scripts, the embedded SAE) belong to the package.
    """
    modules = _imports(module, package).modules.values()
    found = [Path(file) for part in modules if (file := getattr(part, "__file__", None))]
    folders = [file.parent for file in found if file.name == "__init__.py"]
    return sorted({*found, *(file for folder in folders for file in _data_files(folder))})


@cache
def libraries_of(module: str, package: Path) -> dict[str, str]:
    """The installed version of every library that a module imports, by import name; "" if it is not found."""
    names = {name.partition(".")[0] for name in _imports(module, package).badmodules}
    return {name: _version(name) for name in sorted(names - sys.stdlib_module_names - {package.name})}


@cache
def _imports(module: str, package: Path) -> ModuleFinder:
    """What a module imports: `modules` are those of the package, `badmodules` all others, such as libraries."""
    finder = _Finder(package)
    finder.import_hook(module)
    return finder


class _Finder(ModuleFinder):
    """Finds the modules of one package. It compiles a module once for all keys, which together takes a second less."""

    def __init__(self, package: Path):
        super().__init__(path=[str(package.parent)])
        self.package = package.name

    def find_module(self, name: str, path: Any, parent: Any = None) -> Any:
        # The libraries lie beside an installed package.
        if path is None and name != self.package:
            raise ImportError(name)
        return super().find_module(name, path, parent)

    def load_module(self, fqname: str, fp: Any, pathname: str, file_info: Any) -> Any:
        if not fp:  # a package, or no Python
            return super().load_module(fqname, fp, pathname, file_info)
        module: Any = self.add_module(fqname)
        module.__file__, module.__code__ = pathname, _compiled(fp.read())
        self.scan_code(module.__code__, module)
        return module


@cache
def _compiled(source: str | bytes) -> CodeType:
    return compile(source, "module", "exec")


def _data_files(folder: Path) -> Iterator[Path]:
    """The files below a package's folder that are not modules and not in a subpackage."""
    for path in folder.iterdir():
        if not path.is_dir():
            if path.suffix != ".py":
                yield path
        elif path.name != "__pycache__" and not (path / "__init__.py").exists():
            yield from _data_files(path)


def file_sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@cache
def _version(name: str) -> str:
    # For the other libraries used here, the name of the distribution and the import name differ only in case, hyphens
    # and underscores. Asking for the distribution of any import name takes most of a second.
    try:
        return version(DISTRIBUTIONS.get(name, name))
    except PackageNotFoundError:
        return ""
