"""The formats by name, and which of them a file has: the only list of them."""

import codecs
import re
from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.texts.formats import columns, json_records, plain, separated
from saecatalog.texts.formats.pieces import Reader
from saecatalog.texts.sampling import BLANK_LINES, LINES
from saecatalog.texts.streams import COMPRESSED, Input, beginning_of_stdin

FORMATS: dict[str, Reader] = {
    "lines": Reader((".txt",), plain.lines, plain.sought(LINES, str.strip), records=False),
    "blocks": Reader((".blocks.txt", ".md"), plain.blocks, plain.sought(BLANK_LINES, plain.tidy_block), records=False),
    "files": Reader((), plain.whole, records=False),
    "jsonl": Reader((".jsonl", ".ndjson"), plain.lines, plain.sought(LINES, str.strip), json_records.parse_line),
    "json": Reader((".json",), json_records.array),
    "csv": Reader((".csv",), separated.rows(","), separated.sought_rows(",")),
    "tsv": Reader((".tsv",), separated.rows("\t"), separated.sought_rows("\t")),
    "parquet": Reader((".parquet",), columns.parquet_rows, columns.scattered_parquet, columns.parse_row, rows=True),
    "arrow": Reader((".arrow", ".feather"), columns.arrow_rows, columns.scattered_arrow, columns.parse_row, rows=True),
}
"""The formats by name."""


def by_name(name: str) -> tuple[str, str]:
    """The format that a file's name says, and the ending that says it, the longest that fits; "" for none."""
    endings = [(ending, form) for form, reader in FORMATS.items() for ending in reader.suffixes]
    fitting = [(ending, form) for ending, form in endings if name.lower().endswith(ending)]
    ending, form = max(fitting, key=lambda pair: len(pair[0]), default=("", ""))
    return form, ending


def by_content(begins: bytes) -> str:
    """The format that the first bytes of standard input seem to have; that of lines if they say nothing."""
    magic = {b"PAR1": "parquet", b"ARRO": "arrow"}
    text = begins.removeprefix(codecs.BOM_UTF8)
    if re.match(rb'\s*\{\s*(["}]|\Z)', text):
        return "jsonl"
    return magic.get(begins[:4]) or ("json" if re.match(rb'\s*\[\s*(["{\]]|\Z)', text) else "lines")


def format_of(file: Input, otherwise: str = "") -> str:
    """The format of a file; raises CatalogError if its name does not say it and there is no other way to read it."""
    form = by_content(beginning_of_stdin()) if file.stdin else by_name(file.name)[0] or otherwise
    if not form:
        known = ", ".join(sorted(ending for reader in FORMATS.values() for ending in reader.suffixes))
        fix = f"Known are {known}, each also with {', '.join(COMPRESSED)}. Rename it, or use --corpus-format."
        raise CatalogError("The name of this file does not say the format of its texts.", file.where, fix)
    return form


def stem(file: Input) -> str:
    """The file's name without the endings that say how to read it."""
    ending = by_name(file.name)[1]
    return file.name[: len(file.name) - len(ending)] if ending else Path(file.name).stem
