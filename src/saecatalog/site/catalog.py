"""One catalog as the views see it: the tables grouped for lookup, and the names of features, texts and categories.

In: `Tables` and the manifest. Everything here is computed once per build; the views only look things up.
"""

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from saecatalog.constants import CLEAR_KINDS, EVIDENCE, MANY_CATEGORIES, WEAK_SPECIALIST
from saecatalog.manifest import Manifest, has_live_part, without_paths
from saecatalog.names import slug, title
from saecatalog.notes import link_of, same_name
from saecatalog.site import cite, note_html
from saecatalog.site.examples import Examples
from saecatalog.site.note_html import Note
from saecatalog.site.records import Groups, Records, Row, rows
from saecatalog.tables import Tables

REASONS = (
    "clearest",
    "strongest",
    "frequent",
    "selective",
    "specialist",
    WEAK_SPECIALIST,
    "common",
    "concept",
    "consistent",
    "strong",
    "contrast",
    "noted",
)
"""The kinds of reason why a feature can be notable, in the order in which they are shown."""

ROW_PAGE = "row.html"
"""The page that shows the row of any feature without a page of its own; its address names the feature."""

CLEAREST_PAGE = "clearest/index.html"
"""The page of the clearest features, with an anchor for each kind."""

CROWDED = 0.2
"""The share of pages with effects above which each of these must be short, so that the mean size keeps the limit."""

STATIC_ROWS = 500
"""Rows of the features table in the HTML of one page; further rows are on further pages (a script shows all on one)."""


@dataclass(frozen=True)
class FeatureRef:
    """A mention of a feature: `page` is where its figures are, from the catalog's root.

    That is its own page if it has one (`own`), otherwise the page that shows the row of any feature.
    """

    number: int
    label: str
    page: str
    own: bool


@dataclass(frozen=True)
class TextRef:
    """A mention of a text: its id, its page from the catalog's root, its category, and its name under that category."""

    id: str
    page: str
    category: str
    name: str


@dataclass(frozen=True)
class GroupRef:
    """A category or concept: its name, its title for readers, its page from the catalog's root, texts and tokens."""

    name: str
    title: str
    page: str
    texts: int
    tokens: int


class Catalog:
    """The tables and manifest of one catalog, ready for lookup by feature, text, category and concept."""

    def __init__(self, tables: Tables, manifest: Manifest):
        self.tables, self.manifest = tables, without_paths(manifest)
        self._refs: dict[int, FeatureRef] = {}
        self._text_refs: dict[str, TextRef] = {}
        self._groups: dict[tuple[str, str], Groups] = {}
        self._notes: dict[tuple[str, str], Note] = {}

    @cached_property
    def features(self) -> Records:
        """Every feature's row by its number."""
        return Records(self.tables["features"], "feature")

    @cached_property
    def paged(self) -> list[int]:
        """The features with a page, in order."""
        frame = self.tables["features"]
        found: list[int] = sorted(frame.loc[frame["page"] != "", "feature"].tolist())
        return found

    @cached_property
    def notable(self) -> list[int]:
        """The notable features, in order."""
        frame = self.tables["features"]
        found: list[int] = sorted(frame.loc[frame["notable"] != "", "feature"].tolist())
        return found

    @cached_property
    def tour(self) -> list[int]:
        """The features with a page through which "previous" and "next" lead: the clearest first, then by number.

        It is the notable ones, or all of them if the author chose features and left out notable ones, or if none is
        notable.
        """
        among = self.notable if self.visits_notable else self.paged
        return sorted(among, key=lambda number: (self.places.get(("clearest", number), len(self.places)), number))

    @cached_property
    def visits_notable(self) -> bool:
        """Whether "previous" and "next" lead through the notable features only."""
        return bool(self.notable) and set(self.notable) <= set(self.paged)

    @cached_property
    def listed(self) -> list[int]:
        """The features with a page in the order of the features table: those of the tour first."""
        return [*self.tour, *sorted(set(self.paged) - set(self.tour))]

    @cached_property
    def unpaged(self) -> list[int]:
        """The features without a page of their own, in order."""
        return sorted(set(self.features) - set(self.paged))

    @cached_property
    def compared(self) -> list[int]:
        """The features that can be compared with each other, in order."""
        found: list[int] = self.tables.read("firings", ["feature"])["feature"].tolist()
        return found

    @cached_property
    def comparable(self) -> frozenset[int]:
        """The same, for lookup; empty if there are fewer than two."""
        return frozenset(self.compared if len(self.compared) > 1 else ())

    @cached_property
    def embedded(self) -> set[int]:
        """The features with an embed."""
        return cite.embedded(self.paged, self.notable)

    @cached_property
    def examples(self) -> Examples:
        """The examples on feature pages."""
        return Examples(self.tables, self.paged, self.acting if self.is_crowded else ())

    @cached_property
    def effects(self) -> Records:
        """The row of `effects` over all contexts of each feature whose effect was measured."""
        frame = self.tables["effects"]
        return Records(frame[frame["group_kind"] == "all"], "feature")

    @cached_property
    def acting(self) -> set[int]:
        """The features of which something is known of what they do: an effect, steering, or where they come from."""
        found = (self.tables.read(name, ["feature"])["feature"] for name in ("effects", "steering", "attributions"))
        return {int(number) for column in found for number in column.unique()}

    @cached_property
    def is_crowded(self) -> bool:
        """Whether so many pages show what a feature does that each of them has room for little else."""
        return len(self.acting.intersection(self.paged)) > CROWDED * len(self.paged)

    @cached_property
    def prompts(self) -> list[Row]:
        """The prompts that features were steered on, with what the model writes without steering."""
        return rows(self.tables["steering_prompts"])

    @cached_property
    def order(self) -> dict[int, int]:
        """The position of each feature with a page in the features table."""
        return {number: place for place, number in enumerate(self.listed)}

    def table_page(self, number: int) -> str:
        """The page of the features table with the row of a feature."""
        return list_page(self.order[number] // STATIC_ROWS)

    def by(self, table: str, key: str) -> Groups:
        """The rows of a table by one of its columns, grouped on first use."""
        if (table, key) not in self._groups:
            self._groups[table, key] = Groups(self.tables[table], key)
        return self._groups[table, key]

    @cached_property
    def texts(self) -> Records:
        """Every text's row by its id."""
        return Records(self.tables["texts"], "text")

    @cached_property
    def text_ids(self) -> dict[str, list[str]]:
        """The ids of each category's texts, in the order of the table."""
        frame = self.tables["texts"]
        return {str(name): part["text"].tolist() for name, part in frame.groupby("category")}

    @cached_property
    def text_place(self) -> dict[str, int]:
        """The position of each text within its category."""
        return {text: place for members in self.text_ids.values() for place, text in enumerate(members)}

    @cached_property
    def categories(self) -> list[GroupRef]:
        """The categories in the order of the manifest."""
        return self._named("categories")

    @cached_property
    def concepts(self) -> list[GroupRef]:
        """The concepts in the order of the manifest."""
        return self._named("concepts")

    @cached_property
    def category(self) -> dict[str, GroupRef]:
        """Each category by name."""
        return {ref.name: ref for ref in self.categories}

    @cached_property
    def has_many_categories(self) -> bool:
        """Whether pages show only some of the categories."""
        return len(self.categories) > MANY_CATEGORIES

    @cached_property
    def largest_categories(self) -> list[GroupRef]:
        """The categories with the most texts, at most `MANY_CATEGORIES`, in the order of the manifest."""
        by_size = sorted(self.categories, key=lambda ref: -ref.texts)
        chosen = {ref.name for ref in by_size[:MANY_CATEGORIES]}
        return [ref for ref in self.categories if ref.name in chosen]

    @cached_property
    def evidence(self) -> dict[str, dict[str, int]]:
        """How many specialists each category has, by the evidence for them, the best first."""
        frame = self.tables.read("categories", ["category", "evidence"])
        counts = frame[frame["evidence"] != ""].value_counts().to_dict()
        return {ref.name: {word: int(counts.get((ref.name, word), 0)) for word in EVIDENCE} for ref in self.categories}

    @cached_property
    def responding(self) -> dict[str, int]:
        """How many features respond to each concept with any, over all features of the SAE."""
        frame = self.tables.read("concepts", ["concept", "responds"])
        return {str(name): int(count) for name, count in frame[frame["responds"]]["concept"].value_counts().items()}

    @cached_property
    def rankings(self) -> Groups:
        """The rankings by name."""
        return Groups(self.tables["rankings"], "ranking")

    @cached_property
    def places(self) -> dict[tuple[str, int], int]:
        """The rank, from 0, of each feature in each ranking that contains it."""
        frame = self.tables["rankings"]
        columns = (frame[name].to_numpy().tolist() for name in ("ranking", "feature", "rank"))
        return {(ranking, feature): rank for ranking, feature, rank in zip(*columns, strict=True)}

    def clear_kind(self, number: int) -> str:
        """The kind of clear features, a key of `CLEAR_KINDS`, that lists this one; "" if it is in no list."""
        return next((kind for kind in CLEAR_KINDS if (f"clearest:{kind}", number) in self.places), "")

    def ref(self, number: int) -> FeatureRef:
        """How a feature is mentioned."""
        ref = self._refs.get(number)
        if ref is None:
            label, page = self._named_pages.get(number, ("", ""))
            ref = self._refs[number] = FeatureRef(number, label, page or row_page(number), page != "")
        return ref

    @cached_property
    def standing(self) -> dict[int, tuple[str, str]]:
        """Why each feature is notable, and its strongest text: faster to go through than whole rows."""
        columns = (self.tables["features"][name].tolist() for name in ("feature", "notable", "top_text"))
        return {number: (notable, text) for number, notable, text in zip(*columns, strict=True)}

    @cached_property
    def _named_pages(self) -> dict[int, tuple[str, str]]:
        """The label and the page of every feature."""
        columns = (self.tables["features"][name].tolist() for name in ("feature", "label", "page"))
        return {number: (label, page) for number, label, page in zip(*columns, strict=True)}

    @property
    def neuronpedia_folder(self) -> str:
        """What the addresses of all features on Neuronpedia begin with; "" if the SAE is not there."""
        place = self.manifest["sae"]["neuronpedia_id"]
        return f"https://www.neuronpedia.org/{quote(place)}/" if place else ""

    def neuronpedia(self, number: int) -> str:
        """The feature's address on Neuronpedia; "" if the SAE is not there."""
        return self.neuronpedia_folder and f"{self.neuronpedia_folder}{number}"

    def text_ref(self, text: str, category: str) -> TextRef:
        """How a text is mentioned."""
        ref = self._text_refs.get(text)
        if ref is None:
            name = f"{self.category[category].title} {text.removeprefix(slug(category) + '-')}"
            ref = self._text_refs[text] = TextRef(text, text_page(text), category, name)
        return ref

    @cached_property
    def notes(self) -> dict[tuple[str, str], str]:
        """The Markdown of every note by its kind and name."""
        return {(row.kind, row.name): row.markdown for row in rows(self.tables["notes"])}

    def note(self, kind: str, name: str) -> Note | None:
        """The author's note on a `feature` (by its number), `category`, `concept`, or the front page (`index`, "")."""
        key = kind, name
        if key in self.notes and key not in self._notes:
            self._notes[key] = note_html.note(self.notes[key], lambda url, image: self._place(kind, url, image))
        return self._notes.get(key)

    def _place(self, kind: str, url: str, image: bool) -> str:
        """The address of a link's target from the page of a note of this kind; "" if it is not in this catalog."""
        root, link = "" if kind == "index" else "../", link_of(kind, url)
        if link.kind == "image":
            return f"{root}notes/{quote(link.name)}"
        if image:
            return ""
        if link.kind in ("web", "anchor"):
            return link.name
        page = self._page(link.kind, link.name)
        return page and f"{root}{page}" + (f"#{link.fragment}" if link.fragment else "")

    def _page(self, kind: str, name: str) -> str:
        """The page of a note's subject, from the catalog's root; "" if there is none."""
        match kind:
            case "index":
                return "index.html"
            case "live":
                # In a catalog without a live part, the link is plain text.
                return name if has_live_part(self.manifest) else ""
            case "feature":
                known_number = name.isdecimal() and int(name) in self._named_pages
                return self.ref(int(name)).page if known_number else ""
            case "category" | "concept":
                known = {ref.name: ref.page for ref in (self.categories if kind == "category" else self.concepts)}
                return known.get(same_name(name, known) or "", "")
        return ""

    def _named(self, kind: str) -> list[GroupRef]:
        entries = self.manifest["corpus"][kind].items()
        one = {"categories": "category", "concepts": "concept"}[kind]
        return [GroupRef(n, title(n), page_of(one, n), e["texts"], e["tokens"]) for n, e in entries]


def specialist_counts(tables: Tables) -> dict[str, int]:
    """How many specialists each category with any has, over all features of the SAE."""
    frame = tables.read("categories", ["category", "balanced_score"])
    found = frame.loc[frame["balanced_score"] > 0, "category"].value_counts()
    return {str(name): int(count) for name, count in found.items()}


def list_page(place: int) -> str:
    """A page of the features table; the first is 0."""
    return f"features/page-{place + 1}.html" if place else "features/index.html"


def row_page(number: int) -> str:
    """Where the row of a feature without a page of its own is shown, from the catalog's root."""
    return f"{ROW_PAGE}?feature={number}"


def page_of(kind: str, name: str) -> str:
    """The page of a possible subject of a note, from the catalog's root."""
    folders = {"feature": "features", "category": "categories", "concept": "concepts"}
    return "index.html" if kind == "index" else f"{folders[kind]}/{slug(name)}.html"


def text_page(text: str) -> str:
    """The page of a text from the catalog's root, as a URL."""
    return f"texts/{quote(text)}.html"


def split_reasons(notable: str) -> list[str]:
    """The reasons of a feature; a comma inside a category's name does not split it."""
    found: list[str] = []
    for part in notable.split(",") if notable else []:
        if found and part.partition(":")[0].strip() not in REASONS:
            found[-1] += "," + part
        else:
            found.append(part.strip())
    return found
