"""Catalogs with many categories and concepts: their pages stay small, and every category and concept is reachable."""

import json
import random
import re
from collections.abc import Callable
from contextlib import chdir
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import CODE, D_SAE, LONG, PROSE, SCRIPTS, SaeKind

from saecatalog.cli import main
from saecatalog.constants import LIST_ROWS, MANY_CATEGORIES
from saecatalog.site.check import check_site
from saecatalog.site.pages import texts

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
KIND = SaeKind("jumprelu")
CONCEPTS = 450


def write_texts(folder: Path, categories: int) -> list[str]:
    """One text for each category, and two for each concept; returns the flags of `build` that name them."""
    chance = random.Random(0)
    known = " ".join([*PROSE, *SCRIPTS, *CODE, LONG]).split()

    def line() -> str:
        return " ".join(chance.choices(known, k=6))

    records = [{"category": f"group {n:04d}", "text": f"{line()} {n}"} for n in range(categories)]
    concepts = folder / "concepts"
    concepts.mkdir(parents=True)
    (folder / "texts.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    for n in range(CONCEPTS if categories == 400 else 2):
        (concepts / f"idea-{n:04d}.txt").write_text(f"{line()}\n{records[n % categories]['text']}\n", "utf-8")
    return ["--corpus", str(folder / "texts.jsonl"), "--concepts", str(concepts)]


@pytest.fixture(scope="module")
def built(saes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Returns the folder of a catalog with a number of categories of one text each, and a page for every feature."""

    @cache
    def catalog(categories: int) -> Path:
        folder = tmp_path_factory.mktemp(f"categories-{categories}")
        places = ["--cache", str(folder / "cache"), "--device", "cpu", "--out", str(folder / "site"), "--quiet"]
        words = [*write_texts(folder, categories), *places, "--features", "all"]
        with chdir(ROOT), pytest.MonkeyPatch.context() as patch:
            # Otherwise it takes 2,000 texts, and a minute, to be in their thousands.
            patch.setattr(texts, "MARK_ALL", 1000)
            assert main(["build", "--sae", str(saes("llama", KIND)), *words]) == 0
        (manifest,) = folder.rglob("data/manifest.json")
        return manifest.parent.parent

    return catalog


def links(page: Path) -> set[str]:
    """The files in the folder of a page that it links to."""
    return {
        href.rpartition("/")[2].partition("#")[0] for href in re.findall(r'href="([^"]*)"', page.read_text("utf-8"))
    }


def reached(folder: Path) -> set[str]:
    """The files that the pages of a list link to, beginning with the first."""
    seen, waiting = set[str](), ["index.html"]
    while waiting:
        found = links(folder / waiting.pop()) - seen
        seen |= found
        waiting += [name for name in found if re.fullmatch(r"index\.\d+\.html", name)]
    return seen


def size_of(catalog: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in catalog.glob(pattern))


@pytest.mark.parametrize("categories", [400, 1200])
def test_pages_keep_their_budget_and_each_category_is_reachable(built: Callable[[int], Path], categories: int) -> None:
    catalog = built(categories)
    assert check_site(catalog.parent.parent) == []
    for folder in ("categories", "texts"):
        pages = reached(catalog / folder)
        prefix = "all." if folder == "texts" else ""
        assert {f"{prefix}group-{n:04d}.html" for n in range(categories)} <= pages
    assert len(list(catalog.glob("categories/index*.html"))) == -(-categories // LIST_ROWS)


def test_each_of_many_concepts_is_reachable(built: Callable[[int], Path]) -> None:
    catalog = built(400)
    assert {f"idea-{n:04d}.html" for n in range(CONCEPTS)} <= reached(catalog / "concepts")


def test_feature_pages_and_tables_grow_with_texts(built: Callable[[int], Path]) -> None:
    """Forty times as many categories: a page shows no more of them, and a table has no more rows than scores."""
    few, many = built(30), built(1200)
    assert size_of(many, "features/*[0-9].html") < 1.5 * size_of(few, "features/*[0-9].html")
    rows = {name: pq.read_metadata(many / f"data/{name}.parquet").num_rows for name in ("categories", "text_scores")}
    assert rows["categories"] == rows["text_scores"]
    # The largest page and script of a category do not grow with the number of categories.
    for pattern in ("categories/group-*.html", "charts/category-*.js", "features/index.html"):
        largest = [max(path.stat().st_size for path in catalog.glob(pattern)) for catalog in (few, many)]
        assert largest[1] < 1.5 * largest[0], pattern


def test_a_feature_page_names_its_strongest_categories_and_counts_the_rest(built: Callable[[int], Path]) -> None:
    catalog = built(400)
    table = pq.read_table(catalog / "data/categories.parquet").to_pandas()
    for feature, found in table.groupby("feature"):
        page = (catalog / f"features/{feature}.html").read_text("utf-8")
        chart = page.partition('data-kind="shares"')[2].partition("</figure>")[0]
        shown = re.findall(r'<th scope="row">(Group \d+)', chart)
        order = found.sort_values(["strong_rate_inside", "mean_inside", "category"], ascending=[False, False, True])
        assert shown == [name.capitalize() for name in order["category"].head(MANY_CATEGORIES)]
        rest, unlisted = 400 - len(found), len(found) - MANY_CATEGORIES
        more = f"Also active in {unlisted} more, silent in {rest}." if rest else f"Also active in {unlisted} more."
        assert (more if unlisted > 0 else f"Silent in the other {rest}.") in page


def test_verify_agrees_where_silent_categories_have_no_row(
    built: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = built(30)
    monkeypatch.chdir(ROOT)
    cache = catalog.parent.parent.parent / "cache"
    code = main(["verify", str(catalog), "--sample", str(D_SAE), "--cache", str(cache), "--quiet"])
    assert capsys.readouterr().out.endswith("; 0 mismatches\n")
    assert code == 0
