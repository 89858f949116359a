"""How names become file names and titles, the same everywhere."""

import re
import unicodedata


def slug(name: str) -> str:
    """A lower-case file name for a category or concept: letters, digits and hyphens (`Python code` -> `python-code`).

    Letters outside ASCII are kept when they have no plain form; a name with no letter or digit gives `unnamed`.
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
    """A whole number from 0 on as prose has it: a word up to ten, digits above."""
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[n] if n < len(words) else f"{n:,}"
