"""The label of each feature and the figures behind it: a block of activations flows in, columns of `features` flow out.

A rule is chosen on the first half of the texts and judged on the second, which had no say in it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64

from saecatalog.analysis.activations import Block, CorpusTokens
from saecatalog.analysis.clearness import (
    clearness_interval,
    figures,
    matched_by_text,
    matched_entries,
    matched_tokens,
)
from saecatalog.analysis.code_counts import Coded, Entries, code_all
from saecatalog.analysis.labels import (
    CODE_SIGNS,
    EXPLAINS,
    group_of,
    kind_of,
    make_label,
    strongest_character,
    telling_tokens,
)
from saecatalog.analysis.readings import Readings, in_range
from saecatalog.analysis.rule_choice import Choices, choose_rules
from saecatalog.analysis.rules import Rule, ranges
from saecatalog.analysis.token_kinds import BYTE
from saecatalog.constants import LABEL_TOKENS


@dataclass(frozen=True)
class Labelling:
    """A corpus prepared for labels."""

    tokens: CorpusTokens
    readings: Readings
    coded: dict[str, Coded]
    second: Bool[np.ndarray, "text"]
    """The texts of the second half."""
    code: Bool[np.ndarray, "text"]
    """The texts that look like code."""
    n_tokens: Int64[np.ndarray, "2"]
    """The included tokens of the first half of the texts, and of all texts."""

    @classmethod
    def of(cls, tokens: CorpusTokens, readings: Readings, second: Bool[np.ndarray, "text"]) -> "Labelling":
        """Count every family of rules."""
        coded = code_all(readings, tokens.included, tokens.texts, second)
        # Found here, once, because every block needs them and a worker may keep nothing from one block to the next.
        _ = coded["word"].stems
        ((low, high),) = ranges(Rule("class", ("punctuation and symbols",)), readings["kind"])
        signs = in_range(readings["kind"].codes, low, high) & tokens.included
        n_tokens = tokens.per_text
        n_signs = np.bincount(tokens.texts[signs], minlength=len(second))
        code = n_signs >= CODE_SIGNS * np.maximum(n_tokens, 1)
        counts = np.array([n_tokens[~second].sum(), n_tokens.sum()])
        return cls(tokens, readings, coded, second, code, counts)


def label_rows(work: Labelling, block: Block, rows: pd.DataFrame, tokens: pd.DataFrame) -> pd.DataFrame:
    """The columns `label` and all that begin with `label_` or `clearness`, for the features of a block.

    `rows` are the block's rows of the features table, `tokens` those of the tokens table.
    """
    every = Entries(block.columns, block.tokens, block.values, len(block))
    later = work.second[work.tokens.texts[block.tokens]]
    rare = every.chosen(~later).n_active < LABEL_TOKENS
    half = rare.astype(np.int64)
    mine = every.chosen(~later | rare[every.columns])
    choices = choose_rules(mine, work.coded, half, work.n_tokens)
    hit, matched = matched_entries(mine, choices, work.coded), matched_tokens(choices, work.coded, half)
    chosen = figures(mine, hit, matched, work.n_tokens[half])
    held_out = _held_out(work, every.chosen(later), choices, rare)
    rules = [_rule(choices, work.coded, column) for column in range(len(block))]
    named = np.array([rule is not None for rule in rules])
    return pd.DataFrame(
        {
            **_words(work, block, rows, tokens, rules, rare, np.fmin(chosen.explained, held_out["clearness"])),
            "label_rule": [rule.to_json() if rule else "" for rule in rules],
            "label_half": np.where(named, np.where(rare, "all", "first"), "").astype(object),
            **{f"label_{name}": getattr(chosen, name) for name in ("precision", "recall", "f1", "share")},
            **held_out,
        }
    )


def _held_out(
    work: Labelling, entries: Entries, choices: Choices, rare: Bool[np.ndarray, "feature"]
) -> dict[str, np.ndarray]:
    """The clearness with its interval; empty where the rule was not chosen on the first half, or cannot be judged."""
    by_text = matched_by_text(choices, work.coded, len(work.second))
    matched = np.asarray(by_text.sum(1)).ravel().astype(np.int64)
    n_tokens = np.where(work.second, work.tokens.per_text, 0)
    hit = matched_entries(entries, choices, work.coded)
    found = figures(entries, hit, matched, np.full(entries.width, n_tokens.sum()))
    texts = work.tokens.texts[entries.tokens]
    low, high = clearness_interval(entries, hit, found, texts, by_text, n_tokens)
    named = np.array([kind != "" for kind in choices.kind])
    scored = named & ~rare & (entries.n_active >= LABEL_TOKENS)
    ends = {"clearness": found.explained, "clearness_low": low, "clearness_high": high}
    return {name: np.where(scored, values, np.nan) for name, values in ends.items()}


def _words(
    work: Labelling,
    block: Block,
    rows: pd.DataFrame,
    tokens: pd.DataFrame,
    rules: list[Rule | None],
    rare: Bool[np.ndarray, "feature"],
    strength: Float64[np.ndarray, "feature"],
) -> dict[str, list[str]]:
    """The labels, their kinds and groups; a rule that explains too little of its feature is not stated."""
    telling = telling_tokens(block, rows, tokens, work.readings)
    on_code = np.where(work.code[work.tokens.texts[block.tokens]], block.values.astype(np.float64), 0)
    total = np.maximum(np.bincount(block.columns, block.values.astype(np.float64), minlength=len(block)), 1e-30)
    code_share = (np.bincount(block.columns, on_code, minlength=len(block)) / total).tolist()
    density, labels, kinds, groups = rows["density"].tolist(), [], [], []
    for column, rule in enumerate(rules):
        shown = _shown(work, block, column, rule) if rule and strength[column] >= EXPLAINS else None
        fired = block.n_active[column] > 0
        label = make_label(shown, strength[column], rare[column], density[column], telling[column])
        labels.append(label if fired else "silent")
        kinds.append(kind_of(shown) if shown else "mixed" if fired else "silent")
        groups.append(group_of(shown, code_share[column]) if fired else "")
    return {"label": labels, "label_kind": kinds, "label_group": groups}


def _rule(choices: Choices, coded: dict[str, Coded], column: int) -> Rule | None:
    """The rule that a feature's chosen codes stand for."""
    kind = choices.kind[column]
    if not kind:
        return None
    if choices.name[column]:
        return Rule(kind, (choices.name[column],))
    names = coded[choices.family[column]].family.names
    bounds = zip(choices.low[column].tolist(), choices.high[column].tolist(), strict=True)
    return Rule.named(kind, [names[low] for low, high in bounds if low < high])


def _shown(work: Labelling, block: Block, column: int, rule: Rule) -> Rule:
    """The rule with whole characters in place of their bytes."""
    if rule.kind != "token":
        return rule
    whole = (
        strongest_character(block, column, value, work.readings) if BYTE in value else value for value in rule.values
    )
    return Rule(rule.kind, tuple(whole))
