"""Texts: files and folders flow in, a sorted list of `Text` flows out.

Here is what a category is, and what identifies a text; how files are read is in `reading` and the modules it uses.

A text's id is made from its category and its content. It does not depend on the text's place in its file or on the
order of files on disk, so a link to the text survives edits to other texts.
"""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.names import slug
from saecatalog.progress import notice
from saecatalog.texts.datasets_hub import HubDataset, is_dataset
from saecatalog.texts.formats.known import stem
from saecatalog.texts.reading import CHARACTERS_PER_TOKEN, Reading, shared, total
from saecatalog.texts.records import Record, checked_name
from saecatalog.texts.saved_datasets import SPLITS, is_saved, saved_files, splits
from saecatalog.texts.streams import Input, is_stdin
from saecatalog.texts.text_files import check_no_loop, entries, files_below, is_folder, once, printable, real

if TYPE_CHECKING:
    from saecatalog.cache import Cache

IGNORED = {"readme.md", "readme.txt", "license", "license.txt", "license.md", SPLITS}


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
    file: str = ""
    """The file, if its texts may be parts of one document; "" for a row of a dataset."""


@dataclass(frozen=True)
class Source:
    """What a category's name comes from: a file, a folder, standard input, or a dataset on the hub."""

    path: Path
    category: str
    """The category of records that name none."""
    size: float
    """Bytes; infinity if it is not known."""
    read: Callable[[float | None], list[Record]]
    """The texts, or about so many characters of them."""

    @property
    def where(self) -> str:
        return printable(self.path)


def read_corpus(config: CorpusConfig, cache: "Cache | None" = None) -> list[Text]:
    """The texts of the corpus, sorted by category and id; with a limit, a sample of several times what it needs.

    The texts of datasets on the hub are kept in the cache. Raises CatalogError for a missing, empty or unreadable file,
    for a link that leads nowhere or in a circle, a record that does not parse, a name that cannot be shown, and for two
    files that would make the same category.
    """
    skip = Path(config.concepts) if config.concepts else None
    return _read([Path(p) for p in config.paths], config, skip, cache)


def read_concepts(config: CorpusConfig) -> list[Text]:
    """The texts of the concepts; the concept's name is their category. None if the folder does not exist."""
    if config.concepts is None or not os.path.lexists(config.concepts):
        return []
    return _read([Path(config.concepts)], replace(config, limit_tokens=None), None, None)


def read_text_list(path: Path, config: CorpusConfig | None = None) -> list[str]:
    """The texts of one file, in the format that its name implies (for the `concept` and `explore` commands)."""
    config = replace(config or CorpusConfig(), format="auto", limit_tokens=None)
    if not is_stdin(path) and not is_saved(path) and is_folder(path, "text file"):
        raise CatalogError("This is a folder, not a file of texts.", printable(path), "Name a file in it.")
    records = _source(path, config, None).read(None)
    if not records:
        raise CatalogError("This file has no texts.", printable(path), "Add at least one text.")
    chat = next((record for record in records if record.turns), None)
    if chat:
        raise CatalogError("Chats cannot be read here.", chat.source, f"Give texts in the field '{config.text_field}'.")
    return [record.content for record in records]


def corpus_hash(texts: list[Text]) -> str:
    """SHA-256 over categories and contents in order, and over which hold special tokens: the identity of a corpus."""
    digest = hashlib.sha256()
    for text in texts:
        special = [text.special_tokens] if text.special_tokens else []
        digest.update(json.dumps([text.id, text.category, text.content, *special], ensure_ascii=True).encode())
    return digest.hexdigest()


def _read(paths: list[Path], config: CorpusConfig, skip: Path | None, cache: "Cache | None") -> list[Text]:
    sources = [_source(place, config, cache) for path in paths for place in _places(path, config, skip)]
    _check_once(sources)
    origins: dict[str, tuple[str, Source]] = {}

    def read(source: Source, share: float | None) -> list[Record]:
        found = source.read(share)
        if not found:
            fix = "Add at least one text, or remove the file."
            raise CatalogError(f"The category '{source.category}' has no texts.", source.where, fix)
        for category in sorted({record.category for record in found}):
            _claim(category, source, origins)
        return found

    if config.limit_tokens is None:
        records = [record for source in sources for record in read(source, None)]
    else:
        records = _sample(sources, config.limit_tokens, read)
    return with_ids([Text("", **vars(record)) for record in records])


def _sample(sources: list[Source], limit: int, read: Callable[[Source, float | None], list[Record]]) -> list[Record]:
    """Texts from every source, of which `limit` tokens will be used."""
    allowance = limit * CHARACTERS_PER_TOKEN
    records = shared(sources, lambda source: source.size, allowance, read, each=True)
    if limit > total(records) and sum(source.size for source in sources) > allowance:
        notice(f"the sample has {total(records):,} characters, so fewer than the limit of {limit:,} tokens may be used")
    return records


def _check_once(sources: list[Source]) -> None:
    read: dict[Path, Source] = {}
    for source in sources:
        place = source.path if is_dataset(source.path) else real(source.path)
        first = read.setdefault(Path("-") if is_stdin(source.path) else place, source)
        if first is not source:
            where = f"{first.where} and {source.where}"
            raise CatalogError("The corpus contains this file or folder twice.", where, "Remove a path or link.")


def _claim(category: str, source: Source, origins: dict[str, tuple[str, Source]]) -> None:
    """Record where a category comes from; raises CatalogError if another file or spelling already made it.

    Several files of records may share a category, because a field names it. Two files or folders of the same name are a
    mistake, and so are two names that would give the same page.
    """
    known, origin = origins.setdefault(slug(category), (category, source))
    named_alike = category in (source.category, origin.category) and origin != source
    if known != category or named_alike:
        raise CatalogError(
            f"Two categories have the same name{'' if known == category else ', but for case, accents and signs'}: "
            f"'{known}' and '{category}'.",
            f"{origin.where} and {source.where}",
            "Rename one of them.",
        )


def _places(path: Path, config: CorpusConfig, skip: Path | None) -> list[Path]:
    """Where categories are found at a path: the path itself if it is a file, else the entries of the folder."""
    if is_stdin(path) or is_dataset(path) or is_saved(path):
        return [path]
    if not is_folder(path, "corpus file or folder") or config.format == "files":
        return [path]
    found = splits(path) or [p for p in entries(path) if not _ignored(p) and not (skip and _is_same(p, skip))]
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


def _source(path: Path, config: CorpusConfig, cache: "Cache | None") -> Source:
    """What is at a path. Raises CatalogError if it cannot be read, or if its name cannot be shown."""
    reading = Reading.of(config)
    if is_dataset(path):
        dataset = HubDataset.named(str(path))
        limit = config.limit_tokens
        return Source(path, dataset.category, math.inf, lambda share: dataset.read(reading, limit, cache))
    if not is_stdin(path):
        check_no_loop(path)
        if is_folder(path):
            return _folder_source(path, reading)
    file = Input(path)
    category = checked_name(stem(file), file.where)
    return Source(path, category, file.size, lambda share: reading.read(file, category, share))


def _folder_source(path: Path, reading: Reading) -> Source:
    category = checked_name(path.resolve().name, printable(path))
    files = [Input(p) for p in _members(path)]
    size = sum(file.size for file in files)
    return Source(path, category, size, lambda share: reading.read_folder(files, category, path, share))


def _members(folder: Path) -> list[Path]:
    """The files of a category's folder that have texts; of a dataset that was saved there, those of its rows."""
    files = [p for p in once(files_below(folder)) if not _ignored(p)]
    saved = {parent: saved_files(parent) for parent in {file.parent for file in files} if is_saved(parent)}
    return [file for file in files if file.parent not in saved or file in saved[file.parent]]


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
