"""The pages of the synthetic catalog: complete, escaped, self-contained, with every link leading somewhere."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
import synthetic
from scipy import stats
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import CATEGORIES, FEATURES, PAGED, SCRIPT, SILENT, write
from test_site_tokens import as_shown

from saecatalog.schemas import SCHEMAS, TABLES
from saecatalog.site import catalog, cite, examples, formats, render, text_parts
from saecatalog.site.formats import percent
from saecatalog.site.inventory import files_below
from saecatalog.site.pages import feature, introduction
from saecatalog.site.totals import page_counts
from saecatalog.tables import Tables, write_table

TEMPLATES = Path(__file__).parent.parent / "templates"


def build(folder: Path, change: Callable[[Tables, dict[str, Any]], None] | None = None, **wishes: Any) -> Path:
    """Render the synthetic catalog with its root page; returns the catalog's folder.

    `change` may change the tables and the manifest before that.
    """
    tables, manifest = write(folder / "tables", **wishes)
    if change:
        change(tables, manifest)
    catalog = folder / "site" / manifest["slug"]
    render.render_catalog(tables, manifest, TEMPLATES, catalog)
    manifest["pages"] = page_counts(files_below(catalog))
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


def test_front_pages_count_the_pages_that_are_there_and_the_notable_features_apart(tmp_path: Path) -> None:
    """As `--features 1,9` gives them: pages of a notable feature and of one that is not."""
    made = build(tmp_path / "all")
    said = words(made / "index.html", ".hero .sub") + words(made / "features/index.html", ".lead")
    assert said.count(f"{len(PAGED)} notable features have a page.") == 2
    tables, manifest = write(tmp_path / "tables")
    features = tables["features"]
    pages = [f"features/{n}.html" if n in (1, 9) else "" for n in features["feature"]]
    write_table(tables.folder, "features", features.assign(page=pages))
    manifest["counts"]["tokens"] -= 2
    out = tmp_path / "site" / manifest["slug"]
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, out)
    manifest["pages"] = page_counts(files_below(out))
    render.render_root([manifest], TEMPLATES, tmp_path / "site")
    counted = f"2 features have a page, including 1 of the {(features['notable'] != '').sum()} notable features."
    assert counted in words(out / "index.html", ".hero .sub")
    assert counted in words(out / "features/index.html", ".lead")
    tokens = tables["texts"]["n_tokens"].sum()
    assert f"({tokens} tokens, {tokens - 2} of them counted)" in words(out / "index.html", ".hero .sub")
    assert words(out / "index.html", ".ways").startswith("2 features ")
    assert words(tmp_path / "site/index.html", ".cards dl").endswith("Feature pages2")


def words(page: Path, selector: str) -> str:
    """The text of a part of a page, in one line."""
    return " ".join(HTMLParser(page.read_text("utf-8")).css_first(selector).text().split())


def test_silent_feature_says_so_and_shows_no_examples(site: Path) -> None:
    page = HTMLParser((site / f"features/{SILENT}.html").read_text("utf-8"))
    assert "Silent on" in page.css_first(".notice").text()
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
    without_page = [node for node in page.css("a.bare") if node.text() == "9"]
    assert without_page[0].attributes["href"] == "../row.html?feature=9"


def test_a_silent_features_bound_is_the_one_in_the_data(site: Path) -> None:
    page = HTMLParser((site / f"features/{SILENT}.html").read_text("utf-8"))
    tables, _ = write(site.parent / "again")
    bound = tables.features.loc[SILENT, "silent_below"]
    assert f"below {percent(bound)}" in page.css_first(".notice").text()


def test_a_specialist_shows_its_evidence(site: Path) -> None:
    """Strong rates with their intervals, how sure they are, and whether each half of the texts would have found it."""
    page = HTMLParser((site / "features/1.html").read_text("utf-8"))
    said = page.css_first("#categories .hint").text()
    assert "AUROC" in said
    assert "(clear evidence)" in said
    assert "Split-half check: a specialist in both halves of the corpus." in said
    weak = HTMLParser((site / "features/10.html").read_text("utf-8")) if (site / "features/10.html").exists() else None
    assert weak is None or "(weak evidence)" in weak.css_first("#categories .hint").text()
    page = HTMLParser((site / "categories/python-code.html").read_text("utf-8"))
    assert "6 are in both lists (6.0 expected by chance)" in page.css_first("#specialist").text()


def test_of_many_reasons_a_page_names_those_with_the_best_places(tmp_path: Path) -> None:
    """Feature 2 is in the rankings of 25 concepts, one place further down in each."""
    tables, manifest = write(tmp_path / "tables")
    names = [f"idea {n:02d}" for n in range(25)]
    features, rankings = tables["features"], tables["rankings"]
    mine = features["feature"] == 2
    reasons = ",".join(f"concept:{name}" for name in reversed(names))
    write_table(tables.folder, "features", features.assign(notable=features["notable"].where(~mine, reasons)))
    added = pd.DataFrame(
        [{"ranking": f"contrast:{name}", "rank": n, "feature": 2, "value": 0.6} for n, name in enumerate(names)]
    )
    write_table(tables.folder, "rankings", pd.concat([rankings, added], ignore_index=True))
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, tmp_path / "out")
    page = HTMLParser((tmp_path / "out/features/2.html").read_text("utf-8"))
    shown = [" ".join(line.text().split()) for line in page.css(".reasons li")]
    assert shown[:10] == [f"#{n + 1} for the concept Idea {n:02d}" for n in range(10)]
    assert shown[10] == "and 15 more reasons"


def test_rules_of_two_tokens_are_told(site: Path) -> None:
    told = [HTMLParser((site / f"features/{n}.html").read_text("utf-8")).css_first("#tokens").text() for n in (1, 2, 3)]
    assert "start of text, then day" in told[0]
    assert f"{SCRIPT} day" in told[1]
    assert "two in a row" not in told[2]


def test_the_spread_of_direct_effects_is_drawn(site: Path) -> None:
    page = HTMLParser((site / "features/2.html").read_text("utf-8"))
    assert page.css_first("#logits svg path")
    assert "skewness 0.5" in page.css_first("#logits").text()


def test_a_bands_header_is_the_range_of_the_band(tmp_path: Path) -> None:
    """The range in the features table, not that of the examples shown; one context represents each quarter."""
    tables, manifest = write(tmp_path / "tables")
    contexts = tables["contexts"]
    place = contexts[contexts["band"] == "top"].groupby("feature")["rank"].max()
    bands = list(feature.BANDS)
    for back, band in enumerate(bands):
        chosen = (contexts["band"] == "top") & (contexts["rank"] == contexts["feature"].map(place) - back)
        contexts.loc[chosen, ["band", "rank"]] = [band, 0]
    write_table(tables.folder, "contexts", contexts)
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, tmp_path / "out")
    shown = 0
    for row in tables["features"].query("page != '' and n_active > 0").itertuples():
        page = HTMLParser((tmp_path / "out" / row.page).read_text("utf-8"))
        found = {node.attributes["id"]: node.css_first("summary span").text() for node in page.css("#bands details")}
        q25, q50, q75, most = (formats.number(value) for value in (row.q25, row.q50, row.q75, row.max))
        ranges = (f"{q75} to {most}", f"{q50} to {q75}", f"{q25} to {q50}", f"up to {q25}")
        assert found == {band: words for band, words in zip(bands, ranges, strict=True) if band in found}
        shown += len(found)
    assert shown > 20


def test_a_page_shows_up_to_five_examples_of_a_band_as_long_as_they_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, manifest = write(tmp_path / "tables")
    rows = tables["contexts"].query("band == 'top' and feature == 0").sort_values("rank").head(6)
    longer = rows.assign(window_start=0, window_end=5, band="q0-25", rank=range(6), active_positions=[[0]] * 6)
    write_table(tables.folder, "contexts", longer.assign(active_values=[[1.0]] * 6, position=0))
    only = {"features/0.html"}
    for most, pages, wanted in ((25, 5000, 5), (24, 5000, 4), (10, 5000, 2), (4, 5000, 2), (25, len(PAGED) - 1, 2)):
        monkeypatch.setattr(examples, "BAND_TOKENS", most)
        monkeypatch.setattr(examples, "MANY_PAGES", pages)
        render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, tmp_path / "out", only=only)
        page = HTMLParser((tmp_path / "out/features/0.html").read_text("utf-8"))
        assert len(page.css("#bands li")) == wanted


def test_effects_on_tokens_stand_beside_the_largest_of_as_many_normal_draws(tmp_path: Path) -> None:
    """The vocabulary's size is read from the histogram; the quantiles are those of the largest draw, by simulation."""
    tables, manifest = write(tmp_path / "tables")
    n = sum(tables["logit_histograms"]["counts"][0])
    largest = np.random.default_rng(1).standard_normal((200_000, n)).max(axis=1)
    said = "typically {:.1f} SD from the mean, and above {:.1f} SD in 5 % of cases".format(
        *np.quantile(largest, [0.5, 0.95])
    )
    logits, features = tables["logits"], tables["features"]
    features.loc[3, "logit_std"] = 0.5
    write_table(tables.folder, "features", features)
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, tmp_path / "out")
    for name, verdict in (
        (2, "of the tokens shown, 1 promoted and 1 suppressed are."),
        (3, "of the tokens shown, none is."),
    ):
        section = HTMLParser((tmp_path / f"out/features/{name}.html").read_text("utf-8")).css_first("#logits")
        assert f"SD over all {n} tokens" in section.text()
        assert said in section.text()
        assert verdict in section.text()
        rows = logits[logits["feature"] == name].query("rank < 6")
        effects = rows["logit"].abs() / features.loc[name, "logit_std"]
        assert [cell.text().strip() for cell in section.css("tbody td:nth-child(3)")] == [f"{sd:.1f}" for sd in effects]


def test_quantiles_of_the_largest_normal_draw_are_those_of_scipy() -> None:
    for n in (9, 1000, 49_152):
        for share in (0.5, 0.95):
            assert feature.largest_normal(n, share) == pytest.approx(stats.norm.ppf(share ** (1 / n)))
            assert stats.norm.cdf(feature.largest_normal(n, share)) ** n == pytest.approx(share)


def test_a_citation_without_an_address_says_so(site: Path, tmp_path: Path) -> None:
    there = build(tmp_path, base_url="https://example.org/sae/")
    for name, place in (("features/1.html", "#cite"), ("about.html", "#citation")):
        assert "Built without base_url" in words(site / name, place)
        assert "base_url" not in words(there / name, place)
        assert "https://example.org/sae/tiny/0-res/" in words(there / name, place)


def test_the_still_heatmap_is_captioned_as_what_it_is_and_its_rows_have_labels(site: Path) -> None:
    """Its cells are means over categories and its rows are features; only the script's heatmap links to texts."""
    for name in ("categories/index.html", "categories/python-code.html"):
        page = HTMLParser((site / name).read_text("utf-8"))
        for figure in page.css("figure.chart"):
            section = figure.parent
            labels = [text.text() for text in figure.css("svg.heat > g:first-child text")]
            links = [row.css_first("th").text().strip() for row in section.css(".heat tbody tr")]  # type: ignore[union-attr]
            assert [label.partition(" ")[0] for label in labels] == [link.partition(" ")[0] for link in links]
            assert all(
                label.endswith("…") or f"label <{label.split()[0]}>" in label for label in labels if label != "5"
            )
            still, live = (figure.css_first(f"figcaption .{kind}").text() for kind in ("of-still", "of-live"))
            assert "mean score over the texts of one category" in still
            assert "lead" not in still
            assert "score on one text" in live


def test_every_pair_has_a_verdict_by_phi_and_cosine(tmp_path: Path) -> None:
    """By the rule that the page states, for pairs of each kind."""
    tables, manifest = write(tmp_path / "tables")
    manifest["sae"]["d_in"] = 900
    pairs = tables["coactivation"]
    phis, cosines = [0.91, 0.89, 0.5, 0.49, 0.4, 0.3], [0.71, 0.69, 0.11, 0.09, -0.09, -0.11]
    found = pd.concat([pairs.query("level == 'token'").head(1)] * len(phis), ignore_index=True)
    found = found.assign(feature_a=range(6), feature_b=range(1, 7), phi=phis, decoder_cosine=cosines)
    write_table(tables.folder, "coactivation", found)
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, tmp_path / "out")
    page = HTMLParser((tmp_path / "out/coactivation/index.html").read_text("utf-8"))
    rule = page.css_first("#verdict").text()
    by_phi = ("φ ≥ 0.9: nearly the same tokens", "φ ≥ 0.5: mostly the same")
    by_cosine = ("±0.100", "from 0.7: nearly the same direction")
    assert all(said in rule for said in (*by_phi, *by_cosine))
    assert [row.css("td")[2].text().strip() for row in page.css("#pairs tbody tr")] == [
        "Nearly the same tokens, nearly the same direction",
        "Mostly the same tokens, related directions",
        "Mostly the same tokens, related directions",
        "Some of the same tokens, unrelated directions",
        "Some of the same tokens, unrelated directions",
        "Some of the same tokens, opposed directions",
    ]
    lead = " ".join(page.css_first(".lead").text().split())
    assert "1 has nearly the same direction, 2 have related directions, 2 have unrelated" in lead
    assert "The largest cosine among the 3 pairs with a φ of at least 0.5 is 0.71." in lead


def test_the_lead_says_where_no_pair_has_nearly_the_same_direction(tmp_path: Path) -> None:
    tables, manifest = write(tmp_path / "tables")
    pairs = tables["coactivation"]
    write_table(tables.folder, "coactivation", pairs.assign(phi=0.6, decoder_cosine=[0.3, 0.2, 0.1] * 2))
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, tmp_path / "out")
    lead = words(tmp_path / "out/coactivation/index.html", ".lead")
    assert "3 pairs with a φ of at least 0.5 is 0.30, so none reaches 0.7." in lead


def test_few_dimensions_leave_room_for_nearly_the_same_direction(tmp_path: Path) -> None:
    """The band of unrelated directions ends there, although random cosines in four dimensions do not."""
    tables, manifest = write(tmp_path / "tables")
    manifest["sae"]["d_in"] = 4
    pairs = tables["coactivation"].query("level == 'token'").head(1)
    cosines = [1.0, 0.71, 0.69, -0.69, -0.71]
    found = pd.concat([pairs] * len(cosines), ignore_index=True)
    found = found.assign(feature_a=range(5), feature_b=range(1, 6), phi=0.6, decoder_cosine=cosines)
    write_table(tables.folder, "coactivation", found)
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, tmp_path / "out")
    page = tmp_path / "out/coactivation/index.html"
    assert "within ±0.700 (three standard deviations for random directions in 4 dimensions, at most 0.7)" in words(
        page, "#verdict"
    )
    verdicts = [row.css("td")[2].text().strip() for row in HTMLParser(page.read_text("utf-8")).css("#pairs tbody tr")]
    same, unrelated, opposed = "nearly the same direction", "unrelated directions", "opposed directions"
    ends = [same, same, unrelated, unrelated, opposed]
    assert verdicts == [f"Mostly the same tokens, {end}" for end in ends]


def test_pairs_lead_to_texts_where_both_fire(site: Path, tmp_path: Path) -> None:
    """To the two texts on which the weaker feature of the pair is strongest, found directly in the scores."""
    scores = write(tmp_path)[0]["text_scores"].set_index(["feature", "text"])["score"].to_dict()
    texts = {text for _, text in scores}
    rows = HTMLParser((site / "coactivation/index.html").read_text("utf-8")).css("#pairs tbody tr")
    assert rows
    for row in rows:
        first, second = (int(re.match(r"\d+", line.text().strip())[0]) for line in row.css("th .line"))  # type: ignore[index]
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
        assert said.startswith(f"{len(members)} features, mean φ {pairs['phi'].mean():.2f} over {len(pairs)} pair")
        firsts = tables["tokens"].query("feature in @members and rank < 3")
        counts = firsts.groupby("token")["feature"].nunique()
        assert said.count(" in ") == min(3, sum((counts > 1) & (2 * counts >= len(members))))


def test_one_of_a_thing_is_not_in_the_plural(tmp_path: Path) -> None:
    """On pages where every count that can be 1 is 1."""
    tables, manifest = write(tmp_path / "tables")
    more = ("similar_hidden", "active_inside", "strong_inside")
    for name, table in {name: tables[name] for name in SCHEMAS}.items():
        one = [c for c in table if c.startswith(("n_", "found_")) or c in more]
        if one and name not in ("text_scores", "coactivation"):
            write_table(tables.folder, name, table.assign(**dict.fromkeys(one, 1)))
    corpus = manifest["corpus"]
    for group in [*corpus["categories"].values(), *corpus["concepts"].values(), corpus]:
        group.update(texts=1, tokens=1)
    manifest["counts"].update(texts=1, tokens=1, features=1, features_fired=1, notable=1)
    manifest["health"]["excluded_positions"] = 1
    manifest["sae"].update(d_in=1, d_sae=1)
    render.render_catalog(Tables(tables.folder), manifest, TEMPLATES, tmp_path / "out")
    nouns = "categor|cluster|concept|dimension|feature|near-duplicate|pair|specialist|text|token"
    things = rf"(active |more |smaller |strongest )?({nouns})"
    singular = set()
    for path in (tmp_path / "out").rglob("*.html"):
        said = " ".join(HTMLParser(path.read_text("utf-8")).body.text().split())
        assert not re.search(rf"(?<![\d.,/])1 {things}(s|ies)\b", said), path
        singular |= {found[2] for found in re.finditer(rf"(?<![\d.,/])1 {things}y?\b", said)}
    assert singular >= {"concept", "feature", "near-duplicate", "text", "token", "dimension", "specialist"}


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
    assert "1 of 3 categories has no specialist: Mixed" in page.css_first(".lead").text()


def test_pages_do_not_depend_on_the_run(site: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    names = sorted(p.relative_to(site) for p in site.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for name in names:
        assert (site / name).read_bytes() == (again / name).read_bytes(), name


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_only_the_files_asked_for_are_written(site: Path, tmp_path: Path) -> None:
    """And they are identical to those of a complete build."""
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
    """Feature pages link to a text's page for a feature only if it is listed there; tables give the expected lists."""
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
            assert (said.text() if said else "").startswith(f"Also an example for {len(others)} more" if others else "")
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
    pairs = Tables(site.parents[2] / "tables")["coactivation"].query("level == 'token'")
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


def test_a_long_text_has_pages_that_together_are_its_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_parts, "MOST_TOKENS", 5)
    site = build(tmp_path)
    tables = Tables(tmp_path / "tables")
    assert 0 < (tables["texts"]["n_tokens"] > 5).sum() < len(tables["texts"])
    for row in tables["texts"].itertuples():
        names = [f"{row.text}.html", *(f"{row.text}.{n}.html" for n in range(2, 99))]
        paths = [site / "texts" / name for name in names if (site / "texts" / name).exists()]
        pages = [HTMLParser(path.read_text("utf-8")) for path in paths]
        assert (len(pages) > 1) == (row.n_tokens > 5)
        assert "".join(page.css_first(".whole").text() for page in pages) == as_shown(row.content)
        assert "".join(page.css_first("#tokens p").text() for page in pages) == as_shown(row.content)
        for path, page in zip(paths, pages, strict=True):
            if page.css(".firings li"):
                assert page.css_first(f"script[src='{path.stem}.js']")
                assert {f'"{li.id[1:]}"' for li in page.css(".firings li")} <= set(
                    re.findall(r'"\d+"', path.with_suffix(".js").read_text("utf-8"))
                )


def test_on_the_pages_of_a_long_text_the_marks_are_those_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_parts, "MOST_TOKENS", 5)
    site = build(tmp_path)
    tables = Tables(tmp_path / "tables")
    largest = tables["features"].set_index("feature")["max"]
    ends_of = tables["texts"].set_index("text")["token_ends"]
    seen = 0
    for entry in tables["text_top"].itertuples():
        ends, content = ends_of[entry.text], tables["texts"].set_index("text")["content"][entry.text]
        if not content.isascii():
            continue  # tokens that share a character are one mark, and on one page
        marked = []
        for path in sorted(site.glob(f"texts/{entry.text}*.html"), key=lambda p: int([*p.stem.split("."), "1"][1])):
            found = HTMLParser(path.read_text("utf-8")).css_first(f"#f{entry.feature} .text")
            marked += [(mark.text(), mark.attributes["title"]) for mark in found.css("b")] if found else []
        starts = [0, *ends]
        wanted = [
            (as_shown(content[starts[p] : ends[p]]), f"{value:.4g}")
            for p, value in zip(entry.active_positions, entry.active_values, strict=True)
        ]
        assert marked == wanted
        assert largest[entry.feature] > 0
        seen += 1
    assert seen


def test_an_example_leads_to_the_page_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_parts, "MOST_TOKENS", 5)
    site = build(tmp_path)
    contexts = Tables(tmp_path / "tables")["contexts"]
    content_of = Tables(tmp_path / "tables")["texts"].set_index("text")["content"]
    later = 0
    for page in sorted(site.glob("features/[0-9]*.html")):
        if page.name.endswith(".embed.html"):
            continue
        number = int(page.stem)
        for item in HTMLParser(page.read_text("utf-8")).css(".examples > li"):
            band, _, rank = item.id.rpartition("-")
            row = contexts.query("feature == @number and rank == @rank_of and band.str.startswith(@band)", local_dict={
                "number": number, "rank_of": int(rank) - 1, "band": band,
            }).iloc[0]  # fmt: skip
            if not content_of[row.text].isascii():
                continue  # a page does not end within a character, so its number is not known from the position
            part = row.position // 5 + 1
            href = item.css_first('a[href^="../texts/"]').attributes["href"].partition("#")[0]
            assert href == (f"../texts/{row.text}.html" if part == 1 else f"../texts/{row.text}.{part}.html")
            later += part > 1
    assert later


def test_two_tokens_of_one_name_are_told_apart_by_their_ids(site: Path) -> None:
    pages = [path for path in site.glob("features/[0-9]*.html") if not path.name.endswith(".embed.html")]
    for path in pages:
        shown: dict[str, set[str]] = {}
        for cell in HTMLParser(path.read_text("utf-8")).css(".tokens tbody td:first-child"):
            small = cell.css_first("small")
            shown.setdefault(cell.text(deep=True).removesuffix(small.text() if small else ""), set()).add(
                small.text() if small else ""
            )
        byte, spelled = synthetic.token_id("<0xE2>"), synthetic.token_id("<0xE2>") + 1
        assert shown["<0xE2>"] == {str(byte), str(spelled)}
        assert all(ids == {""} for name, ids in shown.items() if name != "<0xE2>")
    assert pages


def test_the_front_page_says_what_a_transcoder_reads_and_writes(tmp_path: Path) -> None:
    def change(tables: Tables, manifest: dict[str, Any]) -> None:
        manifest["sae"] |= {"hook": "blocks.3.mlp.hook_in", "hook_out": "blocks.3.hook_mlp_out"}

    site = build(tmp_path, change)
    page = HTMLParser((site / "index.html").read_text("utf-8"))
    assert page.css_first(".over").text() == "tiny_{model} · blocks.3.mlp.hook_in → blocks.3.hook_mlp_out"
    assert "A transcoder reads" in page.css_first("header .lead ~ .lead").text()
    assert "at blocks.3.hook_mlp_out that the transcoder predicts" in page.css_first("#health .hint").text()
    about = " ".join((site / "about.html").read_text("utf-8").split())
    assert 'Reads at<td>blocks.3.mlp.hook_in<tr><th scope="row">Writes at<td>blocks.3.hook_mlp_out<' in about


def test_the_front_page_warns_of_an_sae_that_explains_less_than_nothing(tmp_path: Path, site: Path) -> None:
    def change(tables: Tables, manifest: dict[str, Any]) -> None:
        manifest["health"]["explained_variance"] = -0.25

    warned = build(tmp_path, change)
    notices = [HTMLParser((s / "index.html").read_text("utf-8")).css("#health .notice") for s in (warned, site)]
    assert [len(found) for found in notices] == [1, 0]
    assert "another model" in notices[0][0].text()


def test_the_example_of_the_front_page_is_strong_on_the_texts_shown(tmp_path: Path) -> None:
    """The feature with the largest contrast is never strong, the one with the next largest is."""
    tables, manifest = write(tmp_path / "tables")
    ranks = {"ranking": ["contrast:x"] * 3, "rank": [0, 1, 2], "feature": [4, 3, 2], "value": [0.9, 0.8, 0.7]}
    write_table(tables.folder, "rankings", pd.DataFrame(ranks))
    features = tables["features"].assign(n_texts_strong=[9, 9, 4, 3, 0, *[9] * (FEATURES - 5)])
    for strong, wanted in ((features, 2), (features.assign(n_texts_strong=0), 4)):
        write_table(tables.folder, "features", strong)
        shown = introduction.introduction(catalog.Catalog(Tables(tables.folder), manifest))
        assert shown is not None
        assert shown["ref"].number == wanted
        assert len(shown["examples"]) == introduction.INTRODUCED
