"""Small still pictures of the charts: each function takes numbers and gives one SVG string.

They stand behind the interactive charts (no script, print, embeds) and are styled by the page's style sheet through
classes. All bars of one kind are one path, which keeps a picture near one kilobyte.
"""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 6, 8, 34


def histogram(
    counts: Sequence[int], label: str, x_title: str, x_ticks: Sequence[str]
) -> Markup:
    """Counts over equal bins on a logarithmic axis; `x_ticks` are the texts at start, middle and end.

    The bars are one outline of whole pixels, which takes few characters.
    """
    top = _decades(counts)
    step = max(1, (WIDTH - _LEFT - _RIGHT) // max(1, len(counts)))
    bottom = HEIGHT - _BOTTOM
    body = _bars([round(_y(_log_share(n, top))) for n in counts], _LEFT, bottom, step)
    ticks = [(round(_y(_log_share(10**power, top))), _power_of_ten(power)) for power in range(top + 1)]
    return _picture(label, body, ticks, x_title, x_ticks, step * len(counts))


def spark(counts: Sequence[int], label: str, low: str, high: str) -> Markup:
    """The shape of a histogram on a logarithmic axis, with no more than what its ends are."""
    top, height, step = _decades(counts), 60, max(1, WIDTH // max(1, len(counts)))
    body = _bars([round(height * (1 - _log_share(n, top))) for n in counts], 0, height, step)
    ends = f'<text y="{height + 13}">{escape(low)}</text>'
    ends += f'<text x="{step * len(counts)}" y="{height + 13}" text-anchor="end">{escape(high)}</text>'
    return _svg(label, height + 18, body + ends)


def _bars(tops: Sequence[int], left: int, bottom: int, step: int) -> str:
    """One outline around bars of equal width, each from `bottom` up to its top."""
    outline = "".join(f"V{y}h{step}" for y in tops)
    return f'<path class="bar" d="M{left} {bottom}{outline}V{bottom}z"/>'


def _decades(counts: Sequence[int]) -> int:
    """The power of ten that the largest count does not exceed, 1 at least."""
    return max(1, math.ceil(math.log10(max([*counts, 1]))))


def _log_share(count: float, top: int) -> float:
    """How high a count stands on a logarithmic axis up to 10**top; a count of 1 is still seen, 0 is not."""
    return (math.log10(count) + 0.15) / (top + 0.15) if count else 0.0


def matrix(values: Sequence[Sequence[float]], thresholds: Sequence[float], label: str) -> Markup:
    """A square picture of a matrix in five steps; cells below the first threshold are left empty."""
    size = len(values)
    paths: list[list[str]] = [[] for _ in thresholds]
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            step = sum(value >= t for t in thresholds) - 1
            if step >= 0:
                paths[step].append(f"M{j} {i}h1v1h-1z")
    body = "".join(f'<path class="m{k + 1}" d="{"".join(p)}"/>' for k, p in enumerate(paths) if p)
    box = f'viewBox="0 0 {size} {size}"'
    return Markup(f'<svg class="still matrix" {box} role="img" aria-label="{escape(label)}">{body}</svg>')


def _picture(
    label: str, body: str, ticks: Sequence[tuple[int, str]], x_title: str, x_ticks: Sequence[str], width: int
) -> Markup:
    """Axes around a body drawn in the plotting area, `width` pixels wide."""
    lines = "".join(f"M{_LEFT} {y}h{width}" for y, _ in ticks)
    parts = [f'<path class="grid" d="{lines}"/>', body]
    counts = "".join(f'<text x="{_LEFT - 5}" y="{y + 4}">{text}</text>' for y, text in ticks)
    parts.append(f'<g text-anchor="end">{counts}</g>')
    bottom = HEIGHT - _BOTTOM + 13
    middle = _LEFT + width // 2
    places = ((_LEFT, "start"), (middle, "middle"), (_LEFT + width, "end"))
    for (x, anchor), text in zip(places, x_ticks, strict=True):
        if text:
            parts.append(f'<text x="{x}" y="{bottom}" text-anchor="{anchor}">{escape(text)}</text>')
    parts.append(f'<text x="{middle}" y="{HEIGHT - 5}" text-anchor="middle" class="title">{escape(x_title)}</text>')
    return _svg(label, HEIGHT, "".join(parts))


def _svg(label: str, height: float, body: str) -> Markup:
    return Markup(
        f'<svg class="still" viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _power_of_ten(power: int) -> str:
    return f"{10**power:,}" if power < 5 else f"10{str(power).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _n(value: float) -> str:
    """A coordinate in as few characters as it needs."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
