"""Checks a comparison of two catalogs: whether it still fits them, and its tables.

In: the folder of a site and that of the comparison. Out: its problems. Links and the page itself are checked like all.
"""

from collections.abc import Iterator
from pathlib import Path

from saecatalog.compare.tables import KINDS, SCHEMAS
from saecatalog.schemas import described
from saecatalog.site.check_tables import table_problems
from saecatalog.site.comparisons import outdated
from saecatalog.site.inventory import MANIFEST, read_mapping


def comparison_problems(site: Path, folder: str) -> Iterator[str]:
    """A comparison that is outdated or cannot be read, and problems of its tables."""
    manifest = read_mapping(site / folder / MANIFEST)
    if why := outdated(site, manifest):
        yield f"{folder}/{MANIFEST}: the comparison is outdated, because {why}; make it again with 'compare'"
    kind = manifest.get("kind")
    if kind not in KINDS:
        yield f"{folder}/{MANIFEST}: no kind of comparison"
        return
    for name in KINDS[kind]:
        for problem in table_problems(site / folder / f"data/{name}.parquet", described(SCHEMAS[name])):
            yield f"{folder}/data/{name}.parquet: {problem}"
