"""The pages of the synthetic catalog: complete, escaped, self-contained, with every link leading somewhere."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import CATEGORIES, FEATURES, PAGED, SCRIPT, SILENT, write

from saecatalog.schemas import SCHEMAS, TABLES
from saecatalog.site import catalog, cite, examples, render
from saecatalog.site.formats import percent
from saecatalog.tables import Tables, read_table, write_table

TEMPLATES = Path(__file__).parent.parent / "templates"


def build(folder: Path, **wishes: Any) -> Path:
    """Render the synthetic catalog with its root page; returns the catalog's folder."""
    tables, manifest = write(folder / "tables", **wishes)
    catalog = folder / "site" / manifest["slug"]
    render.render_catalog(tables, manifest, TEMPLATES, catalog)
    render.render_root([manifest], TEMPLATES, folder / "site")
    (catalog / "data").mkdir()
    for table in [*tables, "manifest.json"]:
        (catalog / "data" / (table if "." in table else f"{table}.parquet")).touch()
    return catalog


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


def pages(site: Path) -> dict[str, HTMLParser]:
    root = site.parent.parent
    return {str(p.relative_to(root)): HTMLParser(p.read_text("utf-8")) for p in sorted(root.rglob("*.html"))}


def test_every_kind_of_page_is_written_and_counted(tmp_path: Path) -> None:
    tables, manifest = write(tmp_path / "tables")
    bars: list[tuple[str, int]] = []

    class Bar:
        done = 0

        def update(self, n: int = 1) -> None:
            self.done += n

        def close(self) -> None:
            bars[-1] = (bars[-1][0], bars[-1][1] - self.done)

    def progress(words: str, total: int) -> Bar:
        bars.append((words, total))
        return Bar()

    counts = render.render_catalog(tables, manifest, TEMPLATES, tmp_path / "out", progress)
    written = list((tmp_path / "out").rglob("*.html"))
    assert counts["features"] == len(PAGED)
    assert counts["texts"] == 12
    assert len(written) == sum(counts.values()) + len(PAGED)
    assert bars == [("features", 0), ("texts", 0)]


def test_every_link_and_asset_leads_to_a_file_and_every_anchor_to_an_element(site: Path) -> None:
    found = pages(site)
    root = site.parent.parent
    ids = {path: {node.attributes["id"] for node in page.css("[id]")} for path, page in found.items()}
    checked = 0
    for path, page in found.items():
        for node in page.css("a[href], link[href], script[src], [data-source]"):
            target = node.attributes.get("href") or node.attributes.get("src") or node.attributes["data-source"]
            parts = urlsplit(target or "")
            if parts.scheme == "data":
                assert target == "data:,", "an embed's empty icon"
                continue
            if parts.scheme:
                assert parts.scheme == "https"
                assert node.tag == "a"
                continue
            file = (root / path).parent / unquote(parts.path) if parts.path else root / path
            assert file.resolve().is_file(), (path, target)
            if parts.fragment and file.suffix == ".html":
                assert unquote(parts.fragment) in ids[str(file.resolve().relative_to(root))], (path, target)
            checked += 1
    assert checked > 1000


def test_ids_are_unique_and_pages_have_their_landmarks(site: Path) -> None:
    for path, page in pages(site).items():
        ids = [node.attributes["id"] for node in page.css("[id]")]
        assert len(ids) == len(set(ids)), path
        assert len(page.css("main")) == len(page.css("h1")) == 1, path
        assert page.css_first("title").text()
        assert page.css_first("html").attributes["lang"] == "en"


def test_nothing_runs_or_loads_that_the_policy_forbids(site: Path) -> None:
    for path, page in pages(site).items():
        policy = page.css_first('meta[http-equiv="Content-Security-Policy"]').attributes["content"] or ""
        assert policy.startswith("default-src 'none'")
        assert "unsafe-eval" not in policy
        for script in page.css("script"):
            data = script.attributes.get("type") == "application/json"
            assert data or (script.attributes.get("src") and not script.text()), path
        for node in page.css("*"):
            assert not [name for name in node.attributes if name.startswith("on")], (path, node.tag)
        loads = [
            n.attributes.get("src") or n.attributes.get("href") for n in page.css("link, script[src], img, iframe")
        ]
        assert not [url for url in loads if url and re.match(r"(https?:)?//", url)], path


def test_hostile_names_and_texts_are_shown_and_never_read(site: Path) -> None:
    for path, page in pages(site).items():
        assert not page.css("img, b > b, main title"), path
        assert not [
            s for s in page.css("script") if "alert" in (s.text() or "") and "application/json" not in str(s.attributes)
        ]
    slug = "script-alert-1-script"
    assert HTMLParser((site / f"categories/{slug}.html").read_text()).css_first("h1").text().lower() == SCRIPT
    for script in [*site.rglob("*.js")]:
        assert "<script" not in script.read_text("utf-8") or script.name == "plotly.min.js"


def test_no_file_holds_a_control_character(site: Path) -> None:
    files = [*site.parent.parent.rglob("*.html"), *site.glob("*.js"), *site.glob("features/*.js")]
    assert [file for file in files if re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", file.read_bytes())] == []


def test_embed_is_self_contained_and_small(site: Path) -> None:
    for number in PAGED:
        text = (site / f"features/{number}.embed.html").read_text("utf-8")
        page = HTMLParser(text)
        assert not page.css("script, link[rel=stylesheet], img")
        assert page.css_first("style")
        assert len(text.encode()) <= 30_000
        used = set(re.findall(r"var\((--[\w-]+)\)", text))
        assert used
        assert all(f"{name}:" in text for name in used)


def test_silent_feature_says_so_and_shows_no_examples(site: Path) -> None:
    page = HTMLParser((site / f"features/{SILENT}.html").read_text("utf-8"))
    assert "Silent in" in page.css_first(".notice").text()
    assert not page.css("#examples, #bands, #histogram, .examples")


def test_feature_page_leads_to_its_rankings_neighbours_and_neuronpedia(site: Path, tmp_path: Path) -> None:
    page = HTMLParser((site / "features/2.html").read_text("utf-8"))
    links = {node.attributes["href"] for node in page.css(".reasons a")}
    assert any("categories/" in (link or "") for link in links)
    assert any("concepts/" in (link or "") for link in links)
    assert "This SAE is not on Neuronpedia" in page.css_first(".reasons").text()
    there = build(tmp_path, neuronpedia="gpt2-small/6-res-jb", base_url="https://example.org/sae/", csv=True)
    page = HTMLParser((there / "features/2.html").read_text("utf-8"))
    assert page.css('a[href="https://www.neuronpedia.org/gpt2-small/6-res-jb/2"]')
    canonical = page.css_first("link[rel=canonical]").attributes["href"]
    assert canonical == "https://example.org/sae/tiny/0-res/features/2.html"
    page = HTMLParser((there / "features/3.html").read_text("utf-8"))
    without_page = [node for node in page.css("a.out") if node.text().startswith("9")]
    assert without_page[0].attributes["href"] == "https://www.neuronpedia.org/gpt2-small/6-res-jb/9"


def test_a_silent_features_bound_is_the_one_in_the_data(site: Path) -> None:
    page = HTMLParser((site / f"features/{SILENT}.html").read_text("utf-8"))
    tables, _ = write(site.parent / "again")
    bound = tables.features.loc[SILENT, "silent_below"]
    assert f"below {percent(bound)}" in page.css_first(".notice").text()


def test_a_specialist_shows_its_evidence(site: Path) -> None:
    """Strong rates with their intervals, and whether each half of the texts would have found it."""
    page = HTMLParser((site / "features/1.html").read_text("utf-8"))
    said = page.css_first("#categories .hint").text()
    assert "AUROC" in said
    assert "Only one half of the texts alone finds it." in said
    page = HTMLParser((site / "categories/python-code.html").read_text("utf-8"))
    assert "6 are the same (6.0 would be by chance)" in page.css_first("#specialist").text()


def test_rules_of_two_tokens_are_told(site: Path) -> None:
    told = [HTMLParser((site / f"features/{n}.html").read_text("utf-8")).css_first("#tokens").text() for n in (1, 2, 3)]
    assert "the start of a text, then day" in told[0]
    assert f"{SCRIPT} day" in told[1]
    assert "in a row" not in told[2]


def test_the_spread_of_direct_effects_is_drawn(site: Path) -> None:
    page = HTMLParser((site / "features/2.html").read_text("utf-8"))
    assert page.css_first("#logits svg path")
    assert "skewness 0.5" in page.css_first("#logits").text()


def test_pairs_lead_to_texts_where_both_fire(site: Path, tmp_path: Path) -> None:
    """To the two on which the weaker of the pair is strongest, by a plain reading of the scores."""
    scores = write(tmp_path)[0]["text_scores"].set_index(["feature", "text"])["score"].to_dict()
    texts = {text for _, text in scores}
    rows = HTMLParser((site / "coactivation/index.html").read_text("utf-8")).css("#pairs tbody tr")
    assert rows
    for row in rows:
        first, second = (int(re.match(r"\d+", cell.text().strip())[0]) for cell in row.css("th, td")[:2])  # type: ignore[index]
        weaker = {text: min(scores.get((first, text), 0), scores.get((second, text), 0)) for text in texts}
        linked = [re.sub(r".*/(.*)\.html.*", r"\1", node.attributes["href"] or "") for node in row.css(".spots a")]
        best = sorted((value for value in weaker.values() if value), reverse=True)[:2]
        assert [weaker[text] for text in linked] == best


def test_clusters_tell_their_size_their_mean_phi_and_the_tokens_they_share(site: Path, tmp_path: Path) -> None:
    tables = write(tmp_path)[0]
    page = HTMLParser((site / "coactivation/index.html").read_text("utf-8"))
    for number, rows in tables["clusters"].groupby("cluster"):
        members = set(rows["feature"])
        pairs = tables["coactivation"].query("level == 'token' and feature_a in @members and feature_b in @members")
        said = page.css_first(f"#cluster-{number + 1} .sub").text()
        assert said.startswith(f"{len(members)} features, mean φ {pairs['phi'].mean():.2f} of {len(pairs)} pair")
        firsts = tables["tokens"].query("feature in @members and rank < 3")
        counts = firsts.groupby("token")["feature"].nunique()
        assert said.count(" in ") == min(3, sum((counts > 1) & (2 * counts >= len(members))))


def test_a_concept_lists_its_texts(site: Path) -> None:
    (page,) = [HTMLParser(p.read_text("utf-8")) for p in site.glob("concepts/*.html") if p.stem != "index"]
    assert [li.text() for li in page.css("#texts li")] == [f"{i} {SCRIPT}" for i in range(4)]


def test_every_column_is_defined_on_the_about_page(site: Path) -> None:
    page = HTMLParser((site / "about.html").read_text("utf-8"))
    for name, columns in SCHEMAS.items():
        section = page.css_first(f"#{name}")
        assert TABLES[name][1] in section.text()
        for column, (_, words) in columns.items():
            assert page.css_first(f"#{name}-{column} dd").text() == words


def test_category_without_specialist_says_so(site: Path) -> None:
    page = HTMLParser((site / "categories/index.html").read_text("utf-8"))
    rows = {row.css_first("th").text().lower(): row for row in page.css("#all tbody tr")}
    assert set(rows) == {name.lower() for name in CATEGORIES}
    assert "have no specialist" in page.css_first(".lead").text() or "at least one" in page.css_first(".lead").text()


def test_pages_do_not_depend_on_the_run(site: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    names = sorted(p.relative_to(site) for p in site.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for name in names:
        assert (site / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.slow
def test_pages_are_the_same_however_many_processes_write_them(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "POOL_FROM", 1)
    monkeypatch.setattr(render, "PART", {"features": 3, "texts": 5})
    tables, manifest = write(tmp_path / "tables")
    counts = render.render_catalog(tables, manifest, TEMPLATES, tmp_path / "out", workers=2)
    assert (counts["features"], counts["texts"]) == (len(PAGED), 12)
    assert contents(tmp_path / "out") == {k: v for k, v in contents(site).items() if not k.startswith("data/")}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_what_stops_a_process_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "POOL_FROM", 1)
    tables, manifest = write(tmp_path / "tables")
    (tmp_path / "tables/logits.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        render.render_catalog(tables, manifest, TEMPLATES, tmp_path / "out", workers=2)


def test_only_the_files_asked_for_are_written(site: Path, tmp_path: Path) -> None:
    """And they are what they are when everything is written."""
    tables, manifest = write(tmp_path / "tables")
    some = {"features/2.html", "categories/python-code.html", "concepts/numbers-title-b.html", "texts/t1-0.html"}
    some |= {"index.html", "search-index.js"}
    render.render_catalog(tables, manifest, TEMPLATES, tmp_path / "out", only=some)
    assert contents(tmp_path / "out") == {path: (site / path).read_bytes() for path in some}


def test_where_pages_are_many_only_notable_features_have_an_embed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, manifest = write(tmp_path / "tables")
    plain = PAGED[-2:]
    features = tables["features"]
    write_table(
        tables.folder, "features", features.assign(notable=features["notable"].mask(features.index.isin(plain), ""))
    )
    for limit, without in ((len(PAGED), []), (len(PAGED) - 1, plain)):
        monkeypatch.setattr(cite, "EMBED_ALL", limit)
        out = tmp_path / f"out-{limit}"
        render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, out)
        for number in PAGED:
            there, page = number not in without, (out / f"features/{number}.html").read_text("utf-8")
            assert (out / f"features/{number}.embed.html").is_file() == there
            assert ("iframe" in page) == there
            assert (f"embed.html?feature={number}" in page) == there
        offered = (
            HTMLParser((out / "embed.html").read_text("utf-8")).css_first("#preview").attributes.get("data-embedded")
        )
        assert offered == (" ".join(map(str, PAGED[:-2])) if without else None)


def test_texts_in_their_thousands_are_marked_by_the_strongest_feature_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, manifest = write(tmp_path / "tables")
    for limit, copies in ((12, lambda listed: listed), (11, lambda listed: 1)):
        monkeypatch.setattr(render.texts, "MARK_ALL", limit)
        out = tmp_path / f"out-{limit}"
        render.render_catalog(tables, manifest, TEMPLATES, out)
        page = HTMLParser((out / "texts/t1-0.html").read_text("utf-8"))
        listed = page.css("#features > .firings > li")
        assert len(listed) > 1
        assert len(page.css("#features > .firings > li p.text")) == copies(len(listed))


def test_a_text_lists_its_strongest_examples_and_counts_the_rest(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a text does not list, no feature's page leads to; which these are, a plain reading of the tables tells."""
    tables, manifest = write(tmp_path / "tables")
    contexts = tables["contexts"]
    shown = contexts[
        (contexts["rank"] < contexts["band"].map(lambda b: 8 if b == "top" else 2)) & contexts["feature"].isin(PAGED)
    ]
    for most in (1, 2, 100):
        monkeypatch.setattr(examples, "LISTED", most)
        out = tmp_path / f"out-{most}"
        render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, out)
        for text, rows in shown.groupby("text"):
            top = set(tables["text_top"].loc[tables["text_top"]["text"] == text, "feature"])
            others = [row for row in rows.itertuples() if row.feature not in top]
            listed = sorted(others, key=lambda row: (-row.activation, row.feature))[:most]
            page = HTMLParser((out / f"texts/{text}.html").read_text("utf-8"))
            assert [n.attributes["id"] for n in page.css("#others li")] == [f"f{row.feature}" for row in listed]
            said = page.css_first("#others summary")
            assert (said.text() if said else "").startswith(f"Also an example of {len(others)} more" if others else "")
            for row in rows.itertuples():
                place = f"../texts/{text}.html" + (f"#f{row.feature}" if row in [*listed] or row.feature in top else "")
                assert f'href="{place}"' in (out / f"features/{row.feature}.html").read_text("utf-8")


def test_large_table_of_features_goes_on_over_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (render, catalog):
        monkeypatch.setattr(module, "STATIC_ROWS", 3)
    site = build(tmp_path)
    rows = [
        len(HTMLParser((site / f"features/{name}.html").read_text("utf-8")).css("#table tbody tr"))
        for name in ("index", "page-2", "page-3")
    ]
    assert rows == [3, 3, 2]
    # A feature's page leads to the row of its own that is there without a script.
    link = HTMLParser((site / "features/7.html").read_text("utf-8")).css_first(".reasons a").attributes["href"]
    assert link == "../features/page-3.html?reason=selective#f7"
    assert sum(rows) < FEATURES


def test_lone_surrogate_in_a_title_does_not_stop_the_build(tmp_path: Path) -> None:
    tables, manifest = write(tmp_path / "tables")
    manifest["description"] = "broken \ud800 text"
    render.render_catalog(tables, manifest, TEMPLATES, tmp_path / "out")
    assert "broken ? text" in (tmp_path / "out/index.html").read_text("utf-8")


def test_partners_on_a_page_are_the_pairs_of_the_table_seen_from_that_feature(site: Path) -> None:
    pairs = read_table(site.parents[2] / "tables", "coactivation").query("level == 'token'")
    shown = 0
    for number in PAGED:
        own = [
            (-r.phi, r.feature_b if r.feature_a == number else r.feature_a, r.n_both)
            for r in pairs.itertuples()
            if number in (r.feature_a, r.feature_b)
        ]
        page = HTMLParser((site / f"features/{number}.html").read_text("utf-8"))
        cells = [[cell.text().strip() for cell in row.css("td")] for row in page.css("#partners tbody tr")]
        expected = [(str(other), f"{both:,}", f"{-phi:.2f}") for phi, other, both in sorted(own)[:5]]
        assert [(first.split()[0], both, phi.replace("\u2212", "-")) for first, both, phi, _ in cells] == expected
        shown += len(cells)
    assert shown
