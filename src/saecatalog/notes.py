"""The author's notes: a folder of Markdown files flows in, checked notes and the images they show flow out.

Each file belongs to one page: `<feature>.md`, `categories/<category>.md`, `concepts/<concept>.md`, and `index.md` to
the front page. All problems of a folder are reported together, before the model runs. Only whether a linked feature has
a page is checked later, because the analysis decides it.
"""

import hashlib
import html
import os
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.blockparser import State
from markdown.treeprocessors import Treeprocessor

from saecatalog.errors import CatalogError, nearest
from saecatalog.names import slug
from saecatalog.note_rules import NoteRule, split_rule
from saecatalog.texts.corpus import IGNORED
from saecatalog.texts.text_files import decode, files_below, is_folder, printable, read_bytes

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif")
LONGEST = 40_000
"""Largest size of a note in bytes, so that it fits on a page of at most 60 kB."""
LONGEST_BLOCK, MOST_FENCES, MOST_BRACKETS, DEEPEST = 5_000, 100, 200, 40
"""Limits on a note's content: parsing time can grow with the square of each, and stack depth with the last."""

FOLDERS = {"feature": "", "index": "", "category": "categories/", "concept": "concepts/"}
"""The folder of each kind of note, below the notes folder."""

LIVE_PAGE = "live/index.html"
"""The page on which readers try texts, relative to the notes folder, so that a note can link to a text on it."""

NAMES = "Notes are <feature>.md, categories/<category>.md, concepts/<concept>.md and index.md."
LINKS = "Link to https://..., to a note (12.md, categories/poetry.md) or to an image in the notes folder."
PICTURES = "Use a PNG, JPEG, GIF, WebP or AVIF file in the notes folder."
SVG = "SVG files may contain scripts, so notes cannot show them; save the image as PNG."


@dataclass(frozen=True)
class Subjects:
    """What a note may be about: the features of the dictionary, and the catalog's categories and concepts."""

    d_sae: int
    categories: list[str]
    concepts: list[str]

    def find(self, kind: str, name: str) -> str | None:
        """The subject that a note's name refers to; None if this catalog has no such subject."""
        match kind:
            case "index":
                return ""
            case "feature":
                return name if re.fullmatch("0|[1-9][0-9]*", name) and int(name) < self.d_sae else None
            case _:
                return same_name(name, self.known(kind))

    def known(self, kind: str) -> list[str]:
        """The categories or the concepts."""
        return {"category": self.categories, "concept": self.concepts}.get(kind, [])


@dataclass(frozen=True)
class NoteFile:
    """One note: its subject, its path, its text, and the images it shows (as paths in the folder)."""

    kind: str
    """`feature`, `category`, `concept` or `index`."""
    name: str
    """The feature's number, the name of the category or concept; "" for the front page."""
    path: str
    markdown: str
    images: tuple[str, ...]
    rule: NoteRule | None = None
    """On which tokens the author thinks that the feature fires; it stands before the text."""


@dataclass(frozen=True)
class Notes:
    """A folder of notes: its files, and the SHA-256 of each image that a note shows."""

    folder: Path
    files: tuple[NoteFile, ...] = ()
    images: tuple[tuple[str, str], ...] = ()

    @property
    def features(self) -> tuple[int, ...]:
        """The features with a note."""
        return tuple(sorted(int(note.name) for note in self.files if note.kind == "feature"))

    @property
    def rules(self) -> dict[int, NoteRule]:
        """The rule of each feature whose note has one, by feature."""
        return {int(note.name): note.rule for note in self.files if note.rule}

    @property
    def rule_places(self) -> dict[int, str]:
        """The file and the line of each of these rules."""
        ruled = ((note, note.rule) for note in self.files if note.rule)
        return {int(note.name): f"{self.folder / note.path}, line {rule.line}" for note, rule in ruled}

    def columns(self) -> dict[str, list[object]]:
        """The rows of the table `notes`."""
        hashes = dict(self.images)
        return {
            "kind": [note.kind for note in self.files],
            "name": [note.name for note in self.files],
            "markdown": [note.markdown for note in self.files],
            "rule": [note.rule.json() if note.rule else "" for note in self.files],
            "images": [list(note.images) for note in self.files],
            "images_sha256": [[hashes[image] for image in note.images] for note in self.files],
        }


class Link(NamedTuple):
    """Where a link or an image of a note leads.

    `kind` is `web`, `anchor`, `image`, `live` (the page for readers' texts), the kind of the linked note, `file` for
    other files, or "" for anything else.
    `name` is the address, the path in the folder of notes, or the note's name as written.
    """

    kind: str
    name: str
    fragment: str = ""


class _Nesting(State):  # type: ignore[type-arg]  # generic in its stubs only
    """The lists and quotes around the parser's position; raises CatalogError if they nest too deeply for the stack."""

    def set(self, state: str) -> None:
        if len(self) == DEEPEST:
            raise _too_much("nests its lists and quotes too deeply", "Use fewer levels.")
        super().set(state)


class _Brackets(Treeprocessor):
    """Raises CatalogError for a paragraph with too many brackets."""

    def run(self, root: Element) -> None:
        if any(text.count("[") > MOST_BRACKETS for text in root.itertext()):
            raise _too_much(
                f"has a paragraph with more than {MOST_BRACKETS} '[' characters", "Split it with a blank line."
            )


class _Step(Treeprocessor):
    """Passes the finished tree of a note to a function."""

    def __init__(self, step: Callable[[Element], None]) -> None:
        super().__init__()
        self.step = step

    def run(self, root: Element) -> None:
        self.step(root)


def to_html(markdown: str, step: Callable[[Element], None]) -> str:
    """A note as HTML, after `step` has read or changed its tree; raises CatalogError if parsing could take minutes.

    HTML in a note is treated as text, so that a token such as `<s>` is visible. Links of every kind are kept.
    """
    _check_size(markdown)
    reader = Markdown(extensions=["tables", "fenced_code", "sane_lists"], output_format="html")
    reader.preprocessors.deregister("html_block")
    for pattern in ("html", "entity", "automail"):
        reader.inlinePatterns.deregister(pattern)
    reader.parser.state = _Nesting()
    reader.treeprocessors.register(_Brackets(), "brackets", 30)
    reader.treeprocessors.register(_Step(step), "step", -1)
    return reader.convert(markdown)


def address(node: Element) -> str:
    """The address of a link or an image: as written, with entities decoded as in a browser, and spaces escaped."""
    written = node.get("href") or node.get("src") or ""
    return re.sub(r"[\x00-\x20]", "%20", html.unescape(re.sub("&(?!#?[0-9A-Za-z]+;)", "&amp;", written)))


def read_notes(folder: str, subjects: Subjects) -> Notes:
    """The notes of a folder, sorted by path; none if `folder` is "".

    Raises CatalogError for a missing or unreadable folder, for a link in it that leads nowhere or in a circle, for
    every file whose name matches nothing in this catalog or that is not UTF-8, empty, too long or of an unknown type,
    and for every broken link or image.
    """
    if not folder:
        return Notes(Path())
    root = Path(folder)
    if not os.path.lexists(root) or not is_folder(root):
        raise CatalogError("The notes folder does not exist.", folder, "Check the path, or remove the setting.")
    paths = [path.relative_to(root).as_posix() for path in files_below(root)]
    paths = [path for path in paths if not _ignored(path)]
    notes: dict[tuple[str, str], NoteFile] = {}
    problems = [_unknown(root / path) for path in paths if not path.lower().endswith((".md", *IMAGES))]
    for path in paths:
        if path.lower().endswith(".md"):
            try:
                note = _read(root, path, subjects)
                problems += _link_problems(root, note, subjects, paths)
                problems += _double(root, note, notes.setdefault((note.kind, note.name), note))
            except CatalogError as error:
                problems.append(error)
    _report(problems, folder)
    shown = sorted({image for note in notes.values() for image in note.images})
    return Notes(root, tuple(notes.values()), tuple((image, _sha256(root / image)) for image in shown))


def check_pages(notes: Notes, paged: Collection[int]) -> None:
    """Raise CatalogError if a note links to a feature that has no page."""
    problems = []
    for note in notes.files:
        for url in references(note.markdown)[0]:
            link = link_of(note.kind, url)
            if link.kind == "feature" and int(link.name) not in paged:
                what = f"This note links to feature {link.name}, which has no page."
                fix = f"Write {link.name}.md, which gives it a page, or remove the link."
                problems.append(CatalogError(what, str(notes.folder / note.path), fix))
    _report(problems, str(notes.folder))


def references(markdown: str) -> tuple[list[str], list[str]]:
    """The addresses of a note's links and of its images, as written."""
    links: list[str] = []
    images: list[str] = []

    def gather(root: Element) -> None:
        links.extend(map(address, root.iter("a")))
        images.extend(map(address, root.iter("img")))

    to_html(markdown, gather)
    return links, images


def link_of(kind: str, url: str) -> Link:
    """The target of a link in a note of this kind; paths are relative to the note's folder, as in any Markdown file."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return Link("", url)
    if parts.scheme == "https" and parts.netloc:
        return Link("web", url)
    if parts.scheme or parts.netloc or parts.query:
        return Link("", url)
    if not parts.path:
        return Link("anchor" if parts.fragment else "", url, parts.fragment)
    path = posixpath.normpath(FOLDERS[kind] + unquote(parts.path))
    if path.lower().endswith(IMAGES):
        return Link("image", path)
    if path == LIVE_PAGE:
        return Link("live", path, parts.fragment)
    return Link(*_subject(path), parts.fragment)


def same_name(name: str, known: Iterable[str]) -> str | None:
    """The known name with the same slug, if any; slugs are unique in a catalog."""
    return next((one for one in known if slug(one) == slug(name)), None)


def _check_size(markdown: str) -> None:
    """Raise CatalogError for too many fences or too long a block."""
    if len(re.findall("^(?:```|~~~)", markdown, re.MULTILINE)) > MOST_FENCES:
        raise _too_much(f"has more than {MOST_FENCES} lines that begin or end a code block", "Shorten it.")
    if max(map(len, re.split(r"\n[ \t]*\n", markdown))) > LONGEST_BLOCK:
        what = f"has more than {LONGEST_BLOCK:,} characters without a blank line"
        raise _too_much(what, "Split the paragraph, table or list with a blank line.")


def _too_much(what: str, fix: str) -> CatalogError:
    return CatalogError(f"This note {what}.", fix=fix)


def _ignored(path: str) -> bool:
    """Whether a file is hidden, or documents the folder (README, licence)."""
    parts = path.split("/")
    return parts[-1].lower() in IGNORED or any(part.startswith(".") for part in parts)


def _unknown(path: Path) -> CatalogError:
    svg = path.suffix.lower() == ".svg"
    return CatalogError("This file is neither a note nor an image.", printable(path), SVG if svg else NAMES)


def _subject(path: str) -> tuple[str, str]:
    """The kind and the name of the note at this path; `file` and the path if it is no place for a note."""
    folder, _, file = path.rpartition("/")
    kind = {"": "feature", "categories": "category", "concepts": "concept"}.get(folder)
    if not kind or not file.lower().endswith(".md"):
        return "file", path
    name = file[: -len(".md")]
    return ("index", "") if (kind, name) == ("feature", "index") else (kind, name)


def _read(root: Path, path: str, subjects: Subjects) -> NoteFile:
    """One note; raises CatalogError if it cannot be used."""
    kind, name = _subject(path)
    subject = subjects.find(kind, name)
    if subject is None:
        raise _unnamed(root / path, kind, name, subjects)
    rule, markdown = split_rule(_text(root / path), kind, subjects.categories, str(root / path))
    try:
        links = [link_of(kind, url) for urls in references(markdown) for url in urls]
    except CatalogError as error:
        raise CatalogError(error.what, str(root / path), error.fix) from None
    return NoteFile(kind, subject, path, markdown, tuple(sorted({x.name for x in links if x.kind == "image"})), rule)


def _unnamed(path: Path, kind: str, name: str, subjects: Subjects) -> CatalogError:
    """The error for a note whose name matches nothing in the catalog."""
    if kind == "feature":
        fix = f"Features are numbered from 0 to {subjects.d_sae - 1}. {NAMES}"
        return CatalogError("No feature matches the name of this note.", printable(path), fix)
    if kind == "file":
        return CatalogError("Notes in this folder belong to no page.", printable(path), NAMES)
    known = subjects.known(kind)
    names = f"Use one of these names: {', '.join(known)}." if known else f"This catalog has no {FOLDERS[kind][:-1]}."
    fix = nearest(name, known) or names
    return CatalogError(f"No {kind} of this catalog matches the name of this note.", printable(path), fix)


def _text(path: Path) -> str:
    """A note's text; raises CatalogError if it is not UTF-8, empty or too long."""
    data = read_bytes(path)
    text = decode(data, path, "note")
    if not text.strip():
        raise CatalogError("This note is empty.", str(path), "Write something, or remove the file.")
    if len(data) > LONGEST:
        raise CatalogError(f"This note is longer than {LONGEST:,} bytes.", str(path), "Shorten it.")
    return text


def _double(root: Path, note: NoteFile, first: NoteFile) -> Iterator[CatalogError]:
    """The error for a second note about the same subject."""
    if note is not first:
        where = f"{root / first.path} and {root / note.path}"
        yield CatalogError(f"Two notes are about the {note.kind} '{note.name}'.", where, "Remove one of them.")


def _link_problems(root: Path, note: NoteFile, subjects: Subjects, paths: Collection[str]) -> Iterator[CatalogError]:
    """An error for each broken link or image of a note; `paths` are the files of the folder."""
    links, images = references(note.markdown)
    where = str(root / note.path)
    for url in images:
        link = link_of(note.kind, url)
        if link.kind != "image":
            fix = SVG if link.name.lower().endswith(".svg") else PICTURES
            yield CatalogError(
                f"This note shows '{_short(url)}', which is not an image that a note may show.", where, fix
            )
        elif not _inside(root, link.name, paths):
            yield CatalogError(f"This note shows '{_short(url)}', which is not in the notes folder.", where, PICTURES)
    for url in links:
        link = link_of(note.kind, url)
        known = _inside(root, link.name, paths) if link.kind == "image" else link.kind in ("web", "anchor", "live")
        if not known and (link.kind not in FOLDERS or subjects.find(link.kind, link.name) is None):
            yield CatalogError(f"This note has a broken link: '{_short(url)}'.", where, LINKS)


def _inside(root: Path, path: str, paths: Collection[str]) -> bool:
    """Whether this file really is in the notes folder, and not a symbolic link to one elsewhere."""
    return path in paths and (root / path).resolve().is_relative_to(root.resolve())


def _short(url: str) -> str:
    return url if len(url) <= 80 else url[:79] + "…"


def _report(problems: list[CatalogError], folder: str) -> None:
    """Raise the one problem, or one error that lists them all."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        lines = "\n         ".join(f"{p.where}: {p.what} {p.fix}" for p in problems)
        raise CatalogError(f"The notes have {len(problems)} problems.", folder, lines)


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()
