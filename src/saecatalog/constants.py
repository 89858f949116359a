"""Numbers that the analyses go by and that the definitions of the tables name: how much is kept, and from where on.

They stand here alone, so that no sentence can say another number than the code uses.
"""

BEFORE, AFTER = 20, 10
"""Tokens shown before and after the peak of a context."""

NEAR = 4
"""Two contexts are near-duplicates when the peak and this many tokens on each side are the same."""

TOKENS_KEPT = 10
"""Tokens kept of those a feature fires on."""

BIGRAM_GAIN = 0.1
"""A rule of two tokens is given where its F1 exceeds that of the best single token by at least this."""

TEXT_TOP = 10
"""Features kept of each text."""

PARTNERS = 10
"""Partners kept per feature and level; a pair is kept when either keeps the other."""

MIN_SUPPORT = {"token": 5, "text": 3}
"""Tokens or texts on which both features of a pair must be active."""

CLUSTER_PHI = 0.5
"""Features belong to one cluster when a chain of pairs with at least this phi on tokens joins them."""

SCORE_DECIMALS = 9
"""Decimals that a balanced score is rounded to."""

LENS_ENTRIES = 10
"""Tokens promoted most, tokens suppressed most, and nearest decoder rows kept of each feature."""

LENS_BINS = 40
"""Bins of the histogram of a feature's effects on the logits."""
