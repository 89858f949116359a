"""Notes: what a notes folder may contain, how mistakes are reported, and how Markdown (also hostile) is rendered."""

import hashlib
import os
import re
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import CATEGORIES, CONCEPT
from test_site_pages import build

from saecatalog.errors import CatalogError
from saecatalog.names import slug
from saecatalog.notes import LONGEST, LONGEST_BLOCK, Subjects, check_pages, read_notes, references
from saecatalog.site import note_html

SUBJECTS = Subjects(12, ["news", "Python code"], ["numbers"])
PICTURE = b"\x89PNG any bytes"


def write(folder: Path, **files: Any) -> str:
    """A notes folder; in the names, `__` represents a slash."""
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder)


def refused(folder: str) -> str:
    with pytest.raises(CatalogError) as caught:
        read_notes(folder, SUBJECTS)
    return str(caught.value)


# Reading


def test_each_file_finds_its_subject(tmp_path: Path) -> None:
    files = {"3.md": "three", "index.md": "front", "categories__python-code.md": "code", "concepts__numbers.md": "n"}
    notes = read_notes(write(tmp_path, **files), SUBJECTS)
    assert {(note.kind, note.name): note.markdown for note in notes.files} == {
        ("feature", "3"): "three",
        ("index", ""): "front",
        ("category", "Python code"): "code",
        ("concept", "numbers"): "n",
    }
    assert notes.features == (3,)


def test_marks_of_editors_are_taken_off_and_other_files_left_alone(tmp_path: Path) -> None:
    files = {"1.md": b"\xef\xbb\xbfone\r\ntwo", "README.md": b"\xff", ".DS_Store": b"x", ".git__2.md": b"x"}
    (note,) = read_notes(write(tmp_path, **files), SUBJECTS).files
    assert note.markdown == "one\ntwo"


def test_a_lone_carriage_return_ends_a_line(tmp_path: Path) -> None:
    (note,) = read_notes(write(tmp_path, **{"1.md": b"one\rtwo\r\rthree"}), SUBJECTS).files
    assert note.markdown == "one\ntwo\n\nthree"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.symlink_to(".."), "a folder that contains it"),
        (lambda p: p.symlink_to(p), "cannot be read"),
        (lambda p: p.symlink_to("none"), "'none', which does not exist"),
        (os.mkfifo, "a pipe, a socket or a device"),
    ],
)
def test_links_in_circles_or_to_nothing_and_pipes_are_refused(tmp_path: Path, make: Any, words: str) -> None:
    folder = write(tmp_path / "notes", **{"1.md": "x", "img__a.png": PICTURE})
    make(tmp_path / "notes" / "img" / "b.png")
    said = refused(folder)
    assert words in said
    assert "img/b.png" in said


def test_two_names_of_one_file_are_two_notes(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"1.md": "x"})
    (tmp_path / "2.md").symlink_to("1.md")
    assert read_notes(folder, SUBJECTS).features == (1, 2)


def test_no_folder_is_no_notes() -> None:
    assert read_notes("", SUBJECTS).files == ()


def test_images_that_are_shown_or_linked_are_found_with_their_hashes(tmp_path: Path) -> None:
    files = {"1.md": "![a](img/a%20b.png)", "categories__news.md": "[b](../b.JPG)", "unused.gif": PICTURE}
    notes = read_notes(write(tmp_path, **files, **{"img__a b.png": PICTURE, "b.JPG": b"b"}), SUBJECTS)
    wanted = {"img/a b.png": PICTURE, "b.JPG": b"b"}
    assert dict(notes.images) == {name: hashlib.sha256(content).hexdigest() for name, content in wanted.items()}


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"12.md": "x"}, "12.md", "numbered from 0 to 11"),
    ({"007.md": "x"}, "007.md", "No feature matches the name"),
    ({"hello.md": "x"}, "hello.md", "No feature matches the name"),
    ({"categories__nws.md": "x"}, "categories/nws.md", "Did you mean news?"),
    ({"concepts__zoo.md": "x"}, "concepts/zoo.md", "Use one of these names: numbers"),
    ({"features__1.md": "x"}, "features/1.md", "Notes are <feature>.md"),
    ({"1.md": b"a\nb\xff"}, "1.md, line 2", "not UTF-8"),
    ({"1.md": " \n"}, "1.md", "empty"),
    ({"1.md": "words".encode("utf-16")}, "1.md", "UTF-16, not UTF-8"),
    ({"1.md": b"words\rw\0rds"}, "1.md, line 2", "byte 0"),
    ({"1.md": "x" * (LONGEST + 1)}, "1.md", "40,000 bytes"),
    ({"1.txt": "x"}, "1.txt", "neither a note nor an image"),
    ({"a.svg": "<svg/>"}, "a.svg", "may contain scripts"),
    ({"categories__python-code.md": "x", "categories__Python code.md": "x"}, "categories/python-code.md", "Two notes"),
    ({"1.md": "![x](none.png)"}, "1.md", "'none.png', which is not in the notes folder"),
    ({"1.md": "![x](../outside.png)"}, "1.md", "not in the notes folder"),
    ({"1.md": "![x](link.png)"}, "1.md", "not in the notes folder"),
    ({"1.md": "![x](a.svg)"}, "1.md", "may contain scripts"),
    ({"1.md": "![x](1.md)"}, "1.md", "not an image"),
    ({"1.md": "![x](https://example.org/a.png)"}, "1.md", "not an image that a note may show"),
    ({"1.md": "![x](data:image/png;base64,AAAA)"}, "1.md", "not an image that a note may show"),
    *(
        ({"1.md": f"[x](<{url}>)"}, "1.md", f"broken link: '{url}'")
        for url in (
            *("javascript:alert(1)", "JAVASCRIPT:alert(1)", "http://example.org", "//example.org", "mailto:a@b.org"),
            *("file:///etc/passwd", "/etc/passwd", "../2.md", "12.md", "categories/none.md", "x.pdf", "https:", ""),
            *("2.md?x=1", "features/2.html", "http://[", "no.png"),
        )
    ),
]


@pytest.mark.parametrize(("files", "where", "words"), MISTAKES)
def test_a_mistake_is_told_with_its_file(tmp_path: Path, files: dict[str, Any], where: str, words: str) -> None:
    (tmp_path / "outside.png").write_bytes(PICTURE)
    folder = write(tmp_path / "notes", **files)
    (tmp_path / "notes" / "link.png").symlink_to(tmp_path / "outside.png")
    said = refused(folder)
    assert words in said
    assert f"{tmp_path}/notes/{where}" in said


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    said = refused(write(tmp_path, **{"1.md": "[a](77.md) ![b](b.png)", "99.md": "x", "c.pdf": "x"}))
    assert "4 problems" in said
    assert all(name in said for name in ("77.md", "b.png", "99.md", "c.pdf"))


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    assert "notes folder does not exist" in refused(str(tmp_path / "none"))


def test_a_link_to_a_feature_without_a_page_is_told(tmp_path: Path) -> None:
    notes = read_notes(write(tmp_path, **{"1.md": "[a](2.md) [b](3.md)"}), SUBJECTS)
    check_pages(notes, {2, 3})
    with pytest.raises(CatalogError, match="links to feature 3, which has no page") as caught:
        check_pages(notes, {1, 2})
    assert str(tmp_path / "1.md") in str(caught.value)


# Rendering


def render(markdown: str) -> note_html.Note:
    """A note whose links all stay unchanged."""
    return note_html.note(markdown, lambda url, image: url)


def scheme(url: str) -> str:
    """The scheme of a URL as a browser reads it: spaces and control characters before and within it do not count."""
    found = re.match(r"([a-z][a-z0-9+.-]*):", re.sub(r"[\x00-\x20]", "", url), re.IGNORECASE)
    return found[1].lower() if found else ""


def in_page(markdown: str) -> HTMLParser:
    """A note in a section of a page, parsed as in a browser; raises an error if it breaks out of the section."""
    page = HTMLParser(f"<main><section id=s>{render(markdown).html}</section><p id=after></p></main>")
    assert page.css_first("main > #after")
    for node in page.css("#s *"):
        assert node.tag in note_html.TAGS, node.tag
        assert set(node.attributes) <= note_html.ATTRIBUTES.get(node.tag, set()), node.html
        assert scheme(node.attributes.get("href") or "") in ("", "https")
        assert (node.attributes.get("src") or "notes/").startswith(("notes/", "../notes/"))
        assert not set(node.attributes.get("style") or "") & set("(/")
    return page


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</section></main><p>out",
    "</p></section><h1>big</h1>",
    "<!-- -->--><b>",
    "<style>body{display:none}</style>",
    '<a href="javascript:alert(1)" onclick="alert(2)">x</a>',
    "<iframe src=https://example.org></iframe>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "[a](javascript:alert(1))",
    "[a](<java\tscript:alert(1)>)",
    "[a](&#106;avascript:alert(1))",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](vbscript:x)",
    "![a](https://example.org/a.png)",
    "![a](data:image/svg+xml,<svg/onload=alert(1)>)",
    "![a](javascript:alert(1))",
    '![" onerror="alert(1)](notes/a.png "\\" onload=\\"alert(1)")',
    '[a](https://e.org/"onmouseover="alert(1) "t\\"><script>alert(1)</script>")',
    "<https://example.org/?a=<script>>",
    "|a|\n|:-:|\n|</td></table></section><script>alert(1)</script>|",
    '```"><script>alert(1)</script>\n</code></pre></section>\n```',
    "[r]: javascript:alert(1)\n\n[r]",
    "\x00\x02\x03\u202e",
]


@pytest.mark.parametrize("markdown", HOSTILE)
def test_nothing_hostile_passes_and_nothing_breaks_out(markdown: str) -> None:
    in_page(markdown)
    in_page(f"> - {markdown}\n\n**{markdown}**")


@given(st.lists(st.sampled_from([*HOSTILE, "\n", "\n\n", "    ", "> ", "- ", "# ", "`", "*", "[", "](", ")", "|"])))
def test_no_mixture_of_hostile_pieces_passes(pieces: list[str]) -> None:
    in_page("".join(pieces))


def test_html_is_shown_as_it_was_written() -> None:
    words = "fires on <s> and </div> <b>not bold</b> <!-- seen --> &amp; more"
    assert in_page(words).css_first("#s").text().strip() == words.replace("&amp;", "&")
    assert render(words).text == words.replace("&amp;", "&")


NESTED = ["> ", "- ", "*a ", "[", "![", "**_", "(", "`", "<b>", "|a", "*a **b "]


@pytest.mark.parametrize("piece", NESTED)
@pytest.mark.parametrize("size", [200, LONGEST_BLOCK - 10, LONGEST // 4, LONGEST - 10])
def test_huge_nesting_ends(piece: str, size: int) -> None:
    """It is rendered, or refused with an error; small notes may be refused only because of their lists and quotes."""
    may_refuse = size > 200 or piece in ("> ", "- ")
    with suppress(CatalogError) if may_refuse else nullcontext():
        in_page(piece * (size // len(piece)))


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("> " * 41 + "a", "nests its lists and quotes too deeply"),
        ("[a] " * 201, "more than 200 '[' characters"),
        ("```a\n\n" * 101, "more than 100 lines that begin or end a code block"),
        ("a\n# " * 1300, "more than 5,000 characters without a blank line"),
    ],
)
def test_what_could_take_minutes_to_read_is_refused_with_its_file(tmp_path: Path, markdown: str, words: str) -> None:
    said = refused(write(tmp_path, **{"1.md": markdown}))
    assert words in said
    assert str(tmp_path / "1.md") in said


def test_entities_are_read_once_in_text_and_addresses_and_not_in_code() -> None:
    page = in_page("&lt;b&gt; `&amp;` [a](https://e.org/?a=1&amp;lt;&copy=2)\n\n```\n&lt;\n```")
    assert page.css_first("p").text() == "<b> &amp; a"
    assert page.css_first("a").attributes["href"] == "https://e.org/?a=1&lt;&copy=2"
    assert page.css_first("pre").text() == "&lt;\n"


@pytest.mark.parametrize("link", ["<https://e.org/>", "[a][r]\n\n[r]: https://e.org/", '[a](https://e.org/ "title")'])
def test_each_way_to_write_a_link_is_found(link: str) -> None:
    assert references(link) == (["https://e.org/"], [])
    assert in_page(link).css_first("a").attributes["href"] == "https://e.org/"


def test_nothing_is_carried_from_one_note_to_the_next() -> None:
    in_page("[r]: https://e.org/\n\n[r]\n\n```\ncode\n```")
    assert render("[r]").text == "[r]"


def test_headings_go_on_from_the_section_without_gaps() -> None:
    page = in_page("# a\n\n#### b\n\n# c\n\n###### d")
    assert [(node.tag, node.text()) for node in page.css("#s *")] == [
        ("h3", "a"),
        ("h4", "b"),
        ("h3", "c"),
        ("h5", "d"),
    ]
    assert in_page("#### only").css_first("h3").text() == "only"


def test_tables_scroll_in_boxes_with_names_of_their_own() -> None:
    page = in_page("|a|b|\n|-|-:|\n|1|2|\n\ntext\n\n|c|\n|-|\n|3|")
    boxes = page.css("section.scroll[tabindex='0'] > table")
    assert [box.parent.attributes["aria-label"] for box in boxes] == ["Table 1 of the note", "Table 2 of the note"]
    assert page.css_first("td[style]").attributes["style"] == "text-align:right"


def test_plain_text_holds_every_word_once() -> None:
    markdown = (
        "# One\n\ntwo *three*\nfour `<five>` [six](https://e.org/none)\n\n- ![seven](notes/a.png)\n\n```x\neight\n```"
    )
    assert render(f"{markdown}\n\n|nine|\n|-|\n|ten|").text == "One two three four <five> six seven eight nine ten"


# On the pages of the synthetic catalog

LINKS = (
    "[f](2.md#top-1) [c](categories/python-code.md) [n](concepts/numbers-title-b.md) [i](index.md) [a](#cite) "
    "[w](https://example.org/) ![p](img/a%20b.png)"
)


def row(kind: str, name: str, markdown: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "markdown": markdown, "images": [], "images_sha256": []}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The synthetic catalog without notes and with them."""
    notes = [
        row("feature", "1", LINKS),
        row("feature", "5", "about a silent feature"),
        row("category", CATEGORIES[1], LINKS.replace("](", "](../").replace("../https", "https").replace("../#", "#")),
        row("concept", CONCEPT, "about a concept"),
        row("index", "", LINKS),
    ]
    folder = tmp_path_factory.mktemp("notes")
    return build(folder / "without"), build(folder / "with", notes=notes)


def test_only_the_pages_that_show_a_note_change(sites: tuple[Path, Path]) -> None:
    without, noted = sites
    names = {path.relative_to(noted) for path in noted.rglob("*.html")}
    changed = {str(name) for name in names if (noted / name).read_bytes() != (without / name).read_bytes()}
    shown = {str(name) for name in names if 'id="note"' in (noted / name).read_text("utf-8")}
    categories, concepts = f"categories/{slug(CATEGORIES[1])}.html", f"concepts/{slug(CONCEPT)}.html"
    assert changed == shown == {"features/1.html", "features/5.html", categories, concepts, "index.html"}


@pytest.mark.parametrize(
    ("page", "root"), [("features/1", "../"), (f"categories/{slug(CATEGORIES[1])}", "../"), ("index", "")]
)
def test_links_lead_to_pages_from_wherever_the_note_is(sites: tuple[Path, Path], page: str, root: str) -> None:
    note = HTMLParser((sites[1] / f"{page}.html").read_text("utf-8")).css_first("section#note")
    assert [node.attributes["href"] for node in note.css("a")] == [
        f"{root}features/2.html#top-1",
        f"{root}categories/{slug(CATEGORIES[1])}.html",
        f"{root}concepts/{slug(CONCEPT)}.html",
        f"{root}index.html",
        "#cite",
        "https://example.org/",
    ]
    assert [node.attributes.get("rel") for node in note.css("a")] == [None] * 5 + ["external noopener"]
    assert note.css_first("img").attributes["src"] == f"{root}notes/img/a%20b.png"


def test_the_note_of_a_feature_stands_between_its_examples(sites: tuple[Path, Path]) -> None:
    page = HTMLParser((sites[1] / "features/1.html").read_text("utf-8"))
    assert [node.attributes["id"] for node in page.css(".evidence > section")][:2] == ["examples", "note"]
    assert page.css_first("#note > *").tag == "h2"


def test_a_tampered_table_gives_no_dead_or_foreign_link(tmp_path: Path) -> None:
    bad = "[a](999.md) [b](x.md) [c](categories/none.md) [d](javascript:alert(1)) ![e](https://e.org/e.png) [f](z.txt)"
    page = HTMLParser((build(tmp_path, notes=[row("feature", "1", bad)]) / "features/1.html").read_text("utf-8"))
    assert not page.css("#note [href], #note [src]")
    assert page.css_first("#note p").text() == "a b c d  f"
