"""How well rules hold: chosen rules and active entries flow in, their figures on either half of the texts flow out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import sparse, stats

from saecatalog.analysis.activations import runs
from saecatalog.analysis.code_counts import Coded, Entries
from saecatalog.analysis.rule_choice import MOST_WORDS, Choices, explained
from saecatalog.analysis.statistics import Z95, wilson
from saecatalog.store import ranges as consecutive


@dataclass(frozen=True)
class Figures:
    """How well each feature's rule holds on some texts; all 0 for a feature without a rule."""

    hits: Int64[np.ndarray, "feature"]
    """Active tokens that the rule matches."""
    matched: Int64[np.ndarray, "feature"]
    """Tokens that the rule matches."""
    precision: Float64[np.ndarray, "feature"]
    recall: Float64[np.ndarray, "feature"]
    f1: Float64[np.ndarray, "feature"]
    share: Float64[np.ndarray, "feature"]
    """Share of the activation on the tokens that the rule matches."""
    density: Float64[np.ndarray, "feature"]
    """Share of the tokens on which the feature is active."""

    @property
    def explained(self) -> Float64[np.ndarray, "feature"]:
        """How much the rule explains (see `rule_choice.explained`)."""
        return explained(self.hits, self.matched, self.share, self.density)


def matched_entries(entries: Entries, choices: Choices, coded: dict[str, Coded]) -> Bool[np.ndarray, "entry"]:
    """Which active entries their feature's rule matches."""
    family = np.array(choices.family, object)[entries.columns]
    found = np.zeros(len(entries.columns), bool)
    for name in sorted(set(choices.family) - {""}):
        mine = np.flatnonzero(family == name)
        code, columns = coded[name].codes[entries.tokens[mine]], entries.columns[mine]
        for place in range(MOST_WORDS):
            found[mine] |= (code >= choices.low[columns, place]) & (code < choices.high[columns, place])
    return found


def figures(
    entries: Entries,
    hit: Bool[np.ndarray, "entry"],
    matched: Int64[np.ndarray, "feature"],
    n_tokens: Int64[np.ndarray, "feature"],
) -> Figures:
    """The figures of each feature's rule: `hit` says which entries it matches, `matched` how many of the tokens."""
    mine = entries.chosen(hit)
    n_active, hits = entries.n_active, mine.n_active
    share = mine.totals / np.maximum(entries.totals, 1e-30)
    precision, recall = hits / np.maximum(matched, 1), hits / np.maximum(n_active, 1)
    f1 = 2 * hits / np.maximum(matched + n_active, 1)
    return Figures(hits, matched, precision, recall, f1, share, n_active / np.maximum(n_tokens, 1))


def selection(choices: Choices, family: str, n_codes: int) -> sparse.csr_matrix:
    """`[feature, code]`: 1 where a feature's rule is of the family and covers the code."""
    mine = np.array([name == family for name in choices.family])[:, None]
    sizes = np.where(mine, choices.high - choices.low, 0)
    codes = consecutive(choices.low.ravel(), sizes.ravel())
    indptr = np.append(0, np.cumsum(sizes.sum(1)))
    return sparse.csr_matrix((np.ones(len(codes)), codes, indptr), shape=(len(choices.family), n_codes))


def matched_tokens(
    choices: Choices, coded: dict[str, Coded], half: Int64[np.ndarray, "feature"]
) -> Int64[np.ndarray, "feature"]:
    """The number of tokens that each rule matches: in the first half where `half` is 0, in all texts where it is 1."""
    total = np.zeros(len(choices.family), np.int64)
    for name in sorted(set(choices.family) - {""}):
        before = coded[name].occurrences_before
        mine = np.array([family == name for family in choices.family])
        low, high, rows = choices.low[mine], choices.high[mine], half[mine][:, None]
        total[mine] = (before[rows, high] - before[rows, low]).sum(1)
    return total


def matched_by_text(choices: Choices, coded: dict[str, Coded], n_texts: int) -> sparse.csr_matrix:
    """`[feature, text]`: the tokens of the second half that each rule matches."""
    total = sparse.csr_matrix((len(choices.family), n_texts))
    for name in sorted(set(choices.family) - {""}):
        total = total + selection(choices, name, coded[name].n_codes) @ coded[name].second
    return total.tocsr()


def clearness_interval(
    entries: Entries,
    hit: Bool[np.ndarray, "entry"],
    found: Figures,
    texts: Int64[np.ndarray, "entry"],
    by_text: sparse.csr_matrix,
    n_tokens: Int64[np.ndarray, "text"],
) -> tuple[Float64[np.ndarray, "feature"], Float64[np.ndarray, "feature"]]:
    """Ends of the 95 % interval of how much the rules explain; the texts are the independent units.

    The figure is a function of sums over texts, so its variance follows from what each text adds to its linear form
    (Woodruff 1971). From it follows how many independent texts would be as sure, and from that number Wilson's interval
    (Korn & Graubard 1998), at most the texts on which the feature fires or the rule matches. `texts` is the text of
    each entry, `by_text` as `matched_by_text` gives it, and `n_tokens` the tokens of each text, 0 in the first half.
    """
    c = found.explained
    squares, touched = _linear(entries, hit, found, texts, by_text, n_tokens.astype(np.float64))
    n_texts = int((n_tokens > 0).sum())
    variance = squares * n_texts / max(n_texts - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where the rule is no better than chance, the figure stays 0 whatever a text adds.
        worth = np.where((variance > 0) & (c > 0), c * (1 - c) / variance, np.inf)
    scale = (Z95 / stats.t.ppf(0.975, np.maximum(touched - 1, 1))) ** 2
    worth = np.minimum(worth, touched) * scale
    low, high = wilson(c * worth, worth)
    return low, high


def _linear(
    entries: Entries,
    hit: Bool[np.ndarray, "entry"],
    found: Figures,
    texts: Int64[np.ndarray, "entry"],
    by_text: sparse.csr_matrix,
    n_tokens: Float64[np.ndarray, "text"],
) -> tuple[Float64[np.ndarray, "feature"], Int64[np.ndarray, "feature"]]:
    """The sum of the squares of what each text adds to the linear form, and the number of texts concerned.

    With the precision p, the density d and the share s, b = (p - d) / (1 - d) and C = 2 b s / (b + s), a text adds
    2 s^2 / (b + s)^2 db + 2 b^2 / (b + s)^2 ds, where db = dp / (1 - d) - (1 - p) / (1 - d)^2 dd. A text with h of its
    m matched tokens active adds (h - p m) / M to p, and so on.
    """
    p, d, s = found.precision, found.density, found.share
    b = np.maximum(p - d, 0) / np.maximum(1 - d, 1e-30)
    both = np.maximum(b + s, 1e-30)
    per_p = 2 * (s / both) ** 2 / np.maximum(1 - d, 1e-30)
    per_d = per_p * (1 - p) / np.maximum(1 - d, 1e-30)
    per_match, per_token = per_p / np.maximum(found.matched, 1), per_d / max(n_tokens.sum(), 1.0)
    per_sum = 2 * (b / both) ** 2 / np.maximum(entries.totals, 1e-30)
    columns, values = entries.columns, entries.values.astype(np.float64)
    form = hit * per_match[columns] + (hit - s[columns]) * values * per_sum[columns] - per_token[columns]
    # Tokens ascend within a feature, so entries of one text are together.
    starts = runs(columns, texts) if len(columns) else np.empty(0, np.int64)
    place, shape = (columns[starts], texts[starts]), by_text.shape
    active = sparse.csr_matrix((np.add.reduceat(form, starts) if len(starts) else form, place), shape=shape)
    total = (active - sparse.diags(p * per_match) @ by_text).tocsr()
    # Every text also adds its tokens to the density: x + g t, whose squares are x^2 + 2 g t x + g^2 t^2.
    per_text = d * per_token
    squares = np.asarray(total.multiply(total).sum(1)).ravel() + 2 * per_text * (total @ n_tokens)
    squares += per_text**2 * (n_tokens**2).sum()
    seen = sparse.csr_matrix((np.ones(len(starts)), place), shape=shape) + by_text
    return squares, np.diff(seen.tocsr().indptr)
