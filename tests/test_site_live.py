"""The pages of a catalog with a live part, as HTML: what they say of it, and that all others grow by a link at most."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import LIVE
from test_notes import row
from test_site_pages import build

from saecatalog.notes import link_of
from saecatalog.site.asset_files import ASSETS
from saecatalog.site.check_page import Link, PageFacts, missing_anchors
from saecatalog.site.formats import megabytes, number
from saecatalog.site.pages import live
from saecatalog.site.templates import CSP, LIVE_CSP

TEXTS = "live/index.html#text=a%20b&with=c%26&feature=1"
NOTES = [
    row("feature", "1", f"See [both]({TEXTS})."),
    row("concept", "numbers </title><b>", f"See [both](../{TEXTS})."),
]


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def refuse(_: object, manifest: dict[str, Any]) -> None:
        manifest["live"] = {"reason": "the architecture has no live part"}

    return build(tmp_path_factory.mktemp("without"), refuse, notes=NOTES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("with"), lambda _, manifest: manifest.update(live=LIVE), notes=NOTES)


def pages(site: Path) -> dict[str, str]:
    return {path.relative_to(site).as_posix(): path.read_text("utf-8") for path in site.rglob("*.html")}


def added(before: str, after: str) -> list[str]:
    """The lines that one page has and the other has not."""
    assert not Counter(before.splitlines()) - Counter(after.splitlines())
    return list((Counter(after.splitlines()) - Counter(before.splitlines())).elements())


def test_nothing_of_it_is_in_a_catalog_without_it(without: Path) -> None:
    for name, html in pages(without).items():
        assert "live/" not in html, name
        assert "Try a text" not in html, name
        assert "wasm" not in html, name
    assert not (without / "assets/live").exists()
    assert not (without / "live-sw.js").exists()


def test_other_pages_grow_by_a_link(site: Path, without: Path) -> None:
    before, after = pages(without), pages(site)
    assert set(after) - set(before) == {"live/index.html"}
    for name, html in before.items():
        is_feature = name.startswith("features/") and name.partition("/")[2].partition(".")[0].isdecimal()
        if name.endswith(".embed.html"):
            assert after[name] == html
        elif name != "about.html" and "both" not in html:
            more = added(html, after[name].replace(LIVE_CSP, CSP))
            assert [line for line in more if "live/index.html" not in line] == [], name
            assert len(more) == (2 if is_feature else 1), name


def test_only_pages_that_run_the_model_may_run_webassembly(site: Path) -> None:
    for name, html in pages(site).items():
        meta = HTMLParser(html).css_first('meta[http-equiv="Content-Security-Policy"]')
        allowed = meta is not None and "'wasm-unsafe-eval'" in (meta.attributes["content"] or "")
        numbered = name.removeprefix("features/").removesuffix(".html").isdecimal()
        assert allowed == (name == "live/index.html" or numbered), name


def test_the_policy_lets_texts_go_nowhere() -> None:
    directives = dict(part.strip().split(" ", 1) for part in LIVE_CSP.split(";"))
    assert directives["connect-src"] == "'self'"
    assert directives["worker-src"] == "'self' blob:"
    assert "unsafe-eval" not in directives["script-src"].replace("wasm-unsafe-eval", "")
    assert directives["default-src"] == "'none'"


def test_the_page_and_about_say_how_exact_it_is(site: Path) -> None:
    error = LIVE["error"]
    assert isinstance(error, dict)
    for name in ("live/index.html", "about.html"):
        body = HTMLParser(pages(site)[name]).body
        assert body
        text = " ".join(body.text(separator=" ").split())
        assert megabytes(33_204_112) in text.replace(" MB", "\xa0MB")
        assert number(error["relative_error"]).replace("\u202f", " ") in text
        assert "384 tokens" in text
        assert "127 tokens" in text


def test_every_script_of_the_page_is_there_and_every_one_there_is_known(site: Path) -> None:
    folder = {path.name for path in (ASSETS / "live").iterdir()} - {"live-sw.js"}
    assert {path.name for path in (site / "assets/live").iterdir()} == folder
    assert (site / "live-sw.js").is_file()
    shown = {f"live/{name}" for name in folder}
    assert {name for name in live.SCRIPTS if name.startswith("live/")} <= shown


def test_a_note_leads_to_its_texts_or_is_plain_words(site: Path, without: Path) -> None:
    link = link_of("feature", TEXTS)
    assert (link.kind, link.fragment) == ("live", TEXTS.partition("#")[2])
    assert link_of("concept", f"../{TEXTS}").kind == "live"
    assert link_of("concept", TEXTS).kind == "file"
    for name in ("features/1.html", "concepts/numbers-title-b.html"):
        (found,) = HTMLParser(pages(site)[name]).css(".note a")
        assert found.attributes["href"] == f"../{TEXTS}"
        assert [node.attributes.get("href") for node in HTMLParser(pages(without)[name]).css(".note a")] == [None]


def test_a_text_in_a_link_is_no_anchor() -> None:
    def facts(*links: Link) -> PageFacts:
        return PageFacts("tiny/a.html", [], frozenset(), frozenset(links), frozenset(), "", "")

    ids = {"tiny/live/index.html": frozenset({"agreement"})}
    assert list(missing_anchors(facts(Link("tiny/live/index.html", "feature=3")), ids)) == []
    assert list(missing_anchors(facts(Link("tiny/live/index.html", "agreement")), ids)) == []
    assert len(list(missing_anchors(facts(Link("tiny/live/index.html", "nowhere")), ids))) == 1
