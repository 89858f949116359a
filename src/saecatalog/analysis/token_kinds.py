"""What kind of thing a token is: the text of a token flows in, its class, script and plain form flow out."""

import unicodedata

BYTE = "<0x"
"""How a token begins that is only part of a character, such as <0xE2>."""

CLASSES = (
    "line break",
    "white space",
    "bracket",
    "punctuation",
    "symbol",
    "number",
    "capitalised",
    "capitals",
    "lower case",
    "inside",
    "bytes",
    "other",
)
"""The class of a token; each token has one. "inside" is a token that continues a word, "other" has letters without case
or is mixed."""

KINDS: dict[str, tuple[str, str]] = {
    "line breaks": ("line break", "line break"),
    "white space": ("line break", "white space"),
    "brackets": ("bracket", "bracket"),
    "punctuation": ("bracket", "punctuation"),
    "symbols": ("symbol", "symbol"),
    "punctuation and symbols": ("bracket", "symbol"),
    "numbers": ("number", "number"),
    "capitalised words": ("capitalised", "capitalised"),
    "words in capitals": ("capitals", "capitals"),
    "words with a capital": ("capitalised", "capitals"),
    "words in lower case": ("lower case", "lower case"),
    "words": ("capitalised", "lower case"),
    "inside words": ("inside", "inside"),
    "words and their parts": ("capitalised", "inside"),
    "parts of characters": ("bytes", "bytes"),
}
"""What a rule about classes says, and the first and the last of the consecutive CLASSES that it covers."""


def class_of(token: str) -> str:
    """The class of a token that begins a word, or is none."""
    text = token.strip()
    if BYTE in text:
        return "bytes"
    if not text:
        return "line break" if "\n" in token or "\r" in token else "white space"
    kinds = {unicodedata.category(char)[0] for char in text}
    if "L" in kinds:
        return _case(text)
    if "N" in kinds:
        return "number"
    if kinds == {"P"}:
        brackets = all(unicodedata.category(char) in ("Ps", "Pe") for char in text)
        return "bracket" if brackets else "punctuation"
    return "symbol" if kinds <= {"P", "S"} else "other"


def _case(text: str) -> str:
    letters = [char for char in text if char.isalpha()]
    if all(char.isupper() for char in letters):
        return "capitals" if len(letters) > 1 else "capitalised"
    if letters[0].isupper() or letters[0].istitle():
        return "capitalised"
    return "lower case" if letters[0].islower() else "other"


def script_of(text: str) -> str:
    """The script of the first letter of a text, as Unicode names it (`LATIN`, `CYRILLIC`, `CJK`); "" without one."""
    letter = next((char for char in text if char.isalpha()), "")
    return unicodedata.name(letter, "").partition(" ")[0].partition("-")[0] if letter else ""


def plain(token: str) -> str:
    """A token as rules name it: without the spaces around it and in lower case; white space is one space or line break.

    Tokens that are part of a character stay as they are.
    """
    text = token.strip()
    if BYTE in text:
        return text
    return text.lower() or ("\n" if "\n" in token or "\r" in token else " ")
