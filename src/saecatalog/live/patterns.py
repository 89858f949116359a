"""Regular expressions of `tokenizers` for JavaScript: a pattern flows in, one that gives the same matches flows out.

Classes of characters stay names, and their code points are listed beside: browsers know newer and older versions of
Unicode than `tokenizers` does, and their `\\s` is not the same.
"""

import re
from functools import cache
from itertools import chain, pairwise

import numpy as np
from tokenizers import Regex, normalizers, pre_tokenizers

DIGIT = "digit"
"""The name of the class of characters that the pre-tokenizer `Digits` takes for digits."""
LOOKALIKES = {"k": "kK\u212a", "s": "sS\u017f"}
"""What can stand for an ASCII letter whose case is ignored, where it is not just the two cases."""
ASSIGNED = (range(0xD800), range(0xE000, 0x40000), range(0xE0000, 0xE1000))
"""Where Unicode has characters, but for private ones."""
LAST = 0x10FFFF
"""The last code point."""
YOUNG = (
    r"\u{7fd}\u{897}-\u{89f}\u{8ca}-\u{8d3}\u{9fe}\u{c3c}\u{d3b}-\u{d3c}\u{eba}\u{1715}\u{1abf}-\u{1add}\u{1ae0}-\u{1aeb}"
    r"\u{1df6}-\u{1dfa}\u{a82c}\u{105d2}\u{105da}\u{10d24}-\u{10d27}\u{10d69}-\u{10d6d}\u{10eab}-\u{10eac}"
    r"\u{10efa}-\u{10efb}\u{10efd}-\u{10eff}\u{10f46}-\u{10f50}\u{10f82}-\u{10f85}\u{11070}\u{1133b}\u{11382}\u{11384}"
    r"\u{1138b}\u{11390}\u{113c2}\u{113ce}-\u{113d0}\u{1145e}\u{11839}-\u{1183a}\u{11935}\u{1193d}-\u{1193e}\u{11943}"
    r"\u{119e0}\u{11a34}\u{11a47}\u{11a99}\u{11d42}\u{11d44}-\u{11d45}\u{11d97}\u{11f41}-\u{11f42}\u{1611e}\u{16129}"
    r"\u{1612f}\u{16d63}\u{16d67}\u{16ff0}-\u{16ff1}\u{1e08f}\u{1e130}-\u{1e136}\u{1e2ae}\u{1e2ec}-\u{1e2ef}"
    r"\u{1e4ec}-\u{1e4ef}\u{1e5ee}-\u{1e5ef}\u{1e6e3}\u{1e6e6}\u{1e6ee}-\u{1e6ef}\u{1e6f5}"
)
"""Characters, as in a class of a regular expression, that Unicode 17 composes or reorders and `tokenizers` does not: it
goes by an older Unicode."""
LIGATURES = re.compile("ss|f[fil]|st")
"""Letters that a single character can stand for where case is ignored."""

_ATOM = re.compile(
    r"\(\?i:(?P<folded>[a-zA-Z'|]*)\)"
    r"|\[(?P<brackets>\^?(?:\\[a-zA-Z](?:\{\w+\})?|\\[^\w\s]|[^\\\[\]&])+)\]"
    r"|\\(?P<named>[sS]|[pP]\{\w+\})"
    r"|\\(?P<escaped>[rnt]|[^\w\s])"
    r"|(?P<other>\(\?[:=!]|[)|]|(?:[?*+]|\{\d+(?:,\d*)?\})(?![?*+{])|[^\\()\[\]{}|?*+.^$])",
    re.ASCII,
)
_IN_BRACKETS = re.compile(r"\\(?P<named>[sS]|[pP]\{\w+\})|\\(?P<escaped>[rnt]|[^\w\s])|(?P<other>[^\\])", re.ASCII)


class UnknownPattern(Exception):
    """A regular expression has a part that is not translated; the message is the rest of it from there on."""


def translated(pattern: str) -> str:
    """A pattern for JavaScript (flag `u`) with a name, such as `\\p{L}`, for each class. Raises UnknownPattern.

    A name stands between brackets, so that ranges can take its place.
    """
    return "".join(_translated(found) for found in _atoms(_ATOM, pattern))


def class_names(pattern: str) -> set[str]:
    """The names of the classes in a translated pattern."""
    return set(re.findall(r"\\p\{(\w+)\}", pattern))


def _atoms(kinds: re.Pattern[str], pattern: str) -> list[re.Match[str]]:
    found, at = [], 0
    while at < len(pattern):
        atom = kinds.match(pattern, at)
        if atom is None:
            raise UnknownPattern(pattern[at:])
        found.append(atom)
        at = atom.end()
    return found


def _translated(atom: re.Match[str]) -> str:
    kind, text = str(atom.lastgroup), atom[str(atom.lastgroup)]
    match kind:
        case "folded":
            if LIGATURES.search(text.lower()):
                raise UnknownPattern(atom.group())
            return "(?:" + "".join(_either_case(letter) for letter in text) + ")"
        case "brackets":
            start = text.startswith("^")
            inner = (_in_brackets(found) for found in _atoms(_IN_BRACKETS, text[start:]))
            return "[" + "^" * start + "".join(inner) + "]"
        case "named":
            return f"[{_named(text)}]"
        case "escaped":
            return _escaped(text, r"^$\.*+?()[]{}|/")
    return text


def _in_brackets(atom: re.Match[str]) -> str:
    kind, text = str(atom.lastgroup), atom[str(atom.lastgroup)]
    if kind == "named":
        return _named(text)
    return _escaped(text, r"^\]-[") if kind == "escaped" else text


def _either_case(letter: str) -> str:
    if not letter.isalpha():
        return letter
    return f"[{LOOKALIKES.get(letter.lower(), letter.lower() + letter.upper())}]"


def _named(text: str) -> str:
    """`s` and `S` for white space and the rest, `p{L}` and `P{L}` for others: a name for each."""
    name = "White_Space" if text in "sS" else text[2:-1]
    return rf"\p{{{'not_' if text[0] in 'SP' else ''}{name}}}"


def _escaped(text: str, need_it: str) -> str:
    return "\\" + text if text in need_it or text in "rnt" else text


@cache
def class_ranges(name: str) -> list[int]:
    """The code points of a class, as `tokenizers` has it: the gap before each range and the range's length, in turn."""
    if name.startswith("not_"):
        inside = class_ranges(name.removeprefix("not_"))
        # A gap of 0 or more comes first, so what was a length becomes a gap.
        outside = [0, *inside] if inside[0] else inside[1:]
        return [*outside, LAST + 1 - sum(outside)]
    if name == DIGIT:
        digits = pre_tokenizers.Digits(individual_digits=True)
        members = "".join(char for char in _members("N") if len(digits.pre_tokenize_str(f"a{char}")) == 2)
    else:
        members = _members(name)
    points = np.frombuffer(members.encode("utf-32-le"), np.uint32).astype(np.int64)
    first = np.flatnonzero(np.diff(points, prepend=-2) != 1)
    starts, ends = points[first], points[np.append(first[1:], len(points)) - 1] + 1
    edges = np.stack([starts, ends], axis=1).ravel().tolist()
    return [b - a for a, b in pairwise([0, *edges])]


def _members(name: str) -> str:
    """The characters of a class, in order: what is left of all characters if those outside of it are replaced."""
    if name.startswith("C"):
        raise UnknownPattern(name)  # private and unassigned characters are not listed
    text = "".join(map(chr, chain.from_iterable(ASSIGNED)))
    return normalizers.Replace(Regex(rf"[^\p{{{name}}}]+"), "").normalize_str(text)
