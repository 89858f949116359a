"""The HTML of every template against `tests/snapshots/`.

The pages are those of the synthetic catalog. After an intended change, `make snapshots` updates them, and `git diff`
shows what changed.
"""

from difflib import unified_diff
from pathlib import Path
from typing import Any

import effect_tables
import pytest
from jinja2.meta import find_referenced_templates
from sites import Workplace
from synthetic import LIVE
from test_site_pages import TEMPLATES, build

from saecatalog.site import templates
from saecatalog.site.pages import about

SNAPSHOTS = Path(__file__).parent / "snapshots"

PAGES = {
    "about.html": "about.html",
    "about.live.html": "about.html",
    "catalogs.html": "../../index.html",
    "categories.html": "categories/index.html",
    "category_pair.html": "categories/script-alert-1-script.vs.python-code.html",
    "category.html": "categories/python-code.html",
    "coactivation.html": "coactivation/index.html",
    "concept.html": "concepts/numbers-title-b.html",
    "concepts.html": "concepts/index.html",
    "clearest.html": "clearest/index.html",
    "effect_page.effects.html": "effects/0.html",
    "effects.effects.html": "effects/index.html",
    "embed.html": "embed.html",
    "feature.effects.html": "features/0.html",
    "feature.html": "features/1.html",
    "feature.live.html": "features/1.html",
    "feature.silent.html": "features/5.html",
    "feature_embed.html": "features/1.embed.html",
    "features.html": "features/index.html",
    "index.html": "index.html",
    "live.html": "live/index.html",
    "pair.html": "pair.html",
    "row.html": "row.html",
    "text.html": "texts/t1-0.html",
    "texts.html": "texts/index.html",
    "texts.list.html": "texts/all.python-code.html",
}
"""Each snapshot, named for its template and a case of it, and the page it is of.

Those with `live` in the name are of a catalog with a live part, and those with `.effects` of one with effects.
"""

OF_THREE = {
    "catalogs.three.html": "index.html",
    "compare.html": "compare/tiny.0-res--tiny.1-res/index.html",
    "compare.corpora.html": "compare/tiny.0-res--tiny.0-res-other/index.html",
}
"""The snapshots of pages of a site with three catalogs and their comparisons."""


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The synthetic catalog alone, with a live part, and with effects; `about.html` has one definition, to be short."""
    view_of_about = about.view

    def brief(*given: Any) -> dict[str, Any]:
        view = view_of_about(*given)
        return view | {"definitions": view["definitions"][:1]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(about, "view", brief)
        return {
            "": build(tmp_path_factory.mktemp("snapshots")),
            "live": build(tmp_path_factory.mktemp("live"), lambda _, manifest: manifest.update(live=LIVE)),
            "effects": build(tmp_path_factory.mktemp("effects"), effect_tables.add),
        }


def rendered_templates() -> set[str]:
    """The templates of pages, which are those that no other template extends or imports."""
    sources = {path.name: path.read_text("utf-8") for path in TEMPLATES.glob("*.html")}
    parse = templates.environment(TEMPLATES).parse
    parts = {part for source in sources.values() for part in find_referenced_templates(parse(source))}
    return set(sources) - parts


@pytest.mark.parametrize("name", PAGES)
def test_page_is_the_one_in_the_snapshot(catalogs: dict[str, Path], name: str, update: bool) -> None:
    kind = next((part for part in name.split(".") if part in catalogs), "")
    compare(catalogs[kind] / PAGES[name], SNAPSHOTS / name, update)


@pytest.mark.parametrize("name", OF_THREE)
def test_page_of_three_catalogs_is_the_one_in_the_snapshot(three: Workplace, name: str, update: bool) -> None:
    compare(three.site / OF_THREE[name], SNAPSHOTS / name, update)


def compare(page: Path, snapshot: Path, update: bool) -> None:
    """Fail with the difference of a page and its snapshot, or make the snapshot anew."""
    if update:
        SNAPSHOTS.mkdir(exist_ok=True)
        # As bytes, so that no line end is changed on the way.
        snapshot.write_bytes(page.read_bytes())
    if page.read_bytes() != snapshot.read_bytes():
        pytest.fail(f"{difference(snapshot, page)}\nIf the change is meant: make snapshots", pytrace=False)


def test_every_template_has_a_snapshot_and_every_snapshot_a_template(update: bool) -> None:
    if update:
        for stale in {path.name for path in SNAPSHOTS.glob("*")} - {*PAGES, *OF_THREE}:
            (SNAPSHOTS / stale).unlink()
    assert {name.partition(".")[0] + ".html" for name in (*PAGES, *OF_THREE)} == rendered_templates()
    assert {path.name for path in SNAPSHOTS.glob("*")} == {*PAGES, *OF_THREE}


def difference(old: Path, new: Path) -> str:
    """The first lines of the difference of two files, with long lines truncated."""
    before, after = (path.read_text("utf-8").splitlines() for path in (old, new))
    lines = list(unified_diff(before, after, f"snapshots/{old.name}", "now", n=1, lineterm=""))
    more = [f"and {len(lines) - 24} more lines"] if len(lines) > 24 else []
    return "\n".join([line[:240] for line in lines[:24]] + more)
