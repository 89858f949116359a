"""The stages as functions: names and texts flow in, and a subject, a corpus, a harvest and an analysis flow out.

They are those of the command line, with the same settings and the same cache.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from saecatalog.analysis.activations import include
from saecatalog.cache import Cache
from saecatalog.config import EMBEDDED_SAE, SECTIONS, Config, CorpusConfig, override
from saecatalog.errors import CatalogError
from saecatalog.explore import Run, check_feature, feature_on_tokens, run_texts
from saecatalog.library.analysis import Analysis, contents, features_on
from saecatalog.library.notices import notices_as_warnings
from saecatalog.library.sessions import checked_settings, open_pipeline
from saecatalog.names import slug
from saecatalog.pipeline import Given, Pipeline
from saecatalog.progress import Progress
from saecatalog.subject_info import SubjectInfo
from saecatalog.texts.corpus import Text, read_concepts, with_ids
from saecatalog.texts.corpus import read_corpus as read_texts
from saecatalog.texts.records import Fields, Left, Record, checked_name, make_record

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Texts = str | Path | Sequence[str | Path] | Mapping[str, Sequence[str]]
"""Files and folders of texts, as after `--corpus`, or the texts of each category."""


class Subject:
    """A language model and an SAE that fit; made by `load_subject`."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline
        with notices_as_warnings():
            self.info: SubjectInfo = pipeline.info
            """Names and facts: widths, hook, context, hashes of the weights."""
            self._loaded = pipeline.subject

    def __repr__(self) -> str:
        return f"<Subject: {self.info.sae_name} on {self.info.model_name}>"

    @property
    def model(self) -> Any:
        """The model as a torch module."""
        return self._loaded.model.module

    @property
    def sae(self) -> Any:
        """The SAE as `sae_lens` loaded it."""
        return self._loaded.sae

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._loaded.tokenizer

    def explore(self, feature: int, text: str | Sequence[str]) -> pd.DataFrame:
        """How strongly one feature fires on texts, token by token; as `Analysis.explore`.

        Massive activations are judged by the median norm of these texts.
        """
        check_feature(feature, self.info.d_sae)
        return feature_on_tokens(self._run(text), feature)

    def features_on(self, text: str | Sequence[str], n: int = 5, each: str = "text") -> pd.DataFrame:
        """Which features fire on texts, the strongest first; as `Analysis.features_on`, without labels.

        Massive activations are judged by the median norm of these texts.
        """
        return features_on(self._run(text), n, each)

    def _run(self, text: str | Sequence[str]) -> Run:
        with notices_as_warnings():
            return run_texts(self._pipeline, contents(text))


@dataclass(frozen=True)
class Corpus:
    """Texts in categories, and the texts of concepts; made by `read_corpus`."""

    texts: list[Text]
    concepts: list[Text]
    settings: CorpusConfig

    @property
    def frame(self) -> pd.DataFrame:
        """One row per text: `text` (its id), `category`, `source` and `content`."""
        rows = [(text.id, text.category, text.source, text.content) for text in self.texts]
        return pd.DataFrame(rows, columns=["text", "category", "source", "content"])

    def __len__(self) -> int:
        return len(self.texts)


class Harvest:
    """The activations of every feature on a corpus; made by `harvest_texts`."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline
        with notices_as_warnings():
            self._harvested = pipeline.corpus

    def __repr__(self) -> str:
        return f"<Harvest: {len(self._harvested.texts):,} texts, {self._harvested.store.n_tokens:,} tokens>"

    @property
    def matrix(self) -> "csr_matrix":
        """The activations, sparse `[token, feature]`, massive ones included."""
        return self._harvested.store.matrix()

    @property
    def tokens(self) -> pd.DataFrame:
        """One row per row of `matrix`: `text`, `position`, `token_id`, `norm` (of what the SAE reads) and `counted`.

        `counted` is False for massive activations, which no statistic includes.
        """
        store = self._harvested.store
        ids = pd.Series([text.id for text in self._harvested.texts], dtype=object)
        return pd.DataFrame(
            {
                "text": ids.to_numpy()[store.token_texts()],
                "position": store.token_positions(),
                "token_id": store.token_ids,
                "norm": store.norms,
                "counted": include(store, self._pipeline.config.analysis.outlier_multiple).included,
            }
        )

    def analyse(self, **settings: object) -> Analysis:
        """Compute every table of a catalog.

        Args:
            **settings: Settings of the section `[analysis]` of a catalog file, such as `text_score`, `strong` or `top`.
        """
        pipeline = self._pipeline
        config = override(pipeline.config, "analysis", **checked_settings("analysis", settings))
        return Analysis(open_pipeline(config, pipeline.progress, pipeline.given))


def load_subject(
    sae: str | Path = EMBEDDED_SAE,
    model: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    progress: bool = False,
    **settings: object,
) -> Subject:
    """Load a language model and an SAE.

    Args:
        sae: Name as `saecatalog list` shows it, Hub `owner/repository/folder`, or folder.
        model: Name or folder of the model; None means the one that the SAE was trained on.
        cache: Folder of models and results; None means the user's cache folder, as for the command line.
        progress: Show progress bars on standard error.
        **settings: Settings of the section `[subject]` of a catalog file, such as `device`, `dtype` or `context`.

    Raises:
        CatalogError: If one of them is unknown, cannot be reached or could run code, or if they do not fit.
    """
    return Subject(open_pipeline(_config(sae, model, cache, settings), Progress(not progress)))


def read_corpus(
    corpus: Texts,
    concepts: str | Path | Mapping[str, Sequence[str]] | None = CorpusConfig.concepts,
    *,
    cache: str | Path | None = None,
    **settings: object,
) -> Corpus:
    """Read texts.

    Args:
        corpus: Files and folders, as after `--corpus`, or a mapping from each category to its texts.
        concepts: Folder with one list of texts per concept, or a mapping from each concept to its texts. A folder that
            does not exist, or None, means no concepts.
        cache: Folder in which texts of datasets on the hub are kept; None means the user's cache folder.
        **settings: Settings of the section `[corpus]` of a catalog file, such as `name`, `text_field` or
            `limit_tokens`.

    Raises:
        CatalogError: If a file cannot be read, or if a category has no texts.
    """
    given = checked_settings("corpus", settings)
    if isinstance(corpus, Mapping):
        given = {"name": "texts", **given}
    else:
        given["paths"] = tuple(map(str, [corpus] if isinstance(corpus, str | Path) else corpus))
    config = replace(override(Config(), "corpus", **given).corpus, concepts=None)
    if concepts is not None and not isinstance(concepts, Mapping):
        config = replace(config, concepts=str(concepts))
    with notices_as_warnings(), Cache(_cache(cache)) as kept:
        texts = _texts_of(corpus) if isinstance(corpus, Mapping) else read_texts(config, kept)
        ideas = _texts_of(concepts) if isinstance(concepts, Mapping) else read_concepts(config)
    return Corpus(texts, ideas, config)


def harvest_texts(subject: Subject, corpus: Corpus, *, progress: bool = False) -> Harvest:
    """Run every text through the model and the SAE, or take the result from the cache.

    Args:
        subject: The model and the SAE.
        corpus: The texts.
        progress: Show progress bars on standard error.
    """
    config = replace(subject._pipeline.config, corpus=corpus.settings)
    given = Given(subject._loaded, corpus.texts, corpus.concepts)
    return Harvest(open_pipeline(config, Progress(not progress), given))


def analyse(
    corpus: Texts | Corpus,
    sae: str | Path = EMBEDDED_SAE,
    model: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    progress: bool = False,
    **settings: object,
) -> Analysis:
    """Run all stages, or take their results from the cache; no model is loaded if all are there.

    Args:
        corpus: The texts, as for `read_corpus`, or what that returned.
        sae: Name as `saecatalog list` shows it, Hub `owner/repository/folder`, or folder.
        model: Name or folder of the model; None means the one that the SAE was trained on.
        cache: Folder of models and results; None means the user's cache folder, as for the command line.
        progress: Show progress bars on standard error.
        **settings: Settings of the sections `[subject]` and `[analysis]` of a catalog file.
    """
    names = SECTIONS["subject"].__dataclass_fields__
    of_subject = {name: value for name, value in settings.items() if name in names}
    rest = {name: value for name, value in settings.items() if name not in names}
    read = corpus if isinstance(corpus, Corpus) else read_corpus(corpus, cache=cache)
    config = replace(_config(sae, model, cache, of_subject), corpus=read.settings)
    config = override(config, "analysis", **checked_settings("analysis", rest))
    return Analysis(open_pipeline(config, Progress(not progress), Given(None, read.texts, read.concepts)))


def _config(
    sae: str | Path, model: str | Path | None, cache: str | Path | None, settings: Mapping[str, object]
) -> Config:
    """The settings of a subject, checked."""
    named = {"sae": str(sae), "model": None if model is None else str(model)}
    config = override(Config(), "subject", **named, **checked_settings("subject", settings))
    return replace(config, cache=_cache(cache))


def _cache(folder: str | Path | None) -> Path:
    return Config().cache if folder is None else Path(folder).expanduser()


def _texts_of(given: Mapping[str, Sequence[str]]) -> list[Text]:
    """The texts of categories; raises CatalogError for one without texts, and for what is no text."""
    texts, slugs = [], dict[str, str]()
    for name, in_category in given.items():
        where = f"category '{name}'"
        if isinstance(in_category, str):
            raise CatalogError("The texts of this category are one string.", where, "Give a list of strings.")
        left, category = Left(Fields()), checked_name(name, where)
        if slugs.setdefault(slug(category), name) != name:
            what = "Two categories have the same name, but for case, accents and signs."
            raise CatalogError(what, f"'{slugs[slug(category)]}' and '{name}'", "Rename one of them.")
        records = list(_records(in_category, category, left))
        left.tell(where)
        if not records:
            raise CatalogError("This category has no texts.", where, "Add at least one text, or remove the category.")
        texts += [Text("", **vars(record)) for record in records]
    return with_ids(texts)


def _records(contents: Sequence[str], category: str, left: Left) -> Iterator[Record]:
    for n, content in enumerate(contents, 1):
        where = f"{category}, text {n}"
        record = make_record(content, category, where, where, Fields(), left)
        if record is not None:
            yield record
