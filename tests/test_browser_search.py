"""What a search of the default catalog finds, and that it finds it first."""

from pathlib import Path

from playwright.sync_api import Page

NEGATION = {1573, 1050, 2001, 2273, 2378, 3657, 3743}
"""Features of the embedded SAE on "not", "'t", "no" and "never"; their labels are in the catalog."""

FIRST: list[tuple[str, set[int], int]] = [
    ("negation", NEGATION, 5),
    ("Negation", NEGATION, 5),
    ("negative", NEGATION, 2),
    (" not", {1344, 3544, 2001, 2020, 2704, 3316, 4044}, 5),
    ("gratitude", {1714}, 1),
    ("thanks", {1714}, 1),
    ("python", {798, 817, 2795, 3713}, 4),
    ("pyhton", {798, 817, 2795, 3713}, 4),
    ("def (", {348, 1482, 1821, 1835, 2039}, 5),
    ("53", {53}, 1),
    ("#243", {243}, 1),
    ("的", {3018, 3366}, 2),
]
"""A query, and features that fill the first places of its results."""

SOME = ("comma", "polite", "politeness", "specialist: poetry", "の", "ब", "🙂")
NONE = ("zzzzqq", "qqq zzz", "🦩🦩")
TYPED = """query => {
  const box = document.getElementById("search");
  box.value = query;
  box.dispatchEvent(new Event("input"));
  return document.querySelector("#results").innerText;
}"""


def test_the_default_catalog_answers_as_a_reader_means_it(page: Page, default_site: Path) -> None:
    page.goto(next(default_site.glob("*/*/about.html")).as_uri())
    page.focus("#search")
    page.wait_for_selector("#results", state="attached")
    for query, wanted, count in FIRST:
        found = page.evaluate("query => saeFind(query)", query)
        assert set(found[:count]) <= wanted, (query, found[:8])
    for query in SOME:
        assert page.evaluate("query => saeFind(query)", query), query
    for query in NONE:
        assert page.evaluate("query => saeFind(query)", query) == [], query
    # The concept itself comes first, then features with their figures.
    assert page.evaluate(TYPED, "negation").startswith("Negation")
    assert page.evaluate(TYPED, "53").startswith("53")
    assert "density 0.61\u00a0%, max 38.3" in page.evaluate(TYPED, "negation")
    assert page.evaluate(TYPED, "zzzzqq") == ""
