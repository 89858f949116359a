"""Which labels detect more: those that list tokens, as earlier versions did, or those that state a rule?

    python benchmarks/labels.py [--catalog catalog.toml] [--cache FOLDER] [--features 60] [--seed 0]

Features of a catalog are drawn in equal numbers from six ranges of density. Both labels of a feature are made from the
first half of the texts, and both are scored on the second half by the same code, which does not know which is which. A
list of tokens is read as a rule that matches each of them. It may be read in four ways (exact tokens, or also their
other spellings; within the category it names, or anywhere), and the way that is best on the first half counts. A label
that says that there is no rule matches nothing: its precision, recall and F1 are 0, and its AUROC is 0.5.

It prints a line for each feature, and the mean of each figure with the mean difference and its 95 % interval (bootstrap
over features, percentiles).
"""

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from saecatalog.analysis.activations import Activations, include
from saecatalog.analysis.categories import second_half
from saecatalog.analysis.detection import HeldOut, Places, Tokens
from saecatalog.analysis.label_detection import label_rules, matched_by
from saecatalog.analysis.note_detection import corpus_of, only
from saecatalog.analysis.readings import Corpus, Readings
from saecatalog.analysis.scores import score_texts
from saecatalog.config import AnalysisConfig, load_config
from saecatalog.names import with_signs
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress
from saecatalog.tables import Tables

RANGES, LEAST = 6, 10
"""Ranges of density, and the active tokens that a feature must have in each half."""
FIGURES = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "share": 0.0, "token_auroc": 0.5, "text_auroc": 0.5}
"""What is compared, and what a label gets that matches nothing."""
RESAMPLES = 10_000
SPECIALIST, Q = 3, 0.05
BLANKS = {"\n": "line break", "\r": "return", "\t": "tab", "\u00a0": "no-break space", " ": "space"}


class Firing(NamedTuple):
    """The tokens of the first half on which a feature is active, and its activations there."""

    tokens: np.ndarray
    values: np.ndarray


class ListLabel(NamedTuple):
    """A label that lists tokens: the ids behind its words, its words, and what else it names."""

    ids: set[int]
    words: list[str]
    at_start: bool
    pair: tuple[int, int] | None
    category: str

    def text(self) -> str:
        pair = ["(pair)"] if self.pair else []
        shown = ["start of text"] * self.at_start + pair + self.words
        return " · ".join(shown) + (f" (in {self.category})" if self.category else "")


def readable(token: str) -> str:
    """A token as those labels showed it."""
    blank = next((name for sign, name in BLANKS.items() if sign in token), "white space")
    return with_signs(token.strip()) or (blank if token else "empty")


class Lister:
    """Makes labels that list tokens, as `analysis/labels.py` did, from one half of the texts."""

    def __init__(self, corpus: Corpus, tokens: Tokens, specialists: dict[int, str]):
        self.corpus, self.tokens, self.specialists = corpus, tokens, specialists
        self.occurrences = np.bincount(corpus.ids[tokens], minlength=len(corpus.vocabulary))
        before = np.where(corpus.positions == 0, -1, np.roll(corpus.ids, 1)).astype(np.int64)
        self.pairs = before * (len(corpus.vocabulary) + 1) + corpus.ids
        self.before = before

    def label(self, feature: int, firing: Firing) -> ListLabel:
        """Up to three tokens that carry much of the activation and on which the feature fires far more often."""
        ids, total = self.corpus.ids[firing.tokens], firing.values.sum()
        found = pd.DataFrame({"id": ids, "value": firing.values}).groupby("id")["value"].agg(["sum", "size"])
        found = found.assign(share=found["sum"] / total, occurs=self.occurrences[found.index])
        single = float((2 * found["size"] / (found["occurs"] + len(ids))).max())
        found = found.sort_values("share", ascending=False, kind="stable").head(10)
        density = len(ids) / self.tokens.sum()
        telling = found["share"] * np.log2(found["size"] / found["occurs"] / density)
        found = found.loc[telling.sort_values(ascending=False, kind="stable").index]
        pair = self._pair(firing, single)
        at_start = bool(firing.values[self.corpus.positions[firing.tokens] == 0].sum() / total > 0.5)
        words, kept = ["start of text"] * at_start, set[int]()
        if pair:
            words.append(readable("".join(self.corpus.vocabulary[token] for token in pair)))
        listed = len(words)
        for token, share in found["share"].items():
            if share < 0.1 * found["share"].iloc[0]:
                continue
            word = readable(self.corpus.vocabulary[token])
            same = any(word.lower() in (w.lower(), *w.lower().split(" ")) for w in words)
            if same or len(words) < 3:
                kept.add(int(token))
                words += [] if same else [word]
        return ListLabel(kept, words[listed:], at_start, pair, self.specialists.get(feature, ""))

    def _pair(self, firing: Firing, single: float) -> tuple[int, int] | None:
        """The best pair of consecutive tokens, if its F1 is clearly above that of the best single token."""
        counted = pd.Series(self.pairs[self.tokens]).value_counts()
        active = pd.Series(self.pairs[firing.tokens]).value_counts()
        f1 = (2 * active / (counted.reindex(active.index) + len(firing.tokens))).sort_index()
        place = int(np.flatnonzero(self.pairs == f1.idxmax())[0])
        first, second = int(self.before[place]), int(self.corpus.ids[place])
        return (first, second) if f1.max() - single >= 0.1 and first >= 0 else None

    def ways(self, label: ListLabel) -> list[Tokens]:
        """The tokens that a label matches, in each way of reading it."""
        corpus, extra = self.corpus, np.zeros(len(self.corpus.ids), bool)
        if label.at_start:
            extra |= corpus.positions == 0
        if label.pair:
            extra |= (self.before == label.pair[0]) & (corpus.ids == label.pair[1])
        words = {word.lower() for word in label.words}
        exact = np.isin(np.arange(len(corpus.vocabulary)), list(label.ids))
        spelled = np.array([readable(token).lower() in words for token in corpus.vocabulary])
        inside = np.array([category == label.category for category in corpus.categories])[corpus.texts]
        places = [np.ones(len(extra), bool), *([inside] if label.category else [])]
        return [(which[corpus.ids] | extra) & place for which, place in product((exact, spelled | exact), places)]


def first_half_f1(matched: Tokens, tokens: Tokens, firing: Firing) -> float:
    return float(2 * matched[firing.tokens].sum() / (matched[tokens].sum() + len(firing.tokens)))


def draw(activations: Activations, second: np.ndarray, count: int, seed: int) -> list[int]:
    """Features in equal numbers from each range of density, of those active often enough in both halves."""
    matrix = activations.by_token[np.flatnonzero(activations.included)]
    later = second[activations.token_texts[activations.included]]
    active = [np.bincount(matrix[half].indices, minlength=activations.d_sae) for half in (~later, later)]
    often = np.flatnonzero((active[0] >= LEAST) & (active[1] >= LEAST))
    by_density = often[np.argsort(active[0][often] + active[1][often], kind="stable")]
    chance = np.random.default_rng(seed)
    parts = np.array_split(by_density, RANGES)
    return sorted(int(f) for part in parts for f in chance.choice(part, min(count // RANGES, len(part)), replace=False))


def specialists(folder: Path) -> dict[int, str]:
    """The category that a label named: of which the feature is clearly a specialist, by all texts."""
    table = Tables(folder).read("categories", ["category", "feature", "balanced_score", "q_value"])
    clear = table[(table["balanced_score"] >= SPECIALIST) & (table["q_value"] <= Q)]
    best = clear.sort_values(["feature", "balanced_score", "category"], ascending=[True, False, True])
    first = best.drop_duplicates("feature")
    return dict(zip(first["feature"].tolist(), first["category"].tolist(), strict=True))


def compare(pipeline: Pipeline, config: AnalysisConfig, count: int, seed: int) -> pd.DataFrame:
    """The figures of both labels of each feature drawn."""
    folder, corpus = pipeline.analysed.folder, pipeline.corpus
    vocabulary = pipeline.lens.json("vocabulary.json")
    activations = include(corpus.store, config.outlier_multiple)
    second = second_half([text.category for text in corpus.texts])
    drawn = draw(activations, second, count, seed)
    activations = replace(activations, store=only(corpus.store, drawn))
    readings = Readings(corpus_of(activations, corpus.texts, vocabulary))
    first = activations.included & ~second[activations.token_texts]
    lister = Lister(readings.corpus, first, specialists(folder))
    table = Tables(folder).read("features", ["feature", "label", "label_kind", "label_rule", "label_half", "density"])
    rules, matched, texts = label_rules(table[table["label_kind"] != "mixed"]), dict[str, Places](), dict[int, str]()
    for feature in drawn:
        tokens, values = activations.column(feature)
        firing = Firing(tokens[first[tokens]], values[first[tokens]].astype(np.float64))
        label = lister.label(feature, firing)
        texts[feature] = label.text()
        best = max(lister.ways(label), key=lambda way: first_half_f1(way, first, firing))
        matched[f"old {feature}"] = np.flatnonzero(best)
        matched[f"new {feature}"] = matched_by(rules.get(feature, ""), readings)
    held_out, scores = (
        HeldOut(activations, second, {}, matched.__getitem__),
        score_texts(activations, config.text_score),
    )
    found: dict[tuple[str, str], pd.Series] = {}
    for which in ("old", "new"):
        names = {feature: f"{which} {feature}" for feature in drawn}
        rows = [
            held_out.rows(block, scores.block(block.first, block.first + len(block)), names, matched.__getitem__)
            for block in (part.read() for part in activations.blocks())
        ]
        part = pd.concat([row for row in rows if len(row)]).set_index("feature")
        found |= {(which, name): part[name].fillna(other) for name, other in FIGURES.items()}
    table = table.set_index("feature").loc[drawn]
    found |= {("feature", "density"): table["density"], ("feature", "rule"): pd.Series({f: f in rules for f in drawn})}
    return pd.DataFrame(found | {("label", "old"): pd.Series(texts), ("label", "new"): table["label"]})


def summary(found: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Means of both, the mean difference with its interval, and how many features each label wins."""
    chance, rows = np.random.default_rng(seed), []
    picks = chance.integers(0, len(found), (RESAMPLES, len(found)))
    for name in FIGURES:
        old, new = found["old", name].to_numpy(), found["new", name].to_numpy()
        low, high = np.quantile((new - old)[picks].mean(1), [0.025, 0.975])
        wins = {"better": int((new > old).sum()), "equal": int((new == old).sum()), "worse": int((new < old).sum())}
        rows.append({"figure": name, "old": old.mean(), "new": new.mean(), "gain": (new - old).mean()})
        rows[-1] |= {"low": low, "high": high, **wins}
    return pd.DataFrame(rows).set_index("figure")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--catalog", type=Path, default=Path("catalog.toml"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--features", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    config = load_config(words.catalog)
    config = replace(config, cache=words.cache) if words.cache else config
    with Pipeline(config, Progress(quiet=True)) as pipeline:
        found = compare(pipeline, config.analysis, words.features, words.seed)
    for feature, row in found.iterrows():
        scores = [f"{name} {row['old', name]:.2f} -> {row['new', name]:.2f}" for name in ("f1", "token_auroc")]
        labels = f"{row['label', 'old']}   ->   {row['label', 'new']}"
        print(f"{feature:>6} {row['feature', 'density']:8.3%}   {'   '.join(scores)}   {labels}")
    ruled = found[found["feature", "rule"]]
    for what, part in ((f"all {len(found)}", found), (f"the {len(ruled)} whose new label states a rule", ruled)):
        print(f"\n{what}\n{summary(part, words.seed).round(3).to_string()}")
    print(json.dumps(summary(found, words.seed).round(4).to_dict("index")))


if __name__ == "__main__":
    main()
