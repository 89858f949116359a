"""Checks that a site states one address: in canonical links, in its sitemap and in `robots.txt`.

In: the address that each catalog was built for, the canonical link of each page, and the files at the site's root. Out:
every problem, as a line that begins with the name of a file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from saecatalog.site.check_page import EMBED_SUFFIX, is_embed
from saecatalog.site.inventory import COMPARE
from saecatalog.site.sitemap import (
    MOST_BYTES,
    MOST_URLS,
    ROBOTS,
    SITEMAP,
    common_address,
    locations,
    page_address,
    robots_line,
)


def address_problems(site: Path, bases: Mapping[str, str], canonical: Mapping[str, str]) -> Iterator[str]:
    """Every problem of a site's addresses.

    `bases` are the addresses that the catalogs were built for, by their folders ("" for none), and `canonical` the
    links of all pages ("" where there is none). Pages of a catalog that is not in `bases` are left out.
    """
    if len(set(bases.values())) > 1:
        said = ", ".join(f"{catalog} for {base or 'none'}" for catalog, base in sorted(bases.items()))
        yield f"index.html: the catalogs were built for different addresses: {said}; build all with one base_url"
    base = common_address(bases.values())
    for path, link in canonical.items():
        wanted = _canonical(path, bases, base)
        if wanted is not None and link != wanted:
            yield f"{path}: {f'canonical link {link}' if link else 'no canonical link'}; {_should_be(wanted)}"
    if base:
        stated = {path: link for path, link in canonical.items() if _canonical(path, bases, base) != ""}
        listed = {link for path, link in stated.items() if not is_embed(path) and link.startswith(base)}
        yield from _sitemap_problems(site, base, listed)
    elif (site / SITEMAP).exists():
        yield f"{SITEMAP}: should not exist, because the site has no single address"


def _canonical(path: str, bases: Mapping[str, str], base: str) -> str | None:
    """The address that a page should state; None if it is not known what its catalog was built for.

    An embed states the address of its feature's page, because it is not a page of its own. A comparison of catalogs has
    no lasting address, because it goes when one of them changes.
    """
    if path.startswith(f"{COMPARE}/"):
        return ""
    folder = "/".join(path.split("/")[:2])
    if folder != path and folder not in bases and "/" in folder:
        return None
    own = bases.get(folder, base)
    page = path.removesuffix(EMBED_SUFFIX) + ".html" if is_embed(path) else path
    return page_address(own, page) if own else ""


def _should_be(wanted: str) -> str:
    return f"it should be {wanted}" if wanted else "there should be none"


def _sitemap_problems(site: Path, base: str, wanted: set[str]) -> Iterator[str]:
    """Addresses that the sitemap has and no page states, or the other way round; files that are too large."""
    if robots_line(base) not in _read(site / ROBOTS).splitlines():
        yield f"{ROBOTS}: has no line '{robots_line(base)}'"
    if not (site / SITEMAP).is_file():
        yield f"{SITEMAP}: missing"
        return
    found = locations(_read(site / SITEMAP))
    parts = {base + path.name: path for path in site.glob("sitemap-*.xml")}
    texts = {path.name: _read(path) for address, path in parts.items() if address in found}
    texts = texts or {SITEMAP: _read(site / SITEMAP)}
    listed = [address for text in texts.values() for address in locations(text)]
    for name, text in texts.items():
        if len(locations(text)) > MOST_URLS or len(text.encode()) > MOST_BYTES:
            yield f"{name}: over the limits of a sitemap, {MOST_URLS:,} addresses and {MOST_BYTES:,} bytes"
    if len(set(listed)) < len(listed):
        yield f"{SITEMAP}: names an address twice"
    for words, addresses in (("does not name", wanted - set(listed)), ("names", set(listed) - wanted)):
        if addresses:
            kind = "the address of a page" if words != "names" else "what is no page's address"
            more = f" and {len(addresses) - 1:,} more" if len(addresses) > 1 else ""
            yield f"{SITEMAP}: {words} {kind}: {min(addresses)}{more}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
