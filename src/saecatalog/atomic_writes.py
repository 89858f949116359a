"""Folders that are written completely or not at all, and the JSON files in them."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill. It replaces `target` if the block succeeds and is removed if the block fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    before = temporary.with_name(f"{temporary.name}-before")
    try:
        yield temporary
        temporary.chmod(0o755)
        # Removing many old files takes seconds, so the old folder is first moved out of the way.
        if target.exists():
            target.rename(before)
        temporary.rename(target)
    finally:
        if before.exists() and not target.exists():
            before.rename(target)
        for folder in (temporary, before):
            shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
