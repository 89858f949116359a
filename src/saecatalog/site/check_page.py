"""Reads one page: its ids, the files it refers to, and every rule that it breaks.

In: the bytes of an HTML file and its path in the site. Out: `PageFacts`, which `check` compares with the files that
exist. It is separate from `check` so that worker processes load only a parser.
"""

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

EMBED_SUFFIX = ".embed.html"

# Attributes that name another file, and the elements whose `href` is a link to follow, not a file to load.
_URL_ATTRIBUTES = ("href", "src", "srcset", "poster", "action", "data")
_WITH_URL = "[href], [src], [srcset], [poster], [action], object[data]"
_FOLLOWED = ("a", "area")

_EVENT_ATTRIBUTE = re.compile(r"<[a-zA-Z][^>]*\son[a-z]+\s*=")
_STYLE_URL = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])\s*([^"')\s]+)""", re.IGNORECASE)


class Link(NamedTuple):
    """A link within the site: its target file, relative to the site's root, and the anchor in it ("" for none)."""

    target: str
    fragment: str


class PageFacts(NamedTuple):
    """One page: its path in the site, the rules it breaks, its ids, and its distinct links to an anchor.

    `loads` are the files of the site that it loads when it opens: its scripts and style sheets. `canonical` is the
    address that it states, "" if none. `sha256` is that of its bytes, in hexadecimal.
    """

    path: str
    problems: list[str]
    ids: frozenset[str]
    anchors: frozenset[Link]
    loads: frozenset[str]
    canonical: str
    sha256: str


class _Url(NamedTuple):
    """A URL as written in a page: its element, the element's `rel`, and the attribute."""

    tag: str
    rel: str
    name: str
    value: str


def is_embed(path: str) -> bool:
    """Whether a page is an embed, shown in an iframe of another page; fewer rules apply to it."""
    return path.endswith(EMBED_SUFFIX)


def read_page(site: Path, files: Collection[str], path: str) -> PageFacts:
    """Parse one page of the site.

    `files` are the paths of all files of the site and `path` is that of the page; both relative to the site, with `/`.
    """
    content = (site / path).read_bytes()
    sha256, nothing = hashlib.sha256(content).hexdigest(), frozenset[Any]()
    try:
        html = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return PageFacts(path, [f"{path}: not UTF-8 at byte {error.start}"], nothing, nothing, nothing, "", sha256)
    tree = LexborHTMLParser(html)
    ids = [node.attributes["id"] or "" for node in tree.css("[id]")]
    links, problems = _links(tree, path)
    problems += [*_head_problems(tree, path), *_script_problems(tree, html), *_repeated(ids), *_style_problems(tree)]
    problems += [f"link to {target}, which does not exist" for target in {t for t, _ in links} if target not in files]
    named = [f"{path}: {problem}" for problem in dict.fromkeys(problems)]
    anchors = frozenset(link for link in links if link.fragment)
    return PageFacts(path, named, frozenset(ids), anchors, frozenset(_loads(tree, path)), _canonical(tree), sha256)


def _canonical(tree: LexborHTMLParser) -> str:
    node = tree.css_first("link[rel=canonical]")
    return (node.attributes.get("href") or "") if node else ""


def linked_files(site: Path, path: str) -> set[str]:
    """The files of the site that a page links to or loads, whether they exist or not."""
    tree = LexborHTMLParser((site / path).read_bytes().decode("utf-8", errors="replace"))
    return {link.target for link in _links(tree, path)[0]}


def _head_problems(tree: LexborHTMLParser, path: str) -> Iterator[str]:
    """A missing title, language, heading, description or policy; a link preview that names another page."""
    embed = is_embed(path)
    root = tree.css_first("html")
    if root is None or not root.attributes.get("lang"):
        yield "no lang on <html>"
    title = tree.css_first("head > title")
    if title is None or not title.text().strip():
        yield "no <title>"
    headings = len(tree.css("h1"))
    if headings > 1 or (headings == 0 and not embed):
        yield f"{headings} <h1>; there must be exactly one"
    metas = {_meta_name(node): node.attributes.get("content") or "" for node in tree.css("meta")}
    if not embed and not metas.get("description", "").strip():
        yield "no description meta"
    if not embed and metas.get("og:url", "") != _canonical(tree):
        yield f"og:url '{metas.get('og:url', '')}' is not the canonical link '{_canonical(tree)}'"
    needs_policy = not embed or tree.css_first("script") is not None
    if needs_policy and not metas.get("content-security-policy", "").strip():
        yield "no Content-Security-Policy meta"


def _meta_name(node: LexborNode) -> str:
    """The name of a meta element, the header that it replaces, or its property in a link preview."""
    attributes = node.attributes
    return (attributes.get("name") or attributes.get("http-equiv") or attributes.get("property") or "").lower()


def _script_problems(tree: LexborHTMLParser, html: str) -> Iterator[str]:
    """Scripts that the policy would block: inline, or in an event attribute."""
    for node in tree.css("script:not([src])"):
        if (node.attributes.get("type") or "").lower() != "application/json":
            yield "inline script"
    # The fast search also matches attribute values that look like event attributes; the slow one is exact.
    if _EVENT_ATTRIBUTE.search(html):
        for node in tree.css("*"):
            for name in node.attributes:
                if name.startswith("on"):
                    yield f"event attribute {name} on <{node.tag}>"


def _repeated(ids: list[str]) -> Iterator[str]:
    """Ids given to more than one element, and empty ones."""
    for name, count in Counter(ids).items():
        if not name:
            yield "empty id"
        elif count > 1:
            yield f"id '{name}' given {count} times"


def _loads(tree: LexborHTMLParser, path: str) -> Iterator[str]:
    """The scripts and style sheets that the page's HTML loads."""
    for node in tree.css("script[src], link[rel=stylesheet]"):
        attributes = node.attributes
        link, _, _ = _resolve(posixpath.dirname(path), attributes.get("src") or attributes.get("href") or "")
        if link:
            yield link.target


def _style_problems(tree: LexborHTMLParser) -> Iterator[str]:
    """Inline styles that would load another file."""
    for node in tree.css("style"):
        yield from _styles_load(node.text())
    for node in tree.css('[style*="url("]'):
        yield from _styles_load(node.attributes["style"] or "")


def _styles_load(css: str) -> Iterator[str]:
    for target in style_urls(css):
        if not target.startswith(("#", "data:")):
            yield f"style in the page loads {target}"


def style_urls(css: str) -> list[str]:
    """Every URL that a style sheet loads, as written."""
    return _STYLE_URL.findall(css)


def _links(tree: LexborHTMLParser, path: str) -> tuple[set[Link], list[str]]:
    """The page's links within the site, and the problems of the others."""
    links: set[Link] = set()
    problems: list[str] = []
    for url in dict.fromkeys(_urls(tree)):
        link, problem = _judge(path, url)
        if problem:
            problems.append(problem)
        if link:
            links.add(link)
    return links, problems


def _urls(tree: LexborHTMLParser) -> Iterator[_Url]:
    """Each attribute that refers to another file; a `srcset` gives one for each candidate."""
    for node in tree.css(_WITH_URL):
        attributes, tag = node.attributes, node.tag or ""
        for name in _URL_ATTRIBUTES:
            if name not in attributes or (name == "data" and tag != "object"):
                continue
            value = (attributes[name] or "").strip()
            values = [part.split()[0] for part in value.split(",") if part.strip()] if name == "srcset" else [value]
            for one in values:
                yield _Url(tag, attributes.get("rel") or "", name, one)


def _judge(path: str, url: _Url) -> tuple[Link | None, str]:
    """A link to check against the site, or its problem; neither if the link needs no check."""
    tag, rel, name, value = url
    if tag == "base":
        return None, "<base> would change every relative link"
    if tag == "link" and rel == "canonical":
        return None, "" if value.startswith(("https://", "http://")) else f"canonical link is not absolute: {value}"
    if value.startswith("#"):
        return (Link(path, unquote(value[1:])), "") if len(value) > 1 else (None, "empty link")
    link, problem, external = _resolve(posixpath.dirname(path), value)
    if problem:
        return None, problem
    followed = tag in _FOLLOWED
    if external:
        allowed = (followed and value.startswith("https://")) or (not followed and value.startswith("data:"))
        return None, "" if allowed else f"<{tag} {name}> points outside the site: {value[:200]}"
    if is_embed(path) and not followed:
        return link, f"an embed must be self-contained, but <{tag} {name}> loads {value}"
    return link, ""


@lru_cache(maxsize=200_000)
def _resolve(folder: str, value: str) -> tuple[Link | None, str, bool]:
    """The target of a link from a page in `folder`: (link within the site, problem, whether it is external)."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return None, f"link that is no URL: {value[:200]}", False
    if parts.scheme == "file" or (not parts.scheme and value.startswith("/") and not parts.netloc):
        return None, f"absolute link: {value}", False
    if parts.scheme or parts.netloc:
        return None, "", True
    if not parts.path:
        return None, f"link without a file name: '{value}'", False
    target = posixpath.normpath(posixpath.join(folder, unquote(parts.path)))
    if target.startswith(".."):
        return None, f"link out of the site: {value}", False
    if parts.path.endswith("/") or target == ".":
        return None, f"link to a folder, not a file: {value}", False
    return Link(target, unquote(parts.fragment)), "", False


def _is_state(target: str, fragment: str) -> bool:
    """Whether a fragment is a text for the live page, and no anchor in it."""
    return target.endswith("live/index.html") and "=" in fragment


def missing_anchors(page: PageFacts, ids: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """The page's links to anchors that do not exist on the target page; `ids` has the ids of each page."""
    for target, fragment in page.anchors:
        if _is_state(target, fragment):
            continue
        if target in ids and fragment not in ids[target]:
            yield f"{page.path}: link to {target}#{fragment}, but that page has no such id"
