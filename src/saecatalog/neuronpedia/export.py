"""The export: the tables of a published catalog flow in, files for Neuronpedia's importer flow out.

The fields are those of the tables `Neuron` and `Activation` of Neuronpedia's database, with the meaning that
SAEDashboard gives them. The importer takes the columns of a file from its first line, so all lines have the same
fields; fields that are left out get the database's defaults. No model is needed, and the same tables give the same
bytes.
"""

import gzip
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from saecatalog.analysis.contexts import BANDS, band_bounds
from saecatalog.errors import CatalogError
from saecatalog.neuronpedia.source import PublishedCatalog, Source
from saecatalog.site.reading import reading
from saecatalog.site.records import Groups, Records, Row
from saecatalog.stage_keys import digest
from saecatalog.write_errors import writing

BATCH = 1024
"""Features in one file, as in Neuronpedia's own exports."""

CREATOR = "clkht01d40000jv08hvalcvly"
"""The user that owns imported rows if none is named: the one that Neuronpedia's own programs fall back to."""

TOP_LOGITS = 10
"""Promoted tokens, and suppressed tokens, that Neuronpedia shows."""

PART_OF_CHARACTER = "\ufffd"
"""The text of a token that only continues the character before it; Neuronpedia shows such tokens like this too."""

QUARTERS = {"q75-100": ("q75", "max"), "q50-75": ("q50", "q75"), "q25-50": ("q25", "q50"), "q0-25": ("", "q25")}
"""The columns of `features` with the ends of each quarter of the active tokens; "" means 0."""

RowOut = dict[str, Any]
"""A row as it is written: JSON has no narrower type."""


@dataclass(frozen=True)
class Summary:
    """What was written."""

    folder: Path
    features: int
    silent: int
    activations: int
    files: int

    def lines(self) -> list[str]:
        return [
            f"Wrote {self.features:,} features ({self.silent:,} silent on these texts) and {self.activations:,} "
            f"activations in {self.files:,} files below {self.folder}",
            "Neuronpedia's importer also needs model, source set, source and release files, which say whose data this "
            "is. Decoder vectors are not part of the export.",
        ]


def export(catalog: PublishedCatalog, source: Source, creator: str, out: Path) -> Summary:
    """Write `v1/<model>/<source>/{features,activations}/batch-<n>.jsonl.gz` below `out`, completely or not at all.

    Raises CatalogError if the folder exists already, and for tables that cannot be read.
    """
    folder = out / "v1" / source.model / source.id
    if os.path.lexists(folder):
        raise CatalogError("This export exists already.", str(folder), "Move it away, or choose another --out.")
    rows = ExportRows(catalog, source, creator)
    with writing(out, "--out"), reading(catalog.folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as made:
            counts = [_write_batch(rows, Path(made) / "new", number) for number in range(rows.batches)]
            os.replace(Path(made) / "new", folder)
    return Summary(folder, catalog.d_sae, rows.silent, sum(counts), 2 * rows.batches)


def _write_batch(rows: "ExportRows", folder: Path, number: int) -> int:
    """Write the files of one batch of features; returns the number of activations."""
    features = range(number * BATCH, min((number + 1) * BATCH, rows.catalog.d_sae))
    activations = list(rows.activations(features))
    for kind, lines in (("features", list(rows.features(features))), ("activations", activations)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        path = folder / kind / f"batch-{number}.jsonl.gz"
        # Without a time and a name, the same lines give the same bytes.
        with path.open("wb") as file, gzip.GzipFile("", "wb", 5, file, mtime=0) as packed:
            packed.writelines(orjson.dumps(line) + b"\n" for line in lines)
    return len(activations)


class ExportRows:
    """The rows of a catalog in Neuronpedia's format."""

    def __init__(self, catalog: PublishedCatalog, source: Source, creator: str):
        self.catalog, self.source, self.creator = catalog, source, creator

    @property
    def batches(self) -> int:
        return -(-self.catalog.d_sae // BATCH)

    @cached_property
    def _figures(self) -> Records:
        return Records(self.catalog.tables["features"], "feature")

    @cached_property
    def _texts(self) -> Records:
        return Records(self.catalog.tables.read("texts", ["text", "content", "token_ends"]), "text")

    @property
    def silent(self) -> int:
        return int((self.catalog.tables["features"]["n_active"] == 0).sum())

    def _grouped(self, table: str, features: Sequence[int]) -> Groups:
        return Groups(self.catalog.tables.read(table, features=features), "feature")

    def _name(self, feature: int) -> RowOut:
        """The fields that say which feature a row is about; the index is a string."""
        name = {"modelId": self.source.model, "layer": self.source.id, "index": str(feature)}
        return name | {"creatorId": self.creator}

    def features(self, features: Sequence[int]) -> Iterator[RowOut]:
        """One row for each feature, silent ones included.

        maxActApprox: the largest activation on this corpus. frac_nonzero: the density. freq_hist_data: middles of
        the bins of the active values, zeros left out, and the tokens in each. logits_hist_data: the same of the direct
        logit effects over the vocabulary. pos and neg: the most promoted tokens, largest effect first, and the most
        suppressed ones, lowest first. topkCosSim: the features with the most similar decoder rows, without itself.
        """
        histograms, logit_histograms = (self._grouped(name, features) for name in ("histograms", "logit_histograms"))
        logits, neighbours = (self._grouped(name, features) for name in ("logits", "neighbours"))
        for feature in features:
            row = self._figures[feature]
            bars, logit_bars = _bars(histograms[feature]), _bars(logit_histograms[feature])
            promoted, suppressed = (_moved(logits[feature], way) for way in ("promoted", "suppressed"))
            near = neighbours[feature]
            yield {
                **self._name(feature),
                "sourceSetName": self.source.set_name,
                "maxActApprox": exact(row.max),
                "frac_nonzero": row.density,
                "freq_hist_data_bar_heights": bars[1],
                "freq_hist_data_bar_values": bars[0],
                "logits_hist_data_bar_heights": logit_bars[1],
                "logits_hist_data_bar_values": logit_bars[0],
                "neg_str": [r.token for r in suppressed],
                "neg_values": [exact(r.logit) for r in suppressed],
                "pos_str": [r.token for r in promoted],
                "pos_values": [exact(r.logit) for r in promoted],
                "topkCosSimIndices": [r.neighbour for r in near],
                "topkCosSimValues": [exact(r.cosine) for r in near],
            }

    def activations(self, features: Sequence[int]) -> Iterator[RowOut]:
        """One row for each example: the tokens of its excerpt and the activation at each."""
        contexts = self._grouped("contexts", features)
        for feature in features:
            for context in sorted(contexts[feature], key=lambda context: BANDS.index(context.band)):
                yield self._activation(self._figures[feature], context)

    def _activation(self, figures: Row, context: Row) -> RowOut:
        """The row of one example.

        maxValueTokenIndex is the first place of the largest value in the excerpt; qualifyingTokenIndex is the token
        that the example was chosen for. Both count within `tokens`. Positions that count in no statistic have the
        value 0. dataSource and dataIndex are the corpus and the id of the text.
        """
        values, corpus = excerpt_values(context), self.catalog.manifest["corpus"]
        largest = max(values)
        low, high, contains = band(figures, context.band)
        place = [str(self.source), corpus["sha256"], context.feature, context.band, context.rank]
        return {
            "id": f"c{digest(place)}",
            **self._name(context.feature),
            "tokens": excerpt_tokens(self._texts[context.text], context.window_start, context.window_end),
            "values": values,
            "maxValue": largest,
            "maxValueTokenIndex": values.index(largest),
            "minValue": min(values),
            "binMin": low,
            "binMax": high,
            "binContains": contains,
            "qualifyingTokenIndex": context.position - context.window_start,
            "dataSource": corpus["name"],
            "dataIndex": context.text,
        }


def band(figures: Row, name: str) -> tuple[float, float, float]:
    """binMin, binMax and binContains of a band of examples.

    The strongest examples have -1, the feature's maximum, and -1. The others have the ends of their quarter of the
    active tokens, and the share of all counted tokens that are in it. (SAEDashboard cuts at equal distances instead of
    equal counts.)
    """
    if name == "top":
        return -1.0, exact(figures.max), -1.0
    sizes = dict(zip(BANDS[1:], (b - a for a, b in pairwise(band_bounds(figures.n_active))), strict=True))
    low, high = (exact(getattr(figures, column)) if column else 0.0 for column in QUARTERS[name])
    return low, high, sizes[name] / figures.n_tokens


def excerpt_tokens(text: Row, start: int, end: int) -> list[str]:
    """The tokens `start` to `end` of a text. A character in several tokens belongs to the first of them."""
    ends = text.token_ends
    tokens, at = [], ends[start - 1] if start else 0
    for stop in ends[start:end]:
        tokens.append(text.content[at:stop] or (PART_OF_CHARACTER if stop else ""))
        at = stop
    return tokens


def excerpt_values(context: Row) -> list[float]:
    """The activation at each token of an excerpt, 0 where the feature is silent."""
    values = [0.0] * (context.window_end - context.window_start)
    for position, value in zip(context.active_positions.tolist(), context.active_values.tolist(), strict=True):
        if context.window_start <= position < context.window_end:
            values[position - context.window_start] = exact(value)
    return values


def exact(value: float) -> float:
    """The shortest decimal number that is this float32 again, so that files are small and nothing is lost."""
    return float(str(np.float32(value)))


def _bars(found: list[Row]) -> tuple[list[float], list[int]]:
    """The middles of a histogram's bins and the counts; empty if there is no histogram."""
    if not found:
        return [], []
    edges = found[0].edges.astype(np.float64)
    return [exact(middle) for middle in (edges[:-1] + edges[1:]) / 2], found[0].counts.tolist()


def _moved(found: list[Row], direction: str) -> list[Row]:
    return [row for row in found if row.direction == direction][:TOP_LOGITS]
