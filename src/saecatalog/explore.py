"""Texts of a user's own: a pipeline and texts flow in, tables of the features that fire on them flow out.

The texts are not part of a corpus: they are run through the model at once, and nothing of them is cached, except that
a concept's harvest is, because it may be long. The commands `explore` and `concept` print these tables, and the library
returns them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from saecatalog.analysis.activations import Activations, include
from saecatalog.build import plain_names_warnings
from saecatalog.errors import CatalogError
from saecatalog.pipeline import Pipeline
from saecatalog.progress import notice
from saecatalog.store import Store, read_store
from saecatalog.texts.corpus import Text


@dataclass(frozen=True)
class Run:
    """Texts that were run through the model and the SAE."""

    texts: list[Text]
    activations: Activations
    tokens: list[str]
    """Every token of all texts, one after another: its characters, or bytes that are only part of a character."""
    text_score: str
    """How a feature's score on a text is made: `max`, `last` or `mean`."""

    def spans(self) -> Iterator[tuple[int, int]]:
        """The first token of each text and the one after its last."""
        return pairwise(self.activations.store.text_offsets.tolist())


def run_texts(pipeline: Pipeline, contents: Sequence[str], norm_median: float | None = None) -> Run:
    """Run texts through the model and the SAE.

    Positions with massive activations are excluded, judged by `norm_median`, the median norm of a corpus; None means
    the median of these texts. Raises CatalogError for a text without tokens, and for one that is not UTF-8.
    """
    from saecatalog.models.vocabulary import text_tokens
    from saecatalog.texts.windows import check_characters, plain_names

    settings = pipeline.config.analysis
    given = [Text(f"text-{n}", "", f"text {n}", content) for n, content in enumerate(contents, 1)]
    check_characters(given)
    texts = pipeline.prepared(given)
    store = harvest_now(pipeline, texts)
    tokenizer = pipeline.subject.tokenizer
    for line in plain_names_warnings(**asdict(plain_names(texts, tokenizer))):
        notice(line)
    tokens: list[str] = []
    for text, (start, stop) in zip(texts, pairwise(store.text_offsets.tolist()), strict=True):
        ends, ids = (part[start:stop].tolist() for part in (store.token_ends, store.token_ids))
        tokens += text_tokens(text.content, ends, ids, tokenizer)
    return Run(texts, include(store, settings.outlier_multiple, norm_median), tokens, settings.text_score)


def harvest_now(pipeline: Pipeline, texts: list[Text]) -> Store:
    """The store of a few texts, in memory and without caching."""
    from saecatalog.harvest import harvest
    from saecatalog.texts.windows import tokenize

    subject = pipeline.subject
    workspace = pipeline.cache.workspace
    folder, shards = workspace.folder("store"), workspace.folder("shards")
    with pipeline.cache.writing():
        batch_tokens = pipeline.config.subject.batch_tokens
        harvest(subject, tokenize(texts, subject.tokenizer), batch_tokens, folder, lambda n: None, shards)
    mapped = read_store(folder)
    store = Store(**{f.name: np.array(getattr(mapped, f.name)) for f in fields(Store)})
    workspace.remove("store")
    return store


def check_feature(feature: int, d_sae: int) -> None:
    """Raise CatalogError if the dictionary has no such feature."""
    if not 0 <= feature < d_sae:
        raise CatalogError(
            f"The SAE has no feature {feature}.", f"feature {feature}", f"Use a number from 0 to {d_sae - 1}."
        )


def feature_on_tokens(run: Run, feature: int) -> pd.DataFrame:
    """One row per token of each text: `text` (from 0), `position`, `token`, `activation` and `counted`.

    `counted` is False for massive activations, which no statistic includes. Raises CatalogError for a feature that is
    outside the dictionary.
    """
    frame = token_rows(run)
    frame.insert(3, "activation", _column(run, feature))
    return frame


def feature_on_texts(run: Run, feature: int) -> pd.DataFrame:
    """One row per text with the feature's activation over the counted tokens.

    The columns are `text` (from 0), `max`, `position` (of the maximum), `last` (on the last token; 0 if it is not
    counted), `mean`, `n_active` and `n_tokens`.
    """
    values, included = _column(run, feature), run.activations.included
    rows = []
    for number, (start, stop) in enumerate(run.spans()):
        counted = included[start:stop]
        kept, n = np.where(counted, values[start:stop], 0), int(counted.sum())
        rows.append(
            {
                "text": number,
                "max": kept.max(),
                "position": int(kept.argmax()),
                "last": kept[-1],
                "mean": kept.sum() / max(n, 1),
                "n_active": int((kept > 0).sum()),
                "n_tokens": n,
            }
        )
    return pd.DataFrame(rows)


def top_of_tokens(run: Run, top: int) -> pd.DataFrame:
    """The strongest features of each token: at most `top` rows per token, none for a token on which nothing fires.

    The columns are `text` (from 0), `position`, `token`, `counted`, `rank` (from 0), `feature` and `activation`. The
    smaller index breaks ties.
    """
    matrix = run.activations.store.matrix()
    best = [_strongest(matrix.indices[a:b], matrix.data[a:b], top) for a, b in pairwise(matrix.indptr.tolist())]
    rows = token_rows(run).loc[np.repeat(np.arange(len(best)), list(map(len, best)))].reset_index(drop=True)
    entries = np.concatenate([a + order for a, order in zip(matrix.indptr.tolist(), best, strict=False)])
    return rows.assign(
        rank=_ranks(best), feature=matrix.indices[entries].astype(np.int32), activation=matrix.data[entries]
    )


def top_of_texts(run: Run, top: int) -> pd.DataFrame:
    """The features with the largest score on each text, at most `top` rows per text.

    The columns are `text` (from 0), `rank` (from 0), `feature`, `score`, `position` and `token` (where the score is
    from: the strongest token, or the last one if the text score is `last`). The smaller index breaks ties.
    """
    from saecatalog.analysis.scores import score_texts

    scores = score_texts(run.activations, run.text_score)
    matrix = scores.by_feature.tocoo()
    found = pd.DataFrame(
        {
            "text": matrix.row.astype(np.int32),
            "feature": matrix.col.astype(np.int32),
            "score": matrix.data,
            "position": scores.positions,
        }
    ).sort_values(["text", "score", "feature"], ascending=[True, False, True], ignore_index=True)
    found.insert(1, "rank", found.groupby("text").cumcount())
    found = found[found["rank"] < top].reset_index(drop=True)
    places = run.activations.store.text_offsets[found["text"]] + found["position"]
    return found.assign(token=[run.tokens[place] for place in places])


def _column(run: Run, feature: int) -> Float32[np.ndarray, "token"]:
    """A feature's activation on every token."""
    store = run.activations.store
    check_feature(feature, store.d_sae)
    return np.asarray(store.matrix()[:, [feature]].toarray().ravel())


def token_rows(run: Run) -> pd.DataFrame:
    """One row per token of each text: `text` (from 0), `position`, `token`, and `counted`."""
    activations = run.activations
    return pd.DataFrame(
        {
            "text": activations.token_texts,
            "position": activations.token_positions,
            "token": pd.Series(run.tokens, dtype=object),
            "counted": activations.included,
        }
    )


def _strongest(features: np.ndarray, values: np.ndarray, top: int) -> Int64[np.ndarray, "kept"]:
    """The places of the largest values, the smaller feature first in a tie."""
    return np.asarray(np.lexsort((features, -values))[:top])


def _ranks(lists: Sequence[np.ndarray]) -> Int64[np.ndarray, "row"]:
    return np.concatenate([np.arange(len(part)) for part in lists] or [np.empty(0, np.int64)])


@dataclass(frozen=True)
class ConceptFeatures:
    """How the features respond to the texts of a concept, compared with a corpus."""

    name: str
    n_texts: int
    n_corpus: int
    """Texts of the corpus."""
    strong: float
    """A score above this is strong."""
    strong_rule: str
    """A sentence that explains this threshold."""
    rows: pd.DataFrame
    """The features that fired on a text of the concept, with the columns of the table `concepts`."""
    rankings: pd.DataFrame
    """The rankings by consistency, by mean score and by contrast, with the columns of the table `rankings`."""


def concept_features(pipeline: Pipeline, texts: list[Text]) -> ConceptFeatures:
    """Rank the features that respond to texts of one category, the concept's name, against the pipeline's corpus.

    Raises CatalogError for a text without tokens, and for one that is not UTF-8.
    """
    from saecatalog.analysis.categories import second_half
    from saecatalog.analysis.concepts import ConceptTexts, concept_rows, concept_table
    from saecatalog.analysis.rankings import concept_rankings
    from saecatalog.analysis.scores import score_texts
    from saecatalog.analysis.study import strong_threshold
    from saecatalog.texts.corpus import with_ids
    from saecatalog.texts.windows import check_characters

    check_characters(texts)
    settings = pipeline.config.analysis
    corpus = include(pipeline.corpus.store, settings.outlier_multiple)
    corpus_scores = score_texts(corpus, settings.text_score)
    strong, rule = strong_threshold(corpus_scores, settings.strong)
    # In the order of ids made from the contents, by which texts are split into halves.
    texts = with_ids(pipeline.prepared(texts))
    harvested = pipeline.harvested(texts, "concept")
    for line in plain_names_warnings(**harvested.plain_names):
        notice(line)
    scores = score_texts(include(harvested.store, settings.outlier_multiple, corpus.norm_median), settings.text_score)
    names, contents = [text.category for text in texts], [text.content for text in texts]
    second = second_half([text.category for text in pipeline.corpus.texts])
    shared = ConceptTexts.of(names, contents, [text.content for text in pipeline.corpus.texts], second)
    rows = concept_table([concept_rows(scores, corpus_scores, shared, strong)])
    rankings = concept_rankings(rows, settings.top)
    return ConceptFeatures(names[0], len(texts), corpus_scores.n_texts, strong, rule, rows, rankings)
