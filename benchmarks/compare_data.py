"""Check that two builds of a catalog have the same figures: every value of every table, and the manifest.

    python benchmarks/compare_data.py OLD NEW

OLD and NEW are `data` folders of built catalogs, or sites with one catalog. Prints each difference on a line and exits
with 1 if there is any. Differences that do not affect figures are ignored: the program's version and commit, the
versions of the libraries, and how a file is packed.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MAY_DIFFER = {"program", "libraries"}


def data_folder(path: Path) -> Path:
    """The folder itself if it has a manifest, else that of the site's only catalog."""
    if (path / "manifest.json").exists():
        return path
    (found,) = path.glob("*/*/data")
    return found


def differences(old: Path, new: Path) -> Iterator[str]:
    """Every difference of two `data` folders, one line each."""
    before, after = ({path.name for path in folder.glob("*.parquet")} for folder in (old, new))
    yield from (f"{name}: only in {old}" for name in sorted(before - after))
    yield from (f"{name}: only in {new}" for name in sorted(after - before))
    for name in sorted(before & after):
        yield from table_differences(name, pq.read_table(old / name), pq.read_table(new / name))
    yield from manifest_differences(old, new)


def table_differences(name: str, old: pa.Table, new: pa.Table) -> Iterator[str]:
    """The columns of one table that differ, with the number of different rows and the first of them."""
    if old.column_names != new.column_names:
        yield f"{name}: columns {sorted(set(old.column_names) ^ set(new.column_names))} are in one only"
    if len(old) != len(new):
        yield f"{name}: {len(old):,} rows before, {len(new):,} now"
        return
    for column in sorted(set(old.column_names) & set(new.column_names)):
        a, b = old[column].combine_chunks(), new[column].combine_chunks()
        if a.type != b.type:
            yield f"{name}: {column} was {a.type}, is {b.type}"
        elif not same(a, b):
            rows = [row for row in range(len(a)) if not same(a.slice(row, 1), b.slice(row, 1))]
            was, now = a[rows[0]].as_py(), b[rows[0]].as_py()
            yield f"{name}: {column} differs in {len(rows):,} rows; row {rows[0]}: {was!r} before, {now!r} now"


def same(a: pa.Array, b: pa.Array) -> bool:
    """Whether two arrays have the same values; NaN equals NaN."""
    if a.equals(b):
        return True
    if not pa.types.is_floating(a.type):
        return False
    return bool(pc.all(pc.or_(pc.equal(a, b), pc.and_(pc.is_nan(a), pc.is_nan(b))), min_count=0).as_py())


def manifest_differences(old: Path, new: Path) -> Iterator[str]:
    """The entries of the manifest that differ."""
    before, after = (json.loads((folder / "manifest.json").read_text("utf-8")) for folder in (old, new))
    for name in sorted((before.keys() | after.keys()) - MAY_DIFFER):
        if before.get(name) != after.get(name):
            yield f"manifest.json: {name} was {before.get(name)!r}, is {after.get(name)!r}"


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("old", type=Path)
    arguments.add_argument("new", type=Path)
    a = arguments.parse_args()
    found = list(differences(data_folder(a.old), data_folder(a.new)))
    print("\n".join(found or ["No difference."]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
