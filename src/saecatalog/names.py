"""How names become file names and titles, and characters that cannot be seen become signs."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

LONGEST_SLUG = 100
"""Bytes of a file name made from a name; suffixes and endings fit into the 255 that file systems allow."""
TAKEN = {"index", "con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""Not usable as they are: `index.html` is an overview, and Windows keeps the others for devices."""


def slug(name: str) -> str:
    """A lower-case file name for a category or concept: letters, digits and hyphens (`Python code` -> `python-code`).

    Letters outside ASCII are kept if they have no ASCII form. A name that is too long for a file name, taken, or
    without a letter or digit (`unnamed`) ends in a hash, so that names stay apart.
    """
    plain = unicodedata.normalize("NFKC", name).lower()
    plain = "".join(c for c in unicodedata.normalize("NFD", plain) if unicodedata.category(c) != "Mn")
    words = re.sub(r"[^\w]+|_+", "-", plain).strip("-")
    if words and len(words.encode()) <= LONGEST_SLUG and words not in TAKEN:
        return words
    digest = hashlib.sha256((words or plain).encode(errors="backslashreplace")).hexdigest()[:8]
    start = words.encode()[: LONGEST_SLUG - len(digest) - 1].decode(errors="ignore").strip("-")
    return f"{start or 'unnamed'}-{digest}"


def title(name: str) -> str:
    """A category's or concept's name as a reader sees it (`sql-and-data-formats` -> `SQL and data formats`)."""
    words = re.sub(r"[-_]+", " ", name).strip()
    known = {"sql": "SQL", "url": "URL", "urls": "URLs", "html": "HTML", "json": "JSON", "python": "Python"}
    words = " ".join(known.get(word, word) for word in words.split())
    return words[:1].upper() + words[1:]


def in_words(n: int) -> str:
    """A whole number, 0 or more, as in prose: a word up to ten, digits above."""
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[n] if n < len(words) else f"{n:,}"


def in_a_list(names: Sequence[str]) -> str:
    """Two or more names as in prose: `words, syntax and code`."""
    return f"{', '.join(names[:-1])} and {names[-1]}"


HIDDEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
"""Characters, as in a class of a regular expression, that are shown as signs: controls, marks and overrides of
direction, invisible spaces. The joiners U+200C and U+200D and the variation selectors are not among them, because
scripts and emoji are written with them."""


def sign(char: str) -> str:
    """What is shown for a character that cannot be seen: the picture of a control, else its number, such as U+202E."""
    code = ord(char)
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"U+{code:04X}"


def with_signs(text: str) -> str:
    """A text with a sign for each character that cannot be seen."""
    return re.sub(f"[{HIDDEN}]", lambda match: sign(match.group()), text)
