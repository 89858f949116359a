"""The search index: one classic script file that a page loads when its search box is first used.

In: a `Catalog`. Out: JavaScript that hands `assets/search.js` what can be found: for each feature with a page its number
and the texts of `FIELDS`, and the categories and concepts. Pages opened from a folder may not fetch, so the data comes
as a script. It holds plain text and no prepared index: one pass over it is quick, and finds a part of a word, a sign
such as `def (`, an emoji, and scripts that are written without spaces.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable

from saecatalog.names import title
from saecatalog.site.catalog import Catalog, split_reasons
from saecatalog.site.charts import script_json
from saecatalog.site.groups import Row, blocks

WORD = re.compile(r"[^\W\d_]{4,}")
TOKENS = 8
BLOCK = 4096
EXCERPTS = 2
PLACES = ("feature", "rank", "text", "position", "band", "window_start", "window_end")
"""What is read of the contexts: their activations are by far the most."""
BEFORE, AFTER = 40, 30
"""Characters of an excerpt before and after the start of its peak, to the next space; 25,000 features stay near 6 MB."""


def index(catalog: Catalog) -> str:
    """The script: one call with the features' numbers, each field's texts joined by line breaks, and what else is found.

    A browser reads a few long strings far faster than a hundred thousand short ones.
    """
    fields: dict[str, list[str]] = {name: [] for name in FIELDS}
    for numbers in blocks(catalog.paged, BLOCK):
        part = catalog.about(numbers)
        for name, text_of in FIELDS.items():
            fields[name] += [text_of(part, number) for number in numbers]
    data = {
        "numbers": catalog.paged,
        "fields": {name: "\n".join(" ".join(text.split()) for text in texts) for name, texts in fields.items()},
        "words": " ".join(_words(fields.values())),
        "groups": [[ref.title, ref.page, ref.page.partition("/")[0]] for ref in [*catalog.categories, *catalog.concepts]],
        "outside": catalog.neuronpedia(0)[:-1],
        "size": catalog.manifest["sae"]["d_sae"],
    }
    return f"saeSearchData({script_json(data)});\n"


def _words(fields: Iterable[list[str]]) -> list[str]:
    """The words that stand at least twice, most frequent first: what a mistyped word is compared with."""
    counts = Counter(word for texts in fields for text in texts for word in WORD.findall(text.lower()))
    return [word for word, count in counts.most_common() if count > 1]


def _label(catalog: Catalog, number: int) -> str:
    return catalog.ref(number).label


def _tokens(catalog: Catalog, number: int) -> str:
    """The tokens it fires on; parts of a character, such as `<0xE2>`, are nothing that anyone types."""
    found = (row.token.strip() for row in catalog.by("tokens")[number][:TOKENS])
    return " ".join(dict.fromkeys(token for token in found if token and "<0x" not in token))


def _subjects(catalog: Catalog, number: int) -> str:
    """Why it is notable, and the category of its strongest text."""
    notable, top_text = catalog.standing[number]
    reasons = [reason.partition(":") for reason in split_reasons(notable)]
    words = [f"{kind}: {title(subject)}" if subject else kind for kind, _, subject in reasons]
    category = catalog.texts[top_text].category if top_text else ""
    if category and category not in {subject for _, _, subject in reasons}:
        words.append(f"top text: {catalog.category[category].title}")
    return ", ".join(words)


def _note(catalog: Catalog, number: int) -> str:
    """What its author says of it."""
    note = catalog.note("feature", str(number))
    return note.text if note else ""


def _examples(catalog: Catalog, number: int) -> str:
    """What stands around the peaks of its first contexts."""
    contexts = [row for row in catalog.by("contexts", columns=PLACES)[number] if row.band == "top"][:EXCERPTS]
    return " … ".join(dict.fromkeys(_excerpt(catalog.texts[row.text], row) for row in contexts))


def _excerpt(text: Row, context: Row) -> str:
    """Whole words of a text around the peak of a context, within its window."""
    ends, content = [0, *text.token_ends], str(text.content)
    first, peak, last = (ends[at] for at in (context.window_start, context.position, context.window_end))
    start = max(first, content.rfind(" ", first, max(first, peak - BEFORE)) + 1)
    stop = content.find(" ", peak + AFTER, last)
    return content[start : stop if stop >= 0 else last].strip()


FIELDS: dict[str, Callable[[Catalog, int], str]] = {
    "label": _label,
    "tokens": _tokens,
    "subjects": _subjects,
    "note": _note,
    "examples": _examples,
}
"""What is searched of each feature, most telling first: a match in an earlier field ranks before one in a later.

The last is the longest, and only there does a word of its own count no more than a part of a word.
"""
