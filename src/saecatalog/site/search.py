"""The search index: a classic script that a page loads when its search box is first used.

With more than `WHOLE` features it would be too large. It then has only the features with a page and those that stand
for a category or concept; the others are in the scripts of `search_parts`, of which a query loads a few.

In: a `Catalog`. Out: JavaScript that gives `assets/search.js` the searchable data: for each feature that was active or
has a page, the texts of `FIELDS`, its figures and how rare it is; and the groups of `search_groups`. Pages opened from
a folder cannot use fetch, so the data is a script. It is plain text without a prepared index: one pass over it is fast,
and finds parts of words, code such as `def (`, emoji, and writing systems without spaces.
"""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from saecatalog.names import title
from saecatalog.site import formats
from saecatalog.site.catalog import Catalog, split_reasons
from saecatalog.site.charts import script_json
from saecatalog.site.records import Groups, Row
from saecatalog.site.search_groups import SearchGroup

WORD = re.compile(r"[^\W\d_]{4,}")
TOKENS = 8
EXCERPTS = 2
EXPLAINED = 120
"""Characters of a feature's first explanation that are searched."""
INDEX = "search-index.js"
CALL, END = "saeSearchData(", ");\n"
"""The script before and after its data."""
WHOLE = 50_000
"""The most features whose texts are all in the index: it then has about 12 MB."""
TOKEN_COLUMNS = ("feature", "rank", "token")
CONTEXT_COLUMNS = ("feature", "rank", "text", "position", "band", "window_start", "window_end")
"""The columns that are read of the tokens and of the contexts, without the activations of contexts, which are large."""
BEFORE, AFTER = 40, 30
"""Characters of an excerpt before and after its peak, up to a space: the index of 25,000 features is near 6 MB."""


@dataclass(frozen=True)
class Source:
    """A catalog with the searched part of each feature's tokens, contexts and explanations."""

    catalog: Catalog
    tokens: Groups
    contexts: Groups
    explanations: Groups

    @classmethod
    def of(cls, catalog: Catalog, numbers: Iterable[int] | None = None) -> "Source":
        """Read it from the catalog's tables, for all features or only for these."""
        wanted = None if numbers is None else list(numbers)
        tokens = catalog.tables.read("tokens", TOKEN_COLUMNS, wanted)
        contexts = catalog.tables.read("contexts", CONTEXT_COLUMNS, wanted)
        shown = (contexts["band"] == "top") & (contexts["rank"] < EXCERPTS)
        said = catalog.tables.read("explanations", ("feature", "rank", "description"), wanted)
        return cls(
            catalog,
            Groups(tokens[tokens["rank"] < TOKENS], "feature"),
            Groups(contexts[shown], "feature"),
            Groups(said[said["rank"] == 0], "feature"),
        )


def searchable(catalog: Catalog) -> list[int]:
    """The features that a search can find: those that were active or have a page."""
    frame = catalog.tables["features"]
    found: list[int] = frame.loc[(frame["page"] != "") | (frame["n_active"] > 0), "feature"].tolist()
    return found


def is_divided(catalog: Catalog) -> bool:
    """Whether the index has only some of the features that a search can find."""
    return len(searchable(catalog)) > WHOLE


def indexed(catalog: Catalog, found: Sequence[SearchGroup]) -> list[int]:
    """The features whose texts are in the index itself, given its groups."""
    numbers = searchable(catalog)
    if not is_divided(catalog):
        return numbers
    named = {feature for *_, told in found if isinstance(told, list) for feature, _ in told} | set(catalog.paged)
    return [number for number in numbers if number in named]


def index(catalog: Catalog, found: Sequence[SearchGroup]) -> str:
    """The script: one call with all data; the texts of each field are joined by line breaks.

    A browser reads a few long strings far faster than a hundred thousand short ones. `found` are the groups.
    """
    divided, numbers = is_divided(catalog), indexed(catalog, found)
    source, paged = Source.of(catalog, numbers if divided else None), set(catalog.paged)
    fields = {name: [text_of(source, number) for number in numbers] for name, text_of in FIELDS.items()}
    frame = catalog.tables.features.loc[numbers]
    densities, largest = (frame[name].tolist() for name in ("density", "max"))
    figures = zip(map(formats.percent, densities), map(formats.number, largest), strict=True)
    data = {
        "numbers": numbers,
        "rows": [number for number in numbers if number not in paged],
        "fields": {name: _joined(texts) for name, texts in fields.items()},
        "figures": "\n".join(f"density {density}, max {most}" for density, most in figures),
        "bits": [bits(density) for density in densities],
        "words": " ".join(_words(fields.values())),
        "groups": found,
        "size": catalog.manifest["sae"]["d_sae"],
        **({"parts": True} if divided else {}),
    }
    return _script(data)


def with_notes_of(script: str, catalog: Catalog) -> str:
    """The index of a catalog, from that of one that differs in notes only."""
    data = json.loads(script.removeprefix(CALL).removesuffix(END))
    fields = data["fields"]
    fields["note"] = _joined(_note_of(catalog, number) for number in data["numbers"])
    data["words"] = " ".join(_words(texts.split("\n") for texts in fields.values()))
    return _script(data)


def _script(data: dict[str, Any]) -> str:
    return f"{CALL}{script_json(data)}{END}"


def _joined(texts: Iterable[str]) -> str:
    """The texts of a field, each on a line."""
    return "\n".join(" ".join(text.split()) for text in texts)


def bits(density: float) -> float:
    """How many bits of information it is that a feature is active on a token: 1 for every second token, 8 for 0.4 %.

    At most 8: rarer features are not more specific, they were only seen less often. 0 for a silent feature.
    """
    return min(8.0, round(-math.log2(density), 1)) if density else 0.0


def _words(fields: Iterable[list[str]]) -> list[str]:
    """The words that occur at least twice, most frequent first; a mistyped word is compared with these."""
    counts = Counter[str]()
    for texts in fields:
        counts.update(WORD.findall("\n".join(texts).lower()))
    return [word for word, count in counts.most_common() if count > 1]


def _label(source: Source, number: int) -> str:
    return source.catalog.ref(number).label


def _tokens(source: Source, number: int) -> str:
    """The tokens it fires on, without parts of characters such as `<0xE2>`, which nobody types."""
    found = (row.token.strip() for row in source.tokens[number])
    return " ".join(dict.fromkeys(token for token in found if token and "<0x" not in token))


def _names(source: Source, number: int) -> str:
    """The Unicode names of the signs in its label, such as `comma` or `slightly smiling face`."""
    words = re.findall("“(.)”", _label(source, number))
    names = (unicodedata.name(word, "").lower() for word in words if not word.isalnum())
    return ", ".join(filter(None, names))


def _subjects(source: Source, number: int) -> str:
    """Why it is notable, and the category of its strongest text."""
    catalog = source.catalog
    notable, top_text = catalog.standing[number]
    reasons = [reason.partition(":") for reason in split_reasons(notable)]
    words = [f"{kind}: {title(subject)}" if subject else kind for kind, _, subject in reasons]
    category = catalog.texts[top_text].category if top_text else ""
    if category and category not in {subject for _, _, subject in reasons}:
        words.append(f"top text: {catalog.category[category].title}")
    return ", ".join(words)


def _note(source: Source, number: int) -> str:
    """The author's note on it."""
    return _note_of(source.catalog, number)


def _note_of(catalog: Catalog, number: int) -> str:
    note = catalog.note("feature", str(number))
    return note.text if note else ""


def _explanation(source: Source, number: int) -> str:
    """What others say it is."""
    return " ".join(row.description[:EXPLAINED] for row in source.explanations[number])


def _examples(source: Source, number: int) -> str:
    """The text around the peaks of its first contexts."""
    texts = source.catalog.texts
    return " … ".join(dict.fromkeys(_excerpt(texts[row.text], row) for row in source.contexts[number]))


def _excerpt(text: Row, context: Row) -> str:
    """Whole words of a text around the peak of a context, within its window."""
    ends, content = text.token_ends, str(text.content)
    first, peak, last = (
        ends[at - 1] if at else 0 for at in (context.window_start, context.position, context.window_end)
    )
    start = max(first, content.rfind(" ", first, max(first, peak - BEFORE)) + 1)
    stop = content.find(" ", peak + AFTER, last)
    return content[start : stop if stop >= 0 else last].strip()


FIELDS: dict[str, Callable[[Source, int], str]] = {
    "label": _label,
    "tokens": _tokens,
    "names": _names,
    "subjects": _subjects,
    "note": _note,
    "explanation": _explanation,
    "examples": _examples,
}
"""The searched fields of each feature, most telling first: `search.js` says what a match in each is worth."""
