"""Detection scores of the labels: a study and the labels of its features flow in, rows of `detection` flow out."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from saecatalog.analysis.activations import Block
from saecatalog.analysis.detection import HALF, HeldOut, Tokens
from saecatalog.analysis.labels import in_words
from saecatalog.analysis.readings import Readings
from saecatalog.analysis.rules import Rule, matches
from saecatalog.analysis.study import Study
from saecatalog.threads import in_order

CHOSEN_ON = "first"
"""Rules chosen on this half are scored on the other; one that was chosen on all texts has no texts left to test it."""


def label_rules(features: pd.DataFrame) -> dict[int, str]:
    """The rules that labels state and that can be tested, by feature: `features` is the features table."""
    testable = features[(features["label_rule"] != "") & (features["label_half"] == CHOSEN_ON)]
    return dict(zip(testable["feature"].tolist(), testable["label_rule"].tolist(), strict=True))


def matched_by(rule: str, readings: Readings) -> Tokens:
    """The tokens that a label's rule, which is JSON, matches; none if it is empty."""
    read = Rule.from_json(rule)
    return matches(read, readings) if read else np.zeros(len(readings.corpus.ids), bool)


def words_of(rule: str) -> str:
    """A label's rule as a reader says it."""
    read = Rule.from_json(rule)
    return in_words(read) if read else ""


def detection_rows(study: Study, features: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of the table, block by block: one for each label whose rule can be tested."""
    rules = label_rules(features)

    def match(rule: str) -> Tokens:
        return matched_by(rule, study.labelling.readings)

    held_out = HeldOut(study.activations, study.second, rules, match)

    def rows(block: Block) -> pd.DataFrame:
        scores = study.scores.block(block.first, block.first + len(block))
        found = held_out.rows(block, scores, rules, match)
        words = [words_of(rules[feature]) for feature in found["feature"].tolist()]
        return found.assign(rule_source="label", rule=words, half=HALF)

    with study.bar("detection") as bar:
        for part in in_order(rows, study.activations.blocks()):
            yield part
            bar.update(len(part))
