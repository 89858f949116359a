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

LENS_ENTRIES = 10
"""Number of promoted tokens, of suppressed tokens and of nearest decoder rows kept for each feature."""

LENS_BINS = 40
"""Bins in the histogram of a feature's direct logit effects."""

EFFECT_REACH = 8
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

NEXT_TOKENS = 5
"""Most probable next tokens kept after a prompt."""

CONTINUATION = 12
"""Tokens of a greedy continuation."""

ATTRIBUTION_PARTS = 10
"""Parts of the model kept for each feature, of those that add to its activation."""

ATTRIBUTION_CONTEXTS = 12
"""Strongest tokens of a feature, one per text, over which these contributions are averaged."""
