"""The public addresses of a site's pages, and the sitemap that lists them for search engines.

In: the addresses that the catalogs of a site were built for, and the paths of its pages. Out: the canonical address of
a page, and the text of `sitemap.xml`, its parts and `robots.txt` at the site's root.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import unescape
from xml.sax.saxutils import escape

from saecatalog.addresses import encode_file

SITEMAP, ROBOTS = "sitemap.xml", "robots.txt"

MOST_URLS = 50_000
MOST_BYTES = 50 * 1024**2
"""What a sitemap may hold, by https://www.sitemaps.org/protocol.html. A larger one is an index of several parts."""

PART = re.compile(r"sitemap-\d+\.xml")
"""The files of the parts."""

_NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"


def common_address(bases: Iterable[str]) -> str:
    """The address of a site: the only one that its catalogs state; "" if none states one, or they disagree."""
    stated = {base for base in bases if base}
    return stated.pop() if len(stated) == 1 else ""


def page_address(base: str, path: str) -> str:
    """The canonical address of a page, given that of the site; the site's front page is the site itself."""
    return base if path == "index.html" else base + encode_file(path)


def sitemap_files(base: str, pages: Iterable[str]) -> dict[str, str]:
    """The files that tell search engines the addresses of these pages, by name; none if the site has no address."""
    if not base:
        return {}
    parts = list(_parts([_entry("url", page_address(base, page)) for page in sorted(pages)]))
    files = {f"sitemap-{number}.xml": _document("urlset", part) for number, part in enumerate(parts, 1)}
    if len(files) == 1:
        files = {SITEMAP: files.popitem()[1]}
    else:
        files[SITEMAP] = _document("sitemapindex", [_entry("sitemap", base + name) for name in files])
    # Crawlers read it only at the top of a host: it counts where the site has a host of its own.
    return files | {ROBOTS: f"User-agent: *\nAllow: /\n{robots_line(base)}\n"}


def robots_line(base: str) -> str:
    """The line of `robots.txt` that names the sitemap."""
    return f"Sitemap: {base}{SITEMAP}"


def locations(document: str) -> list[str]:
    """The addresses in a sitemap or in an index of sitemaps."""
    return [unescape(found.strip()) for found in re.findall(r"<loc>([^<]*)</loc>", document)]


def _parts(entries: Sequence[str]) -> Iterator[Sequence[str]]:
    """The entries in parts that each fit into one file; one part even if there are none."""
    start, size, room = 0, 0, MOST_BYTES - len(_document("sitemapindex", []))
    for place, entry in enumerate(entries):
        if place - start == MOST_URLS or size + len(entry) > room:
            yield entries[start:place]
            start, size = place, 0
        size += len(entry)
    yield entries[start:]


def _entry(kind: str, address: str) -> str:
    return f"<{kind}><loc>{escape(address)}</loc></{kind}>\n"


def _document(kind: str, entries: Iterable[str]) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} xmlns="{_NAMESPACE}">\n{"".join(entries)}</{kind}>\n'
