"""How names become file names and titles."""

import re
import unicodedata


def slug(name: str) -> str:
    """A lower-case file name for a category or concept: letters, digits and hyphens (`Python code` -> `python-code`).

    Letters outside ASCII are kept if they have no ASCII form; a name without a letter or digit gives `unnamed`.
    """
    plain = unicodedata.normalize("NFKC", name).lower()
    plain = "".join(c for c in unicodedata.normalize("NFD", plain) if unicodedata.category(c) != "Mn")
    return re.sub(r"[^\w]+|_+", "-", plain).strip("-") or "unnamed"


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
