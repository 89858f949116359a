"""Rank the features that respond to a list of texts that share a concept.

--json prints one object: `concept`, `n_texts`, `n_corpus` (texts of the corpus), `strong` (a score above it is strong),
`strong_rule`, `labels` (the catalog they are from, or null) and `rankings`, an object with the lists `contrast`
(features that respond), `consistent` and `strong`. Their entries have `feature`, `label` and the columns of the table
`concepts`, such as `n_strong`, `mean_all` and `auroc`."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saecatalog.commands.flags import add_corpus, add_json, add_subject
from saecatalog.commands.output import print_json, records
from saecatalog.commands.settings import config_of
from saecatalog.progress import Progress

if TYPE_CHECKING:
    from saecatalog.explore import ConceptFeatures
    from saecatalog.labels import Labels

EXAMPLE = "concept corpora/concepts/weather.txt"

TITLES = {
    "contrast": "features that respond, by contrast (AUROC)",
    "consistent": "most consistent (may fire on all texts)",
    "strong": "largest mean score (may fire on all texts)",
}
"""What the kinds of ranking are called."""


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", type=Path, metavar="FILE", help="texts that share a concept, one per line")
    p.add_argument(
        "--catalog",
        type=Path,
        metavar="CATALOG.toml",
        help="settings file of the corpus to compare with; default: catalog.toml",
    )
    p.add_argument("--site", type=Path, metavar="DIR", help="site with the labels; default: the folder that is built")
    add_json(p)
    add_subject(p)
    add_corpus(p)


def run(a: argparse.Namespace) -> int:
    """Rank the features that respond to the texts of a concept."""
    from saecatalog.explore import concept_features
    from saecatalog.labels import wanted_labels
    from saecatalog.pipeline import Pipeline
    from saecatalog.texts.corpus import Text, read_text_list

    config, name = config_of(a), a.file.stem
    contents = read_text_list(a.file, config.corpus)
    texts = [Text(f"concept-{n}", name, f"{a.file.name}, text {n}", content) for n, content in enumerate(contents, 1)]
    with Pipeline(config, Progress(a.quiet)) as pipeline:
        labels = wanted_labels(a.site, Path(config.site.out), pipeline.info)
        found = concept_features(pipeline, texts)
    if a.json:
        print_json(_object(found, labels))
        return 0
    for line in _lines(found, labels):
        print(line)
    return 0


def _rankings(found: "ConceptFeatures", labels: "Labels | None") -> dict[str, list[dict[str, Any]]]:
    """Each ranking by its kind: the rows of its features, the first one first."""
    from saecatalog.labels import with_labels

    rows = with_labels(found.rows.drop(columns="concept"), None if labels is None else labels.names)
    rows = rows.set_index("feature", drop=False)
    kinds = found.rankings["ranking"].str.partition(":")[0]
    return {kind: records(rows.loc[found.rankings["feature"][kinds == kind]]) for kind in TITLES}


def _object(found: "ConceptFeatures", labels: "Labels | None") -> dict[str, object]:
    """What `--json` prints."""
    return {
        "concept": found.name,
        "n_texts": found.n_texts,
        "n_corpus": found.n_corpus,
        "strong": found.strong,
        "strong_rule": found.strong_rule,
        "labels": str(labels.folder) if labels else None,
        "rankings": _rankings(found, labels),
    }


def _lines(found: "ConceptFeatures", labels: "Labels | None") -> Iterator[str]:
    """A table for each ranking that has a feature."""
    compared = f"compared with {found.n_corpus} in the corpus"
    yield f"{found.name}: {found.n_texts} texts, {compared}; strong: > {found.strong:g}"
    yield f"({found.strong_rule})"
    if labels:
        yield f"with the labels of {labels.folder}"
    for kind, rows in _rankings(found, labels).items():
        if not rows and kind != "contrast":
            continue
        yield ""
        if not rows:
            yield "no feature responds: none surely scores these texts above the rest of the corpus"
            continue
        yield TITLES[kind]
        sure = f"{'AUROC':>6}  {'95 %':>12}  {'q':>7}{'  label' if labels else ''}"
        yield f"{'feature':>8}  {'strong':>8}  {'mean, all':>9}  {'mean, active':>12}  {sure}"
        for row in rows:
            share = f"{row['n_strong']}/{row['n_texts']}"
            means = f"{row['mean_all']:9.2f}  {row['mean_active']:12.2f}"
            auroc = f"{row['auroc']:6.3f}  {row['auroc_low']:5.2f}, {row['auroc_high']:5.2f}"
            yield f"{row['feature']:>8}  {share:>8}  {means}  {auroc}  {row['q_value']:7.2g}  {row['label']}".rstrip()
