"""Small static pictures of the charts: each function turns numbers into one SVG string.

They are shown in place of the interactive charts without JavaScript, in print and in embeds. The page's style sheet
styles them through classes, including the positions of labels, so a page contains only shapes and text. All shapes of
one kind are one path, and the plotting area begins at 0,0, which keeps a picture well below one kilobyte.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby

from markupsafe import Markup, escape

WIDTH = 360
NAMED = 3
"""The least number of rows of a box whose name is shown; the names of smaller boxes would overlap."""
_BARS, _PLOT, _MARGINS = 220, 72, (16, 14, 28, 32)
"""The largest width and the height of a histogram's plot, and its margins: above, right, below and left."""
_STEPS = (0.05, 0.3, 0.45, 0.6, 0.85)
"""Where the five colours of a matrix begin, as shares of `top`."""
_CELL, _ROW, _CHARACTER = (12, 24), 12, 6
"""The least and the largest column width of a matrix, its row height, and the width of a character in a name."""
_ROW_NAME, _COLUMN_NAME = 32, 24
"""The most characters in the names of its rows and of its columns."""
_RULE = 200
"""The length of a bar for the share `top`."""
_DOTS = 240
"""The length of both axes of `dots`."""


def histogram(counts: Sequence[int], label: str, titles: tuple[str, str], ticks: Sequence[str]) -> Markup:
    """Counts over equal bins on a logarithmic axis.

    `titles` are the titles of the x and the y axis, and `ticks` the labels at the start, middle and end of the x axis.
    """
    top, step = _decades(counts), max(1, _BARS // max(1, len(counts)))
    width = step * len(counts)
    above, right, below, left = _MARGINS
    decades = [(_bar_top(10**power, top, _PLOT), _power_of_ten(power)) for power in range(top + 1)]
    grid = "".join([f"M0 {y}h{width}" for y, _ in decades])
    counted = "".join([f'<text y="{y}">{text}</text>' for y, text in decades])
    words = [(0, 11, ticks[0]), (width // 2, 11, ticks[1]), (width, 11, ticks[2]), (width // 2, 24, titles[0])]
    measured = "".join(f'<text x="{x}" y="{_PLOT + y}">{escape(text)}</text>' for x, y, text in words)
    body = (
        f'<path class="grid" d="{grid}"/>{_bars(counts, top, _PLOT, step)}'
        f'<text x="-{left}" y="-7">{escape(titles[1])}</text><g>{counted}</g>{measured}'
    )
    return _svg("still", (-left, -above, left + width + right, above + _PLOT + below), label, body)


def spark(counts: Sequence[int], label: str, low: str, high: str) -> Markup:
    """The shape of a histogram on a logarithmic axis, labelled only at its ends."""
    height, step = 60, max(1, WIDTH // max(1, len(counts)))
    ends = f'<text y="{height + 13}">{escape(low)}</text>'
    ends += f'<text x="{step * len(counts)}" y="{height + 13}" text-anchor="end">{escape(high)}</text>'
    return _svg("still spark", (0, 0, WIDTH, height + 18), label, _bars(counts, _decades(counts), height, step) + ends)


def shares(active: Sequence[float], strong: Sequence[float], top: float) -> Markup:
    """Two bars per row, the second thinner and inside the first, from 0 to `top`.

    The picture is stretched beside the rows of a table with the names and numbers, so these are not in the page twice.
    """
    body = f'<path d="{_rules(active, top)}"/><path d="{_rules(strong, top)}"/>'
    box = f'viewBox="0 0 {_RULE} {2 * len(active)}" preserveAspectRatio="none"'
    return Markup(f'<svg {box} aria-hidden="true">{body}</svg>')


def signed_bars(values: Sequence[float]) -> Markup:
    """A bar per row from a line at 0, to the right if its value is above 0 and to the left if it is below.

    The picture is stretched beside the rows of a table with the numbers, as that of `shares` is.
    """
    low, high = min([0.0, *values]), max([0.0, *values])
    scale = _RULE / (high - low or 1)
    zero = round(-low * scale)
    bars = "".join(f"M{zero} {2 * i + 1}h{round(v * scale)}" for i, v in enumerate(values) if round(v * scale))
    box = f'viewBox="0 0 {_RULE} {2 * len(values)}" preserveAspectRatio="none"'
    return Markup(f'<svg {box} aria-hidden="true"><path d="M{zero} 0v{2 * len(values)}"/><path d="{bars}"/></svg>')


def dots(points: Sequence[tuple[float, float]], label: str, titles: tuple[str, str]) -> Markup:
    """Points above 0 over two logarithmic axes of equal length and range, with the line on which both are equal.

    `titles` are those of the x and the y axis.
    """
    size, decades = _DOTS, _range([value for point in points for value in point])
    step = size / (decades[-1] - decades[0])
    at = {power: round(step * (power - decades[0])) for power in decades}
    grid = "".join(f"M0 {size - n}h{size}M{n} 0v{size}" for n in at.values())
    left = "".join(f'<text y="{size - n}">{_share_of_ten(power)}</text>' for power, n in at.items())
    below = "".join(f'<text x="{n}" y="{size + 12}">{_share_of_ten(power)}</text>' for power, n in at.items())
    where = [
        [max(0, round(step * (math.log10(value) - decades[0]))) if value > 0 else 0 for value in p] for p in points
    ]
    marks = "".join(f"M{x} {size - y}h0" for x, y in where)
    body = (
        f'<path class="grid" d="{grid}"/><path class="equal" d="M0 {size}L{size} 0"/><path class="dots" d="{marks}"/>'
        f'<text x="-34" y="-8">{escape(titles[1])}</text><g>{left}</g>{below}'
        f'<text x="{size // 2}" y="{size + 26}">{escape(titles[0])}</text>'
    )
    return _svg("still plane", (-36, -18, size + 52, size + 50), label, body)


def _range(values: Sequence[float]) -> range:
    """The powers of ten around all values above 0; at most six decades, as a few tiny values would press the rest."""
    above = [value for value in values if value > 0]
    top = math.ceil(math.log10(max(above, default=1)))
    low = math.floor(math.log10(min(above, default=0.1)))
    return range(max(min(low, top - 1), top - 6), top + 1)


def _share_of_ten(power: int) -> str:
    """A power of ten as an axis shows it: `0.01`."""
    return f"{10.0**power:.{max(0, -power)}f}"


def matrix(
    values: Sequence[Sequence[float]], top: float, label: str, boxes: Iterable[tuple[int, int, int]] = ()
) -> Markup:
    """A square picture of a matrix in five steps up to `top`; a box is (its name, first row, row after the last)."""
    size, cells = len(values), _cells(values, top)
    boxes = list(boxes)
    outlines = "".join(f"M{a} {a}h{b - a}v{b - a}h{a - b}z" for _, a, b in boxes)
    names = "".join(f'<text x="{b + 1}" y="{a + 3}">{name}</text>' for name, a, b in boxes if b - a >= NAMED)
    body = cells + (f'<path class="box" d="{outlines}"/>{names}' if boxes else "")
    return _svg("still matrix", (0, 0, size, size), label, body)


def heat(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], top: float, label: str
) -> Markup:
    """A matrix in five steps up to `top`, with the names of its rows at the left and of its columns above."""
    beside, named = _short(rows, _ROW_NAME), _short(columns, _COLUMN_NAME)
    margin, above = (10 + _CHARACTER * max(map(len, names), default=0) for names in (beside, named))
    width = max(_CELL[0], min(_CELL[1], (WIDTH - margin) // max(1, len(columns))))
    left = "".join(f'<text y="{_ROW * i + 6}">{escape(text)}</text>' for i, text in enumerate(beside))
    over = "".join(
        f'<text transform="translate({width * i + width // 2 + 4} -5) rotate(-90)">{escape(text)}</text>'
        for i, text in enumerate(named)
    )
    body = f'<g>{left}</g>{over}<g transform="scale({width} {_ROW})">{_cells(values, top)}</g>'
    box = (-margin, -above, max(WIDTH, margin + width * len(columns)), above + _ROW * len(rows))
    return _svg("still heat", box, label, body)


def _short(names: Sequence[str], most: int) -> list[str]:
    """Names with at most `most` characters."""
    return [name if len(name) <= most else name[: most - 1] + "…" for name in names]


def _bars(counts: Sequence[int], top: int, height: int, step: int) -> str:
    """One outline around bars of equal width, each from the bottom of the plot to its count."""
    tops = [_bar_top(n, top, height) for n in counts]
    at, outline = height, ""
    for y, same in groupby(tops):
        outline += ("" if y == at else f"V{y}") + f"h{step * len(list(same))}"
        at = y
    return f'<path d="M0 {height}{outline}V{height}z"/>'


def _rules(values: Sequence[float], top: float) -> str:
    """A horizontal line for each value above 0, two units apart."""
    return "".join(f"M0 {2 * i + 1}h{max(1, round(_RULE * v / top))}" for i, v in enumerate(values) if v > 0)


def _cells(values: Sequence[Sequence[float]], top: float) -> str:
    """The cells of each of the five colours as one path; adjacent cells of one colour are one shape."""
    paths: list[list[str]] = [[] for _ in _STEPS]
    for i, row in enumerate(values):
        at = 0
        for step, same in groupby(sum(value >= top * share for share in _STEPS) for value in row):
            run = len(list(same))
            if step:
                paths[step - 1].append(f"M{at} {i}h{run}v1h-{run}z")
            at += run
    return "".join(f'<path class="m{k}" d="{"".join(path)}"/>' for k, path in enumerate(paths, 1) if path)


def _decades(counts: Sequence[int]) -> int:
    """The exponent of the least power of ten that is not below the largest count, at least 1."""
    return max(1, math.ceil(math.log10(max([*counts, 1]))))


@lru_cache(1 << 16)
def _bar_top(count: int, top: int, height: int) -> int:
    return round(height * (1 - _log_share(count, top)))


def _log_share(count: float, top: int) -> float:
    """The relative height of a count on a logarithmic axis up to 10**top; a count of 1 is visible, and 0 is not."""
    return (math.log10(count) + 0.15) / (top + 0.15) if count else 0.0


def _svg(name: str, box: tuple[int, int, int, int], label: str, body: str) -> Markup:
    view = " ".join(map(str, box))
    return Markup(f'<svg class="{name}" viewBox="{view}" role="img" aria-label="{escape(label)}">{body}</svg>')


def _power_of_ten(power: int) -> str:
    return f"{10**power:,}" if power < 5 else f"10{str(power).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
