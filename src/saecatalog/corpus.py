"""Texts: files and folders flow in, a sorted list of `Text` flows out.

A text's id is made from its category and its content. It does not depend on the text's place in its file or on the
order of files on disk, so a link to the text survives edits to other texts.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.names import slug
from saecatalog.text_files import (
    check_no_loop,
    decode,
    entries,
    files_below,
    is_folder,
    once,
    printable,
    read_bytes,
    real,
)

BLOCKS_SUFFIX = ".blocks.txt"
IGNORED = {"readme.md", "readme.txt", "license", "license.txt", "license.md"}
LONGEST_NAME = 1000
"""Characters in the name of a category or concept; a longer one is more likely a text in the wrong field."""
# Controls, line separators, and marks that reorder the text after them.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
HALF = re.compile("[\ud800-\udfff]")
"""Half of a character that UTF-16 writes in two parts, or an undecodable byte of an argument: it is no text."""


@dataclass(frozen=True)
class Text:
    """One unit of a corpus: a line, a block, a record or a file."""

    id: str
    """Category and hash of the content; file name of the text's page."""
    category: str
    """Category, as the file, folder or field names it."""
    source: str
    """File and record, so that a reader can find it."""
    content: str
    """The text itself, without surrounding line breaks."""
    title: str = ""
    """Title of the text, "" if it has none."""
    link: str = ""
    """The text's http or https address, "" if it has none."""
    special_tokens: bool = False
    """Whether names of special tokens in the content stand for these tokens."""
    turns: str = ""
    """The turns of a chat, as a JSON list of objects with role and content; the content is then made from them."""


@dataclass(frozen=True)
class Record:
    """A text as read, before it gets an id."""

    category: str
    source: str
    content: str


def read_corpus(config: CorpusConfig) -> list[Text]:
    """The texts of the corpus, sorted by category and id.

    Raises CatalogError for a missing, empty, unreadable or non-UTF-8 file, a link that leads nowhere or in a circle, a
    record that does not parse, a name that cannot be shown, and two files that would make the same category.
    """
    skip = Path(config.concepts) if config.concepts else None
    return _read([Path(p) for p in config.paths], config, skip)


def read_concepts(config: CorpusConfig) -> list[Text]:
    """The texts of the concepts; the concept's name is their category. None if the folder does not exist."""
    if config.concepts is None or not os.path.lexists(config.concepts):
        return []
    return _read([Path(config.concepts)], config, None)


def read_text_list(path: Path) -> list[str]:
    """The texts of one file, in the format that its name implies (for the `concept` and `explore` commands)."""
    return [record.content for record in _read_file(path, CorpusConfig(), path.stem)]


def corpus_hash(texts: list[Text]) -> str:
    """SHA-256 over categories and contents in order, and over which hold special tokens: the identity of a corpus."""
    digest = hashlib.sha256()
    for text in texts:
        special = [text.special_tokens] if text.special_tokens else []
        digest.update(json.dumps([text.id, text.category, text.content, *special], ensure_ascii=True).encode())
    return digest.hexdigest()


def _read(paths: list[Path], config: CorpusConfig, skip: Path | None) -> list[Text]:
    records: list[Record] = []
    origins: dict[str, tuple[str, Path]] = {}
    read: dict[Path, Path] = {}
    for path in paths:
        for source in _sources(path, config, skip):
            first = read.setdefault(real(source), source)
            if first is not source:
                where = f"{printable(first)} and {printable(source)}"
                raise CatalogError("The corpus contains this file or folder twice.", where, "Remove a path or link.")
            found = _read_source(source, config)
            for category in sorted({record.category for record in found}):
                _claim(category, source, origins)
            records += found
    return with_ids([Text("", **vars(record)) for record in records])


def _claim(category: str, source: Path, origins: dict[str, tuple[str, Path]]) -> None:
    """Record where a category comes from; raises CatalogError if another file or spelling already made it.

    Several files of records may share a category, because a field names it. Two files or folders of the same name are a
    mistake, and so are two names that would give the same page.
    """
    known, origin = origins.setdefault(slug(category), (category, source))
    named_alike = category in (_category_of(source), _category_of(origin)) and origin != source
    if known != category or named_alike:
        raise CatalogError(
            f"Two categories have the same name{'' if known == category else ', but for case, accents and signs'}: "
            f"'{known}' and '{category}'.",
            f"{printable(origin)} and {printable(source)}",
            "Rename one of them.",
        )


def _sources(path: Path, config: CorpusConfig, skip: Path | None) -> list[Path]:
    """The sources of categories at a path: the path itself if it is a file, else the entries of the folder."""
    if not is_folder(path, "corpus file or folder") or config.format == "files":
        return [path]
    found = [p for p in entries(path) if not _ignored(p) and not (skip and _is_same(p, skip))]
    if not found:
        raise CatalogError("This corpus folder contains no texts.", str(path), "Add text files, or use another folder.")
    return found


def _is_same(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file or folder; False if one of them leads nowhere."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def _ignored(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in IGNORED


def _category_of(path: Path) -> str:
    """The name of the category that a file or folder makes; raises CatalogError if it cannot be shown."""
    own = path.resolve()
    if is_folder(path):
        return _checked_name(own.name, printable(path))
    named = own.name.removesuffix(BLOCKS_SUFFIX) if own.name.endswith(BLOCKS_SUFFIX) else own.stem
    return _checked_name(named, printable(path))


def _checked_name(name: str, where: str) -> str:
    """The name of a category without white space around it, and composed, as two systems may write one name.

    Raises CatalogError for a name that cannot be shown as it is.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if half := HALF.search(name):
        what = f"The name of this category has an undecodable byte or half a character: {ascii(half.group())[1:-1]}."
        raise CatalogError(what, where, "Rename it with characters of UTF-8.")
    if unfit := _UNFIT.search(name):
        what = f"The name of this category has a character that cannot be shown: {ascii(unfit.group())[1:-1]}."
        raise CatalogError(what, where, "Rename it without controls, line breaks and marks of direction.")
    if len(name) > LONGEST_NAME:
        what = f"The name of this category has more than {LONGEST_NAME:,} characters."
        raise CatalogError(what, where, "Shorten it, or name another field with the setting category_field.")
    return name


def _read_source(path: Path, config: CorpusConfig) -> list[Record]:
    check_no_loop(path)
    folder, category = is_folder(path), _category_of(path)
    if folder:
        files = [p for p in once(files_below(path)) if not _ignored(p)]
        records = [record for p in files for record in _read_member(p, config, category)]
    else:
        records = list(_read_file(path, config, category))
    if not records:
        raise CatalogError(
            f"The category '{category}' has no texts.", printable(path), "Add at least one text, or remove the file."
        )
    return records


def _read_member(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    """A file in a category's folder: one text, unless it is a file of records."""
    if path.suffix in (".jsonl", ".parquet"):
        return _read_file(path, config, category)
    return _read_whole(path, config, category)


def _read_file(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    if is_folder(path, "text file"):
        raise CatalogError("This is a folder, not a file of texts.", printable(path), "Name a file in it.")
    if path.stat().st_size == 0:
        raise CatalogError("This corpus file is empty.", printable(path), "Add at least one text, or remove the file.")
    return READERS[_format_of(path, config)](path, config, category)


def _format_of(path: Path, config: CorpusConfig) -> str:
    if config.format != "auto":
        return config.format
    if path.name.endswith(BLOCKS_SUFFIX):
        return "blocks"
    known = {".txt": "lines", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".md": "blocks"}
    return known.get(path.suffix.lower(), "files")


def _decode(path: Path) -> str:
    """The file's text, with `\n` at the end of lines; raises CatalogError, with the line, if it is not UTF-8."""
    return decode(read_bytes(path), path, "corpus file")


def _read_lines(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    for number, line in enumerate(_decode(path).split("\n"), 1):
        if line.strip():
            yield Record(category, f"{printable(path.name)}, line {number}", line.strip())


def _read_blocks(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    line = 1
    for part in re.split(r"(\n(?:[ \t]*\n)+)", _decode(path)):
        if part.strip():
            start = line + part[: len(part) - len(part.lstrip("\n"))].count("\n")
            yield Record(category, f"{printable(path.name)}, line {start}", part.strip("\n").rstrip())
        line += part.count("\n")


def _read_whole(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    content = _decode(path).strip("\n").rstrip()
    if not content.strip():
        raise CatalogError("This corpus file is empty.", printable(path), "Add a text, or remove the file.")
    yield Record(category, printable(path.name), content)


def _read_jsonl(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    for number, line in enumerate(_decode(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{printable(path)}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise CatalogError("This line is not valid JSON.", where, f"{error.msg} (column {error.colno}).") from None
        except (ValueError, RecursionError) as error:
            # A number of thousands of digits, or thousands of brackets.
            raise CatalogError("This line cannot be read.", where, f"{error}.") from None
        yield from _record(record, config, category, where, f"{printable(path.name)}, line {number}")


def _read_parquet(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise CatalogError("This file is not a valid Parquet file.", printable(path), why) from None
    fields = [name for name in (config.text_field, config.category_field) if name in table.column_names]
    for number in range(table.num_rows):
        where = f"{printable(path)}, row {number + 1}"
        try:
            record = {name: table[name][number].as_py() for name in fields}
        except UnicodeDecodeError:
            raise CatalogError("The text of this row is not UTF-8.", where, "Write the file anew.") from None
        yield from _record(record, config, category, where, f"{printable(path.name)}, row {number + 1}")


def _record(record: object, config: CorpusConfig, category: str, where: str, source: str) -> Iterator[Record]:
    content = record.get(config.text_field) if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(content, str):
        fix = f"Add a string '{config.text_field}' to the record, or name another field with the setting text_field."
        raise CatalogError(f"This record has no text field '{config.text_field}'.", where, fix)
    if half := HALF.search(content):
        what = f"This text has half of a character written in two parts: \\u{ord(half.group()):04x}."
        raise CatalogError(what, where, "Write both parts, such as \\ud83d\\ude00, or remove it.")
    if content.strip():
        yield Record(_given_category(record, config, where) or category, source, content.strip("\n").rstrip())


def _given_category(record: dict[str, object], config: CorpusConfig, where: str) -> str:
    """The category that a record names; "" if it names none."""
    given = record.get(config.category_field)
    if isinstance(given, dict | list):
        fix = "Use a string, or name another field with the setting category_field."
        raise CatalogError("The category of this record is not a name.", where, fix)
    return "" if given is None else _checked_name(str(given), where)


Reader = Callable[[Path, CorpusConfig, str], Iterator[Record]]
READERS: dict[str, Reader] = {
    "lines": _read_lines,
    "blocks": _read_blocks,
    "files": _read_whole,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def with_ids(texts: list[Text]) -> list[Text]:
    """Give each text its id, from its category and its content or turns, and sort them by category and id.

    Repeats of a text in a category get a suffix -2, -3 ... in the order of their source.
    """
    seen: Counter[str] = Counter()
    named = []
    for text in sorted(texts, key=lambda t: (t.category, t.content, t.turns, t.source)):
        words = (text.content or text.turns).encode("utf-8", "surrogatepass")
        name = f"{slug(text.category)}-{hashlib.sha256(words).hexdigest()[:10]}"
        seen[name] += 1
        suffix = f"-{seen[name]}" if seen[name] > 1 else ""
        named.append(replace(text, id=name + suffix))
    return sorted(named, key=lambda t: (t.category, t.id))
