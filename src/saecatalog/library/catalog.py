"""A catalog's tables flow in, from an analysis or a published site; answers flow out as pandas tables and figures.

Nothing is computed here that the pages do not show: the tables are those of the pages, and longer rankings come from
the code that makes theirs.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from saecatalog.analysis.clearest import clearest_rankings
from saecatalog.analysis.rankings import rank_features
from saecatalog.constants import CLEAR_KINDS, CLEAREST, TEXT_TOP, WEAK_SPECIALIST
from saecatalog.errors import CatalogError
from saecatalog.explore import check_feature
from saecatalog.labels import with_labels
from saecatalog.library.pairs import pair_figures
from saecatalog.library.sessions import FEW, check_count, known
from saecatalog.manifest import Manifest
from saecatalog.schemas import SCHEMAS
from saecatalog.site.catalog import Catalog as PageCatalog
from saecatalog.site.reading import find_catalogs, read_manifest, reading
from saecatalog.tables import Tables

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NEEDED = (("corpus", "categories"), ("corpus", "concepts"), ("counts", "features"), ("settings", "top"))
"""Where a manifest has what a `Catalog` reads of it, beside the title."""
RANKED = ("features", "categories", "concepts")
"""The tables that rankings are made from."""
SHOWN = ["max", "density", "n_texts_active", "n_texts_strong", "top_text"]
"""The columns of the table of features that a ranking of the whole dictionary has."""
CLEARNESS = ["clearness", "clearness_low", "clearness_high"]
"""Those that the ranking of the clearest features has too."""


class Catalog:
    """The tables of one catalog. Every method returns a new table, which the caller may change.

    In each of them `feature` is the index in the SAE's dictionary, `label` the automatic label, and `rank` counts from
    0; ties are broken by the smaller index. `meanings` describes the other columns. A name or a number that the catalog
    does not have raises CatalogError, and so does a table that cannot be read.
    """

    def __init__(self, tables: Tables, manifest: Manifest):
        self._tables = tables
        self.manifest = manifest
        """What the catalog was built from, and the figures about it as a whole, such as `manifest["health"]`."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.manifest['title']}>"

    @property
    def features(self) -> pd.DataFrame:
        """One row per feature of the dictionary, silent ones included, indexed by feature."""
        return self.frame("features").set_index("feature", drop=False)

    @property
    def texts(self) -> pd.DataFrame:
        """One row per text of the corpus, indexed by id."""
        return self.frame("texts").set_index("text", drop=False)

    @property
    def categories(self) -> list[str]:
        """The names of the categories."""
        return list(self.manifest["corpus"]["categories"])

    @property
    def concepts(self) -> list[str]:
        """The names of the concepts."""
        return list(self.manifest["corpus"]["concepts"])

    def frame(self, name: str) -> pd.DataFrame:
        """A whole table, such as `contexts` or `coactivation`; `meanings` describes its columns."""
        known(name, SCHEMAS, "table")
        with reading(self._tables.folder.parent):
            return self._tables[name].copy()

    def about(self, name: str, feature: int) -> pd.DataFrame:
        """The rows of a table about one feature, such as its `contexts`, `tokens`, `logits` or `neighbours`."""
        known(name, [table for table, columns in SCHEMAS.items() if _feature_column(columns)], "table of features")
        check_feature(feature, self._d_sae)
        with reading(self._tables.folder.parent):
            return self._tables.read(name, features=[feature]).reset_index(drop=True)

    def pair(self, a: int, b: int) -> pd.Series:
        """Two features side by side: how far they fire on the same tokens and texts, and write in the same direction.

        The index names the figures: for `tokens` and `texts`, on how many each is active (`tokens_a`, `tokens_b`) and
        both are (`tokens_both`), `jaccard`, `lift` and `phi`; then `cosine` (of the decoder rows, to about 0.01), and
        `pearson` and `spearman` (of the scores on all texts). NaN where a feature is silent or active everywhere.
        """
        for feature in (a, b):
            check_feature(feature, self._d_sae)
        with reading(self._tables.folder.parent):
            return pair_figures(self._tables, a, b, int(self.manifest["counts"]["tokens"]))

    def meanings(self, name: str) -> dict[str, str]:
        """What each column of a table means."""
        return {column: words for column, (_, words) in SCHEMAS[known(name, SCHEMAS, "table")].items()}

    def clearest(self, kind: str | None = None, n: int = 12) -> pd.DataFrame:
        """The features whose label's rule explains best where they fire; `meanings` describes their `clearness`.

        Args:
            kind: `words`, `topics`, `syntax`, `code`, `scripts`, `common` (tokens) or `positions`. None means the first
                feature of each kind, then the second, and so on, without the last two kinds.
            n: Number of features.
        """
        name = "clearest" if kind is None else f"clearest:{known(kind, CLEAR_KINDS, 'kind of features')}"
        with reading(self._tables.folder.parent):
            return self._rows(self._ranking(name, n), CLEARNESS)

    def strongest(self, n: int = 12) -> pd.DataFrame:
        """The features with the largest activation."""
        return self._of_dictionary("strongest", n)

    def most_frequent(self, n: int = 12) -> pd.DataFrame:
        """The features that are active on the most texts."""
        return self._of_dictionary("frequent", n)

    def most_selective(self, n: int = 12) -> pd.DataFrame:
        """The features that are strong on the fewest texts, but on at least one; ties: the larger maximum first."""
        return self._of_dictionary("selective", n)

    def specialists(self, category: str | None = None, n: int = 12) -> pd.DataFrame:
        """The specialists of a category, or of each: features with most of their strong texts in it.

        The sizes of the categories are adjusted for (`balanced_score`). Those with clear evidence come first, those
        with weak evidence last (`evidence`). A category without a specialist has no row.
        """
        return self._of_groups(("specialist", WEAK_SPECIALIST), "categories", "category", category, self.categories, n)

    def common_features(self, category: str | None = None, n: int = 12) -> pd.DataFrame:
        """The features active in most texts of a category, or of each, by how much more often than elsewhere."""
        return self._of_groups(("common",), "categories", "category", category, self.categories, n)

    def concept_features(self, concept: str | None = None, by: str = "contrast", n: int = 12) -> pd.DataFrame:
        """The features that respond to one of the catalog's concepts, or to each; a concept may have none.

        Args:
            concept: Name of the concept; None means all of them.
            by: `contrast` (the features that respond, by AUROC against the corpus), `consistent` (share of strong
                texts) or `strong` (mean score); the last two name features that fire on all texts, too.
            n: Number of features of each concept.
        """
        known(by, ("contrast", "consistent", "strong"), "ranking of concepts")
        return self._of_groups((by,), "concepts", "concept", concept, self.concepts, n)

    def top_features(self, text: str | None = None, n: int = 5) -> pd.DataFrame:
        """The features with the largest score on a text of the corpus, by its id, or on each text.

        The columns are `text`, `category`, `rank`, `feature`, `label`, `score` and `position`, the token with the
        largest activation.
        """
        check_count(n)
        columns = ["text", "feature", "score", "position"]
        category = self.frame("texts").set_index("text")["category"]
        if text is not None:
            known(text, category.index, "text")
        with reading(self._tables.folder.parent):
            found = self._tables.read("text_top" if n <= TEXT_TOP else "text_scores", columns)
        found = found if text is None else found[found["text"] == text]
        found = found.sort_values(["text", "score", "feature"], ascending=[True, False, True], ignore_index=True)
        found.insert(1, "category", found["text"].map(category).astype(object))
        found.insert(2, "rank", found.groupby("text").cumcount())
        return with_labels(found[found["rank"] < n].reset_index(drop=True), self._labels)

    def coactivation(self, feature: int, level: str = "token") -> pd.DataFrame:
        """The features that fire together with one, by decreasing phi.

        Args:
            feature: The feature whose partners are wanted.
            level: `token` or `text`: what must be shared.

        Returns:
            The columns `feature` (the partner), `label`, `n_here` and `n_there` (tokens or texts on which the feature
            and the partner are active), `n_both`, `jaccard`, `lift`, `phi` and `decoder_cosine`.
        """
        known(level, ("token", "text"), "level")
        pairs = self.about("coactivation", feature)
        pairs = pairs[pairs["level"] == level]
        first = pairs["feature_a"] == feature
        figures = pairs[["n_both", "jaccard", "lift", "phi", "decoder_cosine"]]
        partners = pd.DataFrame(
            {
                "feature": pairs["feature_b"].where(first, pairs["feature_a"]),
                "n_here": pairs["n_a"].where(first, pairs["n_b"]),
                "n_there": pairs["n_b"].where(first, pairs["n_a"]),
                **figures,
            }
        ).sort_values(["phi", "feature"], ascending=[False, True], ignore_index=True)
        return with_labels(partners, self._labels)

    def effects(self, n: int | None = None) -> pd.DataFrame:
        """What features do to the predictions, the surest first; empty if the catalog was built without effects.

        Args:
            n: Number of features; None means every feature whose effect was measured.

        Returns:
            The columns `rank`, `feature` and `label`, and the figures over all sampled contexts. `kl_excess` is the
            effect beyond that of the control; the order is by the lower end of its interval, `kl_excess_low`, with
            features without a control last.
        """
        check_count(1 if n is None else n)
        found = self.frame("effects")
        found = found[found["group_kind"] == "all"].drop(columns=["group_kind", "group"])
        found = found.sort_values(["kl_excess_low", "feature"], ascending=[False, True], ignore_index=True)[:n]
        found.insert(0, "rank", range(len(found)))
        return with_labels(found, self._labels)

    def effects_plot(self) -> "Figure":
        """Each feature's effect on the predictions against that of its control, on logarithmic axes."""
        from saecatalog.library.figures import effects_plot

        with reading(self._tables.folder.parent):
            return effects_plot(self._pages)

    def category_heatmap(self, which: str = "notable") -> "Figure":
        """The heatmap of features x texts, grouped by category; `which` is `notable` or `frequent` features."""
        from saecatalog.library.figures import category_heatmap

        known(which, ("notable", "frequent"), "heatmap")
        with reading(self._tables.folder.parent):
            return category_heatmap(self._pages, which)

    def coactivation_heatmap(self) -> "Figure":
        """The heatmap of the notable features that fire together: Jaccard overlap on tokens."""
        from saecatalog.library.figures import coactivation_heatmap

        with reading(self._tables.folder.parent):
            return coactivation_heatmap(self._pages)

    def histogram(self, feature: int) -> "Figure":
        """The distribution of a feature's activations, zeros left out, with a logarithmic axis of counts."""
        from saecatalog.library.figures import histogram

        check_feature(feature, self._d_sae)
        with reading(self._tables.folder.parent):
            return histogram(self._pages, feature)

    @cached_property
    def _pages(self) -> PageCatalog:
        """The catalog as the pages see it."""
        return PageCatalog(self._tables, self.manifest)

    @property
    def _d_sae(self) -> int:
        return int(self.manifest["counts"]["features"])

    @cached_property
    def _labels(self) -> pd.Series:
        with reading(self._tables.folder.parent):
            return self._tables.read("features", ["feature", "label"]).set_index("feature")["label"]

    def _ranking(self, name: str, n: int) -> list[int]:
        """The first features of a ranking: those published, then those that the same code ranks after them."""
        check_count(n)
        with reading(self._tables.folder.parent):
            published = self._tables["rankings"]
            first = published.loc[published["ranking"] == name, "feature"].tolist()
            is_clearest = name.partition(":")[0] == "clearest"
            if n > len(first) == (CLEAREST if is_clearest else self.manifest["settings"]["top"]):
                features, categories, concepts = (self._tables[part] for part in RANKED)
                more = (
                    clearest_rankings(features, n) if is_clearest else rank_features(features, categories, concepts, n)
                )
                # Figures are published in single precision, which may leave ties that were none.
                first = list(dict.fromkeys([*first, *more.loc[more["ranking"] == name, "feature"].tolist()]))
        return first[:n]

    def _of_dictionary(self, name: str, n: int) -> pd.DataFrame:
        """A ranking of the whole dictionary."""
        return self._rows(self._ranking(name, n))

    def _rows(self, ranked: list[int], columns: Iterable[str] = ()) -> pd.DataFrame:
        """Some features in this order, with further columns of theirs."""
        rows = self.features.loc[ranked, ["feature", "label", *columns, *SHOWN]].reset_index(drop=True)
        rows.insert(0, "rank", range(len(rows)))
        return rows

    def _of_groups(
        self, kinds: Sequence[str], table: str, column: str, name: str | None, names: list[str], n: int
    ) -> pd.DataFrame:
        """Rankings of one category or concept or of all, one kind after the other, with the columns of their table."""
        groups = names if name is None else [known(name, names, column)]
        ranked = [
            (group, rank, feature)
            for group in groups
            for rank, feature in enumerate([f for kind in kinds for f in self._ranking(f"{kind}:{group}", n)][:n])
        ]
        places = pd.DataFrame(ranked, columns=[column, "rank", "feature"])
        with reading(self._tables.folder.parent):
            rows = self._tables[table]
        return with_labels(places.merge(rows, on=[column, "feature"], how="left"), self._labels)


def open_catalog(folder: str | Path) -> Catalog:
    """Open a published catalog: its tables answer every question that needs no model.

    Args:
        folder: The folder of the catalog, or of a site with one catalog.

    Raises:
        CatalogError: If there is no catalog, if there are several, or if the manifest cannot be read.
    """
    found = find_catalogs(Path(folder))
    if len(found) > 1:
        fix = f"Open one of them, such as {', '.join(map(str, found[:FEW]))}."
        raise CatalogError(f"This site has {len(found):,} catalogs.", str(folder), fix)
    return Catalog(Tables(found[0] / "data"), read_manifest(found[0], NEEDED))


def _feature_column(columns: Iterable[str]) -> bool:
    return any(column in ("feature", "feature_a") for column in columns)
