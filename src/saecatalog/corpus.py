"""Texts: files and folders flow in, a sorted list of `Text` flows out.

A text's id is made from its category and its content. It does not depend on the text's place in its file or on the
order of files on disk, so a link to the text survives edits to other texts.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.names import slug

BLOCKS_SUFFIX = ".blocks.txt"
IGNORED = {"readme.md", "readme.txt", "license", "license.txt", "license.md"}


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


@dataclass(frozen=True)
class Record:
    """A text as read, before it gets an id."""

    category: str
    source: str
    content: str


def read_corpus(config: CorpusConfig) -> list[Text]:
    """The texts of the corpus, sorted by category and id.

    Raises CatalogError for a missing, empty, unreadable or non-UTF-8 file, a record that does not parse, and two
    files that would make the same category.
    """
    skip = Path(config.concepts).resolve() if config.concepts else None
    return _read([Path(p) for p in config.paths], config, skip)


def read_concepts(config: CorpusConfig) -> list[Text]:
    """The texts of the concepts; the concept's name is their category. None if the folder does not exist."""
    if config.concepts is None or not Path(config.concepts).exists():
        return []
    return _read([Path(config.concepts)], config, None)


def read_text_list(path: Path) -> list[str]:
    """The texts of one file, in the format that its name implies (for the `concept` and `explore` commands)."""
    return [record.content for record in _read_file(path, CorpusConfig(), path.stem)]


def corpus_hash(texts: list[Text]) -> str:
    """SHA-256 over categories and contents in order: the identity of a corpus."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(json.dumps([text.id, text.category, text.content], ensure_ascii=True).encode())
    return digest.hexdigest()


def _read(paths: list[Path], config: CorpusConfig, skip: Path | None) -> list[Text]:
    records: list[Record] = []
    origins: dict[str, tuple[str, Path]] = {}
    for path in paths:
        for source in _sources(path, config, skip):
            found = _read_source(source, config)
            for category in sorted({record.category for record in found}):
                _claim(category, source, origins)
            records += found
    return _with_ids(records)


def _claim(category: str, source: Path, origins: dict[str, tuple[str, Path]]) -> None:
    """Record where a category comes from; raises CatalogError if another file or spelling already made it.

    Several files of records may share a category, because a field names it. Two files or folders of the same name are a
    mistake, and so are two names that would give the same page.
    """
    known, origin = origins.setdefault(slug(category), (category, source))
    named_alike = category in (_category_of(source), _category_of(origin)) and origin != source
    if known != category or named_alike:
        raise CatalogError(
            f"Two categories have the same name: '{known}' and '{category}'.",
            f"{origin} and {source}",
            "Rename one of them.",
        )


def _sources(path: Path, config: CorpusConfig, skip: Path | None) -> list[Path]:
    """The sources of categories at a path: the path itself if it is a file, else the entries of the folder."""
    if not path.exists():
        raise CatalogError("This corpus file or folder does not exist.", str(path), "Check the path.")
    if path.is_file() or config.format == "files":
        return [path]
    found = [p for p in sorted(path.iterdir()) if not _ignored(p) and p.resolve() != skip]
    if not found:
        raise CatalogError("This corpus folder contains no texts.", str(path), "Add text files, or use another folder.")
    return found


def _ignored(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in IGNORED


def _category_of(path: Path) -> str:
    """The name of the category that a file or folder makes."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    return path.name.removesuffix(BLOCKS_SUFFIX) if path.name.endswith(BLOCKS_SUFFIX) else path.stem


def _read_source(path: Path, config: CorpusConfig) -> list[Record]:
    category = _category_of(path)
    if path.is_file():
        records = list(_read_file(path, config, category))
    else:
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and not _ignored(p)]
        records = [record for p in files for record in _read_member(p, config, category)]
    if not records:
        raise CatalogError(
            f"The category '{category}' has no texts.", str(path), "Add at least one text, or remove the file."
        )
    return records


def _read_member(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    """A file in a category's folder: one text, unless it is a file of records."""
    if path.suffix in (".jsonl", ".parquet"):
        return _read_file(path, config, category)
    return _read_whole(path, config, category)


def _read_file(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    if not path.is_file():
        raise CatalogError("This text file does not exist.", str(path), "Check the path.")
    if path.stat().st_size == 0:
        raise CatalogError("This corpus file is empty.", str(path), "Add at least one text, or remove the file.")
    return READERS[_format_of(path, config)](path, config, category)


def _format_of(path: Path, config: CorpusConfig) -> str:
    if config.format != "auto":
        return config.format
    if path.name.endswith(BLOCKS_SUFFIX):
        return "blocks"
    known = {".txt": "lines", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".md": "blocks"}
    return known.get(path.suffix.lower(), "files")


def _decode(path: Path) -> str:
    """The file's text; raises CatalogError, with the line, for a byte that is not UTF-8."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CatalogError(
            "This corpus file is not UTF-8.", f"{path}, line {line}", "Save it as UTF-8 (for example with iconv)."
        ) from None


def _read_lines(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    for number, line in enumerate(_decode(path).split("\n"), 1):
        if line.strip():
            yield Record(category, f"{path.name}, line {number}", line.strip())


def _read_blocks(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    line = 1
    for part in re.split(r"(\n(?:[ \t]*\n)+)", _decode(path)):
        if part.strip():
            start = line + part[: len(part) - len(part.lstrip("\n"))].count("\n")
            yield Record(category, f"{path.name}, line {start}", part.strip("\n").rstrip())
        line += part.count("\n")


def _read_whole(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    content = _decode(path).strip("\n").rstrip()
    if not content.strip():
        raise CatalogError("This corpus file is empty.", str(path), "Add a text, or remove the file.")
    yield Record(category, path.name, content)


def _read_jsonl(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    for number, line in enumerate(_decode(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise CatalogError("This line is not valid JSON.", where, f"{error.msg} (column {error.colno}).") from None
        yield from _record(record, config, category, where, f"{path.name}, line {number}")


def _read_parquet(path: Path, config: CorpusConfig, category: str) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise CatalogError("This file is not a valid Parquet file.", str(path), str(error).splitlines()[0]) from None
    for number, record in enumerate(rows, 1):
        yield from _record(record, config, category, f"{path}, row {number}", f"{path.name}, row {number}")


def _record(record: object, config: CorpusConfig, category: str, where: str, source: str) -> Iterator[Record]:
    content = record.get(config.text_field) if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(content, str):
        fix = f"Add a string '{config.text_field}' to the record, or name another field with the setting text_field."
        raise CatalogError(f"This record has no text field '{config.text_field}'.", where, fix)
    if content.strip():
        given = record.get(config.category_field)
        yield Record(str(given) if given not in (None, "") else category, source, content.strip("\n").rstrip())


Reader = Callable[[Path, CorpusConfig, str], Iterator[Record]]
READERS: dict[str, Reader] = {
    "lines": _read_lines,
    "blocks": _read_blocks,
    "files": _read_whole,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def _with_ids(records: list[Record]) -> list[Text]:
    """Give each record its id; repeats of a text in a category get a suffix -2, -3 ... in the order of their source."""
    seen: Counter[str] = Counter()
    texts = []
    for record in sorted(records, key=lambda r: (r.category, r.content, r.source)):
        digest = hashlib.sha256(record.content.encode("utf-8", "surrogatepass")).hexdigest()[:10]
        name = f"{slug(record.category)}-{digest}"
        seen[name] += 1
        suffix = f"-{seen[name]}" if seen[name] > 1 else ""
        texts.append(Text(name + suffix, record.category, record.source, record.content))
    return sorted(texts, key=lambda t: (t.category, t.id))
