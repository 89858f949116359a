"""Detection scores of the labels: a study and the labels of its features flow in, rows of `detection` flow out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saecatalog.analysis.activations import Block, UnreadBlock
from saecatalog.analysis.detection import HALF, HeldOut, Places
from saecatalog.analysis.labels import in_words
from saecatalog.analysis.readings import Readings
from saecatalog.analysis.rules import FAMILIES, Rule, tokens_of
from saecatalog.analysis.scores import TextScores
from saecatalog.analysis.study import Study

CHOSEN_ON = "first"
"""Rules chosen on this half are scored on the other; one that was chosen on all texts has no texts left to test it."""


def label_rules(features: pd.DataFrame) -> dict[int, str]:
    """The rules that labels state and that can be tested, by feature: `features` is the features table."""
    testable = features[(features["label_rule"] != "") & (features["label_half"] == CHOSEN_ON)]
    return dict(zip(testable["feature"].tolist(), testable["label_rule"].tolist(), strict=True))


def matched_by(rule: str, readings: Readings) -> Places:
    """The tokens that a label's rule, which is JSON, matches; none if it is empty."""
    read = Rule.from_json(rule)
    return tokens_of(read, readings) if read else np.empty(0, np.int32)


def words_of(rule: str) -> str:
    """A label's rule as a reader says it."""
    read = Rule.from_json(rule)
    return in_words(read) if read else ""


@dataclass(frozen=True)
class Detecting:
    """What the detection scores of every block share: about 130 bytes a token, the texts and the vocabulary."""

    held_out: HeldOut
    readings: Readings

    def match(self, rule: str) -> Places:
        return matched_by(rule, self.readings)


@dataclass(frozen=True)
class Ruled:
    """One block of features with its text scores and the rules of its labels, by feature."""

    block: Block | UnreadBlock
    scores: TextScores
    rules: dict[int, str]

    @classmethod
    def of(cls, study: Study, block: Block | UnreadBlock, rules: dict[int, str]) -> "Ruled":
        first, stop = block.first, block.first + len(block)
        mine = {feature: rules[feature] for feature in range(first, stop) if feature in rules}
        return cls(block, study.scores.block(first, stop), mine)


def detection_rows(study: Study, features: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of the table, block by block: one for each label whose rule can be tested."""
    rules, readings = label_rules(features), study.shared.labelling.readings
    held_out = HeldOut(study.activations, study.shared.second, rules, lambda rule: matched_by(rule, readings))
    for family in FAMILIES.values():
        # Sorted here, once, because a worker may keep nothing from one block to the next.
        _ = readings[family].by_code
    ruled = (Ruled.of(study, block, rules) for block in study.activations.blocks())
    with study.bar("detection") as bar:
        for rows in study.engine.in_order(_rows_of_block, Detecting(held_out, readings), ruled):
            yield rows
            bar.update(len(rows))


def _rows_of_block(shared: Detecting, part: Ruled) -> pd.DataFrame:
    found = shared.held_out.rows(part.block.read(), part.scores, part.rules, shared.match)
    words = [words_of(part.rules[feature]) for feature in found["feature"].tolist()]
    return found.assign(rule_source="label", rule=words, half=HALF)
