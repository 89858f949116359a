"""The subject of a build: settings flow in, facts flow out of the cache. It is loaded only if it is needed."""

import os
import platform
import sys
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from saecatalog import loaded_files
from saecatalog.cache import Cache, Output
from saecatalog.config import SubjectConfig
from saecatalog.errors import CatalogError
from saecatalog.json_files import write_json
from saecatalog.progress import Progress
from saecatalog.saes.directory import find_sae
from saecatalog.stage_keys import stage_key
from saecatalog.subject_info import SubjectInfo

if TYPE_CHECKING:
    from saecatalog.subject import Subject

INFO, FILES = "info.json", "files.json"
"""In the output of the subject: its `SubjectInfo`, and the state of the files it was loaded from."""


class LazySubject:
    """The model and the SAE that some settings name. `given` is this subject, if the caller has it in hand."""

    def __init__(self, config: SubjectConfig, cache: Cache, progress: Progress, given: "Subject | None"):
        self.config, self.cache, self.progress, self.given = config, cache, progress, given
        self._loaded = given

    @property
    def loaded(self) -> "Subject":
        """The model and the SAE, loaded on first use.

        Raises CatalogError if they are no longer those that the catalog is made from.
        """
        info = self.info
        if self._loaded is None:
            self._loaded = self._load()
            if self._loaded.info != info:
                self._described.drop()
                raise CatalogError(
                    "The model or the SAE changed during the build, or the device did.",
                    f"--sae {self.config.sae}",
                    "Run the command again.",
                )
        return self._loaded

    def release(self) -> None:
        """Nothing runs the model for now, so that its memory is free."""
        self._loaded = None

    def _load(self) -> "Subject":
        if self.given is not None:
            return self.given
        with self.progress.bar("load model", 1) as bar:
            from saecatalog.subject import load_subject

            subject = load_subject(self.config, self.cache)
            bar.update()
        return subject

    @cached_property
    def info(self) -> SubjectInfo:
        """Facts about the subject, from the cache if it was loaded before and its files have not changed since."""
        if self.given is not None:
            # Its files may have changed since it was loaded.
            return self.given.info
        files = self._described.json(FILES)
        if self._loaded is None and not loaded_files.unchanged(files):
            self._described.drop()
        return SubjectInfo(**self._described.json(INFO))

    @cached_property
    def _described(self) -> Output:
        """The facts about the subject, and the state of the files of this machine that it was loaded from."""

        def make(folder: Path) -> None:
            self._loaded = self._load()
            write_json(folder / INFO, asdict(self._loaded.info))
            write_json(folder / FILES, self._loaded.files)

        key = stage_key("saecatalog.subject", named(self.config), find_sae(self.config.sae))
        return self.cache.output("subject", key, make)


def named(config: SubjectConfig) -> dict[str, object]:
    """What decides which subject the settings mean: the settings themselves, and what this machine has."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_CACHE

    # The number of tokens run at once does not change a result.
    settings = {name: value for name, value in asdict(config).items() if name != "batch_tokens"}
    paths = [Path(str(settings[name])) for name in ("sae", "model") if settings[name]]
    folders = [str(path.resolve()) for path in paths if path.is_dir()]
    return {**settings, "folders": folders, "hub": [ENDPOINT, HF_HUB_CACHE], "devices": _devices()}


def _devices() -> list[str | None]:
    """What the device `auto` depends on, as far as it can be told without importing torch, which takes a second."""
    nodes = [str(path) for path in Path("/dev").glob("nvidia[0-9]*")] if Path("/dev").is_dir() else []
    return [sys.platform, platform.machine(), os.environ.get("CUDA_VISIBLE_DEVICES"), *sorted(nodes)]
