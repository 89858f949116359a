"""The tables of a catalog: every column with its Arrow type and its meaning.

The metadata of the files, the tooltips and `about.html` take their wording from here.
"""

import pyarrow as pa

from saecatalog.constants import (
    AFTER,
    ATTRIBUTION_CONTEXTS,
    ATTRIBUTION_PARTS,
    BEFORE,
    BIGRAM_GAIN,
    CLUSTER_PHI,
    CONTINUATION,
    LENS_BINS,
    LENS_ENTRIES,
    MANY_CATEGORIES,
    MIN_SUPPORT,
    NEAR,
    NEXT_TOKENS,
    PARTNERS,
    SCORE_DECIMALS,
    TEXT_TOP,
    TOKENS_KEPT,
)
from saecatalog.names import in_words

_TEXT = (pa.string(), "Id of the text; the page of that text is texts/<id>.html.")
_CATEGORY = (pa.string(), "Category of the text.")
_FEATURE = (pa.int32(), "Index of the feature in the SAE's dictionary.")
_SPECIAL = (
    pa.bool_(),
    "Whether names of special tokens in the content, such as <|im_start|>, were read as special tokens.",
)
_RANK = (pa.int32(), "Rank, starting at 0; the smaller index breaks ties.")
_TOKEN = (
    pa.string(),
    "The token as text; a token that is only part of a character is written as bytes, such as <0xE2>.",
)
_ACTIVE_POSITIONS = (pa.list_(pa.int32()), "Positions in the whole text where the feature is active.")
_ACTIVE_VALUES = (pa.list_(pa.float32()), "The activation at each of those positions.")

_PROMPT = (pa.int32(), "Number of the prompt, in the order of the settings, starting at 0.")
_MULTIPLE = (
    pa.float32(),
    "Strength of the steering: this multiple of the feature's largest activation in the corpus (features.max), times its "
    "decoder row, is added at the hook at every position, in the scale of what the SAE writes.",
)

Schema = dict[str, tuple[pa.DataType, str]]

TABLES: dict[str, tuple[str, str]] = {
    "features": ("Features", "One row per feature of the dictionary, including silent features."),
    "contexts": ("Examples", "Where each feature fires: its strongest token in each text, and examples of every strength."),
    "tokens": ("Tokens a feature fires on", f"The {in_words(TOKENS_KEPT)} tokens with the largest share of each feature's activation."),
    "histograms": ("Histograms of activations", "The distribution of the active values of each feature that fired; zeros are left out."),
    "text_scores": ("Scores of texts", "One number per text and feature, if above 0. Rows are in blocks of neighbouring features, and sorted by text, then feature, within each block."),
    "text_top": ("Strongest features of a text", f"The {in_words(TEXT_TOP)} features with the largest score on each text."),
    "texts": ("Texts", "The texts of the corpus."),
    "categories": ("Features in categories", f"How each feature's scores differ between a category's texts and all others: one row per category and feature that fired on a text. With more than {in_words(MANY_CATEGORIES)} categories, features without an active text in a category have no row there."),
    "held_out": ("Held-out check of specialists", "Whether specialists found in one half of the texts are specialists in the other half: one row per category."),
    "coactivation": ("Features that fire together", f"Each feature's {in_words(PARTNERS)} partners with the largest phi, counted on tokens (at least {MIN_SUPPORT['token']} with both) and on texts (at least {MIN_SUPPORT['text']}). Only pairs with a phi above 0 are kept."),
    "clusters": ("Clusters", f"Groups of features linked by chains of pairs with a phi of at least {CLUSTER_PHI} on tokens."),
    "concepts": ("Features for concepts", "How each feature responds to a list of texts that share a concept: one row per concept and feature that fired on it."),
    "concept_texts": ("Texts of the concepts", "The texts of each concept; they are not part of the corpus."),
    "logits": ("Promoted and suppressed tokens", f"The {in_words(LENS_ENTRIES)} tokens whose logits each feature raises most and the {in_words(LENS_ENTRIES)} whose logits it lowers most. Effects are direct: later layers are skipped."),
    "logit_histograms": ("Spread of direct effects", "The distribution of each feature's direct logit effects over the vocabulary; empty if the SAE does not write to the residual stream."),
    "neighbours": ("Decoder neighbours", f"The {in_words(LENS_ENTRIES)} features whose decoder rows point in the most similar directions."),
    "rankings": ("Rankings", "Every ranking on the pages. Strongest: by max. Frequent: by n_texts_active. Selective: by n_texts_strong, fewest first, then max. Specialists: by balanced_score, then AUROC. Common features (active in more than half of the category's texts): by active rate inside minus active rate outside. Concepts: by consistency, then mean_all; by mean_all; and by AUROC, then mean_all, among features active on more than half of the texts. The smaller index breaks remaining ties."),
    "steering_prompts": ("Prompts for steering", "What the model writes after each prompt when nothing is changed: what steering is compared with. Empty if effects were not computed."),
    "steering": ("Steering", "What the model writes after each prompt when a feature's decoder row is added at its hook: one row per notable feature, multiple and prompt. Empty if effects were not computed."),
    "steering_prices": ("Price of steering", "How much worse the model predicts a neutral text while it is steered: one row per notable feature and multiple. Empty if effects were not computed."),
    "attributions": ("Where a feature comes from", f"The {in_words(ATTRIBUTION_PARTS)} parts of the model that add most to each notable feature's activation at its strongest tokens, by direct attribution: the SAE's input is the sum of what the embedding, the attention heads, the MLP layers and their biases before it write. The effect of one part through another is not followed back. Empty if effects were not computed, or if what the SAE reads is no such sum."),
    "notes": ("Notes", "The author's notes, one row per note; empty if there are none. They are not results of the analysis."),
    "explanations": ("Explanations", "What Neuronpedia's exports say about features: one row per explanation; empty if the catalog was built without them. They are not results of the analysis."),
}  # fmt: skip
"""The title of each table and what it contains."""

SCHEMAS: dict[str, Schema] = {
    "features": {
        "feature": _FEATURE,
        "n_tokens": (pa.int64(), "Tokens counted: the tokens of the corpus without BOS, padding and excluded positions."),
        "n_active": (pa.int64(), "Tokens on which the feature is active (activation > 0)."),
        "density": (pa.float64(), "n_active / n_tokens."),
        "density_low": (pa.float64(), "Lower end of the 95 % Wilson interval of the density."),
        "density_high": (pa.float64(), "Upper end of the 95 % Wilson interval of the density."),
        "silent_below": (pa.float64(), "3 / n_tokens, the 95 % upper bound of a silent feature's density (rule of three); empty if the feature fired."),
        "max": (pa.float32(), "Largest activation; 0 if the feature is silent."),
        "mean_active": (pa.float32(), "Mean activation over active tokens; 0 if silent."),
        "std_active": (pa.float32(), "Standard deviation (population) over active tokens; 0 if silent."),
        "q25": (pa.float32(), "25th percentile of the active values; 0 if silent."),
        "q50": (pa.float32(), "Median of the active values; 0 if silent."),
        "q75": (pa.float32(), "75th percentile of the active values; 0 if silent."),
        "q90": (pa.float32(), "90th percentile of the active values; 0 if silent."),
        "q99": (pa.float32(), "99th percentile of the active values; 0 if silent."),
        "n_texts": (pa.int32(), "Texts in the corpus."),
        "n_texts_active": (pa.int32(), "Texts with a text score above 0."),
        "n_texts_strong": (pa.int32(), "Texts with a text score above the strong threshold."),
        "top_text": (pa.string(), "Id of the text with the largest score; empty if silent."),
        "token_rule": (pa.string(), "The single token that predicts activity best (largest F1), as text; empty if silent."),
        "token_precision": (pa.float32(), "P(active | that token): the share of its occurrences on which the feature is active."),
        "token_recall": (pa.float32(), "P(that token | active): the share of active tokens that are this token."),
        "bigram_first": (pa.string(), f"First token of the best two-token rule: the pair of consecutive tokens that best predicts (largest F1) that the feature is active on the second one. '<start>' means the start of the text. Empty unless the rule's F1 exceeds that of the best single token by at least {BIGRAM_GAIN}."),
        "bigram_second": (pa.string(), "Second token of that rule; empty if bigram_first is."),
        "bigram_precision": (pa.float32(), "P(active on the second token | the bigram); 0 if there is no bigram rule."),
        "bigram_recall": (pa.float32(), "Share of active tokens that are the second token of the bigram; 0 if there is no bigram rule."),
        "start_share": (pa.float32(), "Share of the feature's total activation that falls on the first token of a text; 0 if silent."),
        "logit_std": (pa.float32(), "Standard deviation (population) of the direct logit effects over the vocabulary (see logits); 0 if the SAE does not write to the residual stream."),
        "logit_skew": (pa.float32(), "Skewness of those effects: above 0 if a few tokens are promoted far more than any is suppressed."),
        "logit_kurtosis": (pa.float32(), "Excess kurtosis of those effects: 0 for a normal distribution, large if a few tokens stand out."),
        "label": (pa.string(), "Automatic label, made from the data alone: the most characteristic tokens, separated by ' · ', and the category of which it is a specialist."),
        "notable": (pa.string(), "Why the feature is notable, as reasons separated by commas; empty if it is not."),
        "page": (pa.string(), "Relative URL of its page; empty if it has none."),
    },
    "contexts": {
        "feature": _FEATURE,
        "rank": (pa.int32(), "Rank within the band; 0 is the strongest."),
        "text": _TEXT,
        "category": _CATEGORY,
        "position": (pa.int32(), "Index of the token in its text, not counting BOS."),
        "token": _TOKEN,
        "activation": (pa.float32(), "Activation of the feature at that token."),
        "band": (pa.string(), "'top', or a quarter of the active tokens by rank: 'q75-100', 'q50-75', 'q25-50' or 'q0-25', split at the quartiles q75, q50 and q25 of features. A token at a quartile belongs to the stronger quarter. The sizes of the quarters differ by at most one token."),
        "similar_hidden": (pa.int32(), f"Near-duplicates left out: texts with the same {in_words(2 * NEAR + 1)} tokens around and including the peak."),
        "window_start": (pa.int32(), f"First token of the excerpt shown: up to {BEFORE} tokens before the peak."),
        "window_end": (pa.int32(), f"One past the last token of the excerpt shown: up to {AFTER} tokens after the peak."),
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
        "edges": (pa.list_(pa.float32()), "Bin edges of the active values, from 0 to the maximum."),
        "counts": (pa.list_(pa.int64()), "Active tokens in each bin; the last bin includes its upper edge."),
    },
    "text_scores": {
        "text": _TEXT,
        "category": _CATEGORY,
        "feature": _FEATURE,
        "score": (pa.float32(), "Text score of the feature (maximum, last or mean over the counted tokens; the manifest says which). Only scores above 0 are kept."),
        "position": (pa.int32(), "Position of the token with the largest activation (of the last token if the score is 'last')."),
    },
    "text_top": {
        "text": _TEXT,
        "rank": _RANK,
        "feature": _FEATURE,
        "score": (pa.float32(), "Text score of the feature."),
        "position": (pa.int32(), "Position of the token with the largest activation in the text (of the last token if the score is 'last')."),
        "active_positions": _ACTIVE_POSITIONS,
        "active_values": _ACTIVE_VALUES,
    },
    "texts": {
        "text": _TEXT,
        "category": _CATEGORY,
        "source": (pa.string(), "File and record the text was read from."),
        "file": (pa.string(), "The file, if its texts may be parts of one document: the texts of one file count as one source. Empty for a row of a dataset (Parquet, Arrow, or the hub), which is a source of its own."),
        "half": (pa.string(), "'first' or 'second': the half of the held-out split. A category's texts alternate between the halves in the order of their ids, which are hashes of their content."),
        "n_tokens": (pa.int32(), "Tokens of the text, BOS not counted."),
        "n_excluded": (pa.int32(), "Tokens of the text excluded from every statistic as massive activations."),
        "content": (pa.string(), "The text itself."),
        "title": (pa.string(), "Title of the text; empty if it has none."),
        "link": (pa.string(), "Web address of the text; empty if it has none."),
        "special_tokens": _SPECIAL,
        "token_ends": (pa.list_(pa.int32()), "For each token, the offset in the content where its characters end."),
    },
    "categories": {
        "category": _CATEGORY,
        "feature": _FEATURE,
        "n_inside": (pa.int32(), "Texts in the category."),
        "n_outside": (pa.int32(), "Texts outside the category."),
        "active_inside": (pa.int32(), f"Texts in the category with a score above 0. With more than {in_words(MANY_CATEGORIES)} categories, a missing row means 0 here: its strong_inside, max_inside, mean_inside and lifts are 0, its balanced_score is not above 0, and its other figures follow from text_scores."),
        "active_outside": (pa.int32(), "Texts outside with a score above 0."),
        "strong_inside": (pa.int32(), "Texts in the category with a score above the strong threshold."),
        "strong_outside": (pa.int32(), "Texts outside with a score above the strong threshold."),
        "specialist_score": (pa.int32(), "strong_inside - strong_outside."),
        "balanced_score": (pa.float64(), f"What specialist_score would be if every category had as many texts as this one: n_inside * (strong_rate_inside - sum of the strong rates of the other categories), rounded to {in_words(SCORE_DECIMALS)} decimals. A feature with a score above 0 is a specialist: with categories of equal size, more than half of its strong texts would be in this category."),
        "strong_rate_inside": (pa.float64(), "strong_inside / n_inside."),
        "strong_inside_low": (pa.float64(), "Lower end of the 95 % Wilson interval of strong_rate_inside."),
        "strong_inside_high": (pa.float64(), "Upper end of the 95 % Wilson interval of strong_rate_inside."),
        "strong_rate_outside": (pa.float64(), "strong_outside / n_outside; 0 if there is no text outside."),
        "strong_outside_low": (pa.float64(), "Lower end of the 95 % Wilson interval of strong_rate_outside; 0 if there is no text outside."),
        "strong_outside_high": (pa.float64(), "Upper end of the 95 % Wilson interval of strong_rate_outside; 1 if there is no text outside."),
        "max_inside": (pa.float32(), "Largest score in the category."),
        "mean_inside": (pa.float32(), "Mean score over all texts of the category; silent texts count as 0."),
        "lift": (pa.float32(), "strong_rate_inside / strong_rate_outside; infinite if the feature is strong only inside, 0 if it is not strong inside."),
        "active_lift": (pa.float32(), "Active rate inside / active rate outside; infinite if the feature is active only inside, 0 if it is not active inside."),
        "auroc": (pa.float64(), "Probability that a text of the category scores higher than a text outside; ties count half."),
        "auroc_low": (pa.float64(), "Lower end of the 95 % interval of auroc; 0 if there is one text inside or at most one outside. The variance is that of DeLong for clustered data (Obuchowski 1997), with sources as clusters (see texts.file). If all texts of the category, or all others, are from one source, every text counts as its own source, and the interval is too narrow if the texts of a source are alike. The interval is Wilson's for the number of independent texts with this variance (Korn & Graubard 1998), which is at most that of completely separated texts (Newcombe 2006)."),
        "auroc_high": (pa.float64(), "Upper end of that interval; 1 if there is one text inside or at most one outside."),
        "sources_inside": (pa.int32(), "Sources of the texts in the category."),
        "sources_outside": (pa.int32(), "Sources of the texts outside. If this or sources_inside is below 2, the interval of auroc treats texts as independent."),
        "p_value": (pa.float64(), "Two-sided Mann-Whitney p value (normal approximation, corrected for ties)."),
        "q_value": (pa.float64(), "p_value corrected with Benjamini-Hochberg over all pairs of a category and a feature that fired on a text, including pairs without a row."),
        "score_first": (pa.float64(), "balanced_score on the first half of the texts alone (see texts.half)."),
        "score_second": (pa.float64(), "balanced_score on the second half alone."),
        "auroc_first": (pa.float64(), "auroc on the first half alone; 0.5 if it has no text inside or none outside."),
        "auroc_second": (pa.float64(), "auroc on the second half alone; 0.5 if it has no text inside or none outside."),
        "held_out": (pa.string(), "The halves in which the feature is a specialist when each half is analysed alone: 'both', 'first', 'second', or empty for neither."),
    },
    "held_out": {
        "category": _CATEGORY,
        "texts_first": (pa.int32(), "Texts of the category in the first half."),
        "texts_second": (pa.int32(), "Texts of the category in the second half."),
        "found_first": (pa.int32(), "Specialists in the first half alone."),
        "found_second": (pa.int32(), "Specialists in the second half alone."),
        "found_both": (pa.int32(), "Features that are specialists in each half alone."),
        "expected_both": (pa.float64(), "found_both expected if the halves were independent: found_first * found_second / features that fired on a text."),
        "auroc_held_out": (pa.float64(), "Mean AUROC of the specialists found in one half, measured on the other half, over both directions; empty if none were found."),
    },
    "coactivation": {
        "feature_a": (pa.int32(), "The smaller index of the pair."),
        "feature_b": (pa.int32(), "The larger index of the pair."),
        "level": (pa.string(), "'token' or 'text': what the counts are of."),
        "n_a": (pa.int64(), "Tokens or texts on which feature_a is active."),
        "n_b": (pa.int64(), "Tokens or texts on which feature_b is active."),
        "n_both": (pa.int64(), "Tokens or texts on which both are active."),
        "jaccard": (pa.float32(), "n_both / (n_a + n_b - n_both)."),
        "lift": (pa.float32(), "How many times as often as if the two were independent: n_both * n / (n_a * n_b)."),
        "phi": (pa.float32(), "Correlation of the two binary variables (active or not)."),
        "decoder_cosine": (pa.float32(), "Cosine of the two decoder rows."),
    },
    "clusters": {
        "cluster": (pa.int32(), "Number of the cluster; the largest cluster comes first."),
        "feature": _FEATURE,
    },
    "concepts": {
        "concept": (pa.string(), "Name of the concept."),
        "feature": _FEATURE,
        "n_texts": (pa.int32(), "Texts of the concept."),
        "n_active": (pa.int32(), "Texts of the concept with a score above 0."),
        "n_strong": (pa.int32(), "Texts of the concept with a score above the strong threshold."),
        "consistency": (pa.float64(), "n_strong / n_texts."),
        "consistency_low": (pa.float64(), "Lower end of the 95 % Wilson interval of the consistency."),
        "consistency_high": (pa.float64(), "Upper end of the 95 % Wilson interval of the consistency."),
        "mean_all": (pa.float32(), "Mean score over all texts of the concept; silent texts count as 0."),
        "mean_active": (pa.float32(), "Mean score over the texts on which the feature fired."),
        "auroc": (pa.float64(), "Probability that a text of the concept scores higher than a text from the rest of the corpus; ties count half. Corpus texts with the same content as a text of the concept are left out."),
    },
    "concept_texts": {
        "concept": (pa.string(), "Name of the concept."),
        "text": (pa.string(), "Id of the text."),
        "source": (pa.string(), "File and record the text was read from."),
        "n_tokens": (pa.int32(), "Tokens of the text, BOS not counted."),
        "n_excluded": (pa.int32(), "Tokens of the text excluded as massive activations, by the limit of the corpus."),
        "content": (pa.string(), "The text itself."),
        "special_tokens": _SPECIAL,
    },
    "logits": {
        "feature": _FEATURE,
        "direction": (pa.string(), "'promoted' or 'suppressed'."),
        "rank": _RANK,
        "token_id": (pa.int32(), "Id of the token in the model's vocabulary."),
        "token": _TOKEN,
        "logit": (pa.float32(), "Direct effect of one unit of activation on the token's logit, minus the mean over the vocabulary. The final norm's division by the scale of its input is left out."),
    },
    "logit_histograms": {
        "feature": _FEATURE,
        "edges": (pa.list_(pa.float32()), f"Edges of {LENS_BINS} equal bins of the direct logit effects, from the most suppressed token to the most promoted one."),
        "counts": (pa.list_(pa.int64()), "Tokens of the vocabulary in each bin; the last bin includes its upper edge."),
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
        "value": (pa.float64(), "The value that the features are ranked by."),
    },
    "steering_prompts": {
        "prompt": _PROMPT,
        "text": (pa.string(), "The prompt, as in the settings."),
        "next_tokens": (pa.list_(pa.string()), f"The {in_words(NEXT_TOKENS)} most probable tokens after the prompt, most probable first; the smaller token id breaks ties."),
        "next_probs": (pa.list_(pa.float32()), "The probability of each of those tokens."),
        "continuation": (pa.string(), f"What follows if the most probable token is taken {in_words(CONTINUATION)} times (greedy decoding); it ends with the first token that ends a text. Special tokens are written by name."),
    },
    "steering": {
        "feature": _FEATURE,
        "multiple": _MULTIPLE,
        "prompt": _PROMPT,
        "next_tokens": (pa.list_(pa.string()), f"The {in_words(NEXT_TOKENS)} most probable tokens after the prompt under steering, most probable first; the smaller token id breaks ties."),
        "next_probs": (pa.list_(pa.float32()), "The probability of each of those tokens under steering."),
        "continuation": (pa.string(), "The continuation by greedy decoding under steering, as in steering_prompts."),
    },
    "steering_prices": {
        "feature": _FEATURE,
        "multiple": _MULTIPLE,
        "loss": (pa.float64(), "Mean next-token loss, in nats, on the program's neutral text while the model is steered."),
        "loss_unsteered": (pa.float64(), "The same when nothing is changed."),
        "n_tokens": (pa.int32(), "Tokens of the neutral text that are predicted: all but the first, which is predicted too if BOS comes before it."),
    },
    "attributions": {
        "feature": _FEATURE,
        "rank": (pa.int32(), "Rank by size of the contribution, whatever its sign, starting at 0; the part that comes first in the model breaks ties."),
        "kind": (pa.string(), "The part: 'embedding' (what enters the first layer: the token's embedding, with that of its position if the model has one), 'head' (an attention head), 'mlp' (an MLP layer), or 'bias' (what does not depend on the text: the bias of a layer's attention, or, without a layer, the biases of the SAE and of the norm before it)."),
        "layer": (pa.int32(), "Layer of the part, starting at 0; -1 for the embedding and the SAE's bias."),
        "head": (pa.int32(), "Number of the attention head in its layer, starting at 0; -1 for other parts."),
        "contribution": (pa.float64(), "What the part adds to the feature's activation: the dot product of its output with the feature's encoder column, mean over the contexts. The parts, those not listed included, add up to the mean activation. Where a norm lies between the part and the SAE, or the SAE normalises its input, the norm's scale is held at its value in each context (frozen), which makes it linear. Rounded to six significant digits."),
        "share": (pa.float64(), "contribution divided by the mean activation: below 0 if the part works against the feature. The shares of all parts add up to 1."),
        "n_contexts": (pa.int32(), f"Contexts: the peaks of the band 'top' in contexts, up to {in_words(ATTRIBUTION_CONTEXTS)}."),
    },
    "notes": {
        "kind": (pa.string(), "The subject of the note: 'feature', 'category', 'concept', or 'index' for the front page."),
        "name": (pa.string(), "The feature's index, or the name of the category or concept; empty for the front page."),
        "markdown": (pa.string(), "The note in Markdown. A link to 12.md goes to feature 12, and a link to categories/poetry.md to that category."),
        "images": (pa.list_(pa.string()), "The images it shows, as files in the folder notes/."),
        "images_sha256": (pa.list_(pa.string()), "The SHA-256 of each of those files."),
    },
    "explanations": {
        "feature": _FEATURE,
        "rank": (pa.int32(), "Place among the feature's explanations, in the order of the file, starting at 0."),
        "description": (pa.string(), "The explanation."),
        "model": (pa.string(), "The language model that wrote it (explanationModelName); empty if the file does not say."),
        "type": (pa.string(), "The method it was written by (typeName), such as oai_token-act-pair; empty if the file does not say."),
        "source": (pa.string(), "Model and source on Neuronpedia that it is about, such as gpt2-small/6-res-jb."),
    },
}  # fmt: skip

FEATURE_TABLES = {
    "contexts": ("feature",),
    "tokens": ("feature",),
    "histograms": ("feature",),
    "categories": ("feature",),
    "coactivation": ("feature_a", "feature_b"),
    "logits": ("feature",),
    "logit_histograms": ("feature",),
    "neighbours": ("feature",),
    "steering": ("feature",),
    "steering_prices": ("feature",),
    "attributions": ("feature",),
    "explanations": ("feature",),
}
"""The tables that grow with the dictionary and are read by feature, with the columns that contain a feature index."""


def arrow_schema(name: str) -> pa.Schema:
    """The Arrow schema of a table; the metadata of each field contains its meaning."""
    return described(SCHEMAS[name])


def described(schema: Schema) -> pa.Schema:
    """Columns with their types and meanings as an Arrow schema."""
    return pa.schema([pa.field(c, t, metadata={"description": words}) for c, (t, words) in schema.items()])


def same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types are equal, ignoring the name of a list's inner field."""
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return bool(found.value_type == wanted.value_type)
    return bool(found == wanted)
