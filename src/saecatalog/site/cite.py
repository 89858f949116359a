"""Citations of a feature or a catalog: the address, BibTeX, LaTeX, Markdown, plain text and the code of an embed.

In: the manifest and a feature's row. Out: a `Citation` of plain strings, which the templates escape.
"""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from saecatalog.addresses import encode_file
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
    name = f"{short} of {sae_name(manifest)}, in: {manifest['title']}"
    url = address(manifest, row.page)
    embed = frame(row.feature, address(manifest, embed_page(row.page))) if embedded else ""
    return _citation(manifest, name, short, f"{short}, {manifest['title']}", url, embed)


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
    title = manifest["title"]
    return _citation(manifest, f"{title}: features of {sae_name(manifest)}", "catalog", title, address(manifest), "")


def sae_name(manifest: dict[str, Any]) -> str:
    """The names of the SAE and its model in one phrase."""
    return f"{manifest['sae']['name']} ({manifest['model']['name']})"


def address(manifest: dict[str, Any], page: str = "index.html") -> str:
    """The full address of a page if that of the site is known, else its path within the site."""
    return f"{manifest['base_url']}{encode_file(manifest['slug'])}/{encode_file(page)}"


def _citation(manifest: dict[str, Any], name: str, what: str, label: str, url: str, embed: str) -> Citation:
    """Citations by the full `name`, and links that show the `label`; the entry's key ends in `what` is cited."""
    program, authors, year = manifest["program"], manifest["authors"], manifest["year"]
    made_by = f"{program['name']} {program['version']}"
    key = re.sub(r"[^a-z0-9]+", "-", f"{manifest['slug']}-{what}".lower()).strip("-")
    href = re.sub("([%#])", r"\\\1", url)
    fields = {
        "author": " and ".join(map(_bibtex_name, authors)),
        "title": _latex(name),
        "year": year,
        "howpublished": f"\\url{{{url}}}",
        "note": _latex(f"Built with {made_by}, corpus {manifest['corpus']['sha256'][:12]}"),
    }
    lines = [f"  {field} = {{{value}}}" for field, value in fields.items() if value]
    people, dated = in_prose(authors), f" ({year})" if year else ""
    credit = f" ({people}{', ' if year else ''}{year or ''})" if people else dated
    return Citation(
        address=url,
        bibtex=f"@misc{{{key},\n" + ",\n".join(lines) + "\n}",
        latex=f"\\href{{{href}}}{{{_latex(label)}}}{_latex(credit)}",
        markdown=f"[{_markdown(label)}](<{url}>){_markdown(credit)}",
        plain=f"{f'{people}{dated}. {name}' if people else name + dated}. {made_by}. {url}",
        embed=embed,
    )


def in_prose(names: Sequence[str]) -> str:
    """Names in a sentence: `A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _bibtex_name(name: str) -> str:
    """An author as BibTeX reads one: braces keep the name of a group, such as `Black and White Lab`, together."""
    return f"{{{_latex(name)}}}" if " and " in name else _latex(name)


def _markdown(text: str) -> str:
    return re.sub(r"([\\\[\]*_`<>])", r"\\\1", text)


def _latex(text: str) -> str:
    return text.translate(_LATEX)
