"""The tables that the analyses write and the site reads: one Parquet file each, under a site's `data/`.

`SCHEMAS` is the single definition of every column: its Arrow type and its meaning in words. The files, the
tooltips and `about.html` all take their wording from here.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_TEXT = (pa.string(), "Id of the text; the page of that text is texts/<id>.html.")
_CATEGORY = (pa.string(), "Category of the text.")
_FEATURE = (pa.int32(), "Index of the feature in the SAE's dictionary.")
_RANK = (pa.int32(), "Place in the ranking, 0 first; ties are broken by the smaller index.")
_TOKEN = (pa.string(), "The token as text; a token that holds only part of a character is written in bytes, as <0xE2>.")
_ACTIVE_POSITIONS = (pa.list_(pa.int32()), "Positions in the text, within the part shown, where the feature is active.")
_ACTIVE_VALUES = (pa.list_(pa.float32()), "The activation at each of those positions.")

Schema = dict[str, tuple[pa.DataType, str]]

SCHEMAS: dict[str, Schema] = {
    "features": {
        "feature": _FEATURE,
        "n_tokens": (pa.int64(), "Tokens counted: real tokens of the corpus, without BOS, padding and excluded positions."),
        "n_active": (pa.int64(), "Tokens on which the feature is active (activation > 0)."),
        "density": (pa.float64(), "n_active / n_tokens."),
        "density_low": (pa.float64(), "Lower end of the 95 % Wilson interval of the density."),
        "density_high": (pa.float64(), "Upper end of the 95 % Wilson interval of the density."),
        "max": (pa.float32(), "Largest activation; 0 where the feature is silent."),
        "mean_active": (pa.float32(), "Mean activation over active tokens; 0 where silent."),
        "std_active": (pa.float32(), "Standard deviation (population) over active tokens; 0 where silent."),
        "q25": (pa.float32(), "25 % quantile of the active values; 0 where silent."),
        "q50": (pa.float32(), "Median of the active values; 0 where silent."),
        "q75": (pa.float32(), "75 % quantile of the active values; 0 where silent."),
        "q90": (pa.float32(), "90 % quantile of the active values; 0 where silent."),
        "q99": (pa.float32(), "99 % quantile of the active values; 0 where silent."),
        "n_texts": (pa.int32(), "Texts in the corpus."),
        "n_texts_active": (pa.int32(), "Texts with a text score above 0."),
        "n_texts_strong": (pa.int32(), "Texts with a text score above the strong threshold."),
        "top_text": (pa.string(), "Id of the text with the largest score; empty where silent."),
        "token_rule": (pa.string(), "The single token that predicts activity best (largest F1), as text; empty where silent."),
        "token_precision": (pa.float32(), "P(active | that token): of its occurrences, the share on which the feature is active."),
        "token_recall": (pa.float32(), "P(that token | active): of the active tokens, the share that are this token."),
        "label": (pa.string(), "Label made from the data alone: the most telling tokens, and the category where it is a specialist."),
        "notable": (pa.string(), "Why the feature is notable, reasons separated by commas; empty where it is not."),
        "page": (pa.string(), "Relative URL of its page; empty where it has none."),
    },
    "contexts": {
        "feature": _FEATURE,
        "rank": (pa.int32(), "0 is the strongest; counted within the band."),
        "text": _TEXT,
        "category": _CATEGORY,
        "position": (pa.int32(), "Index of the token in its text, BOS not counted."),
        "token": _TOKEN,
        "activation": (pa.float32(), "Activation of the feature at that token."),
        "band": (pa.string(), "'top', or the band of the active tokens by rank: 'q75-100', 'q50-75', 'q25-50', 'q0-25'."),
        "similar_hidden": (pa.int32(), "Near-duplicates left out: texts whose peak has the same nine tokens around it."),
        "window_start": (pa.int32(), "First token of the part of the text shown."),
        "window_end": (pa.int32(), "One past the last token of the part of the text shown."),
        "active_positions": _ACTIVE_POSITIONS,
        "active_values": _ACTIVE_VALUES,
    },
    "tokens": {
        "feature": _FEATURE,
        "rank": _RANK,
        "token_id": (pa.int32(), "Id of the token in the model's vocabulary."),
        "token": _TOKEN,
        "n_active": (pa.int64(), "Occurrences of the token on which the feature is active."),
        "n_occurrences": (pa.int64(), "Occurrences of the token in the corpus."),
        "p_active": (pa.float64(), "P(active | token) = n_active / n_occurrences."),
        "mean_active": (pa.float32(), "Mean activation over those active occurrences."),
        "share": (pa.float64(), "Share of the feature's total activation that falls on this token."),
    },
    "histograms": {
        "feature": _FEATURE,
        "edges": (pa.list_(pa.float32()), "Edges of the bins of the active values, from 0 to the maximum."),
        "counts": (pa.list_(pa.int64()), "Active tokens in each bin; the last bin holds its upper edge."),
    },
    "text_scores": {
        "text": _TEXT,
        "category": _CATEGORY,
        "feature": _FEATURE,
        "score": (pa.float32(), "Text score of the feature (max, last or mean: see the manifest); only scores above 0."),
        "position": (pa.int32(), "Token with the largest activation (the last token where the score is 'last')."),
    },
    "text_top": {
        "text": _TEXT,
        "rank": _RANK,
        "feature": _FEATURE,
        "score": (pa.float32(), "Text score of the feature."),
        "position": (pa.int32(), "Token with the largest activation in the text."),
        "active_positions": (pa.list_(pa.int32()), "Positions in the text where the feature is active."),
        "active_values": _ACTIVE_VALUES,
    },
    "texts": {
        "text": _TEXT,
        "category": _CATEGORY,
        "source": (pa.string(), "File and record the text was read from."),
        "n_tokens": (pa.int32(), "Tokens of the text, BOS not counted."),
        "n_excluded": (pa.int32(), "Tokens of the text left out of every statistic as massive activations."),
        "content": (pa.string(), "The text itself."),
        "token_ends": (pa.list_(pa.int32()), "For each token, the end of its characters in the content."),
    },
    "categories": {
        "category": _CATEGORY,
        "feature": _FEATURE,
        "n_inside": (pa.int32(), "Texts in the category."),
        "n_outside": (pa.int32(), "Texts outside the category."),
        "active_inside": (pa.int32(), "Texts in the category with a score above 0."),
        "active_outside": (pa.int32(), "Texts outside with a score above 0."),
        "strong_inside": (pa.int32(), "Texts in the category with a score above the strong threshold."),
        "strong_outside": (pa.int32(), "Texts outside with a score above the strong threshold."),
        "specialist_score": (pa.int32(), "strong_inside - strong_outside; above 0 the feature is a specialist."),
        "max_inside": (pa.float32(), "Largest score in the category."),
        "mean_inside": (pa.float32(), "Mean score over all texts of the category, silent ones included."),
        "lift": (pa.float32(), "Active rate inside over active rate outside; infinite where it is active inside only."),
        "auroc": (pa.float64(), "Chance that a text of the category scores higher than one outside, ties counting half."),
        "p_value": (pa.float64(), "Two-sided Mann-Whitney p, normal approximation with ties."),
        "q_value": (pa.float64(), "Benjamini-Hochberg over all pairs of feature and category."),
    },
    "coactivation": {
        "feature_a": (pa.int32(), "The smaller index of the pair."),
        "feature_b": (pa.int32(), "The larger index of the pair."),
        "level": (pa.string(), "'token' or 'text': what the pair was counted on."),
        "n_a": (pa.int64(), "Tokens or texts on which feature_a is active."),
        "n_b": (pa.int64(), "Tokens or texts on which feature_b is active."),
        "n_both": (pa.int64(), "Tokens or texts on which both are active."),
        "jaccard": (pa.float32(), "n_both / (n_a + n_b - n_both)."),
        "lift": (pa.float32(), "How many times more often than if the two were independent: n_both * n / (n_a * n_b)."),
        "phi": (pa.float32(), "Correlation of the two yes/no variables."),
        "decoder_cosine": (pa.float32(), "Cosine of the two decoder rows."),
    },
    "clusters": {
        "cluster": (pa.int32(), "Number of the cluster, largest first."),
        "feature": _FEATURE,
    },
    "concepts": {
        "concept": (pa.string(), "Name of the concept."),
        "feature": _FEATURE,
        "n_texts": (pa.int32(), "Texts of the concept."),
        "n_active": (pa.int32(), "Texts of the concept with a score above 0."),
        "n_strong": (pa.int32(), "Texts of the concept with a score above the strong threshold."),
        "consistency": (pa.float64(), "n_strong / n_texts."),
        "mean_all": (pa.float32(), "Mean score over all texts of the concept, silent ones counting 0."),
        "mean_active": (pa.float32(), "Mean score over the texts on which the feature fired."),
        "auroc": (pa.float64(), "Chance that a text of the concept scores higher than a text of the corpus, ties counting half."),
    },
    "logits": {
        "feature": _FEATURE,
        "direction": (pa.string(), "'promoted' or 'suppressed'."),
        "rank": _RANK,
        "token_id": (pa.int32(), "Id of the token in the model's vocabulary."),
        "token": _TOKEN,
        "logit": (pa.float32(), "Direct effect of one unit of activation on the token's logit, before the final norm's division by its input's scale, less the mean over the vocabulary."),
    },
    "neighbours": {
        "feature": _FEATURE,
        "rank": _RANK,
        "neighbour": (pa.int32(), "A feature whose decoder row points in a similar direction."),
        "cosine": (pa.float32(), "Cosine of the two decoder rows."),
    },
    "rankings": {
        "ranking": (pa.string(), "'strongest', 'frequent', 'selective', 'specialist:<category>', 'common:<category>', 'consistent:<concept>', 'strong:<concept>' or 'contrast:<concept>'."),
        "rank": _RANK,
        "feature": _FEATURE,
        "value": (pa.float64(), "The figure the ranking goes by."),
    },
}  # fmt: skip


def arrow_schema(name: str) -> pa.Schema:
    """The Arrow schema of a table; each field carries its meaning as metadata."""
    return pa.schema([pa.field(c, t, metadata={"description": words}) for c, (t, words) in SCHEMAS[name].items()])


def write_table(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """Write `<folder>/<name>.parquet` with exactly the columns of its schema; raises KeyError where one is missing."""
    schema = arrow_schema(name)
    # An empty column has lost its type in pandas.
    columns = [pa.array(frame[f.name] if len(frame) else [], type=f.type, from_pandas=False) for f in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read a table back; list columns come as numpy arrays."""
    return pq.read_table(folder / f"{name}.parquet").to_pandas()


class Tables(Mapping[str, pd.DataFrame]):
    """The tables of one catalog, each read from its folder at first use: `tables["features"]`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in SCHEMAS:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = read_table(self.folder, name)
        return self._read[name]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(SCHEMAS)

    def __len__(self) -> int:
        return len(SCHEMAS)

    @cached_property
    def features(self) -> pd.DataFrame:
        """The features table indexed by feature number."""
        return self["features"].set_index("feature", drop=False)
