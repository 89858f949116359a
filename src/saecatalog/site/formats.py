"""Formats numbers for readers: functions from a number to a short string, used as template filters."""

import math
from collections.abc import Callable, Iterable

from markupsafe import Markup

MINUS = "\u2212"
NO_VALUE = "\u2013"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(value: float) -> str:
    """A whole number with thousands separated: `46012` -> `46,012`."""
    return f"{int(value):,}".replace("-", MINUS)


def counted(value: float, noun: str, plural: str = "") -> str:
    """A count with its noun, in the plural unless it is 1: `2, "text"` -> `2 texts`."""
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"


def number(value: float, digits: int = 3) -> str:
    """A number to `digits` significant digits (below 1: decimals); tiny or huge numbers as a power of ten."""
    size = abs(value)
    if 1e-3 <= size < 1e6:
        text = f"{size:,.{digits if size < 1 else max(0, digits - len(str(int(size))))}f}"
        return text if value > 0 else MINUS + text
    if math.isnan(value):
        return NO_VALUE
    if value == 0:
        return "0"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    return _power(value, digits)


def megabytes(size: float) -> str:
    """A size in bytes as megabytes: `33_204_112` -> `33 MB`; below ten with one decimal."""
    value = size / 1e6
    return f"{value:,.{0 if value >= 9.95 else 1}f}\u00a0MB"


def decimals(value: float, places: int) -> str:
    """A number with a fixed count of decimals, so that a column of them lines up."""
    # Adding 0 removes the sign of a number that rounds to -0.
    return NO_VALUE if math.isnan(value) else f"{round(value, places) + 0.0:,.{places}f}".replace("-", MINUS)


def percent(share: float) -> str:
    """A share as a percentage with two to three significant digits: `0.0031` -> `0.31 %`."""
    if math.isnan(share):
        return NO_VALUE
    value = 100 * share
    places = 0 if abs(value) >= 10 or value == 0 else min(5, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}\u00a0%".replace("-", MINUS)


def percent_interval(share: float, low: float, high: float) -> str:
    """A share with its interval, rounded to the order of a third of its width: `0.31 % [0.27, 0.36]`."""
    places = _places(100 * (high - low))
    words = f"{100 * share:.{places}f}\u00a0% [{100 * low:.{places}f}, {100 * high:.{places}f}]"
    return words.replace("-", MINUS)


def significant(value: float) -> str:
    """A number to two significant digits, without a power of ten: `0.07` -> `0.070`."""
    if value == 0 or math.isnan(value):
        return decimals(value, 0)
    return decimals(value, min(6, max(0, 1 - math.floor(math.log10(abs(value))))))


def measured(value: float, low: float, high: float) -> str:
    """A figure with its interval, rounded to the order of a third of its width: `0.021 [0.011, 0.040]`.

    An end that is not 0 does not become 0, because that is the line between chance and more.
    """
    if math.isnan(low) or math.isnan(high):
        return significant(value)
    places = max(1, _places(high - low))
    while places < 6 and any(end and not round(end, places) for end in (low, high)):
        places += 1
    return f"{decimals(value, places)} [{decimals(low, places)}, {decimals(high, places)}]"


def _places(width: float) -> int:
    """The decimals that an interval of this width deserves."""
    return 4 if not width > 0 else min(6, max(0, -math.floor(math.log10(width / 3))))


def interval(low: float, high: float) -> str:
    """The ends of an interval of a share, in percent: `2–14 %`."""
    places = 0 if high - low >= 0.02 else 1
    return f"{100 * low:.{places}f}–{100 * high:.{places}f} %"


def decimal_interval(low: float, high: float) -> str:
    """The ends of an interval with two or three decimals, as its width deserves: `[0.91, 0.97]`."""
    places = 2 if high - low >= 0.02 else 3
    return f"[{low:.{places}f}, {high:.{places}f}]"


def probability(value: float) -> str:
    """A p or q value: three decimals, or a power of ten below 0.001."""
    if math.isnan(value):
        return NO_VALUE
    if value == 0:
        return "<\u202f10⁻³⁰⁰"
    return f"{value:.3f}" if value >= 0.001 else _power(value, 1)


def signed(value: float, places: int = 2) -> str:
    """A number that always shows its sign."""
    if math.isnan(value):
        return NO_VALUE
    return ("+" if value >= 0 else MINUS) + f"{abs(value):.{places}f}"


def factor(value: float) -> str:
    """A multiple: `0.5` -> `0.5×`."""
    return f"{value:g}×".replace("-", MINUS)


def _power(value: float, digits: int) -> str:
    """`value` as a number times a power of ten: `3e-14` -> `3 × 10⁻¹⁴`."""
    mantissa, exponent = f"{value:.{max(0, digits - 1)}e}".split("e")
    return f"{mantissa.replace('-', MINUS)}\u202f×\u202f10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def bins(found: Iterable[tuple[str, int]]) -> Markup:
    """The rows of a histogram's table: a third of a page's cells, for which a loop in a template would be far slower.

    The start of each bin is a number formatted by this module, so nothing needs to be escaped.
    """
    return Markup("".join([f"<tr><td>{start}<td>{n:,}" for start, n in found]))


FILTERS: dict[str, Callable[..., str]] = {
    "plain": str,
    "count": count,
    "counted": counted,
    "number": number,
    "decimals": decimals,
    "megabytes": megabytes,
    "percent": percent,
    "probability": probability,
    "signed": signed,
    "significant": significant,
    "factor": factor,
}
