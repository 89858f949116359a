"""Hostile strings in every place where a catalog shows something it was given: none runs, and each is shown as text.

One catalog holds all strings of `attacks.py`: each is in a text, and many are also labels, tokens, sources, names of
categories and concepts, notes and settings. Its pages are opened in a browser, charts are drawn and pointed at, and the
strings are typed into the search and the filters.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import synthetic
import test_site_pages
from attacks import ATTACKS, seen
from browsing import draw_charts, opened
from playwright.sync_api import Browser, Page
from test_notes import row

from saecatalog.site.pages import feature
from saecatalog.tables import Tables, write_table

# Everything that only a string that was not escaped can have put on a page, or done.
FOREIGN = r"""() => {
  const found = [...(window.wasRun ?? [])].map((n) => `ran: ${n}`);
  const known = /^(file:\/\/\/|https:\/\/(example\.org|www\.neuronpedia\.org)\/|data:,$|data:image\/png;base64,)/;
  for (const name of ["href", "src", "srcset", "action", "formaction", "data", "poster", "xlink:href"]) {
    for (const node of document.querySelectorAll(`[${name.replace(":", "\\:")}]`)) {
      const value = node.getAttribute(name);
      if (!known.test(new URL(value, document.baseURI).href)) found.push(`attribute ${name}=${value}`);
    }
  }
  const odd = ["script:not([src])", "iframe:not([src$='.embed.html'])", "[srcdoc]", "object", "embed", "math", "base"];
  odd.push("video", "animate", "use", "form[action]", "meta[http-equiv=refresh]");
  found.push(...[...document.querySelectorAll(odd)].map((node) => `element ${node.outerHTML.slice(0, 150)}`));
  const events = document.evaluate("//@*[starts-with(name(), 'on')]", document, null, XPathResult.ANY_TYPE, null);
  for (let event = events.iterateNext(); event; event = events.iterateNext()) found.push(`attribute ${event.name}`);
  return found;
}"""

TEXT = """() => [
  document.title,
  document.body.textContent,
  ...[...document.querySelectorAll("[title], [aria-label]")].flatMap((node) => [node.title, node.ariaLabel]),
].join(" ")"""

TOLD = "() => [...document.querySelectorAll('.told, .hoverlayer')].map((node) => node.textContent).join(' ')"

TYPE = """async ([selector, strings]) => {
  const box = document.querySelector(selector);
  box.focus();
  for (const text of strings) {
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    box.dispatchEvent(new Event("change", { bubbles: true }));
    await new Promise((done) => setTimeout(done));
  }
}"""

READABLE = [text for text in ATTACKS if text.isprintable()]
"""Those that may be in a name: without controls and marks of direction, which the corpus refuses there."""

PAGED = [0, 1, 2]


@dataclass
class Attacked:
    """A catalog's folder, and the strings that its pages must show, by the page's path."""

    site: Path
    shown: dict[str, list[str]] = field(default_factory=dict)


def some(strings: Iterator[str], count: int, *pages: str, of: Attacked, by: str = " ") -> str:
    """The next strings, joined, after noting that these pages must show each of them."""
    taken = list(islice(strings, count))
    for page in pages:
        of.shown.setdefault(page, []).extend(taken)
    return by.join(taken)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    """The synthetic catalog with the strings in place of its own, and what each of its pages must show."""
    plan, names = Attacked(tmp_path_factory.mktemp("attacked")), iter(READABLE)
    overviews = ("categories/index.html", "texts/index.html", "features/1.html")
    categories = [some(names, 6, *overviews, f"texts/t{c}-0.html", of=plan) for c in range(3)]
    concept = some(names, 6, "concepts/index.html", of=plan)
    texts, each = iter(ATTACKS), -(-len(ATTACKS) // 12)
    contents = {
        name: [some(texts, each, f"texts/t{c}-{number}.html", of=plan, by="\n") for number in range(4)]
        for c, name in enumerate(categories)
    }
    world = {"CATEGORIES": categories, "CONCEPT": concept, "CONTENTS": contents, "PAGED": PAGED}
    wishes = {"neuronpedia": f"{READABLE[0]}/6-res", "base_url": f"https://example.org/{READABLE[300]}/", "csv": True}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.items():
            patch.setattr(synthetic, name, value)
        plan.site = test_site_pages.build(
            plan.site, lambda *made: change(*made, names, plan), notes=make_notes(categories, concept), **wishes
        )
    return plan


def make_notes(categories: list[str], concept: str) -> list[dict[str, Any]]:
    """Notes on every kind of subject, each with every tenth string, alone and inside other Markdown."""
    subjects = [("index", ""), ("concept", concept), *(("category", name) for name in categories)]
    subjects += [("feature", str(n)) for n in PAGED]
    return [
        row(kind, name, "\n\n".join(f"{text}\n\n> - **{text}**\n\n`{text}`" for text in ATTACKS[i :: len(subjects)]))
        for i, (kind, name) in enumerate(subjects)
    ]


def change(tables: Tables, manifest: dict[str, Any], names: Iterator[str], plan: Attacked) -> None:
    """Put strings into labels, tokens and sources in the tables, and into names and settings in the manifest."""
    features, tokens, logits, texts, concept_texts = (
        tables[name].copy() for name in ("features", "tokens", "logits", "texts", "concept_texts")
    )
    features["label"] = [some(names, 4, *pages_of(n, "features/index.html"), of=plan) for n in features["feature"]]
    every = cycle(ATTACKS)
    for frame in (tokens, logits):
        shown = [pages_of(row.feature) if row.rank < feature.TOKENS else () for row in frame.itertuples()]
        frame["token"] = [some(every, 1, *pages, of=plan) for pages in shown]
    for column in ("token_rule", "bigram_first", "bigram_second"):
        features[column] = list(islice(every, len(features)))
    texts["source"] = [some(names, 4, f"texts/{text}.html", of=plan) for text in texts["text"]]
    concept_texts["content"] = concept_texts["source"] = list(islice(every, len(concept_texts)))
    for name, frame in (("features", features), ("tokens", tokens), ("logits", logits), ("texts", texts)):
        write_table(tables.folder, name, frame)
    write_table(tables.folder, "concept_texts", concept_texts)
    tables._read.clear()
    manifest["title"] = some(names, 4, "index.html", "about.html", "../../index.html", of=plan)
    manifest["description"] = some(names, 4, "index.html", of=plan)
    manifest["model"] |= {"name": some(names, 2, "about.html", of=plan), "source": some(names, 2, of=plan)}
    manifest["sae"] |= {"name": some(names, 2, "about.html", of=plan), "hook": some(names, 2, "about.html", of=plan)}
    manifest["settings"]["strong_rule"] = some(names, 2, "about.html", of=plan)
    manifest["libraries"] = {some(names, 2, "about.html", of=plan): some(names, 2, "about.html", of=plan)}
    manifest["program"]["version"] = some(names, 2, of=plan)


def pages_of(number: int, *others: str) -> list[str]:
    """The page of a feature, and others that show it; none if it has no page."""
    return [f"features/{number}.html", *others] if number in PAGED else []


@contextmanager
def unprotected(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page on which scripts run that its policy would stop, with a list of all that happens and should not."""
    complaints: list[str] = []
    with opened(browser, complaints, bypass_csp=True) as page:
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.add_init_script("window.ran = (n) => (window.wasRun ??= []).push(n);")
        yield page, complaints


def test_on_every_page_nothing_runs_and_every_string_is_shown(browser: Browser, attacked: Attacked) -> None:
    found: dict[str, list[str]] = {}
    with unprotected(browser) as (page, complaints):
        for path in sorted(attacked.site.parent.parent.rglob("*.html")):
            page.goto(path.as_uri())
            draw_charts(page)
            name = os.path.relpath(path, attacked.site)
            text = seen(page.evaluate(TEXT))
            missing = [attack for attack in attacked.shown.pop(name, []) if seen(attack) not in text]
            complaints += [*page.evaluate(FOREIGN), *(f"not shown: {attack!a}" for attack in missing)]
            if complaints:
                found[name] = [*complaints]
            complaints.clear()
    assert found == {}
    assert attacked.shown == {}


def test_nothing_runs_as_charts_are_pointed_at(browser: Browser, attacked: Attacked) -> None:
    told = ""
    with unprotected(browser) as (page, complaints):
        for path in ("features/1.html", "categories/index.html", "coactivation/index.html"):
            page.goto((attacked.site / path).as_uri())
            draw_charts(page)
            for plot in page.locator("figure.chart .drawn .nsewdrag").all():
                plot.scroll_into_view_if_needed()
                for place in (0.15, 0.5, 0.85):
                    box = plot.bounding_box() or {}
                    page.mouse.move(box["x"] + box["width"] * place, box["y"] + box["height"] * place, steps=2)
                    page.wait_for_timeout(60)
                    told += page.evaluate(TOLD)
            complaints += page.evaluate(FOREIGN)
    assert complaints == []
    # The names of categories, which the bars tell, are among it.
    assert seen(READABLE[0]) in seen(told)


def test_nothing_runs_that_is_typed_or_is_in_the_address(browser: Browser, attacked: Attacked) -> None:
    with unprotected(browser) as (page, complaints):
        table = (attacked.site / "features/index.html").as_uri()
        page.goto(table)
        page.keyboard.press("/")
        for box in ("#search", "#filters [name=q]"):
            page.evaluate(TYPE, [box, [*ATTACKS[::8], *(text[:12] for text in ATTACKS[1::30])]])
        page.fill("#search", READABLE[24])
        page.wait_for_selector("#results [role=option]")
        assert seen(READABLE[24]) in seen(page.locator("#results").text_content() or "")
        complaints += page.evaluate(FOREIGN)
        for text in ATTACKS[::60]:
            part = quote(text, safe="")
            page.goto(f"{table}?q={part}&reason={part}&sort={part}&columns={part}&page={part}#{part}")
            page.wait_for_selector("#table tbody tr")
            complaints += page.evaluate(FOREIGN)
            page.goto(f"{(attacked.site / 'embed.html').as_uri()}?feature={part}#{part}")
            complaints += page.evaluate(FOREIGN)
    assert complaints == []


def test_a_saved_table_holds_nothing_that_a_spreadsheet_would_run(browser: Browser, attacked: Attacked) -> None:
    with unprotected(browser) as (page, complaints):
        page.goto((attacked.site / "features/index.html").as_uri())
        with page.expect_download() as download:
            page.click("#filters .download")
        text = Path(download.value.path()).read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert complaints == []
    labels = Tables(attacked.site.parents[2] / "tables").features["label"]
    saved = {int(row["feature"]): row["label"].removeprefix("'") for row in rows}
    assert saved == {number: labels[number] for number in PAGED}
    texts = [row[name] for row in rows for name in ("label", "token_rule", "bigram_first", "bigram_second")]
    guarded = [text for text in texts if text.startswith("'")]
    assert [text for text in texts if re.match(r"['\t\r\n]|[\W_]*[=+@-]", text)] == guarded
    assert len(guarded) > 3
