"""Numbers that the analyses use and the definitions of the tables mention: how much is kept, and the thresholds.

They are defined only here, so that the text always matches the code.
"""

BEFORE, AFTER = 20, 10
"""Tokens shown before and after the peak of a context."""

NEAR = 4
"""Two contexts are near-duplicates if the peak and this many tokens on each side are equal."""

TOKENS_KEPT = 10
"""Tokens kept for each feature, of those it fires on."""

BIGRAM_GAIN = 0.1
"""A bigram rule is kept if its F1 exceeds that of the best single token by at least this."""

LABEL_TOKENS = 10
"""A label's rule is chosen, and checked, on halves of the texts on which the feature has at least this many active
tokens."""

TEXT_TOP = 10
"""Features kept for each text."""

PARTNERS = 10
"""Partners kept per feature and level; a pair is kept if either feature keeps the other."""

MIN_SUPPORT = {"token": 5, "text": 3}
"""The least number of tokens or texts on which both features of a pair must be active."""

CLUSTER_PHI = 0.5
"""Features belong to one cluster if a chain of pairs with at least this phi on tokens links them."""

SCORE_DECIMALS = 9
"""Balanced scores are rounded to this many decimals."""

SURE_Q = 0.05
"""The largest q-value of a contrast that counts as sure."""

EVIDENCE = ("clear", "moderate", "weak")
"""What the evidence for a specialist may be, the best first."""

WEAK_SPECIALIST = "weak specialist"
"""The rankings of specialists with weak evidence, and the reason for being notable that these rankings give."""

CLEAR_AUROC = 0.6
"""The evidence for a specialist is clear only if the 95 % interval of its AUROC is above this."""

CONCEPT_HALF = 5
"""A concept is split into two halves if each then has at least this many texts."""

LENS_ENTRIES = 10
"""Number of promoted tokens, of suppressed tokens and of nearest decoder rows kept for each feature."""

LENS_BINS = 40
"""Bins in the histogram of a feature's direct logit effects."""

EFFECT_REACH = 4
"""A feature is taken out at the sampled token and at those of this many last tokens up to it where it is active. It is
a power of two."""

EFFECT_TOKENS = 10
"""Tokens kept for each feature of those it raises in context, and of those it lowers."""

FEATURE_PAGE_MEAN = 20_000
"""The most bytes that the feature pages of a catalog may have on average."""

FEATURE_PAGES_MAX = 600_000_000
"""The most bytes that all feature pages of a catalog may take, of the 1 GB that GitHub Pages allows for a site."""

MANY_CATEGORIES = 20
"""With more categories than this, the table `categories` has only rows of features that are active in the category, and
a page, a chart or a table beside a chart shows at most this many of them."""

LIST_ROWS = 200
"""The most categories, or concepts, on one page of a list; further ones are on further pages."""

PAIR_FEATURES = 10
"""Features kept for each of two categories that are compared."""

FIRINGS_MAX = 8_000_000
"""The most firings, over all features, that a catalog publishes for comparing two features: about 20 MB."""

DOUBLE = 0.7
"""Two features fire on the same tokens if their phi is at least this, and write alike if their cosine is."""

WITHIN = 0.9
"""A feature fires within another if at least this share of its tokens are tokens of the other."""

TOGETHER = 2.0
"""Two features fire together if they do so at least this many times as often as if they were independent."""

SHUFFLED = 100
"""The most rules of other features that a rule is compared with."""

CLEAR_KINDS = {
    "words": "Words and their forms",
    "topics": "Topics",
    "syntax": "Syntax",
    "code": "Code",
    "scripts": "Scripts and languages",
    "common": "Common tokens and letters",
    "positions": "Positions",
}
"""The kinds of features to browse by what their label's rule is about (`label_group`), and what readers call them.

`common` are features of the kinds in `COUNTED_KINDS` that are active on many tokens (`COMMON_DENSITY`), or that fire on
a common token (`COMMON_TOKEN`) or a single letter.
"""

COUNTED_KINDS = ("words", "syntax", "code")
COMMON_DENSITY = 0.005
"""A feature of these kinds that is active on at least this share of the tokens is one of common tokens."""

COMMON_TOKEN = 0.001
"""So is one whose best single token makes up at least this share of the tokens."""

SET_APART = ("common", "positions")
"""Kinds that the ranking of the clearest features of all kinds leaves out."""

CLEAR = 0.5
"""A feature is clear if its label's rule explains its activation this well: the lower end of its clearness."""

CLEAREST = 60
"""The most entries of the ranking of the clearest features, and of that of each kind."""

CLEAREST_SHARE = 4
"""One of this many notable features is notable as one of the clearest, if there are enough."""
NEXT_TOKENS = 5
"""Most probable next tokens kept after a prompt."""

CONTINUATION = 12
"""Tokens of a greedy continuation."""

ATTRIBUTION_PARTS = 10
"""Parts of the model kept for each feature, of those that add to its activation."""

ATTRIBUTION_CONTEXTS = 12
"""Strongest tokens of a feature, one per text, over which these contributions are averaged."""
