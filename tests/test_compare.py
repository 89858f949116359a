"""Comparisons of two catalogs: what they find, that no outdated one stays, and what is refused."""

import json
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import comparing
import numpy as np
import pandas as pd
import pytest
import test_every_page as every
import test_html
from browsing import opened
from comparing import CORPORA, FIRST, ORDER, SECOND, compared, folder
from playwright.sync_api import Browser
from selectolax.lexbor import LexborHTMLParser
from sites import Workplace
from synthetic import CATEGORIES, FEATURES, PAGED, SCRIPT, SILENT, World

from saecatalog.cli import main
from saecatalog.compare import publish as comparing_publishing
from saecatalog.compare.publish import compare_two
from saecatalog.compare.tables import LEAST_TEXTS, SCHEMAS
from saecatalog.errors import CatalogError
from saecatalog.progress import Progress
from saecatalog.site import publish as publishing
from saecatalog.site.check import check_site
from saecatalog.site.comparisons import folder_of
from saecatalog.site.inventory import FILE_LIST, MANIFEST, ROOT_LIST, checksums
from saecatalog.site.pages import compare as compare_page
from saecatalog.verify import comparisons as verifying
from saecatalog.verify.comparisons import ComparisonOutcome, verify_comparison
from saecatalog.verify.report import Report


def table(place: Workplace, name: str, *slugs: str) -> pd.DataFrame:
    return pd.read_parquet(folder(place, *slugs) / f"data/{name}.parquet")


def page(place: Workplace, *slugs: str) -> LexborHTMLParser:
    return LexborHTMLParser((folder(place, *slugs) / "index.html").read_text("utf-8"))


def matches(place: Workplace) -> list[pd.DataFrame]:
    found = table(place, "matches", FIRST, SECOND)
    return [found[found["catalog"] == slug].reset_index(drop=True) for slug in (FIRST, SECOND)]


def scores(world: World) -> np.ndarray:
    return np.array([world.scores(feature) for feature in range(FEATURES)]).T


def test_permuted_features_find_each_other(three: Workplace) -> None:
    first, second = matches(three)
    for feature, partner in enumerate(ORDER[:-2]):
        fires = (scores(World())[:, partner] > 0).sum()
        assert second["nearest"][feature] == partner
        assert second["match"][feature] == (partner if fires >= LEAST_TEXTS else -1)
        if fires >= LEAST_TEXTS:
            assert first["match"][partner] == feature
            assert second["correlation"][feature] == pytest.approx(1)
            assert second["match_cosine"][feature] == pytest.approx(1)
            assert second["mutual"][feature]
    assert first["status"][SILENT] == "silent"
    assert (second["correlation"][-2:] < 0.999).all()


def test_the_correlations_are_those_of_the_texts(three: Workplace) -> None:
    a, b = scores(World()), scores(comparing.permuted())
    for part, mine, others in zip(matches(three), (a, b), (b, a), strict=True):
        for row in part[part["match"] >= 0].itertuples():
            table_of = [
                np.corrcoef(mine[:, row.feature], others[:, j])[0, 1] for j in range(FEATURES) if np.ptp(others[:, j])
            ]
            assert row.correlation == pytest.approx(
                np.corrcoef(mine[:, row.feature], others[:, row.match])[0, 1], abs=1e-6
            )
            assert row.correlation <= max(table_of) + 1e-6
            assert row.n_texts_active == (mine[:, row.feature] > 0).sum()


def test_one_sae_on_two_corpora_is_told_by_what_changed(three: Workplace) -> None:
    found = table(three, "changes", FIRST, CORPORA).set_index("feature")
    before, after = World(), comparing.fewer()
    tokens = sum(len(text["tokens"]) for text in before.texts)
    assert found["status"][SILENT] == "silent"
    assert found["status"][4] == "only first"
    for feature in (0, 2, 7):
        dense = [len(world.firing(feature)) / tokens for world in (before, after)]
        assert found["density_first"][feature] == pytest.approx(dense[0])
        assert found["ratio"][feature] == pytest.approx(dense[1] / dense[0])
    assert found["apart"][2]
    assert not found["apart"][7]
    assert np.isnan(found["ratio"][4])
    assert page(three, FIRST, CORPORA).css_first("#density a.f").text() == "2"


def test_the_specialists_of_each_category_are_counted(three: Workplace) -> None:
    coverage = table(three, "coverage", FIRST, SECOND)
    assert list(coverage["catalog"]) == [FIRST] * 3 + [SECOND] * 3
    assert list(coverage["category"]) == CATEGORIES * 2
    for slug, part in coverage.groupby("catalog"):
        rows = pd.read_parquet(three.site / str(slug) / "data/categories.parquet")
        known = rows[rows["balanced_score"] > 0].groupby("category").size()
        assert dict(zip(part["category"], part["specialists"], strict=True)) == {c: known.get(c, 0) for c in CATEGORIES}
    assert (coverage["shared"] <= coverage["specialists"]).all()
    assert table(three, "coverage", FIRST, CORPORA)["shared"].sum() > 0


def test_the_page_shows_the_tables_and_leads_to_the_features(three: Workplace) -> None:
    html = page(three, FIRST, SECOND)
    first, _ = matches(three)
    pairs = first[first["status"] == "matched"]
    assert len(pairs) > 3
    rows = html.css("#matched tbody tr")
    assert len(rows) == len(pairs)
    numbers = {int(row.css_first("th").text().split()[0]) for row in rows}
    assert numbers == set(pairs["feature"])
    linked = {node.attributes["href"] for node in html.css("#matched tbody th a")}
    own, shared = numbers & set(PAGED), numbers - set(PAGED)
    pages = {f"features/{n}.html" for n in own} | {f"row.html?feature={n}" for n in shared}
    assert linked == {f"../../{FIRST}/{page}" for page in pages}
    assert SCRIPT not in html.html
    assert f"{len(pairs)} pairs of features match" in html.css_first(".lead").text()
    assert {node.text() for node in html.css("#method dt code")} == {*SCHEMAS["matches"], *SCHEMAS["coverage"]}


def test_the_front_page_groups_catalogs_and_leads_to_comparisons(three: Workplace) -> None:
    front = LexborHTMLParser((three.site / "index.html").read_text("utf-8"))
    cards = [node.attributes["href"] for node in front.css(".cards a")]
    assert cards == [f"{slug}/index.html" for slug in (FIRST, CORPORA, SECOND)], "in the order of the layers"
    assert len({node.text() for node in front.css(".cards p b")}) == 3, "equal titles are told apart"
    links = {node.attributes["href"] for node in front.css("li > a")} - set(cards)
    made = [(FIRST, CORPORA), (FIRST, SECOND), (CORPORA, SECOND)]
    assert links == {f"compare/{folder(three, *pair).name}/index.html" for pair in made}
    assert [node.text() for node in front.css("section > h2")][-1] == "Corpora"


def headings(place: Workplace) -> dict[str, set[str]]:
    """The catalogs on the front page, by the heading that they are under."""
    front = LexborHTMLParser((place.site / "index.html").read_text("utf-8"))
    groups = {node.css_first("h2").text(): node.css(".cards a") for node in front.css("main > section")}
    return {name: {str(a.attributes["href"]) for a in links} for name, links in groups.items() if links}


def test_a_model_with_two_names_is_one_model(place: Workplace) -> None:
    place.publish(
        SECOND,
        comparing.permuted(),
        sae=comparing.of_tiny("sae", **comparing.SAE),
        model=comparing.of_tiny("model", name="a-copy"),
    )
    compared(place, FIRST, SECOND)
    name = comparing.of_tiny("model")["name"]
    assert headings(place) == {f"a-copy, {name}": {f"{FIRST}/index.html", f"{SECOND}/index.html"}}
    assert check_site(place.site) == [], "a page leads to the comparison"


def test_two_models_of_one_name_are_two_models(place: Workplace) -> None:
    place.publish(SECOND, model=comparing.of_tiny("model", weights_sha256="dd"))
    own = comparing.of_tiny("model")
    names = [f"{own['name']} (weights {sha})" for sha in (own["weights_sha256"], "dd")]
    assert headings(place) == {names[0]: {f"{FIRST}/index.html"}, names[1]: {f"{SECOND}/index.html"}}


def test_no_two_pairs_of_catalogs_share_a_folder() -> None:
    slugs = ["a/b", "a.b", "a", "a-", "-b", "b", "a--b", "c", "b--c", "a.b/c", "a/b.c"]
    pairs = list(permutations(slugs, 2))
    assert len({folder_of(pair) for pair in pairs}) == len(pairs)
    assert folder_of(["gpt2-small/6-res-jb", "b/8"]) == "compare/gpt2-small.6-res-jb--b.8"


@pytest.mark.parametrize("build", ["compare", "publish"])
def test_a_site_whose_writing_is_broken_off_has_no_dead_links(
    build: str, three_copy: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparisons that no longer fit are removed after the front page has stopped naming them."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place, another = three_copy, comparing.of_tiny("sae", **comparing.SAE)
    if build == "compare":
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "find_outdated", lambda _: {})
            place.publish(SECOND, comparing.permuted(), sae=another, title="Another")
    for module in (publishing, comparing_publishing):
        monkeypatch.setattr(module, "publish_root", stop)
    write = {
        "compare": lambda: compared(place, FIRST, CORPORA),
        "publish": lambda: place.publish(SECOND, comparing.permuted(), sae=another, title="Another"),
    }
    with pytest.raises(KeyboardInterrupt):
        write[build]()
    front = LexborHTMLParser((place.site / "index.html").read_text("utf-8"))
    links = [str(node.attributes["href"]) for node in front.css("li > a")]
    assert len(links) == 6
    assert all((place.site / link).is_file() for link in links)


def test_features_without_any_page_are_not_linked(place: Workplace) -> None:
    """A catalog of an earlier version has no page that shows features without one of their own."""
    (place.catalog / "row.html").unlink()
    reseal(place.catalog, "row.html")
    place.publish(SECOND, comparing.permuted(), sae=comparing.of_tiny("sae", **comparing.SAE))
    compared(place, FIRST, SECOND)
    links = [str(node.attributes["href"]) for node in page(place, FIRST, SECOND).css("#matched a.f")]
    assert {link.partition("row.html")[0] for link in links if "row.html" in link} == {f"../../{SECOND}/"}
    assert not [problem for problem in check_site(place.site) if problem.startswith("compare/")]


def test_names_on_the_page_are_those_of_readers_and_tell_the_corpora_apart(place: Workplace) -> None:
    place.publish(CORPORA, comparing.fewer(), corpus=comparing.of_tiny("corpus", sha256="ee"))
    (made,) = compared(place, FIRST, CORPORA)
    titles = [node.text() for node in page(place, FIRST, CORPORA).css("h2")]
    assert {f"Fires only on {slug}" for slug in (FIRST, CORPORA)} <= set(titles)
    changes, coverage = (table(place, name, FIRST, CORPORA) for name in ("changes", "coverage"))
    changes = changes.assign(specialist_first="sql-code", specialist_second="prose")
    view = compare_page.view(made.manifest, {"changes": changes, "coverage": coverage}, "")
    assert {shown[1:] for shown in view["others"]} == {("SQL code", "Prose")}


def old_manifest(catalog: Path) -> None:
    path = catalog / MANIFEST
    found = json.loads(path.read_text("utf-8"))
    del found["sae"]["hook_out"]
    path.write_text(json.dumps(found), encoding="utf-8")
    reseal(catalog, "data/manifest.json")


def old_table(catalog: Path) -> None:
    path = catalog / "data/features.parquet"
    pd.read_parquet(path).drop(columns="density_low").to_parquet(path)
    reseal(catalog, "data/features.parquet")


def reseal(catalog: Path, file: str) -> None:
    """List a file as the catalog's own build would have, if it is there."""
    site = catalog.parents[1]
    for where, listing, name in (
        (catalog, FILE_LIST, file),
        (site, ROOT_LIST, (catalog / FILE_LIST).relative_to(site).as_posix()),
    ):
        found = json.loads((where / listing).read_text("utf-8"))
        found["files"].pop(name)
        if (where / name).exists():
            found["files"] |= checksums(where, [name])
        (where / listing).write_text(json.dumps(found), encoding="utf-8")


@pytest.mark.parametrize("age", [old_manifest, old_table])
def test_a_catalog_of_an_earlier_version_is_one_error_and_the_others_are_compared(
    age: Callable[[Path], None], three_copy: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    place = three_copy
    age(place.site / CORPORA)
    for names in ((FIRST, CORPORA), (CORPORA, SECOND)):
        with pytest.raises(CatalogError, match="built by an earlier version: build it again") as error:
            compared(place, *names)
        assert str(place.site / CORPORA) in error.value.where
    assert [made.manifest["catalogs"] for made in compared(place)] == [[FIRST, SECOND]]
    assert "not compared: " in capsys.readouterr().err


def test_all_that_compares_nothing_is_no_success(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = comparing.of_tiny("settings", text_score="mean")
    place.publish(SECOND, comparing.permuted(), sae=comparing.of_tiny("sae", **comparing.SAE), settings=settings)
    assert run(place, "compare", "--all", "--quiet", "--cache", str(place.folder / "cache")) == 1
    assert "score texts differently" in capsys.readouterr().err


def test_compare_and_remove_use_the_settings_of_the_folder(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish(CORPORA, comparing.fewer(), corpus=comparing.of_tiny("corpus", name="other", sha256="ee"))
    (place.folder / "own").mkdir()
    place.site.rename(place.folder / "own/pages")
    settings = '[site]\nout = "pages"\ntemplates = "templates"\n'
    (place.folder / "own/catalog.toml").write_text(settings, encoding="utf-8")
    shutil.copytree(place.folder / "templates", place.folder / "own/templates")
    for name, said in (("compare", "Compared by us"), ("catalogs", "Listed by us")):
        path = place.folder / f"own/templates/{name}.html"
        path.write_text(path.read_text("utf-8").replace("<h1>", f"<p>{said}</p>\n<h1>"), encoding="utf-8")
    monkeypatch.chdir(place.folder / "own")
    assert main(["compare", FIRST, CORPORA, "--quiet", "--cache", str(place.folder / "cache")]) == 0
    site = place.folder / "own/pages"
    assert "Compared by us" in (site / folder_of([FIRST, CORPORA]) / "index.html").read_text("utf-8")
    assert "Listed by us" in (site / "index.html").read_text("utf-8")
    outcome = verify_comparison(site, folder_of([FIRST, CORPORA]))
    assert (outcome.disagreements, len(outcome.notes)) == ([], 1)
    assert "other templates" in outcome.notes[0]
    assert main(["remove", CORPORA]) == 0
    assert not (site / CORPORA).exists()
    assert "Listed by us" in (site / "index.html").read_text("utf-8")


def test_the_order_of_the_names_does_not_matter_and_the_same_bytes_come_again(three_copy: Workplace) -> None:
    target = folder(three_copy, FIRST, SECOND)
    before = {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    (made,) = compared(three_copy, "tiny/1", str(three_copy.catalog))
    assert made.page == target / "index.html"
    assert {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert check_site(three_copy.site) == []


def test_a_catalog_built_again_drops_its_comparisons_and_says_so(
    three_copy: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    place = three_copy
    assert not place.publish(), "an unchanged catalog stays, with its comparisons"
    assert place.publish(SECOND, comparing.permuted(), sae=comparing.of_tiny("sae", **comparing.SAE), title="Another")
    assert "removed the comparison" in capsys.readouterr().err
    assert {path.name for path in (place.site / "compare").iterdir()} == {folder(place, FIRST, CORPORA).name}
    assert check_site(place.site) == []


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "table gone": (lambda c: (c / "data/matches.parquet").unlink(), "matches.parquet: missing"),
    "page changed": (lambda c: (c / "index.html").write_text("x"), "changed since it was built"),
    "manifest broken": (lambda c: (c / MANIFEST).write_text("{"), "outdated, because its manifest cannot be read"),
    "list gone": (lambda c: (c / FILE_LIST).unlink(), f"{FILE_LIST}: missing"),
    "other catalog": (
        lambda c: (c / MANIFEST).write_text((c / MANIFEST).read_text().replace('"tiny/1-res"', '"tiny/9-res"')),
        "there is no catalog tiny/9-res",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_comparison_is_found(name: str, three: Workplace, tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place")
    shutil.copytree(three.site, place.site)
    spoil, words = FAULTS[name]
    spoil(folder(place, FIRST, SECOND))
    assert any(words in problem for problem in check_site(place.site))


def test_a_comparison_of_other_tables_is_outdated(three: Workplace, tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place")
    shutil.copytree(three.site, place.site)
    listed = json.loads((place.catalog / FILE_LIST).read_text("utf-8"))
    listed["files"]["data/text_scores.parquet"] = "0"
    (place.catalog / FILE_LIST).write_text(json.dumps(listed), encoding="utf-8")
    assert sum("outdated, because tiny/0-res was built again" in problem for problem in check_site(place.site)) == 2


def test_verify_finds_nothing_in_a_good_comparison(three: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "load_decoder", comparing.decoder)
    for path in sorted((three.site / "compare").iterdir()):
        outcome = verify_comparison(three.site, f"compare/{path.name}")
        assert outcome.lines()[:-1] == []
        assert outcome.report.checked > 20


ERRORS: dict[str, dict[str, object]] = {
    "matches": {
        "match": 0, "correlation": 0.5, "chance": 0.9, "status": "rare", "mutual": False, "label": "x", "page": "x",
        "specialist": "x", "n_texts_active": 1, "match_cosine": 0.1, "nearest": 0, "nearest_cosine": 0.1,
    },
    "coverage": {"n_texts": 99, "specialists": 99, "shared": 99},
    "changes": {
        "label_first": "x", "label_second": "x", "page_first": "x", "page_second": "x", "status": "silent",
        "density_first": 0.9, "density_second": 0.9, "ratio": 7.0, "apart": True, "max_first": 77.0, "max_second": 77.0,
        "specialist_first": "x", "specialist_second": "x",
    },
}  # fmt: skip
"""A wrong value for each column, which is planted in another row for each."""


@pytest.mark.parametrize("name", ERRORS)
def test_verify_finds_an_error_in_every_column(
    name: str, three: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "load_decoder", comparing.decoder)
    assert {*ERRORS[name]} | {"catalog", "category", "feature"} >= {*SCHEMAS[name]}
    shutil.copytree(three.site, tmp_path / "site", copy_function=_link)
    pair = (FIRST, CORPORA) if name == "changes" else (FIRST, SECOND)
    path = folder(Workplace(tmp_path), *pair) / f"data/{name}.parquet"
    right = pd.read_parquet(path)
    for column, value in ERRORS[name].items():
        row = next(row for row in range(len(right)) if row != 1 and right.loc[row, column] not in (value, -1, "silent"))
        wrong = right.copy()
        wrong.loc[row, column] = value
        path.unlink()
        wrong.to_parquet(path)
        told = verify_comparison(tmp_path / "site", f"compare/{path.parents[1].name}").disagreements
        assert column in {line.column for line in told}, (column, row, told)


def test_verify_rounds_both_figures_before_it_judges_a_match() -> None:
    """The build compares figures of one precision: a correlation that equals chance is not above it."""
    for value in np.linspace(0.1, 0.9, 81).round(5).astype(np.float32):
        columns = {"feature": [0], "match": [0], "correlation": np.array([value]), "chance": np.array([value])}
        part = pd.DataFrame({**columns, "n_texts_active": [9], "status": ["alone"], "mutual": [True]})
        outcome = ComparisonOutcome(Path("x"), Report())
        verifying._check_status(outcome, SimpleNamespace(slug="x"), part, part)  # type: ignore[arg-type]
        assert outcome.disagreements == [], value


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def run(place: Workplace, *words: str) -> int:
    return main([*words, "--site", str(place.site)])


def test_mistakes_are_refused_and_change_nothing(
    published: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Workplace(tmp_path / "place")
    shutil.copytree(published.folder, place.folder)
    place.publish(
        "other/0-res",
        sae=comparing.of_tiny("sae", **comparing.SAE),
        model=comparing.of_tiny("model", weights_sha256="dd"),
    )
    before = {str(path): path.read_bytes() for path in place.site.rglob("*") if path.is_file()}
    quiet = ("--quiet", "--cache", str(tmp_path / "cache"))
    said = []
    for words in (
        ("compare", FIRST, FIRST),
        ("compare", FIRST, "other"),
        ("compare", FIRST, "tiny/0-rse"),
        ("compare", FIRST),
        ("compare", FIRST, "--all"),
        ("compare", "--all"),
    ):
        assert run(place, *words, *quiet) == 2
        said.append(capsys.readouterr().err)
    wanted = ["with itself", "different models", "Did you mean tiny/0-res", "Name two catalogs", "Name two", "no two"]
    assert all(words in line for words, line in zip(wanted, said, strict=True)), said
    assert {str(path): path.read_bytes() for path in place.site.rglob("*") if path.is_file()} == before


def test_too_few_shared_texts_and_no_decoders_leave_nothing_to_compare(place: Workplace) -> None:
    place.publish(SECOND, comparing.permuted(), sae=comparing.of_tiny("sae", **{**comparing.SAE, "d_out": 9}))
    given = (place.folder / "templates", place.folder / "cache", Progress(quiet=True))
    with pytest.raises(CatalogError, match="share 12 texts, too few"):
        list(compare_two(place.site, [FIRST, SECOND], *given))


def test_texts_scored_in_different_ways_are_not_compared(place: Workplace) -> None:
    settings = comparing.of_tiny("settings", text_score="mean")
    place.publish(SECOND, comparing.permuted(), sae=comparing.of_tiny("sae", **comparing.SAE), settings=settings)
    with pytest.raises(CatalogError, match="score texts differently"):
        compared(place, FIRST, SECOND)


def test_a_catalog_changed_by_hand_is_not_compared(three_copy: Workplace) -> None:
    (three_copy.catalog / "about.html").write_text("x", encoding="utf-8")
    with pytest.raises(CatalogError, match="changed since it was built"):
        compared(three_copy, FIRST, SECOND)


def test_the_pages_keep_the_standard_and_are_accessible(three: Workplace, browser: Browser) -> None:
    """On a phone and on paper too: the front page of several catalogs, and both kinds of comparison."""
    paths = [three.site / "index.html", *(folder(three, FIRST, other) / "index.html" for other in (SECOND, CORPORA))]
    assert test_html.complaints(paths) == []
    said: list[str] = []
    with opened(browser, said, bypass_csp=True) as shown:
        for path in paths:
            shown.goto(path.as_uri())
            assert every.violations(shown, every.RULES) == [], path
            shown.emulate_media(color_scheme="dark")
            assert every.violations(shown, every.CONTRAST) == [], path
            for width in every.WIDTHS:
                shown.set_viewport_size({"width": width, "height": 900})
                assert shown.evaluate(every.STICKING_OUT, width) == [], path
            shown.emulate_media(media="print", color_scheme="light")
            shown.set_viewport_size(every.PAPER)
            assert shown.evaluate(every.LOST_ON_PAPER) == [], path
            shown.emulate_media(media="screen")
    assert said == []
