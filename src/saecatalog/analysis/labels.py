"""The words of a label: a rule and how well it holds flow in, one short sentence part per feature flows out.

A label says what kind of token a feature fires on, by the rule that explains it best. Where no rule does, it says so,
and names the most telling tokens: those that carry much of the activation and on which the feature fires far more often
than on others.
"""

import numpy as np
import pandas as pd

from saecatalog.analysis.activations import Block
from saecatalog.analysis.readings import END, START, Readings, character
from saecatalog.analysis.rules import Rule
from saecatalog.analysis.token_kinds import BYTE, script_of
from saecatalog.names import title, with_signs

TOKENS, LEAST = 3, 0.1
"""A label without a rule names up to TOKENS tokens, each with at least LEAST times the activation of the first."""

EXPLAINS, WEAK = 0.1, 0.25
"""A rule that explains less than EXPLAINS of a feature is not stated; one that explains less than WEAK is weak."""

DENSE = 0.1
"""A feature without a rule that is active on more than this share of all tokens is called dense."""

SPECIALIST, Q = 3, 0.05
"""A label names a category if the balanced score is at least SPECIALIST and the q-value at most Q."""

LONGEST, LONGEST_NAME = 60, 24
"""Characters of the names in a label, and of each of them."""

BLANKS = {"\n": "line break", "\r": "return", "\t": "tab", "\u00a0": "no-break space", " ": "space"}
"""Names of white space; for a token with several kinds, the first one here is used."""

EDGES = {START: "the start of a text", END: "the end of a text"}

SCRIPTS = {"CJK": "Chinese characters"}
"""Scripts that Unicode's names of letters do not call by their usual name."""


def telling_tokens(block: Block, rows: pd.DataFrame, tokens: pd.DataFrame, readings: Readings) -> list[list[str]]:
    """For each feature of a block, up to three tokens, the most telling first.

    `rows` are the block's rows of the features table, `tokens` those of the tokens table.
    """
    density = rows["density"].to_numpy()[tokens["feature"].to_numpy() - block.first]
    # The share of the activation times log2 of how much more often the feature fires here than on average.
    telling = tokens["share"] * np.log2(tokens["p_active"] / density)
    ordered = tokens.assign(telling=telling).sort_values(
        ["feature", "telling", "rank"], ascending=[True, False, True], kind="stable"
    )
    found: list[list[str]] = [[] for _ in range(len(block))]
    first_share: dict[int, float] = {}
    columns = (ordered[name].tolist() for name in ("feature", "token", "share"))
    for feature, token, share in zip(*columns, strict=True):
        known = found[feature - block.first]
        if share < LEAST * first_share.setdefault(feature, share) or len(known) == TOKENS:
            continue
        if BYTE in token:
            token = strongest_character(block, feature - block.first, token, readings)
        # Tokens that differ only in case or surrounding space count as one.
        if token.strip().lower() not in (name.strip().lower() for name in known):
            known.append(token)
    return found


def strongest_character(block: Block, column: int, token: str, readings: Readings) -> str:
    """The whole character of which a token has only some bytes, where a feature of the block is strongest on it."""
    entries = slice(block.indptr[column], block.indptr[column + 1])
    family, tokens = readings["token"], block.tokens[entries]
    values = np.where(family.codes[tokens] == family.places[token], block.values[entries], 0)
    return character(readings.corpus, int(tokens[int(values.argmax())]))


def in_category(labels: pd.Series, kinds: pd.Series, categories: pd.DataFrame) -> pd.Series:
    """The labels, with the category of every feature that is clearly a specialist of one, unless it says so already."""
    clear = categories[(categories["balanced_score"] >= SPECIALIST) & (categories["q_value"] <= Q)]
    best = clear.sort_values(["feature", "balanced_score", "category"], ascending=[True, False, True])
    first = best.drop_duplicates("feature")
    first = first[~kinds.loc[first["feature"]].eq("category").to_numpy()]
    names = {name: f" (in {_cut(with_signs(title(name)))})" for name in first["category"].unique()}
    found = labels.copy()
    found.loc[first["feature"]] += first["category"].map(names).to_numpy(object)
    return found


def make_label(rule: Rule | None, strength: float, rare: bool, density: float, telling: list[str]) -> str:
    """The label of one feature that fired.

    `strength` is how much the rule explains, at most what it explains of texts that had no say in its choice; a feature
    is `rare` if there are too few active tokens to choose a rule on one half and check it on the other. `telling` are
    the tokens named where there is no rule.
    """
    if rule is None:
        return "dense, mixed" if density > DENSE else f"mixed: {listed(telling, ', ')}" if telling else "mixed"
    before = "rare: " if rare else "weak: " if strength < WEAK else ""
    return before + in_words(rule)


def in_words(rule: Rule) -> str:
    """What a rule matches, as a reader says it."""
    match rule.kind:
        case "position":
            n = int(rule.values[0])
            return "start of text" if n == 1 else f"first {n} tokens of a text"
        case "class":
            return rule.values[0]
        case "script":
            return SCRIPTS.get(rule.values[0], f"{rule.values[0].capitalize()} letters")
        case "category":
            return f"texts in {_cut(with_signs(title(rule.values[0])), LONGEST)}"
        case "stem":
            return f"words that begin with {quoted(rule.values[0])}"
        case "after" | "before":
            return f"{rule.kind} {listed(rule.values)}"
        case "pair":
            return f"{quoted(rule.values[1])} after {quoted(rule.values[0])}"
    return listed(rule.values)


def listed(names: tuple[str, ...] | list[str], last: str = " or ") -> str:
    """Names in quotes, as many as fit; an ellipsis stands for those that do not."""
    # Names that differ only in case, surrounding space or the kind of white space count as one.
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.strip().lower() or quoted(name), quoted(name))
    shown = list(first.values())
    kept = shown
    while len(kept) > 1 and sum(map(len, kept)) > LONGEST:
        kept = kept[:-1]
    if len(kept) < len(shown):
        return ", ".join(kept) + " …"
    return ", ".join(kept[:-1]) + last + kept[-1] if len(kept) > 1 else kept[0]


def quoted(name: str) -> str:
    """A token or word in quotes, with signs for what cannot be seen; white space and the ends of texts have names."""
    if name in EDGES:
        return EDGES[name]
    shown = with_signs(name.strip())
    if not shown:
        return next((words for sign, words in BLANKS.items() if sign in name), "white space" if name else "empty")
    return f"“{_cut(shown)}”"


def _cut(text: str, longest: int = LONGEST_NAME) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def kind_of(rule: Rule) -> str:
    """The kind of label that states a rule."""
    return f"{rule.kind}s" if rule.kind in ("word", "token") and len(rule.values) > 1 else rule.kind


def group_of(rule: Rule | None, code_share: float) -> str:
    """The kind of feature, for browsing; `code_share` is the share of its activation on texts that look like code."""
    if rule is None:
        return "mixed"
    if rule.kind == "position" or (rule.kind == "after" and set(rule.values) <= {START, "\n"}):
        return "positions"
    if rule.kind == "script" or rule.values == ("parts of characters",) or _foreign(rule):
        return "scripts"
    if code_share >= CODE_SHARE:
        return "code"
    if rule.kind == "category":
        return "topics"
    named = rule.kind in ("word", "token", "stem") and any(char.isalpha() for value in rule.values for char in value)
    return "words" if named else "syntax"


CODE_SHARE, CODE_SIGNS = 0.8, 0.25
"""A feature belongs to code if at least CODE_SHARE of its activation is on texts in which at least CODE_SIGNS of the
tokens are punctuation or symbols."""


def _foreign(rule: Rule) -> bool:
    """Whether the first of a rule's words with letters is in letters other than Latin ones."""
    if rule.kind not in ("word", "token", "stem"):
        return False
    return next(filter(None, map(script_of, rule.values)), "LATIN") != "LATIN"
