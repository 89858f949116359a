"""Folders that the library `datasets` saved with `save_to_disk`: which of their files have texts.

The rows are in Arrow files; the other files describe them. A folder of several splits has a folder for each.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saecatalog.errors import CatalogError
from saecatalog.texts.text_files import printable

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def is_saved(folder: Path) -> bool:
    """Whether a dataset of one split, or the list of the splits of one, was saved in a folder."""
    # Unlike the methods of a path, this is false where the system refuses to look.
    return all(os.path.isfile(folder / name) for name in (STATE, INFO))


def saved_files(folder: Path) -> list[Path]:
    """The files with the rows of a saved dataset."""
    names = _names(folder / STATE, lambda state: [part["filename"] for part in state["_data_files"]])
    return [folder / name for name in names]


def splits(folder: Path) -> list[Path]:
    """The folders of the splits that were saved together; none if it is another folder."""
    listed = folder / SPLITS
    names = _names(listed, lambda found: found["splits"]) if os.path.isfile(listed) else []
    return [folder / name for name in names]


def _names(path: Path, get: Callable[[Any], list[str]]) -> list[str]:
    """Names of files or folders from a file of a saved dataset; raises CatalogError if it lists none, or a path."""
    try:
        names = get(json.loads(path.read_bytes()))
        if all(isinstance(name, str) and name == Path(name).name for name in names):
            return list(names)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    what = "This file does not describe a dataset that was saved with save_to_disk."
    raise CatalogError(what, printable(path), "Save the dataset anew.")
