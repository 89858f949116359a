"""One address for a site: canonical links, link previews, the sitemap, and the check of all of them."""

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from selectolax.lexbor import LexborHTMLParser
from sites import Workplace

from saecatalog.site import sitemap
from saecatalog.site.check import check_site
from saecatalog.site.check_addresses import address_problems
from saecatalog.site.check_page import read_page
from saecatalog.site.inventory import files_below
from saecatalog.site.sitemap import sitemap_files

BASE = "https://example.org/my%20papers/"
SPACE = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


def addresses(document: str, kind: str = "url") -> list[str]:
    """The addresses in a sitemap, by a real reader of XML."""
    root = ET.fromstring(document)
    assert root.tag == SPACE + {"url": "urlset", "sitemap": "sitemapindex"}[kind]
    return [str(entry.findtext(f"{SPACE}loc")) for entry in root.iterfind(SPACE + kind)]


def address(path: str) -> str:
    return BASE + (quote(path) if path != "index.html" else "")


# The text of the files


def test_every_page_is_named_once_encoded_and_in_order() -> None:
    pages = ["b/c/texts/für dich & mich.html", "index.html", "b/c/index.html"]
    files = sitemap_files(BASE, pages)
    assert files.keys() == {"sitemap.xml", "robots.txt"}
    assert addresses(files["sitemap.xml"]) == [
        f"{BASE}b/c/index.html",
        f"{BASE}b/c/texts/f%C3%BCr%20dich%20&%20mich.html",
        BASE,
    ]
    assert files["robots.txt"].splitlines() == ["User-agent: *", "Allow: /", f"Sitemap: {BASE}sitemap.xml"]
    assert files == sitemap_files(BASE, reversed(pages))


def test_a_site_without_an_address_has_no_sitemap() -> None:
    assert sitemap_files("", ["index.html"]) == {}


@pytest.mark.parametrize(("urls", "size"), [(3, 10_000), (50_000, 600), (2, 600)])
def test_more_pages_than_a_sitemap_may_have_are_an_index(monkeypatch: pytest.MonkeyPatch, urls: int, size: int) -> None:
    monkeypatch.setattr(sitemap, "MOST_URLS", urls)
    monkeypatch.setattr(sitemap, "MOST_BYTES", size)
    pages = [f"a/b/features/{number}.html" for number in range(20)]
    files = sitemap_files(BASE, pages)
    files.pop("robots.txt")
    parts = addresses(files.pop("sitemap.xml"), "sitemap")
    assert parts == [BASE + name for name in files]
    assert len(parts) > 1
    found = [addresses(document) for document in files.values()]
    assert sorted(url for part in found for url in part) == sorted(map(address, pages))
    assert all(0 < len(part) <= urls for part in found)
    assert all(len(document.encode()) <= size for document in files.values())


def test_the_limits_are_those_of_the_protocol() -> None:
    files = sitemap_files(BASE, (f"{number}.html" for number in range(50_001)))
    assert {name: document.count("<loc>") for name, document in files.items()} == {
        "sitemap-1.xml": 50_000,
        "sitemap-2.xml": 1,
        "sitemap.xml": 2,
        "robots.txt": 0,
    }


# A site with two catalogs


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, published: Workplace) -> Path:
    """A folder with a site of two catalogs that were built for one address."""
    folder = tmp_path_factory.mktemp("two") / "place"
    shutil.copytree(published.folder, folder)
    place = Workplace(folder)
    place.publish(base_url=BASE)
    place.publish("tiny/1-res", title="Second", base_url=BASE)
    return folder


@pytest.fixture
def site(two: Path, tmp_path: Path) -> Path:
    """A copy of that site, which a test may change."""
    shutil.copytree(two / "site", tmp_path / "site")
    return tmp_path / "site"


def pages(site: Path) -> dict[str, LexborHTMLParser]:
    found = sorted(path for path in site.rglob("*.html"))
    return {path.relative_to(site).as_posix(): LexborHTMLParser(path.read_text("utf-8")) for path in found}


def test_a_good_site_has_no_problem(site: Path) -> None:
    assert check_site(site) == []


def test_every_page_states_its_own_address_and_the_sitemap_names_it(site: Path) -> None:
    wanted = set()
    for path, page in pages(site).items():
        stated = page.css_first("link[rel=canonical]").attributes["href"]
        assert stated == address(path.replace(".embed.html", ".html")), path
        if not path.endswith(".embed.html"):
            wanted.add(stated)
    listed = addresses((site / "sitemap.xml").read_text("utf-8"))
    assert len(listed) == len(set(listed))
    assert set(listed) == wanted
    assert any("/tiny/1-res/features/" in url for url in listed)


def test_link_previews_say_what_the_page_says(site: Path) -> None:
    for path, page in pages(site).items():
        if path.endswith(".embed.html"):
            continue
        said = {node.attributes["property"]: node.attributes["content"] for node in page.css("meta[property]")}
        assert said.keys() == {f"og:{name}" for name in ("title", "description", "url", "image", "type", "site_name")}
        assert said["og:url"] == address(path)
        assert said["og:description"] == page.css_first("meta[name=description]").attributes["content"]
        assert said["og:type"] == "website"
        image = str(said["og:image"])
        assert image.startswith(BASE)
        assert (site / image.removeprefix(BASE)).is_file()
        title = page.css_first("title").text()
        assert title in (said["og:title"], f"{said['og:title']} · {said['og:site_name']}")


def test_a_site_built_without_an_address_says_none(published: Workplace) -> None:
    assert not (published.site / "sitemap.xml").exists()
    assert not (published.site / "robots.txt").exists()
    for page in pages(published.site).values():
        assert page.css("link[rel=canonical], meta[property]") == []


def test_catalogs_for_different_addresses_are_told_and_the_site_claims_none(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which catalog was built last makes no difference; building all for one address mends it."""
    shutil.copytree(two, tmp_path / "place")
    place = Workplace(tmp_path / "place")
    place.publish("tiny/1-res", title="Second", base_url="https://example.org/other/")
    told = "tiny/0-res for https://example.org/my%20papers/, tiny/1-res for https://example.org/other/"
    assert told in capsys.readouterr().err
    assert not (place.site / "sitemap.xml").exists()
    assert not (place.site / "robots.txt").exists()
    assert pages(place.site)["index.html"].css("link[rel=canonical]") == []
    assert [line for line in check_site(place.site) if told in line] == check_site(place.site)

    place.publish("tiny/1-res", title="Second", base_url="")
    assert "tiny/1-res for none" in capsys.readouterr().err
    listed = addresses((place.site / "sitemap.xml").read_text("utf-8"))
    assert any("tiny/0-res" in url for url in listed)
    assert not any("tiny/1-res" in url for url in listed)
    (problem,) = check_site(place.site)
    assert "tiny/1-res for none" in problem

    place.publish("tiny/1-res", title="Second", base_url=BASE)
    assert capsys.readouterr().err == ""
    assert check_site(place.site) == []
    assert (place.site / "sitemap.xml").read_bytes() == (two / "site/sitemap.xml").read_bytes()


Fault = Callable[[Path], object]


def swap(path: str, old: str, new: str) -> Fault:
    def plant(site: Path) -> None:
        text = (site / path).read_text(encoding="utf-8")
        changed = re.sub(old, new, text, count=1)
        assert changed != text
        (site / path).write_text(changed, encoding="utf-8")

    return plant


PAGE, EMBED = "tiny/0-res/features/1.html", "tiny/0-res/features/1.embed.html"
FAULTS: dict[str, tuple[Fault, str, str]] = {
    "another page": (swap(PAGE, "features/1.html", "features/2.html"), PAGE, f"it should be {address(PAGE)}"),
    "another site": (swap(PAGE, 'canonical" href="https://example', 'canonical" href="https://x'), PAGE, "canonical"),
    "none": (swap(PAGE, '<link rel="canonical"[^>]*>', ""), PAGE, "no canonical link"),
    "of an embed": (swap(EMBED, r"features/1\.html", "features/1.embed.html"), EMBED, f"it should be {address(PAGE)}"),
    "of the front page": (swap("index.html", 'canonical" href="[^"]*"', f'canonical" href="{BASE}index.html"'),
                          "index.html", f"it should be {BASE}"),
    "link preview": (swap(PAGE, 'og:url" content="[^"]*"', 'og:url" content="https://x.example/"'), PAGE, "og:url"),
    "no link preview": (swap(PAGE, '<meta property="og:url"[^>]*>', ""), PAGE, "og:url"),
    "no sitemap": (lambda site: (site / "sitemap.xml").unlink(), "sitemap.xml", "missing"),
    "not in the sitemap": (swap("sitemap.xml", "<url>.*features/1.html.*\n", ""), "sitemap.xml", "does not name"),
    "a page that is none": (swap("sitemap.xml", "features/1.html", "features/99.html"), "sitemap.xml", "no page's"),
    "twice": (swap("sitemap.xml", "(<url>.*features/1.html.*\n)", r"\1\1"), "sitemap.xml", "twice"),
    "an empty sitemap": (lambda site: (site / "sitemap.xml").write_text(""), "sitemap.xml", "more"),
    "no robots.txt": (lambda site: (site / "robots.txt").unlink(), "robots.txt", "no line 'Sitemap: "),
    "robots.txt of another site": (swap("robots.txt", "example", "x.example"), "robots.txt", "no line"),
}  # fmt: skip


def test_each_fault_is_found(site: Path) -> None:
    """With the part of the check that reads pages and addresses, because the whole takes longer."""
    catalogs = dict.fromkeys(("tiny/0-res", "tiny/1-res"), BASE)
    files = files_below(site)
    for name, (plant, file, words) in FAULTS.items():
        before = (site / file).read_bytes()
        plant(site)
        facts = [read_page(site, files, path) for path in files if path.endswith(".html")]
        found = [problem for page in facts for problem in page.problems]
        found += address_problems(site, catalogs, {page.path: page.canonical for page in facts})
        assert [line for line in found if line.startswith(f"{file}: ") and words in line], (name, found)
        (site / file).write_bytes(before)


def test_a_comparison_of_catalogs_states_no_address(site: Path) -> None:
    """It goes when one of the catalogs changes, so nobody should link to it as if it stayed."""
    catalogs, page = dict.fromkeys(("tiny/0-res", "tiny/1-res"), BASE), "compare/tiny.0-res--tiny.1-res/index.html"
    others = {path: str(node.css_first("link[rel=canonical]").attributes["href"]) for path, node in pages(site).items()}
    assert list(address_problems(site, catalogs, others | {page: ""})) == []
    (problem,) = address_problems(site, catalogs, others | {page: address(page)})
    assert problem.startswith(f"{page}: canonical link")


def test_the_parts_of_an_index_are_read(site: Path) -> None:
    """What a large site has: an index that names its parts."""
    text = (site / "sitemap.xml").read_text("utf-8")
    head, entries = text[: text.index("<url>")], re.findall("<url>.*</url>\n", text)
    for number, part in enumerate((entries[:5], entries[5:]), 1):
        (site / f"sitemap-{number}.xml").write_text(f"{head}{''.join(part)}</urlset>\n", encoding="utf-8")
    index = head.replace("urlset", "sitemapindex")
    named = "".join(f"<sitemap><loc>{BASE}sitemap-{number}.xml</loc></sitemap>\n" for number in (1, 2))
    (site / "sitemap.xml").write_text(f"{index}{named}</sitemapindex>\n", encoding="utf-8")
    by_hand = ("changed since it was built", "not part of the site")
    assert [line for line in check_site(site) if not line.endswith(by_hand)] == []
    (site / "sitemap-2.xml").unlink()
    assert any(line.startswith("sitemap.xml: does not name") for line in check_site(site))
