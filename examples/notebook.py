# %% [markdown]
# # Explore the features of a sparse autoencoder
#
# Every question of the usual exploration notebook, asked with the library. The first run takes a few minutes; later
# runs take the results from the cache, which the command line shares.
#
# This file and `notebook.ipynb` hold the same cells: edit `notebook.py`, then run `python examples/to_notebook.py`.

# %% tags=["parameters"]
from saecatalog import analyse, read_corpus

# The SAE that comes with the package. Any name that `saecatalog list` shows works too, and any folder of an SAE.
SAE = "smollm2-135m-res-4k/blocks.12.hook_resid_pre"
CORPUS = read_corpus("../corpora", concepts="../corpora/concepts")
TEXT = "I would like to thank you for your help."
IDEA = ["Thank you so much.", "We are grateful for your support.", "Thanks a lot, that was kind of you."]

# %% [markdown]
# ## The texts, the model and the SAE
#
# `analyse` runs the model to the SAE's hook, encodes every token, and computes every table of a catalog.

# %%
catalog = analyse(CORPUS, SAE)
catalog

# %%
CORPUS.frame.groupby("category").size()

# %% [markdown]
# How well the SAE fits these texts: features active on a token (L0), explained variance, and features that never fired.

# %%
{name: catalog.manifest["health"][name] for name in ("l0_mean", "explained_variance", "silent")}

# %% [markdown]
# ## The top five features of each text

# %%
catalog.top_features(n=5)

# %% [markdown]
# ## The most frequent features
#
# Features that are active on nearly every text say little about any of them.

# %%
catalog.most_frequent(10)

# %% [markdown]
# ## The strongest features

# %%
catalog.strongest(10)

# %% [markdown]
# ## The most selective features
#
# They are strong on the fewest texts, but on at least one. `strong_threshold` says from where a text score is strong.

# %%
catalog.manifest["settings"]["strong_threshold"]

# %%
catalog.most_selective(10)

# %% [markdown]
# ## Specialists by category
#
# Features with most of their strong texts in one category, after adjusting for category size. A category without a
# specialist has no row. `catalog.meanings("categories")` describes every column.

# %%
specialists = catalog.specialists(n=3)
specialists[["category", "rank", "feature", "label", "balanced_score", "strong_inside", "strong_outside", "auroc"]]

# %% [markdown]
# ## Common features by category
#
# Features active in most texts of a category, by how much more often than elsewhere.

# %%
common = catalog.common_features(n=3)
common[["category", "rank", "feature", "label", "n_inside", "n_outside", "active_inside", "active_outside"]]

# %% [markdown]
# ## Heatmap: features x texts

# %%
catalog.category_heatmap()

# %% [markdown]
# ## Heatmap: features that fire together

# %%
catalog.coactivation_heatmap()

# %% [markdown]
# ## Which features fire on a text of your own
#
# First of the whole text, then of each token.

# %%
catalog.features_on(TEXT, n=5)

# %%
catalog.features_on(TEXT, n=3, each="token")

# %% [markdown]
# ## One feature on that text, token by token

# %%
feature = int(catalog.features_on(TEXT, n=1)["feature"].iloc[0])
catalog.explore(feature, TEXT)

# %%
catalog.histogram(feature)

# %% [markdown]
# Its strongest examples in the corpus, and the tokens whose logits it raises most.

# %%
catalog.about("contexts", feature).head(5)[["band", "rank", "text", "category", "token", "activation"]]

# %%
catalog.about("logits", feature).query("direction == 'promoted'").head(5)[["rank", "token", "logit"]]

# %% [markdown]
# ## The features that fire together with it

# %%
catalog.coactivation(feature).head(10)

# %% [markdown]
# ## A concept
#
# How the features respond to texts that share an idea, compared with the rest of the corpus. An AUROC near 0.5 means
# that the feature responds to other texts just as much.

# %%
idea = catalog.concept(IDEA, "gratitude")
idea[["feature", "label", "n_strong", "n_texts", "mean_all", "mean_active", "auroc"]].head(10)

# %%
active_on_most = idea[idea["n_active"] * 2 > idea["n_texts"]]
active_on_most.sort_values("auroc", ascending=False).head(10)[["feature", "label", "n_active", "mean_all", "auroc"]]
