"""What features do, on the pages: figures as in the tables, chance said plainly, and nothing where nothing is known."""

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import effect_tables
import pytest
from effect_tables import EXCESS, MEASURED, PROMPTS
from playwright.sync_api import Page
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import PAGED, SCRIPT
from test_site_pages import build

from saecatalog import open_catalog
from saecatalog.errors import CatalogError
from saecatalog.site import catalog, svg
from saecatalog.site.check import check_site
from saecatalog.site.formats import decimals, factor, measured, percent, signed, significant
from saecatalog.tables import Tables, write_table

SECTIONS = ("effect", "moments", "in-context", "steering", "origin")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic catalog with effects, as if few of its pages had any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "CROWDED", 1)
        return build(tmp_path_factory.mktemp("effects"), effect_tables.add)


@pytest.fixture(scope="module")
def tables(site: Path) -> Tables:
    return Tables(site.parent.parent.parent / "tables")


def page(site: Path, path: str) -> HTMLParser:
    return HTMLParser((site / path).read_text("utf-8"))


def text(site: Path, path: str, selector: str) -> str:
    """The text of an element, with every run of white space as one space."""
    return " ".join(page(site, path).css_first(selector).text().split())


def cells(parsed: HTMLParser, selector: str) -> list[list[str]]:
    """The text of each row of a table's body."""
    return [[cell.text().strip() for cell in row.css("th, td")] for row in parsed.css(f"{selector} tbody tr")]


def test_only_the_pages_of_measured_features_show_effects(site: Path) -> None:
    for number in PAGED:
        ids = {node.attributes["id"] for node in page(site, f"features/{number}.html").css("section[id]")}
        assert ids & set(SECTIONS) == (set(SECTIONS) if number in MEASURED else set()), number


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "more than chance: by 0.070 nats (KL), on average over 8 active contexts."),
        (1, "no more than chance: by"),
        (2, "less than chance: by"),
        (3, "on average over 8 active contexts. No other feature is active there to compare with."),
    ],
)
def test_an_effect_is_read_against_chance(site: Path, number: int, words: str) -> None:
    said = text(site, f"features/{number}.html", "#effect > p")
    assert words in said
    assert ("than chance" in said) == (number in EXCESS)


def test_whether_a_feature_helps_is_said_with_its_interval(site: Path) -> None:
    said = {number: text(site, f"features/{number}.html", "#effect > p") for number in (0, 1, 3)}
    assert "changes by −0.010 [−0.015, −0.001] (n = 7): the prediction is better without it." in said[0]
    assert "(n = 7): whether it helps is not sure." in said[1]
    assert "(n = 7): the feature helps." in said[3]


def test_quarters_and_categories_with_enough_contexts_have_rows(site: Path, tables: Tables) -> None:
    shown = cells(page(site, "features/0.html"), "#effect")
    assert [row[0] for row in shown] == [
        "All", "Strongest quarter", "Second quarter", "Third quarter", "Weakest quarter", 'Python & "code"',
    ]  # fmt: skip
    effects = tables.read("effects", features=[0])
    for row, (_, wanted) in zip(shown, effects[effects["n_contexts"] != 3].iterrows(), strict=True):
        kl = measured(wanted["kl"], wanted["kl_low"], wanted["kl_high"])
        assert row[1:] == [str(wanted["n_contexts"]), kl, "0.050", signed(wanted["loss_change"], 3)]


def test_the_contexts_with_the_largest_divergence_link_to_their_texts(site: Path, tables: Tables) -> None:
    items = page(site, "features/1.html").css("#moments li")
    contexts = tables.read("effect_contexts", features=[1]).sort_values("kl", ascending=False).head(3)
    assert len(items) == 3
    for item, (_, wanted) in zip(items, contexts.iterrows(), strict=True):
        assert item.css_first("b.p") is not None
        link = item.css_first("small a").attributes["href"]
        assert link == f"../texts/{wanted['text']}.html"
        assert (site / "features" / link).resolve().is_file()
        words = " ".join(item.css_first("small").text().split())
        assert f"KL {significant(wanted['kl'])}" in words
        assert ("without it 12 %" in words) == bool(wanted["next_token"])


def test_tokens_in_context_stand_beside_the_direct_effect_and_say_how_far_they_agree(
    site: Path, tables: Tables
) -> None:
    rows, logits = tables.read("effect_tokens", features=[2]), tables.read("logits", features=[2])
    raised, promoted = rows[rows["direction"] == "raised"], logits[logits["direction"] == "promoted"]
    shared = len(set(raised["token_id"]) & set(promoted["token_id"]))
    assert 0 < shared < len(raised)
    hint = text(site, "features/2.html", "#in-context .hint")
    assert f"Of the {len(raised)} raised most, {shared} are among" in hint
    assert "Correlation over the vocabulary: −0.20." in hint
    shown = cells(page(site, "features/2.html"), "#in-context table:first-child")
    first = raised.sort_values("rank").iloc[0]
    assert shown[0][1:] == [signed(first["change"]), signed(first["direct_logit"])]
    assert len(shown) == 6


def test_steering_shows_each_prompt_without_and_with_the_feature_and_its_price(site: Path) -> None:
    parsed = page(site, "features/0.html")
    assert [node.text() for node in parsed.css("#steering caption")] == [f"“{prompt}”" for prompt in PROMPTS]
    rows = cells(parsed, "#steering table:first-of-type")
    assert [row[0] for row in rows] == ["nothing", "0.5×", "2×"]
    assert rows[0][2] == f"fine & {SCRIPT}"
    assert rows[2][2].endswith("2.0 </table>")
    assert "3.00 without, 3.50 at 0.5×, 5.00 at 2×" in text(site, "features/0.html", "#steering .hint")


def test_components_are_named_and_their_bars_point_the_way_of_their_sign(site: Path) -> None:
    parsed = page(site, "features/0.html")
    assert [row[:3] for row in cells(parsed, "#origin")] == [
        ["MLP 1", "+3.00", percent(1.5)],
        ["Head 1.3", "−1.50", "−75\u00a0%"],
        ["Embedding", "+0.50", "25\u00a0%"],
    ]
    bars = parsed.css("#origin svg path")[1].attributes["d"]
    assert re.findall(r"h(-?\d+)", bars or "") == ["133", "-67", "22"]


def test_the_page_of_all_effects_begins_with_what_is_sure(site: Path, tables: Tables) -> None:
    parsed = page(site, "effects/index.html")
    effects = tables["effects"]
    whole = effects[effects["group_kind"] == "all"]
    wanted = whole.sort_values(["kl_excess_low", "feature"], ascending=[False, True])["feature"].tolist()
    rows = cells(parsed, "#all")
    assert [int(row[0]) for row in rows] == wanted
    assert {int(row[0]): row[6] for row in rows} == {
        0: "more than chance",
        1: "no more than chance",
        2: "less than chance",
        3: "no control",
        9: "more than chance",
    }
    row = whole.set_index("feature").loc[0]
    assert rows[wanted.index(0)][5].split()[0] == decimals(row["kl_excess"], 4)
    lead = text(site, "effects/index.html", ".lead")
    assert "2 change the prediction more than the control, 1 no more than chance, 1 less; 1 has no control." in lead


def test_contradictions_are_listed_with_their_figures(site: Path) -> None:
    parsed = page(site, "effects/index.html")
    assert [row[0].split()[0] for row in cells(parsed, "#against")] == ["9"]
    assert [row[0].split()[0] for row in cells(parsed, "#harmful")] == ["0"]


def test_a_clear_label_without_an_effect_of_its_own_is_named(tmp_path: Path) -> None:
    """Features 1 and 2 have no more effect than chance, and the interval of the clearness of 1 begins above a half."""

    def clear(tables: Tables, manifest: dict[str, Any]) -> None:
        effect_tables.add(tables, manifest)
        features = tables.read("features")
        # The others keep theirs: pages of rankings show the interval of the features that they list.
        features = features.assign(clearness_low=[0.9, 0.6, 0.4, 0.9, *features["clearness_low"][4:]])
        write_table(tables.folder, "features", features)

    parsed = page(build(tmp_path, clear), "effects/index.html")
    assert [row[0].split()[0] for row in cells(parsed, "#idle")] == ["1"]


def test_a_list_of_contradictions_without_a_feature_is_left_out(tmp_path: Path) -> None:
    def agree(tables: Tables, manifest: dict[str, Any]) -> None:
        effect_tables.add(tables, manifest)
        changed = tables.read("effects").assign(direct_correlation=0.9, loss_high=0.5)
        write_table(tables.folder, "effects", changed)

    parsed = page(build(tmp_path, agree), "effects/index.html")
    assert not parsed.css("#against, #harmful")
    assert len(cells(parsed, "#all")) == len(MEASURED)


def test_pages_link_to_the_effects_and_define_them(site: Path) -> None:
    assert page(site, "index.html").css_first('.ways a[href="effects/index.html"]') is not None
    for path in ("index.html", "features/5.html", "about.html"):
        assert page(site, path).css_first('nav[aria-label="Pages of this catalog"] a[href$="effects/index.html"]')
    about = page(site, "about.html")
    assert about.css_first("#effects-kl_excess") is not None
    assert "The effects of 5 features were measured" in text(site, "about.html", "#limits")


def test_an_embed_says_the_effect(site: Path) -> None:
    said = [text(site, f"features/{number}.embed.html", "footer") for number in (0, 1, 3, 4)]
    assert "moves the model’s prediction by 0.070 [0.060, 0.080] nats (KL), more than chance." in said[0]
    assert ", no more than chance." in said[1]
    assert "nats (KL).All evidence" in said[2]
    assert "nats" not in said[3]


def test_a_catalog_without_effects_shows_nothing_of_them(tmp_path: Path) -> None:
    plain = build(tmp_path)
    assert not (plain / "effects").exists()
    for path in plain.rglob("*.html"):
        parsed = HTMLParser(path.read_text("utf-8"))
        # The page of definitions has a section for each table.
        assert path.name == "about.html" or not parsed.css(", ".join(f"#{name}" for name in SECTIONS)), path
        assert not parsed.css('a[href*="effects/"]'), path


def test_a_catalog_says_why_there_are_no_effects(tmp_path: Path) -> None:
    why = f"no layer follows the hook {SCRIPT}"
    plain = build(tmp_path, lambda _, manifest: manifest.update(effects={"reason": why}))
    for path, place in (("effects/index.html", ".notice"), ("about.html", "#limits"), ("features/0.html", "#effect")):
        assert why in text(plain, path, place), path
    assert not page(plain, "effects/index.html").css("table")
    assert not page(plain, "index.html").css(".ways a[href='effects/index.html']")


@pytest.mark.parametrize("crowded", [True, False])
def test_steering_is_shown_where_the_effect_could_not_be_measured(
    tmp_path: Path, crowded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "CROWDED", 0 if crowded else 1)

    def only_steering(tables: Tables, manifest: dict[str, Any]) -> None:
        effect_tables.add(tables, manifest)
        for name in ("effects", "effect_contexts", "effect_tokens", "attributions"):
            write_table(tables.folder, name, tables.read(name).head(0))
        manifest["effects"] = {"reason": "No layer follows.", "attribution": {"reason": "No sum of parts."}}

    place = build(tmp_path, only_steering)
    assert "Not measured: No layer follows." in text(place, "features/0.html", "#effect")
    steered = "effects/0.html" if crowded else "features/0.html"
    assert page(place, steered).css_first("#steering") is not None
    assert not page(place, steered).css("#moments, #origin, #effect table")
    about = text(place, "about.html", "#limits")
    assert "The effects of features could not be measured: No layer follows. " in about
    assert "Where features come from could not be computed: No sum of parts." in about
    assert "No feature could be steered with" not in about


def test_effects_have_pages_of_their_own_where_most_features_have_one(site: Path, tmp_path: Path) -> None:
    """The feature's page then has the effect in a sentence, and fewer examples, so that it stays small."""
    crowded = build(tmp_path / "crowded", effect_tables.add)
    measured_pages = sorted(set(MEASURED) & set(PAGED))
    assert sorted(int(path.stem) for path in crowded.glob("effects/[0-9]*.html")) == measured_pages
    for number in measured_pages:
        shown, short = (page(place, f"features/{number}.html") for place in (site, crowded))
        assert not short.css("#moments, #steering, #origin, #effect table")
        assert text(crowded, f"features/{number}.html", "#effect > p") == text(
            site, f"features/{number}.html", "#effect > p"
        )
        link = short.css_first("#effect a").attributes["href"]
        assert link == f"../effects/{number}.html"
        apart = page(crowded, f"effects/{number}.html")
        for name in SECTIONS:
            assert apart.css_first(f"#{name}").html == shown.css_first(f"#{name}").html, (number, name)
        assert apart.css_first(f'main a[href="../features/{number}.html"]') is not None
        assert len(short.css("#examples li")) == min(6, len(shown.css("#examples li")))
    plain = build(tmp_path / "plain")
    assert len(page(plain, "features/4.html").css("li")) == len(page(crowded, "features/4.html").css("li")) - 1
    assert not list(site.glob("effects/[0-9]*.html"))


def test_hostile_tokens_and_continuations_stay_text(site: Path) -> None:
    for path in [*site.glob("features/?.html"), site / "effects/index.html", site / "about.html"]:
        html = path.read_text("utf-8")
        assert SCRIPT not in html, path
        assert "\u202e" not in html, path
        parsed = HTMLParser(html)
        assert not [node for node in parsed.css("script") if not node.attributes.get("src")], path
        assert len(parsed.css("title")) == len(parsed.css("main")) == 1, path


def with_data(site: Path, tables: Tables, folder: Path) -> Path:
    """A copy of the site with its data files in `folder`; returns the folder of the catalog."""
    shutil.copytree(site.parent.parent, folder, dirs_exist_ok=True)
    shutil.copytree(tables.folder, folder / "tiny/0-res/data", dirs_exist_ok=True)
    state(**effect_tables.MANIFEST)(folder / "tiny/0-res")
    return folder / "tiny/0-res"


def test_the_library_has_the_effects_in_the_order_of_the_page(site: Path, tables: Tables, tmp_path: Path) -> None:
    opened = open_catalog(with_data(site, tables, tmp_path))
    frame = opened.effects()
    assert frame["feature"].tolist() == [int(row[0]) for row in cells(page(site, "effects/index.html"), "#all")]
    assert frame["rank"].tolist() == list(range(len(MEASURED)))
    assert opened.effects(2)["feature"].tolist() == frame["feature"].tolist()[:2]
    assert "label <0>" in frame.set_index("feature").loc[0, "label"]
    points = opened.effects_plot().data[1]
    assert len(points.x) == len(EXCESS)
    assert opened.about("effect_tokens", 0)["direction"].tolist().count("raised") == len(effect_tables.MOVED)
    with pytest.raises(CatalogError):
        opened.effects(0)


def test_the_library_has_no_effects_of_a_catalog_without_any(tmp_path: Path) -> None:
    place = build(tmp_path)
    shutil.copytree(tmp_path / "tables", place / "data", dirs_exist_ok=True)
    opened = open_catalog(place)
    assert opened.effects().empty
    assert len(opened.effects_plot().data[1].x or ()) == 0


def drop_section(place: Path) -> None:
    path = place / "features/1.html"
    path.write_text(path.read_text("utf-8").replace('id="effect"', 'id="other"'), encoding="utf-8")


def state(**entry: Any) -> Callable[[Path], None]:
    """Change what the manifest says of the effects."""

    def change(place: Path) -> None:
        path = place / "data/manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"effects": entry or None}), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (lambda _: None, []),
        (drop_section, ["features/1.html: does not show the effect of the feature"]),
        (lambda place: (place / "effects/index.html").unlink(), ["effects/index.html: missing, though"]),
        (state(features=4), ["data/effects.parquet: has 5 features, but tiny/0-res/data/manifest.json states 4"]),
        (state(reason="none"), ["data/effects.parquet: has 5 features"]),
        (state(features="five"), []),
        (state(), ["effects/index.html: the catalog was built without effects", "has 5 features"]),
    ],
)
def test_check_sees_effects_that_are_not_shown(
    site: Path, tables: Tables, tmp_path: Path, damage: Callable[[Path], object], wanted: list[str]
) -> None:
    damage(with_data(site, tables, tmp_path))
    found = [line for line in check_site(tmp_path, workers=1) if "effect" in line and ": link to " not in line]
    assert len(found) == len(wanted), found
    assert all(any(words in line for line in found) for words in wanted), found


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (measured(0.0213, 0.011, 0.0402), "0.021 [0.011, 0.040]"),
        (measured(-0.5, -2.0, 1.0), "−0.5 [−2.0, 1.0]"),
        (measured(0.25, math.nan, math.nan), "0.25"),
        (measured(-0.02, -0.04, -0.0004), "−0.0200 [−0.0400, −0.0004]"),
        (measured(0.02, 0.0, 0.04), "0.02 [0.00, 0.04]"),
        (measured(0.02, 1e-12, 0.04), "0.020000 [0.000000, 0.040000]"),
        (significant(0.07), "0.070"),
        (significant(0.00042), "0.00042"),
        (significant(-12.3), "−12"),
        (significant(0), "0"),
        (significant(math.nan), "–"),
        (factor(0.5), "0.5×"),
        (factor(-2.0), "−2×"),
        (signed(math.nan), "–"),
    ],
)
def test_figures_are_rounded_as_their_intervals_deserve(found: str, wanted: str) -> None:
    assert found == wanted


def test_the_picture_of_all_effects_has_a_point_for_each_and_the_line_of_chance() -> None:
    points = [(0.01, 0.1), (0.1, 0.01), (0.1, 0.1), (0.0, 0.05), (1e-9, 0.1)]
    root = ElementTree.fromstring(str(svg.dots(points, "<label>", ("<x>", "<y>"))))
    paths = {node.attrib["class"]: node.attrib["d"] for node in root if "class" in node.attrib}
    where = [tuple(map(int, point)) for point in re.findall(r"M(\d+) (\d+)h0", paths["dots"])]
    assert len(where) == len(points)
    size = max(map(int, re.findall(r"\d+", paths["equal"])))
    above, below, on, *_ = where
    assert above[0] < size - above[1], "more than the control: above the line"
    assert below[0] > size - below[1]
    assert on[0] == size - on[1]
    assert all(0 <= x <= size and 0 <= y <= size for x, y in where)


@pytest.mark.parametrize("values", [[], [0.0], [-1.0, -2.0], [3.0, 1.0]])
def test_bars_fill_the_picture_from_its_line(values: list[float]) -> None:
    root = ElementTree.fromstring(str(svg.signed_bars(values)))
    line, bars = (node.attrib["d"] for node in root)
    zero = int(re.match(r"M(\d+)", line)[1])  # type: ignore[index]
    lengths = [int(found) for found in re.findall(r"h(-?\d+)", bars)]
    assert all((length > 0) == (value > 0) for length, value in zip(lengths, values, strict=False))
    assert max([0, *(abs(n) for n in lengths)]) == (200 if any(values) else 0)
    assert zero == (200 if min([0.0, *values]) < 0 else 0)


def test_the_table_is_sorted_by_any_column(page: Page, site: Path, tables: Tables) -> None:
    page.goto((site / "effects/index.html").as_uri())

    def order() -> list[int]:
        return [int(number) for number in page.locator("#all tbody th").all_inner_texts()]

    places = {number: place for place, number in enumerate(order())}
    effects = tables["effects"]
    whole = effects[effects["group_kind"] == "all"]
    whole = whole.assign(place=whole["feature"].map(places))
    for head, column in {"KL": "kl", "Change in loss": "loss_change", "Difference": "kl_excess"}.items():
        button = page.locator("#all thead").get_by_role("button", name=re.compile(f"^{head}"))
        for state in ("descending", "ascending"):
            button.click()
            assert button.locator("..").get_attribute("aria-sort") == state
            wanted = whole.sort_values([column, "place"], ascending=[state == "ascending", True], na_position="last")
            assert order() == wanted["feature"].tolist(), (head, state)
    page.locator("#all thead").get_by_role("button", name="Verdict").click()
    words = page.locator("#all tbody td:nth-child(7)").all_inner_texts()
    assert words == sorted(words)
