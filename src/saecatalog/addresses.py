"""The public address of a site: what a user wrote flows in, a percent-encoded address flows out.

Pages, citations and the sitemap contain addresses, and each of them must be one that a browser would show: canonical
links are compared character by character.
"""

import re
from urllib.parse import quote, urlsplit, urlunsplit

SCHEMES = ("http", "https")

WANTED = "the address of a folder, such as https://example.org/catalog/"

_HOST = re.compile(r"(?!-)[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]", re.IGNORECASE)
"""A name or an IPv4 address, or an IPv6 address in brackets."""

_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")

_PLAIN = "/%!$&*+,;=:@-._~"
"""Characters of a path that need no encoding. Parentheses and quotation marks would end a link in Markdown or TeX."""


def encode_base(url: str) -> str:
    """The address of a site's folder with a slash at its end, spaces and characters outside ASCII encoded; "" stays "".

    Raises ValueError that says what is wrong.
    """
    url = url.strip(" ")
    if not url:
        return ""
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise ValueError("without control characters")
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError("beginning with https:// or http://, then a host")
    if "?" in url or "#" in url:
        raise ValueError("without a query or a fragment")
    if "@" in parts.netloc:
        raise ValueError("without a user name or a password")
    host = parts.netloc.removesuffix(f":{parts.port}")  # `port` raises ValueError if it is none
    if not _HOST.fullmatch(host):
        raise ValueError("with a host of letters, digits and hyphens (an international name in its form xn--...)")
    if {".", ".."} & set(re.split(r"[/\\]|%2f|%5c", parts.path.replace("%2e", ".").replace("%2E", "."), flags=re.I)):
        raise ValueError("without the parts . and ..")
    if re.search(r"\.html?/*$", parts.path):
        raise ValueError("of the folder, not of a page in it")
    return urlunsplit((parts.scheme, parts.netloc.lower(), encode_path(parts.path).rstrip("/") + "/", "", ""))


def encode_path(path: str) -> str:
    """A path as it stands in an address; what is encoded already stays as it is."""
    return quote(_LONE_PERCENT.sub("%25", path), safe=_PLAIN)


def encode_file(path: str) -> str:
    """The path of a file as it stands in an address. A `%` is part of the file's name."""
    return encode_path(path.replace("%", "%25"))
