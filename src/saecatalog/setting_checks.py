"""Checks of the values of settings: a value flows in, "" flows out if it is valid, or else which values are.

The words follow "Use", as in "Use a whole number, 1 or more."
"""

import re
from collections.abc import Callable

from saecatalog.addresses import WANTED, encode_base


def text(value: object) -> str:
    return any_text(value) if isinstance(value, str) and value.strip() else "a non-empty string"


def any_text(value: object) -> str:
    """Byte 0 and undecodable bytes, which arguments and file names may have, fit neither on pages nor in JSON."""
    if not isinstance(value, str):
        return "a string"
    return "a string of UTF-8 without a byte 0" if re.search("[\0\ud800-\udfff]", value) else ""


def name(value: object) -> str:
    fit = isinstance(value, str) and (not value or (value.strip() and not re.search("[\x01-\x1f\x7f-\x9f]", value)))
    return any_text(value) if fit else "a name that can be shown on one line"


def names(value: object) -> str:
    fit = isinstance(value, list | tuple) and all(one and not name(one) for one in value)
    return "" if fit else "a list of names, each on one line"


def year(value: object) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and 1000 <= value <= 9999
    return "" if good else "a year, such as 2026"


def address(value: object) -> str:
    if not isinstance(value, str) or any_text(value):
        return any_text(value)
    try:
        encode_base(value)
    except ValueError as error:
        return f"{WANTED}, {error}"
    return ""


def flag(value: object) -> str:
    return "" if isinstance(value, bool) else "true or false"


def count(value: object) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else "a whole number, 1 or more"


def whole(value: object) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else "a whole number, 0 or more"


def contexts(value: object) -> str:
    good = isinstance(value, int) and not count(value) and value >= 4
    return "" if good else "a whole number, 4 or more (one for each quarter of the activations)"


def prompts(value: object) -> str:
    good = isinstance(value, list | tuple) and all(isinstance(p, str) and p.strip() for p in value)
    return "" if good else "a list of non-empty strings"


def multiples(value: object) -> str:
    good = (
        isinstance(value, list | tuple)
        and all(isinstance(m, int | float) and not isinstance(m, bool) and 0 < abs(m) < float("inf") for m in value)
        and len(set(value)) == len(value)
    )
    return "" if good else "a list of different numbers, none of them 0"


def context(value: object) -> str:
    good = not count(value) and value != 1
    return "" if good else "a whole number, 2 or more (BOS takes one position)"


def number(value: object) -> str:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return "" if good else "a number, 0 or more"


def multiple(value: object) -> str:
    good = isinstance(value, int | float) and not number(value) and value > 1
    return "" if good else "a number above 1"


def choice(*known: str) -> Callable[[object], str]:
    return lambda value: "" if value in known else "one of " + ", ".join(known)


def device(value: object) -> str:
    good = isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value)
    return "" if good else "auto, cpu, cuda, cuda:1 (or another number) or mps"


def paths(value: object) -> str:
    good = isinstance(value, list | tuple) and value and all(isinstance(p, str) and p for p in value)
    return "" if good else "a list of paths"


def features(*known: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        indices = isinstance(value, list | tuple) and value and all(isinstance(i, int) and i >= 0 for i in value)
        return "" if value in known or indices else f"{', '.join(known)}, or feature numbers such as 1,2,3"

    return check
