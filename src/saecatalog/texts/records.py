"""Records and their fields: what a file holds flows in, a checked `Record` flows out, or nothing if it has no text."""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from dataclasses import fields as dataclass_fields
from urllib.parse import urlsplit

from saecatalog.errors import CatalogError, nearest
from saecatalog.progress import notice
from saecatalog.texts.text_files import HALF

LONGEST_NAME = 1000
"""Characters in the name of a category or concept; a longer one is more likely a text in the wrong field."""
LONGEST_TITLE = 300
"""Characters of a title; a longer one is cut."""
# Controls, line separators, and marks that reorder the text after them.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

SHARED_CHATS = "conversations"
"""The field of chats in the form of ShareGPT, whose turns have `from` and `value`; read where `chat_field` is not."""
ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant"}
"""Roles in the form of ShareGPT; others have the same name."""


@dataclass(frozen=True)
class Record:
    """A text as read, before it gets an id."""

    category: str
    source: str
    """File and place, so that a reader can find it."""
    content: str
    title: str = ""
    link: str = ""
    turns: str = ""
    """The turns of a chat, as a JSON list; the content is then empty."""
    file: str = ""
    """The file, if its texts may be parts of one document; "" for a row of a dataset, whatever files hold it."""

    @property
    def size(self) -> int:
        """Characters that count towards a limit."""
        return len(self.content) + len(self.turns)


@dataclass(frozen=True)
class Fields:
    """The names of a record's fields."""

    text: str = "text"
    category: str = "category"
    title: str = "title"
    link: str = "url"
    chat: str = "messages"

    def among(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are read."""
        return [name for name in dict.fromkeys(names) if name in (*astuple(self), SHARED_CHATS)]

    def chosen(self) -> dict[str, str]:
        """The fields whose names are not the usual ones, and the settings that name them."""
        usual = {part.default for part in dataclass_fields(self)}
        named = {getattr(self, part.name): f"{part.name}_field" for part in dataclass_fields(self)}
        return {name: setting for name, setting in named.items() if name not in usual}

    def check(self, names: Iterable[str], where: str) -> None:
        """Raise CatalogError if none of the names is the field of the text or of a chat."""
        there = list(names)
        if not {self.text, self.chat, SHARED_CHATS}.intersection(there):
            known = ", ".join(f"'{name}'" for name in there[:20]) + ", ..." * (len(there) > 20)
            fix = f"Name the field with the setting text_field (--text-field); there are: {known or 'none'}."
            fix += f" {hint}" if (hint := nearest(self.text, there)) else ""
            raise CatalogError(f"There is no text field '{self.text}'.", where, fix)


class Left:
    """Counts what is left out of a file and which fields are not in it, and says it in one line each."""

    def __init__(self, fields: Fields) -> None:
        self.read = self.empty = self.links = 0
        self.objects = False
        self.unseen = fields.chosen()

    def see(self, record: Mapping[str, object]) -> None:
        self.objects = True
        for name in [name for name in self.unseen if name in record]:
            del self.unseen[name]

    def tell(self, where: str) -> None:
        """Raises CatalogError if every record that was read has an empty text."""
        if self.empty and self.empty == self.read:
            what = f"Every text is missing or empty in {self.read:,} record{'s' * (self.read > 1)} of this file."
            raise CatalogError(what, where, "Name another field with the setting text_field, or remove the file.")
        for name, setting in self.unseen.items() if self.objects else ():
            notice(f"{where}: no record has the field '{name}' that the setting {setting} names")
        said = []
        if self.empty:
            said.append(f"{self.empty:,} record{'s' * (self.empty > 1)} without a text")
        if self.links:
            said.append(f"{self.links:,} link{'s' * (self.links > 1)} other than http and https addresses")
        if said:
            notice(f"{where}: left out {' and '.join(said)}")


def make_record(value: object, category: str, where: str, source: str, fields: Fields, left: Left) -> Record | None:
    """The record of a string, or of an object with fields; None if it has no text.

    Raises CatalogError if it has no such field, or if what is in the field is not of the right kind.
    """
    left.read += 1
    record = {fields.text: value} if value is None or isinstance(value, str) else value
    if not isinstance(record, Mapping):
        what = "This record is neither an object with fields nor a string."
        raise CatalogError(what, where, f"Write an object with a field '{fields.text}'.")
    if record is value:
        left.see(record)
    fields.check(record, where)
    content, turns = _content(record, fields, where), ""
    if not content.strip():
        turns = _turns(record, fields, where)
    if not content.strip() and not turns:
        left.empty += 1
        return None
    link = _link(record.get(fields.link))
    left.links += link is None
    return Record(
        given_category(record.get(fields.category), where) or category,
        source,
        "" if turns else content.strip("\n").rstrip(),
        _title(record.get(fields.title), where),
        link or "",
        turns,
    )


def _is_null(value: object) -> bool:
    """Whether a field is empty; pandas writes NaN where there is nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _content(record: Mapping[str, object], fields: Fields, where: str) -> str:
    content = record.get(fields.text)
    if _is_null(content):
        return ""
    if not isinstance(content, str):
        what = f"The field '{fields.text}' of this record is not a string but {_kind(content)}."
        raise CatalogError(what, where, "Write a string, or name another field with the setting text_field.")
    return whole(content, "text", where)


def whole(content: str, kind: str, where: str) -> str:
    """The string; raises CatalogError if half a character is in it."""
    if half := HALF.search(content):
        what = f"This {kind} has half of a character written in two parts: \\u{ord(half.group()):04x}."
        raise CatalogError(what, where, "Write both parts, such as \\ud83d\\ude00, or remove it.")
    return content


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)


def _turns(record: Mapping[str, object], fields: Fields, where: str) -> str:
    """The turns of a chat, as JSON; "" if there are none, or if a turn has no content."""
    name = fields.chat if not _is_null(record.get(fields.chat)) else SHARED_CHATS
    given = record.get(name)
    if given is None:
        return ""
    if not isinstance(given, list) or not all(isinstance(turn, Mapping) for turn in given):
        fix = "Write a list of objects with role and content, or name another field with the setting chat_field."
        raise CatalogError(f"The field '{name}' of this record is not a list of turns.", where, fix)
    turns = [_turn(turn, name, where) for turn in given]
    said = [turn for turn in turns if str(turn["content"] or "").strip() or turn.get("tool_calls")]
    if not said or any(turn["content"] is None for turn in turns):
        return ""
    return json.dumps(turns, ensure_ascii=False, default=str)


def _turn(turn: Mapping[str, object], name: str, where: str) -> dict[str, object]:
    """A turn with all its other fields, such as calls of tools: the chat template decides what it shows of them."""
    given = {key: value for key, value in turn.items() if value is not None}
    role, content = (given.pop(a, given.pop(b, None)) for a, b in (("role", "from"), ("content", "value")))
    if not isinstance(role, str):
        fix = f"Each turn needs a role and a content; this one has {', '.join(map(str, turn)) or 'nothing'}."
        raise CatalogError(f"A turn in the field '{name}' of this record has no role.", where, fix)
    if isinstance(content, list) and all(map(_is_text, content)):
        content = "".join(part["text"] for part in content)
    if given.get("tool_calls"):
        content = content or ""
    if content is not None and not isinstance(content, str):
        fix = "Only turns of text can be read: strings, or lists of parts of the type text."
        raise CatalogError(f"A turn in the field '{name}' of this record is not a text.", where, fix)
    return {
        **given,
        "role": whole(ROLES.get(role, role), "role", where),
        "content": content and whole(content, "turn", where),
    }


def _is_text(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def given_category(given: object, where: str) -> str:
    """The category that a record names; "" if it names none."""
    if isinstance(given, dict | list):
        fix = "Use a string, or name another field with the setting category_field."
        raise CatalogError("The category of this record is not a name.", where, fix)
    return "" if _is_null(given) else checked_name(str(given), where)


def checked_name(name: str, where: str) -> str:
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


def _title(given: object, where: str) -> str:
    """A title on one line, without controls and marks of direction."""
    if _is_null(given) or isinstance(given, dict | list):
        return ""
    title = " ".join(_UNFIT.sub(" ", whole(str(given), "title", where)).split())
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"


def _link(given: object) -> str | None:
    """An http or https address; "" if none is given, and None for anything else."""
    if _is_null(given) or given == "":
        return ""
    if not isinstance(given, str) or _UNFIT.search(given) or HALF.search(given) or " " in given.strip():
        return None
    try:
        parts = urlsplit(given.strip())
    except ValueError:
        return None
    return given.strip() if parts.scheme in ("http", "https") and parts.hostname else None
