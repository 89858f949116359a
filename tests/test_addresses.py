"""Addresses: what a user may write, and what stands on pages, in citations and in the sitemap."""

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.addresses import encode_base, encode_file
from saecatalog.config import Config, override
from saecatalog.errors import CatalogError

PLAIN = re.compile(r"https?://[!-~]+")
"""An address without spaces and without characters outside ASCII."""


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", ""),
        ("https://example.org", "https://example.org/"),
        ("https://example.org/catalog", "https://example.org/catalog/"),
        (" https://example.org/catalog// ", "https://example.org/catalog/"),
        ("HTTP://Example.ORG:8080/Catalog", "http://example.org:8080/Catalog/"),
        ("https://example.org/my catalog/", "https://example.org/my%20catalog/"),
        ("https://example.org/my%20catalog/", "https://example.org/my%20catalog/"),
        ("https://example.org/Merkmale für alle/", "https://example.org/Merkmale%20f%C3%BCr%20alle/"),
        ("https://example.org/100%/", "https://example.org/100%25/"),
        ("https://example.org/~me/a(b)>c", "https://example.org/~me/a%28b%29%3Ec/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://[::1]:8000/a", "https://[::1]:8000/a/"),
    ],
)
def test_an_address_is_encoded(given: str, wanted: str) -> None:
    assert encode_base(given) == wanted
    assert encode_base(wanted) == wanted


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("example.org/catalog", "https://"),
        ("/catalog/", "https://"),
        ("ftp://example.org/", "https://"),
        ("javascript:alert(1)", "https://"),
        ("https:///catalog/", "host"),
        ("https://example.org/?page=1", "query"),
        ("https://example.org/#top", "fragment"),
        ("https://example.org/?", "query"),
        ("https://me:secret@example.org/", "password"),
        ("https://bücher.example/", "xn--"),
        ("https://exa mple.org/", "host"),
        ("https://example.org:port/", "ort"),
        ("https://example.org:99999/", "ort"),
        ("https://example.org/a/../b/", ".."),
        ("https://example.org/a/%2E%2e/b/", ".."),
        ("https://example.org/a\nb/", "control"),
        ("https://example.org/catalog/index.html", "page"),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_the_reason(given: str, words: str) -> None:
    with pytest.raises(CatalogError) as caught:
        override(Config(), "site", base_url=given)
    assert "--base-url" in str(caught.value)
    assert words in caught.value.fix


@given(st.text(st.characters(exclude_characters="?#/\\", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20))
def test_any_name_of_a_folder_is_encoded_once(name: str) -> None:
    """Encoding again changes nothing, and what a server decodes is the folder's name."""
    try:
        found = encode_base(f"https://example.org/x/{name}x/")
    except ValueError:
        return
    assert PLAIN.fullmatch(found)
    assert encode_base(found) == found
    if "%" not in name:
        assert unquote(urlsplit(found).path) == f"/x/{name}x/"


@given(st.text(st.characters(exclude_characters="\\", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_the_path_of_a_file_is_encoded_so_that_decoding_gives_it_back(path: str) -> None:
    found = encode_file(path)
    assert unquote(found) == path
    assert re.fullmatch(r"[!-~]+", found)
    assert not set(found) & set("<>\"'()?#")
    assert PurePosixPath(unquote(found)) == PurePosixPath(path)
