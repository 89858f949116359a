"""Puts files of the project that the program reads into the wheel. Everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RESOURCES = ("catalog.toml", "corpora", "notes/README.md", "templates")
"""Files and folders, which `src/saecatalog/resources` finds there."""


class WithResources(build_py):
    """Copies the resources into the package that is built; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in RESOURCES:
            target = Path(self.build_lib, "saecatalog/resources", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if Path(name).is_dir():
                # An earlier build may have left files that are no longer there.
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(name, target)
            else:
                shutil.copyfile(name, target)


setup(cmdclass={"build_py": WithResources})
