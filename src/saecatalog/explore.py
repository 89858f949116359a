"""The `explore` and `concept` commands: texts flow in, lines for the terminal flow out."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from saecatalog.analysis.activations import include
from saecatalog.build import plain_names_warnings
from saecatalog.config import Config
from saecatalog.errors import CatalogError
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress, notice
from saecatalog.store import Store, read_store
from saecatalog.texts.corpus import Text, read_text_list

BAR = 24
"""Width of the longest bar, in characters."""


def explore(config: Config, progress: Progress, feature: int, texts: list[str]) -> Iterator[str]:
    """One line per token of each text with the feature's activation, then the text's max, last and mean.

    Massive activations, judged by the median norm of these texts, are marked and excluded from max and mean, as on the
    pages. Raises CatalogError for a feature outside the dictionary.
    """
    with Pipeline(config, progress) as pipeline:
        yield from _explore(pipeline, feature, texts)


def _explore(pipeline: Pipeline, feature: int, texts: list[str]) -> Iterator[str]:
    from saecatalog.texts.windows import plain_names

    config = pipeline.config
    d_sae = pipeline.info.d_sae
    if not 0 <= feature < d_sae:
        raise CatalogError(f"The SAE has no feature {feature}.", "explore", f"Use a number from 0 to {d_sae - 1}.")
    named = pipeline.prepared([Text(f"text-{n}", "explore", f"text {n}", text) for n, text in enumerate(texts, 1)])
    store = harvest_now(pipeline, named)
    for line in plain_names_warnings(**asdict(plain_names(named, pipeline.subject.tokenizer))):
        notice(line)
    values = store.matrix()[:, [feature]].toarray().ravel()
    included = include(store, config.analysis.outlier_multiple).included
    top = max(float(values[included].max(initial=0)), 1e-9)
    link = pipeline.info.neuronpedia_id
    yield f"feature {feature} of {pipeline.info.sae_name}" + (
        f"  https://www.neuronpedia.org/{link}/{feature}" if link else ""
    )
    for number, text in enumerate(named):
        start, stop = int(store.text_offsets[number]), int(store.text_offsets[number + 1])
        yield ""
        span = slice(start, stop)
        yield from _text_lines(text.content, store.token_ends[span], values[span], included[span], top)


def _text_lines(content: str, ends: np.ndarray, values: np.ndarray, included: np.ndarray, top: float) -> Iterator[str]:
    starts = np.concatenate([[0], ends[:-1]])
    pieces = [
        repr(content[a:b])[1:-1] if b > a else "(more of the same character)" for a, b in zip(starts, ends, strict=True)
    ]
    width = min(30, max(len(piece) for piece in pieces))
    for position, (piece, value, counted) in enumerate(zip(pieces, values.tolist(), included.tolist(), strict=True)):
        bar = "█" * round(BAR * value / top) if counted else "massive activation, excluded"
        yield f"{position:5d}  {piece:<{width}}  {value:8.3f}  {bar}".rstrip()
    kept = np.where(included, values, 0)
    n_active, mean = int((kept > 0).sum()), kept.sum() / max(int(included.sum()), 1)
    yield (
        f"       max {kept.max():.3f} at {int(kept.argmax())}, last {kept[-1]:.3f}, mean {mean:.3f}, "
        f"active on {n_active} of {int(included.sum())} tokens"
    )


def harvest_now(pipeline: Pipeline, texts: list[Text]) -> Store:
    """The store of a few texts, without caching."""
    from saecatalog.harvest import harvest
    from saecatalog.texts.windows import tokenize

    subject = pipeline.subject
    workspace = pipeline.cache.workspace
    folder, shards = workspace.folder("store"), workspace.folder("shards")
    batch_tokens = pipeline.config.subject.batch_tokens
    with pipeline.cache.writing():
        harvest(subject, tokenize(texts, subject.tokenizer), batch_tokens, folder, lambda n: None, shards)
    return read_store(folder)


def concept(config: Config, progress: Progress, file: Path) -> Iterator[str]:
    """Tables of the features of a concept, ranked by consistency, by mean score and by contrast with the corpus."""
    contents = read_text_list(file, config.corpus)
    with Pipeline(config, progress) as pipeline:
        yield from _concept(pipeline, file, contents)


def _concept(pipeline: Pipeline, file: Path, contents: list[str]) -> Iterator[str]:
    from saecatalog.analysis.concepts import concept_rows, texts_in_common
    from saecatalog.analysis.rankings import concept_rankings
    from saecatalog.analysis.scores import score_texts
    from saecatalog.analysis.study import strong_threshold
    from saecatalog.analysis.text_groups import TextGroups

    config = pipeline.config
    settings = config.analysis
    corpus = include(pipeline.corpus.store, settings.outlier_multiple)
    corpus_scores = score_texts(corpus, settings.text_score)
    strong, rule = strong_threshold(corpus_scores, settings.strong)
    read = [Text(f"concept-{n}", file.stem, f"{file.name}, text {n}", c) for n, c in enumerate(contents, 1)]
    texts = pipeline.prepared(read)
    harvested = pipeline.harvested(texts, "concept")
    for line in plain_names_warnings(**harvested.plain_names):
        notice(line)
    store = harvested.store
    scores = score_texts(include(store, settings.outlier_multiple, corpus.norm_median), settings.text_score)
    groups = TextGroups.of([text.category for text in texts])
    contents = [text.content for text in texts]
    common = texts_in_common([file.stem] * len(texts), contents, [text.content for text in pipeline.corpus.texts])
    table = concept_rows(scores, groups, corpus_scores, common, strong)
    yield f"{file.stem}: {len(texts)} texts, compared with {corpus_scores.n_texts} in the corpus; strong: > {strong:g}"
    yield f"({rule})"
    titles = {"consistent": "most consistent", "strong": "largest mean score", "contrast": "clearest contrast (AUROC)"}
    rows = table.set_index("feature")
    for name, ranking in concept_rankings(table, settings.top).groupby("ranking", sort=False):
        yield ""
        yield titles[str(name).partition(":")[0]]
        yield f"{'feature':>8}  {'strong':>8}  {'mean, all':>9}  {'mean, active':>12}  {'AUROC':>6}"
        for feature in ranking["feature"]:
            row = rows.loc[feature]
            share = f"{int(row['n_strong'])}/{int(row['n_texts'])}"
            yield f"{feature:>8}  {share:>8}  {row['mean_all']:9.2f}  {row['mean_active']:12.2f}  {row['auroc']:6.3f}"
