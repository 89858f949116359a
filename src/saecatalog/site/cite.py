"""Citations of a feature or a catalog: the address, BibTeX, LaTeX, Markdown, plain text and the code of an embed.

In: the manifest and a feature's row. Out: a `Citation` of plain strings, which the templates escape.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from saecatalog.site.records import Row

_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {char: "\\" + char for char in "&%$#_{}"}
)

EMBED_ALL = 5000
"""With more pages than this, only notable features have an embed, because each is a third as large as a page."""


@dataclass(frozen=True)
class Citation:
    """A citation in several formats; `embed` is "" if there is nothing to embed."""

    address: str
    bibtex: str
    latex: str
    markdown: str
    plain: str
    embed: str


def feature(manifest: dict[str, Any], row: Row, embedded: bool) -> Citation:
    """The citation of one feature, with its embed if it has one.

    Without a `base_url`, the address is the path within the site.
    """
    short = f"Feature {row.feature}"
    name = f"{short} of {sae_name(manifest)}"
    url = address(manifest, row.page)
    embed = frame(row.feature, address(manifest, embed_page(row.page))) if embedded else ""
    return _citation(manifest, name, short, url, embed)


def embedded(paged: Iterable[int], notable: Iterable[int]) -> set[int]:
    """The features with an embed: all that have a page, or only the notable ones if these are too many."""
    found = set(paged)
    return found if len(found) <= EMBED_ALL else found & set(notable)


def embed_page(page: str) -> str:
    """The path of a feature's embed, given that of its page."""
    return page.removesuffix(".html") + ".embed.html"


def frame(number: int, source: str) -> str:
    """The HTML that shows a feature's embed in another page."""
    return f'<iframe src="{html.escape(source)}" title="Feature {number}" width="640" height="600"></iframe>'


def catalog(manifest: dict[str, Any]) -> Citation:
    """The citation of a whole catalog."""
    return _citation(
        manifest, f"{manifest['title']}: features of {sae_name(manifest)}", "catalog", address(manifest), ""
    )


def sae_name(manifest: dict[str, Any]) -> str:
    """The names of the SAE and its model in one phrase."""
    return f"{manifest['sae']['name']} ({manifest['model']['name']})"


def address(manifest: dict[str, Any], page: str = "index.html") -> str:
    """The full address of a page if that of the site is known, else its path within the site."""
    base = manifest["base_url"]
    return f"{base.rstrip('/') + '/' if base else ''}{manifest['slug']}/{page}"


def _citation(manifest: dict[str, Any], name: str, short: str, url: str, embed: str) -> Citation:
    program = manifest["program"]
    made_by = f"{program['name']} {program['version']}"
    key = re.sub(r"[^a-z0-9]+", "-", f"{manifest['slug']}-{short}".lower()).strip("-")
    label = re.sub(r"([\\[\]])", r"\\\1", f"{short}, {manifest['slug']}")
    note = _latex(f"Built with {made_by}, corpus {manifest['corpus']['sha256'][:12]}")
    href = re.sub("([%#])", r"\\\1", url)
    lines = [
        f"@misc{{{key},",
        f"  title = {{{_latex(name)}}},",
        f"  howpublished = {{\\url{{{url}}}}},",
        f"  note = {{{note}}}",
        "}",
    ]
    return Citation(
        address=url,
        bibtex="\n".join(lines),
        latex=f"\\href{{{href}}}{{{_latex(short)}}}",
        markdown=f"[{label}](<{url}>)",
        plain=f"{name}. {made_by}. {url}",
        embed=embed,
    )


def _latex(text: str) -> str:
    return text.translate(_LATEX)
