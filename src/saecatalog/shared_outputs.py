"""Outputs of the stages in shared storage, for other machines and for another start on this one.

<storage>/outputs/<stage>/<key>/   the files of an output; the list of their checksums is written last
"""

import json
from dataclasses import dataclass
from pathlib import Path

from saecatalog.cache import CHECKSUMS, checksum, sealed
from saecatalog.json_files import write_json
from saecatalog.progress import notice
from saecatalog.storage import Storage


@dataclass(frozen=True)
class StoredOutputs:
    """The outputs in some storage."""

    storage: Storage

    def _place(self, stage: str, key: str) -> Storage:
        return self.storage.below(f"outputs/{stage}/{key}")

    def fetch(self, stage: str, key: str, folder: Path) -> bool:
        """Fill an empty folder with an output and its checksums; False if there is none that is whole."""
        place = self._place(stage, key)
        try:
            content = place.read(CHECKSUMS)
        except FileNotFoundError:
            return False
        try:
            listed = json.loads(content)
            sums = listed["files"]
            whole = bool(listed == sealed(sums)) and all(_copied(place, name, sums[name], folder) for name in sums)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            whole = False
        if whole:
            write_json(folder / CHECKSUMS, listed)
        else:
            notice(f"the output {place.address} is damaged; it is made again")
        return whole

    def add(self, stage: str, key: str, folder: Path) -> None:
        """Write the files of an output, and after them the list that says they are whole."""
        place = self._place(stage, key)
        listed = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        for name in [*listed["files"], CHECKSUMS]:
            place.upload(folder / name, name)


def _copied(place: Storage, name: str, wanted: str, folder: Path) -> bool:
    """Copy a file of an output; whether it is as it was written."""
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    place.download(name, target)
    return checksum(target) == wanted
