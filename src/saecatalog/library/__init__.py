"""The library: the stages of a catalog as functions, and its questions as pandas tables and Plotly figures.

    from saecatalog import harvest_texts, load_subject, read_corpus

    subject = load_subject("gpt2-small-res-jb/blocks.6.hook_resid_pre")
    corpus = read_corpus({"news": ["The council met on Monday.", ...], "poems": ["The rose is red, ...", ...]})
    harvest = harvest_texts(subject, corpus)
    catalog = harvest.analyse()
    catalog.most_frequent(5)
    catalog.specialists("poems")
    catalog.features_on("I would like to thank you.")
    catalog.category_heatmap().show()
    catalog.build_site("site")

`analyse` runs all stages at once and loads no model if the results are in the cache, which the command line shares.
`open_catalog` asks the same questions of a published catalog, without a model. Nothing is printed. Every mistake in the
input is a `CatalogError`; what a user has to know otherwise is a `CatalogWarning`.
"""

from saecatalog.errors import CatalogError
from saecatalog.library.analysis import Analysis
from saecatalog.library.catalog import Catalog, open_catalog
from saecatalog.library.notices import CatalogWarning
from saecatalog.library.stages import Corpus, Harvest, Subject, analyse, harvest_texts, load_subject, read_corpus

__all__ = [
    "Analysis",
    "Catalog",
    "CatalogError",
    "CatalogWarning",
    "Corpus",
    "Harvest",
    "Subject",
    "analyse",
    "harvest_texts",
    "load_subject",
    "open_catalog",
    "read_corpus",
]
