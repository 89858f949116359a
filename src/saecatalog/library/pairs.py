"""Two features side by side, from the tables of a catalog: the figures that the page of the two shows."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from saecatalog.errors import CatalogError
from saecatalog.tables import Tables

LEVELS = ("tokens", "texts")


def pair_figures(tables: Tables, a: int, b: int, n_tokens: int) -> pd.Series:
    """How far two features fire together and write alike.

    For `tokens` and `texts`: on how many each is active (`tokens_a`, `tokens_b`) and both are (`tokens_both`), their
    Jaccard index, lift and phi. `cosine` is that of the decoder rows, to about 0.01. `pearson` and `spearman` are
    correlations of the scores on all texts. A figure is NaN if a feature is silent, or active everywhere.

    Raises CatalogError if the catalog has no firings of one of the two.
    """
    firings = tables.read("firings", features=[a, b]).set_index("feature")
    for feature in (a, b):
        if feature not in firings.index:
            fix = "The table firings has the features that can be compared; build with --features to choose them."
            raise CatalogError("The catalog has no firings of this feature.", f"feature {feature}", fix)
    scores = [_text_scores(tables, feature) for feature in (a, b)]
    tokens = [np.asarray(firings.loc[feature, "tokens"]) for feature in (a, b)]
    texts = [np.flatnonzero(score) for score in scores]
    found: dict[str, float] = {}
    for level, sides, n in zip(LEVELS, (tokens, texts), (n_tokens, len(scores[0])), strict=True):
        found |= {f"{level}_{name}": value for name, value in _overlap(sides[0], sides[1], n).items()}
    rows = [np.asarray(firings.loc[feature, "direction"], np.float64) for feature in (a, b)]
    return pd.Series(found | {"cosine": _cosine(*rows), **_correlations(*scores)}, name=f"{a}, {b}")


def _text_scores(tables: Tables, feature: int) -> pd.Series:
    """The score of every text, 0 if the feature is silent there."""
    found = tables.read("text_scores", ["text", "score"], [feature]).set_index("text")["score"]
    return found.reindex(tables["texts"]["text"], fill_value=0.0).astype(np.float64)


def _overlap(a: Int[np.ndarray, "active_a"], b: Int[np.ndarray, "active_b"], n: int) -> dict[str, float]:
    both = len(np.intersect1d(a, b))
    expected = len(a) * len(b) / n
    spread = np.sqrt(len(a) * (n - len(a))) * np.sqrt(len(b) * (n - len(b)))
    return {
        "a": len(a),
        "b": len(b),
        "both": both,
        "jaccard": both / max(1, len(a) + len(b) - both),
        "lift": both / expected if expected else np.nan,
        "phi": (both * n - len(a) * len(b)) / spread if spread else np.nan,
    }


def _cosine(a: Float[np.ndarray, "d_out"], b: Float[np.ndarray, "d_out"]) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else np.nan


def _correlations(a: pd.Series, b: pd.Series) -> dict[str, float]:
    if a.nunique() < 2 or b.nunique() < 2:
        return {"pearson": np.nan, "spearman": np.nan}
    return {"pearson": float(a.corr(b)), "spearman": float(a.corr(b, method="spearman"))}
