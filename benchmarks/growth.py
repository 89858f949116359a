"""How the cost of each stage grows with tokens, features, L0 and texts, one varied at a time.

    python benchmarks/growth.py [--plot growth.svg]

Each point is a catalog with a page for every feature, built by the stages of `catalog.py` with an empty cache. Prints a
table and one line of JSON; `--plot` draws the seconds of each stage in Chromium with Plotly.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import standin
from catalog import configure, measure
from measure import ROOT, machine
from playwright.sync_api import sync_playwright
from plotly.subplots import make_subplots

sys.path.insert(0, str(ROOT / "tests"))
from browsing import ARGUMENTS, CHROMIUM

STAGES = ("harvest", "weights", "analysis", "site")


@dataclass(frozen=True)
class Point:
    """One catalog, described by the quantities that are varied."""

    tokens: int = 16_384
    features: int = 6_144
    l0: float = 64
    mean_length: int = 170
    """Mean tokens of a text."""


VARIED: dict[str, tuple[Any, ...]] = {
    "tokens": (4_096, 8_192, 16_384, 32_768),
    "features": (3_072, 6_144, 12_288, 24_576),
    "l0": (16, 64, 256),
    "mean_length": (42, 170, 680),
}


def points() -> Iterator[tuple[str, Point]]:
    """The name of the varied quantity, and the point."""
    for name, values in VARIED.items():
        for value in values:
            yield name, replace(Point(), **{name: value})


def cost(point: Point, arguments: argparse.Namespace) -> dict[str, Any]:
    """Build one catalog and give its figures."""
    with tempfile.TemporaryDirectory() as name:
        shape = argparse.Namespace(
            d_sae=point.features, l0=point.l0, tokens=point.tokens, mean_length=point.mean_length, **vars(arguments)
        )
        return measure(configure(shape, Path(name)), 0, afterwards=False)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot the seconds of each stage against each varied quantity, with logarithmic axes."""
    titles = {"tokens": "tokens", "features": "features", "l0": "L0", "mean_length": "texts"}
    figure = make_subplots(1, len(VARIED), subplot_titles=list(titles.values()), shared_yaxes=True)
    colours = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
    for column, name in enumerate(VARIED, 1):
        mine = [row for row in rows if row["varied"] == name]
        x = [row["texts" if name == "mean_length" else name] for row in mine]
        for stage, colour in zip(STAGES, colours, strict=True):
            y = [row[f"{stage}_seconds"] for row in mine]
            line = go.Scatter(x=x, y=y, name=stage, line_color=colour, mode="lines+markers", showlegend=column == 1)
            figure.add_trace(line, 1, column)
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    figure.update_yaxes(title_text="seconds", col=1)
    figure.update_layout(template="simple_white", width=1100, height=380, legend_orientation="h", legend_y=-0.2)
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS).new_page()
        page.set_content(
            f"<div id=plot></div>{figure.to_html(full_html=False, include_plotlyjs=True, div_id='figure')}"
        )
        svg = page.evaluate("Plotly.toImage('figure', {format: 'svg', width: 1100, height: 380})")
        path.write_text(page.evaluate("url => decodeURIComponent(url.split(',')[1])", svg), encoding="utf-8")


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=standin.CACHE, help="folder for the stand-ins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="SVG file to draw")
    arguments = parser.parse_args()
    plot_to = arguments.__dict__.pop("plot")
    rows, known = [], dict[Point, dict[str, Any]]()
    print(f"{'varied':12}{'tokens':>9}{'features':>10}{'L0':>8}{'texts':>8}" + "".join(f"{s:>12}" for s in STAGES))
    for varied, point in points():
        if point not in known:
            known[point] = cost(point, arguments)
        row = {"varied": varied, **asdict(point), **known[point]}
        rows.append(row)
        shown = f"{varied:12}{row['tokens']:9,}{row['features']:10,}{row['l0']:8.1f}{row['texts']:8,}"
        print(shown + "".join(f"{row[f'{stage}_seconds']:11.1f}s" for stage in STAGES), flush=True)
    if plot_to:
        plot(rows, plot_to)
    print(json.dumps({"rows": rows, "machine": machine()}))


if __name__ == "__main__":
    main()
