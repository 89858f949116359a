"""The search index: one classic script file that a page loads when its search box is first used.

In: a `Catalog`. Out: JavaScript that hands each feature with a page to `assets/search.js`, with its number, page,
label, tokens and categories. Pages opened from a folder may not fetch, so the data comes as a script.
"""

from saecatalog.site.catalog import Catalog, split_reasons
from saecatalog.site.charts import script_json

TOKENS = 8


def index(catalog: Catalog) -> str:
    """The script: a call with one list per feature, and the categories, concepts and number of features."""
    features = [_entry(catalog, number) for number in catalog.paged]
    groups = [[ref.title, ref.page, ref.page.partition("/")[0]] for ref in [*catalog.categories, *catalog.concepts]]
    outside = catalog.neuronpedia(0)[:-1]
    size = catalog.manifest["sae"]["d_sae"]
    return (
        f"saeSearchData({script_json({'features': features, 'groups': groups, 'outside': outside, 'size': size})});\n"
    )


def _entry(catalog: Catalog, number: int) -> list[object]:
    """[number, page, label, tokens and categories in lower case]."""
    row = catalog.features[number]
    tokens = [r.token.strip() for r in catalog.by("tokens")[number][:TOKENS]]
    subjects = [reason.partition(":")[2] for reason in split_reasons(row.notable)]
    words = " ".join(dict.fromkeys(word.lower() for word in [*tokens, *subjects] if word))
    return [number, row.page, row.label, words]
