"""A site made by hand that follows every rule, and one violation of each rule."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sites import Workplace

from saecatalog.errors import CatalogError
from saecatalog.schemas import SCHEMAS, arrow_schema
from saecatalog.site import check
from saecatalog.site.check import check_site, summary
from saecatalog.site.inventory import FILE_LIST, ROOT_LIST, TEMPORARY
from saecatalog.site.totals import Totals

CATALOG = "tiny/3-res"
CSP = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{csp}">
<meta name="description" content="A page."><link rel="stylesheet" href="{up}assets/site.css">
<title>{title}</title></head>
<body><h1 id="top">{title}</h1>{body}<script src="{up}assets/site.js"></script></body></html>
"""
EMBED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Feature 7</title><style>p { color: red }</style></head>
<body><p><a href="7.html">Feature 7</a></p><svg><path id="p"/><use href="#p"/></svg></body></html>
"""


def page(depth: int, title: str, body: str) -> str:
    return PAGE.format(csp=CSP, up="../" * depth, title=title, body=body)


def write(site: Path, path: str, text: str) -> None:
    (site / path).parent.mkdir(parents=True, exist_ok=True)
    (site / path).write_text(text, encoding="utf-8")


WITHOUT_SUMS = f"{ROOT_LIST}: has no checksums"


def problems(site: Path, workers: int | None = None) -> list[str]:
    """What the check finds in the site made by hand, which has no checksums."""
    found = check_site(site, workers)
    assert [problem for problem in found if problem.startswith(WITHOUT_SUMS)]
    return [problem for problem in found if not problem.startswith(WITHOUT_SUMS)]


def write_features(site: Path, rows: dict[int, str]) -> None:
    """A features table whose rows have these pages, every other column zero or empty."""
    schema = arrow_schema("features")
    columns = {f.name: pa.nulls(len(rows), f.type) for f in schema}
    columns["feature"] = pa.array(list(rows), pa.int32())
    columns["page"] = pa.array(list(rows.values()), pa.string())
    pq.write_table(pa.table(columns, schema=schema), site / CATALOG / "data/features.parquet")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A valid site: a root, one catalog with one feature page and its embed, a text and all tables."""
    root = tmp_path / "site"
    write(root, ".nojekyll", "")
    write(
        root, "assets/site.css", 'h1 { background: url("dot.svg?v=1") } i { background: url(data:image/png;base64,AA) }'
    )
    write(root, "assets/dot.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
    write(root, "assets/site.js", "'use strict';")
    write(root, "index.html", page(0, "Catalogs", f'<a href="{CATALOG}/index.html">tiny</a>'))
    ways = (
        '<a href="features/7.html#examples">7</a> <a href="features/index.html?sort=max#top">all</a>'
        '<a href="https://www.neuronpedia.org/">Neuronpedia</a><img alt="" src="data:image/png;base64,AA">'
        '<script type="application/json">{"a": "b"}</script><a href="texts/caf%C3%A9.html">a text</a>'
    )
    write(root, f"{CATALOG}/index.html", page(2, "tiny", ways))
    write(root, f"{CATALOG}/features/index.html", page(3, "Features", '<a href="7.html">7</a>'))
    hostile = '<h2 id="examples">Examples</h2><p title="an onset = now">&lt;script src="https://x.example/"&gt;</p>'
    write(root, f"{CATALOG}/features/7.html", page(3, "Feature 7", hostile + '<a href="#examples">here</a>'))
    write(root, f"{CATALOG}/features/7.embed.html", EMBED)
    write(root, f"{CATALOG}/texts/café.html", page(3, "A text", "<p>text</p>"))
    counts = {"index": 1, "features": 1, "texts": 1}
    write(root, f"{CATALOG}/data/manifest.json", json.dumps({"pages": counts}))
    for name in SCHEMAS:
        pq.write_table(arrow_schema(name).empty_table(), root / CATALOG / f"data/{name}.parquet")
    write_features(root, {6: "", 7: "features/7.html"})
    return root


FEATURE = f"{CATALOG}/features/7.html"
EMBEDDED = f"{CATALOG}/features/7.embed.html"
INDEX = f"{CATALOG}/index.html"
MANIFEST = f"{CATALOG}/data/manifest.json"
FEATURES = f"{CATALOG}/data/features.parquet"

Fault = Callable[[Path], object]


def swap(path: str, old: str, new: str) -> Fault:
    """A violation: one text in a file is replaced by another."""

    def plant(site: Path) -> None:
        text = (site / path).read_text(encoding="utf-8")
        assert old in text
        write(site, path, text.replace(old, new, 1))

    return plant


def add(path: str, html: str) -> Fault:
    """A violation: something is added at the end of a page."""
    return swap(path, "</body>", html + "</body>")


def remove(path: str) -> Fault:
    return lambda site: (site / path).unlink()


def cut(path: str) -> Fault:
    """A violation: a file is truncated."""
    return lambda site: (site / path).write_bytes((site / path).read_bytes()[:-20])


def retable(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Fault:
    """A violation: a table has other columns."""

    def plant(site: Path) -> None:
        path = site / CATALOG / f"data/{name}.parquet"
        pq.write_table(pa.Table.from_pandas(change(pd.read_parquet(path)), preserve_index=False), path)

    return plant


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "missing target": (add(INDEX, '<a href="features/8.html">8</a>'), INDEX, "features/8.html, which does not exist"),
    "missing anchor": (add(INDEX, '<a href="features/7.html#no">7</a>'), INDEX, "no such id"),
    "missing own anchor": (add(INDEX, '<a href="#no">no</a>'), INDEX, "no such id"),
    "empty link": (add(INDEX, '<a href="#">no</a>'), INDEX, "empty link"),
    "link without a file name": (add(INDEX, '<a href="?sort=max">no</a>'), INDEX, "without a file name"),
    "missing script": (remove("assets/site.js"), INDEX, "assets/site.js, which does not exist"),
    "link to a folder": (add(INDEX, '<a href="features/">f</a>'), INDEX, "link to a folder"),
    "link to a folder by name": (add(INDEX, '<a href="features">f</a>'), INDEX, "which does not exist"),
    "link out of the site": (add(INDEX, '<a href="../../../x.html">f</a>'), INDEX, "link out of the site"),
    "absolute path": (add(INDEX, '<a href="/tiny/index.html">f</a>'), INDEX, "absolute link"),
    "file link": (add(INDEX, '<a href="file:///tiny/index.html">f</a>'), INDEX, "absolute link"),
    "plain http": (add(INDEX, '<a href="http://example.org/">f</a>'), INDEX, "outside the site"),
    "script link": (add(INDEX, '<a href="javascript:alert(1)">f</a>'), INDEX, "outside the site"),
    "not a URL": (add(INDEX, '<a href="https://[">f</a>'), INDEX, "no URL"),
    "script of another host": (add(INDEX, '<script src="https://x.example/a.js"></script>'), INDEX, "<script src>"),
    "host without scheme": (add(INDEX, '<script src="//x.example/a.js"></script>'), INDEX, "<script src>"),
    "style of another host": (
        swap(INDEX, "<title>", '<link rel="stylesheet" href="https://x.example/a.css"><title>'),
        INDEX,
        "<link href>",
    ),
    "image of another host": (add(INDEX, '<img alt="" src="https://x.example/a.png">'), INDEX, "<img src>"),
    "image set of another host": (
        add(INDEX, '<img alt="" srcset="features/7.html 1x, https://x.example/a.png 2x">'),
        INDEX,
        "<img srcset>",
    ),
    "frame of another host": (add(INDEX, '<iframe src="https://x.example/"></iframe>'), INDEX, "<iframe src>"),
    "form to another host": (add(INDEX, '<form action="https://x.example/"></form>'), INDEX, "<form action>"),
    "style loads": (
        add(INDEX, "<p style=\"background: url('https://x.example/a')\">"),
        INDEX,
        "style in the page loads",
    ),
    "style element loads": (add(INDEX, '<style>@import "https://x.example/a.css"</style>'), INDEX, "style in the page"),
    "base": (swap(INDEX, "<title>", '<base href="x.html"><title>'), INDEX, "<base>"),
    "relative canonical": (
        swap(INDEX, "<title>", '<link rel="canonical" href="p.html"><title>'),
        INDEX,
        "canonical link is not absolute",
    ),
    "inline script": (add(INDEX, "<script>alert(1)</script>"), INDEX, "inline script"),
    "inline module": (add(INDEX, '<script type="module">alert(1)</script>'), INDEX, "inline script"),
    "event attribute": (add(INDEX, '<p onclick="alert(1)">'), INDEX, "event attribute onclick on <p>"),
    "no policy": (swap(INDEX, "Content-Security-Policy", "x"), INDEX, "no Content-Security-Policy"),
    "no title": (swap(INDEX, "<title>tiny</title>", "<title> </title>"), INDEX, "no <title>"),
    "no language": (swap(INDEX, ' lang="en"', ""), INDEX, "no lang"),
    "no heading": (swap(INDEX, '<h1 id="top">tiny</h1>', ""), INDEX, "0 <h1>"),
    "two headings": (add(INDEX, "<h1>again</h1>"), INDEX, "2 <h1>"),
    "no description": (swap(INDEX, 'name="description"', 'name="x"'), INDEX, "no description"),
    "id twice": (add(INDEX, '<p id="top">'), INDEX, "id 'top' given 2 times"),
    "empty id": (add(INDEX, '<p id="">'), INDEX, "empty id"),
    "not UTF-8": (lambda s: (s / INDEX).write_bytes(b"<title>\xff"), INDEX, "not UTF-8 at byte 7"),
    "embed with script and no policy": (
        add(EMBEDDED, '<script type="application/json">1</script>'),
        EMBEDDED,
        "no Content-Security-Policy",
    ),
    "embed with a file": (
        add(EMBEDDED, '<img alt="" src="../../../assets/dot.svg">'),
        EMBEDDED,
        "an embed must be self-contained",
    ),
    "embed without title": (swap(EMBEDDED, "<title>Feature 7</title>", ""), EMBEDDED, "no <title>"),
    "feature page over its limit": (add(FEATURE, "x" * 61_000), FEATURE, "over the limit of 60 KB"),
    "feature pages over the mean": (add(FEATURE, "x" * 21_000), f"{CATALOG}/features", "over the limit of 20 KB"),
    "first view over its limit": (
        lambda s: write(s, "assets/site.js", "x" * 120_000),
        FEATURE,
        "over the limit of 120 KB",
    ),
    "no embed": (remove(EMBEDDED), EMBEDDED, "missing, though the feature has a page"),
    "embed of no page": (
        lambda s: write(s, f"{CATALOG}/features/8.embed.html", EMBED.replace("7", "8")),
        f"{CATALOG}/features/8.embed.html",
        "no feature should have this embed",
    ),
    "embed over its limit": (add(EMBEDDED, "x" * 31_000), EMBEDDED, "over the limit of 30 KB"),
    "no .nojekyll": (remove(".nojekyll"), ".nojekyll", "missing"),
    "no root index": (remove("index.html"), "index.html", "missing"),
    "catalog not listed": (
        swap("index.html", INDEX, "assets/dot.svg"),
        "index.html",
        f"no link to the catalog {INDEX}",
    ),
    "no manifest": (remove(MANIFEST), MANIFEST, "missing"),
    "manifest that does not parse": (cut(MANIFEST), MANIFEST, "no page counts"),
    "manifest without counts": (lambda s: write(s, MANIFEST, "{}"), MANIFEST, "no page counts"),
    "other count": (swap(MANIFEST, '"features": 1', '"features": 2'), MANIFEST, "counts 2 pages of features"),
    "count left out": (swap(MANIFEST, '"features": 1, ', ""), MANIFEST, "counts 0 pages of features"),
    "missing table": (remove(f"{CATALOG}/data/logits.parquet"), f"{CATALOG}/data/logits.parquet", "missing"),
    "truncated table": (cut(FEATURES), FEATURES, "cannot be read"),
    "missing column": (retable("features", lambda t: t.drop(columns="density")), FEATURES, "no column density"),
    "other type": (retable("features", lambda t: t.assign(page=1)), FEATURES, "column page is int64, not string"),
    "page without row": (lambda s: write_features(s, {7: ""}), FEATURE, "no row"),
    "row without page": (
        lambda s: write_features(s, {7: "features/7.html", 8: "features/8.html"}),
        FEATURES,
        "features/8.html, which does not exist",
    ),
    "row with another's page": (lambda s: write_features(s, {8: "features/7.html"}), FEATURES, "of another"),
    "style sheet of another host": (
        swap("assets/site.css", "dot.svg?v=1", "https://x.example/a"),
        "assets/site.css",
        "outside the site",
    ),
    "style sheet's missing file": (remove("assets/dot.svg"), "assets/site.css", "which does not exist"),
}


def test_a_good_site_has_no_problem(site: Path) -> None:
    assert problems(site) == []


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_reported_with_its_file(site: Path, name: str) -> None:
    plant, file, words = FAULTS[name]
    plant(site)
    assert [p for p in check_site(site) if p.startswith(f"{file}: ") and words in p], check_site(site)


@pytest.mark.parametrize("name", ["missing target", "id twice", "no .nojekyll", "other count"])
def test_one_fault_gives_one_problem(site: Path, name: str) -> None:
    FAULTS[name][0](site)
    assert len(problems(site)) == 1


def test_the_whole_site_has_a_limit(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SITE_MAX", 1000)
    assert any(p.startswith("the whole site: ") for p in problems(site))


def test_the_chart_library_is_no_part_of_the_first_view(site: Path) -> None:
    add(FEATURE, '<script src="../../../assets/plotly.min.js"></script>')(site)
    write(site, "assets/plotly.min.js", "x" * 4_000_000)
    assert problems(site) == []


def test_columns_and_tables_may_be_added(site: Path) -> None:
    retable("clusters", lambda t: t.astype({"cluster": "int32", "feature": "int32"}).assign(more=0))(site)
    pq.write_table(pa.table({"x": [1]}), site / CATALOG / "data/more.parquet")
    assert problems(site) == []


def test_worker_processes_find_the_same(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for fault in ("missing anchor", "id twice", "no title", "embed with a file"):
        FAULTS[fault][0](site)
    alone = problems(site, workers=1)
    monkeypatch.setattr(check, "POOL_FROM", 1)
    assert problems(site, workers=2) == alone
    assert len(alone) == 4


def test_a_site_that_is_not_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(CatalogError) as error:
            check_site(folder)
        assert error.value.where == str(folder)


@pytest.mark.parametrize("fault", [remove, cut, lambda path: retable("texts", lambda t: t.drop(columns="n_tokens"))])
def test_summary_of_a_broken_table_of_texts_counts_none(site: Path, fault: Callable[[str], Fault]) -> None:
    fault(f"{CATALOG}/data/texts.parquet")(site)
    (totals,) = summary(site)["catalogs"].values()
    assert (totals.texts, totals.tokens, totals.counted) == (0, 0, 0)


def test_summary_counts_what_is_there(site: Path) -> None:
    numbers = summary(site)
    files = [p for p in site.rglob("*") if p.is_file()]
    pages = {"features": 1, "embeds": 1, "effects": 0, "categories": 0, "category_pairs": 0, "concepts": 0}
    pages |= {"texts": 1, "overviews": 2}
    assert numbers == {
        "catalogs": {CATALOG: Totals(texts=0, tokens=0, counted=0, pages=pages)},
        "files": len(files),
        "bytes": sum(p.stat().st_size for p in files),
        "feature_page_mean": (site / FEATURE).stat().st_size,
    }


C = "tiny/0-res"


def flip(path: str) -> Fault:
    """A change of one bit in the middle of a file."""

    def plant(site: Path) -> None:
        content = bytearray((site / path).read_bytes())
        content[len(content) // 2] ^= 1
        (site / path).write_bytes(content)

    return plant


def append(path: str, text: str) -> Fault:
    return lambda site: (site / path).write_bytes((site / path).read_bytes() + text.encode())


def cell(site: Path) -> None:
    path = site / C / "data/features.parquet"
    table = pq.read_table(path).to_pandas()
    pq.write_table(pa.Table.from_pandas(table.assign(max=table["max"] * 2), arrow_schema("features")), path)


def one_digit(site: Path) -> None:
    """The first figure of a page, with its size and times as before."""
    path = site / C / "features/3.html"
    before, text = path.stat(), path.read_text("utf-8")
    at = next(i for i in range(text.index("</h1>"), len(text)) if text[i].isdigit())
    path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :], encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap_pages(site: Path) -> None:
    content = (site / C / "features/3.html").read_bytes()
    (site / C / "features/4.html").write_bytes(content)


CHANGED, MISSING, FOREIGN = "changed since it was built", "missing", "not part of the site"
TAMPERINGS: dict[str, tuple[Fault, str, str]] = {
    "number in a page": (one_digit, f"{C}/features/3.html", CHANGED),
    "word in a page": (swap(f"{C}/features/3.html", "picture", "figure"), f"{C}/features/3.html", CHANGED),
    "page of another feature": (swap_pages, f"{C}/features/4.html", CHANGED),
    "space at the end of a page": (append(f"{C}/index.html", " "), f"{C}/index.html", CHANGED),
    "page cut": (cut(f"{C}/about.html"), f"{C}/about.html", CHANGED),
    "embed": (swap(f"{C}/features/3.embed.html", "Feature", "Neuron"), f"{C}/features/3.embed.html", CHANGED),
    "list of features": (swap(f"{C}/features/index.html", "<h1", "<h1 class=x"), f"{C}/features/index.html", CHANGED),
    "Parquet cell": (cell, f"{C}/data/features.parquet", CHANGED),
    "bit of a Parquet file": (flip(f"{C}/data/contexts.parquet"), f"{C}/data/contexts.parquet", CHANGED),
    "CSV": (append(f"{C}/data/features.csv", "1,2\n"), f"{C}/data/features.csv", CHANGED),
    "search data": (append(f"{C}/search-index.js", "//"), f"{C}/search-index.js", CHANGED),
    "chart data": (append(f"{C}/charts/coactivation.js", "//"), f"{C}/charts/coactivation.js", CHANGED),
    "script of a text": (append(f"{C}/texts/t0-1.js", "//"), f"{C}/texts/t0-1.js", CHANGED),
    "code in an asset": (append(f"{C}/assets/site.js", ";alert(1)"), f"{C}/assets/site.js", CHANGED),
    "chart library": (append(f"{C}/assets/plotly.min.js", ";alert(1)"), f"{C}/assets/plotly.min.js", CHANGED),
    "style sheet": (append(f"{C}/assets/style.css", "p { color: red }"), f"{C}/assets/style.css", CHANGED),
    "picture": (flip(f"{C}/assets/card.png"), f"{C}/assets/card.png", CHANGED),
    "image of a note": (flip(f"{C}/notes/img/a.png"), f"{C}/notes/img/a.png", CHANGED),
    "title in the manifest": (swap(f"{C}/data/manifest.json", "by hand", "by me"), f"{C}/data/manifest.json", CHANGED),
    "list of files": (append(f"{C}/{FILE_LIST}", " "), f"{C}/{FILE_LIST}", CHANGED),
    "checksum": (swap(f"{C}/{FILE_LIST}", '"about.html": "', '"about.html": "0'), f"{C}/{FILE_LIST}", CHANGED),
    "list of files removed": (remove(f"{C}/{FILE_LIST}"), f"{C}/{FILE_LIST}", MISSING),
    "root page": (swap("index.html", "<h1", "<h1 class=x"), "index.html", CHANGED),
    "script of the root": (append("assets/site.js", "//"), "assets/site.js", CHANGED),
    "root list removed": (remove(ROOT_LIST), ROOT_LIST, MISSING),
    "root list emptied": (lambda site: write(site, ROOT_LIST, "{}"), ROOT_LIST, CHANGED),
    "page removed": (remove(f"{C}/features/4.html"), f"{C}/features/4.html", MISSING),
    "image removed": (remove(f"{C}/notes/img/a.png"), f"{C}/notes/img/a.png", MISSING),
    "table removed": (remove(f"{C}/data/logits.parquet"), f"{C}/data/logits.parquet", MISSING),
    "root picture removed": (remove("assets/icon.svg"), "assets/icon.svg", MISSING),
    "page added": (lambda site: write(site, f"{C}/x.html", "x"), f"{C}/x.html", FOREIGN),
    "data added": (lambda site: write(site, f"{C}/data/x.csv", "x"), f"{C}/data/x.csv", FOREIGN),
    "file added at the root": (lambda site: write(site, "x.js", "x"), "x.js", FOREIGN),
    "unfinished catalog": (
        lambda site: shutil.copytree(site / C, site / "tiny/.0-res-abc"),
        "tiny/.0-res-abc",
        FOREIGN,
    ),
    "catalog added": (lambda site: shutil.copytree(site / C, site / "tiny/1"), f"tiny/1/{FILE_LIST}", FOREIGN),
    "link to a folder": (lambda site: (site / "x").symlink_to("/etc"), "x", FOREIGN),
    "link to a page that does not exist": (
        lambda site: (site / C / "x.html").symlink_to("/none"),
        f"{C}/x.html",
        FOREIGN,
    ),
    "pipe": (lambda site: os.mkfifo(site / C / "x.html"), f"{C}/x.html", FOREIGN),
    "work of a stopped build": (lambda site: write(site, f"{TEMPORARY}/a-1/x.html", "x"), TEMPORARY, FOREIGN),
    "files hidden as such work": (
        lambda site: write(site, f"{C}/{TEMPORARY}/x.html", "x"),
        f"{C}/{TEMPORARY}",
        FOREIGN,
    ),
    "link in the place of a file": (
        lambda site: ((site / "assets/icon.svg").unlink(), (site / "assets/icon.svg").symlink_to("/etc/hostname")),
        "assets/icon.svg",
        CHANGED,
    ),
    "link to nothing": (
        lambda site: ((site / "assets/icon.svg").unlink(), (site / "assets/icon.svg").symlink_to("/none")),
        "assets/icon.svg",
        MISSING,
    ),
}


def differences(site: Path) -> list[str]:
    """What the check finds by the checksums alone."""
    found = [problem.partition(": ") for problem in check_site(site)]
    of_sums = (CHANGED, FOREIGN, f"{MISSING}; the catalog's", f"{MISSING}; no file")
    return [f"{path}: {words}" for path, _, words in found if words.startswith(of_sums) or words == MISSING]


def test_a_site_as_it_was_built_has_no_problem(published: Workplace) -> None:
    assert check_site(published.site) == []


@pytest.mark.parametrize("name", TAMPERINGS)
def test_each_tampering_names_its_file_and_no_other(published: Workplace, tmp_path: Path, name: str) -> None:
    plant, file, words = TAMPERINGS[name]
    site = shutil.copytree(published.site, tmp_path / "site")
    plant(site)
    (said,) = differences(site)
    assert said.startswith(f"{file}: {words}")


@pytest.mark.parametrize("name", [".git/config", ".gitignore", "CNAME", ".github/workflows/pages.yml", ".DS_Store"])
def test_files_for_publishing_are_no_change(place: Workplace, name: str) -> None:
    write(place.site, name, "x")
    assert check_site(place.site) == []


@pytest.mark.parametrize("value", ["names", "sizes"])
def test_a_site_of_an_older_version_is_told_to_be_built_again(place: Workplace, value: str) -> None:
    for path in (place.site / ROOT_LIST, place.catalog / FILE_LIST):
        names = [name for name in json.loads(path.read_bytes())["files"] if not name.endswith(FILE_LIST)]
        path.write_text(json.dumps({"files": names if value == "names" else dict.fromkeys(names, 1)}))
    (said,) = check_site(place.site)
    assert said.startswith(WITHOUT_SUMS)
    assert "build the site again" in said


def test_a_catalog_of_an_older_version_in_a_newer_site_is_told(place: Workplace) -> None:
    listed, root = place.catalog / FILE_LIST, place.site / ROOT_LIST
    listed.write_text(json.dumps({"files": list(json.loads(listed.read_bytes())["files"])}))
    sums = json.loads(root.read_bytes())
    sums["files"][f"{C}/{FILE_LIST}"] = hashlib.sha256(listed.read_bytes()).hexdigest()
    root.write_text(json.dumps(sums))
    (said,) = check_site(place.site)
    assert said.startswith(f"{C}/{FILE_LIST}: has no checksums")


def test_the_default_catalog_is_within_its_limits_as_it_is_published(default_site: Path) -> None:
    assert check_site(default_site) == []
