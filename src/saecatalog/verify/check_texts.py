"""Checks of texts and their activations: every text of the corpus is run again and compared, for all features."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd

from saecatalog.names import slug
from saecatalog.verify import formulas
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, parts_of, rows_of
from saecatalog.verify.report import Checker, Disagreement, show
from saecatalog.verify.rerun import Block

TOP_OF_A_TEXT = 10
"""As the table's description says: the ten features with the largest score on each text."""


def check_texts(e: Evidence) -> None:
    """Ids, tokens, massive positions and halves, and that the corpus matches the manifest."""
    table = e.published["texts"]
    for t, row in enumerate(rows_of(table)):
        at = e.report.at("texts", row.text)
        _check_id(at, row.text, row.category, row.content)
        at.same("half", row.half, e.halves[t])
        at.holds(row.source.startswith(row.file.rpartition("/")[2]), "file", "the source names another file")
        at.same("n_tokens", row.n_tokens, len(e.seen.ids(t)))
        at.same("n_excluded", row.n_excluded, e.keep[t].count(False))
        at.lists("token_ends", row.token_ends.tolist(), e.runner.token_ends(row.content, row.special_tokens))
    rows = list(zip(*(table[c].tolist() for c in ("text", "category", "content", "special_tokens")), strict=True))
    at = e.report.at("manifest.json")
    at.same("corpus.sha256", e.manifest["corpus"]["sha256"], formulas.corpus_hash(rows))
    at.holds(len(set(e.text_ids)) == len(rows), "texts", "two texts have the same id")


def _check_id(at: Checker, text: str, category: str, content: str) -> None:
    """A text's id consists of its category and the hash of its content."""
    wanted = f"{slug(category)}-{formulas.content_digest(content)}"
    good = text == wanted or text.rpartition("-")[0] == wanted
    at.holds(good, "text", f"category and content give the id {wanted}")


def check_concept_texts(e: Evidence) -> None:
    """The same for the texts of the concepts."""
    for t, row in enumerate(rows_of(e.published["concept_texts"])):
        at, seen = e.report.at("concept_texts", row.text), e.concepts_seen
        _check_id(at, row.text, row.concept, row.content)
        at.same("n_tokens", row.n_tokens, len(seen.ids(t)))
        counted = seen.counted[seen.offsets[t] : seen.offsets[t + 1]]
        at.same("n_excluded", row.n_excluded, int((~counted).sum()))


def check_text_scores(e: Evidence) -> None:
    """Every score of every text and feature; none may be missing."""
    table = e.published["text_scores"]
    rows = parts_of(table, "text")
    for text in sorted(rows.keys() - e.place.keys()):
        e.report.at("text_scores", text).holds(False, "text", "there is no such text")
    for t, text in enumerate(e.text_ids):
        _check_scores(e, t, rows.get(text, table.iloc[:0]))


def _check_scores(e: Evidence, t: int, rows: pd.DataFrame) -> None:
    """The scores of one text: value, category and position of each; none is missing or repeated."""
    block, kind = e.seen.block(t), str(e.settings["text_score"])
    features, scores, positions = (rows[c].to_numpy() for c in ("feature", "score", "position"))
    low, high, slack = (_spread(e, block, part) for part in (*score_bounds(block, kind, e.keep[t]), block.slack))
    least, most = low[features], high[features]
    allowed = e.tolerance.relative * most + slack[features]
    good = (scores > 0) & (most > 0) & (scores >= least - allowed) & (scores <= most + allowed)
    at_peak = _at_peak(e, block, features, positions, kind)

    def tell(column: str, recomputed: Callable[[int], str]) -> Callable[[int], Disagreement]:
        return lambda i: _line(e, t, int(features[i]), column, show(rows[column].iloc[i]), recomputed(i))

    e.report.every(good, tell("score", lambda i: show(float(most[i]))))
    e.report.every(rows["category"].to_numpy() == e.categories[t], tell("category", lambda i: show(e.categories[t])))
    e.report.every(at_peak | ~good, tell("position", lambda i: _peak(block, int(features[i]), kind)))
    e.report.every(~rows.duplicated("feature").to_numpy(), tell("feature", lambda i: "one row for each feature"))
    absent = (low > 0) & ~np.isin(np.arange(len(low)), features)
    e.report.every(~absent[low > 0], lambda i: _missing(e, t, low, i))


def _missing(e: Evidence, t: int, low: np.ndarray, i: int) -> Disagreement:
    feature = int(np.flatnonzero(low > 0)[i])
    return _line(e, t, feature, "score", "nothing", show(float(low[feature])))


def _spread(e: Evidence, block: Block, values: np.ndarray) -> np.ndarray:
    """Values of a block's features, extended to all features with 0."""
    every = np.zeros(e.seen.d_sae)
    every[block.features] = values
    return every


def _line(e: Evidence, t: int, feature: int, column: str, published: str, recomputed: str) -> Disagreement:
    return Disagreement("text_scores.parquet", f"{e.text_ids[t]}, feature {feature}", column, published, recomputed)


def score_bounds(block: Block, kind: str, keep: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest possible score of each feature of a block: without and with undecided tokens."""
    surely = np.where(block.sure, block.values, 0)
    if kind == "last":
        return surely[-1], block.values[-1]
    if kind == "mean":
        n = max(1, sum(keep))
        return surely.sum(0) / n, block.values.sum(0) / n
    return surely.max(0), block.values.max(0)


def column_of(block: Block, feature: int) -> int | None:
    """A feature's column in a block; None if it is silent there."""
    place = int(np.searchsorted(block.features, feature))
    return place if place < len(block.features) and block.features[place] == feature else None


def _at_peak(e: Evidence, block: Block, features: np.ndarray, positions: np.ndarray, kind: str) -> np.ndarray:
    """Whether each feature's largest activation (or the last token, for the score `last`) is at its position."""
    n = len(block.values)
    if kind == "last":
        return np.asarray(positions == n - 1)
    if not len(block.features):
        return np.zeros(len(features), bool)
    columns = np.minimum(np.searchsorted(block.features, features), len(block.features) - 1)
    possible = (block.features[columns] == features) & (positions >= 0) & (positions < n)
    values = block.values[np.where(possible, positions, 0), columns]
    surely = np.where(block.sure, block.values, 0).max(0)[columns]
    return np.asarray(possible & (values > 0) & (values >= surely * (1 - e.tolerance.relative) - block.slack[columns]))


def _peak(block: Block, feature: int, kind: str) -> str:
    column = column_of(block, feature)
    if kind == "last" or column is None:
        return show(len(block.values) - 1)
    return show(int(block.values[:, column].argmax()))


def check_text_top(e: Evidence) -> None:
    """The strongest features of each text, from the published scores, and where in the text they are active."""
    scores = e.published["text_scores"].sort_values(["score", "feature"], ascending=[False, True], kind="stable")
    kind = str(e.settings["text_score"])
    best, found = parts_of(scores, "text"), parts_of(e.published["text_top"], "text")
    for text in sorted(found.keys() - e.place.keys()):
        e.report.at("text_top", text).holds(False, "text", "there is no such text")
    for t, text in enumerate(e.text_ids):
        rows = rows_of(found.get(text, e.published["text_top"].iloc[:0]))
        _check_top(e.report.at("text_top", text), rows, rows_of(best.get(text, scores.iloc[:0])[:TOP_OF_A_TEXT]))
        block = e.seen.block(t)
        features, positions = (np.array([getattr(r, c) for r in rows], np.int64) for c in ("feature", "position"))
        peaks = _at_peak(e, block, features, positions, kind).tolist()
        for row, good in zip(rows, peaks, strict=True):
            at = e.report.at("text_top", f"{text}, feature {row.feature}")
            at.holds(good, "position", f"published {row.position}, recomputed {_peak(block, row.feature, kind)}")
            check_cells(e, at, block, row)


def _check_top(at: Checker, rows: list[Row], wanted: list[Row]) -> None:
    """The strongest features of a text, in order."""
    at.lists("feature", [r.feature for r in rows], [r.feature for r in wanted])
    at.lists("score", [r.score for r in rows], [r.score for r in wanted])
    at.lists("rank", [r.rank for r in rows], list(range(len(rows))))


def check_cells(e: Evidence, at: Checker, block: Block, row: Row) -> None:
    """The positions where a feature is active in a text, and its activations there."""
    column = column_of(block, row.feature)
    positions = [int(p) for p in row.active_positions]
    if column is None:
        at.holds(not positions, "active_positions", "the feature is silent on this text")
        return
    values, sure = block.values[:, column], block.sure[:, column]
    must, may = set(np.flatnonzero(sure).tolist()), set(np.flatnonzero(values > 0).tolist())
    good = must <= set(positions) <= may and positions == sorted(set(positions))
    at.holds(good, "active_positions", f"published {positions}, recomputed {sorted(must)}")
    if good:
        wanted = values[positions]
        same = _near(e, block, column, row.active_values, wanted)
        at.holds(same, "active_values", f"published {_short(row.active_values)}, recomputed {_short(wanted)}")


def _near(e: Evidence, block: Block, column: int, published: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether activations are equal except for rounding."""
    if len(published) != len(wanted):
        return False
    slack = e.tolerance.relative * np.abs(wanted) + block.slack[column]
    return bool((np.abs(np.asarray(published, np.float64) - wanted) <= slack).all())


def _short(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{v:.6g}" for v in values[:12].tolist()) + (", ...]" if len(values) > 12 else "]")


def check_context_cells(e: Evidence) -> None:
    """Every example of every feature: its token, its activation, and the other active positions in the text."""
    for text, rows in parts_of(e.published["contexts"], "text").items():
        t = e.place.get(text)
        if t is None:
            e.report.at("contexts", text).holds(False, "text", "there is no such text")
            continue
        block, ids = e.seen.block(t), e.seen.ids(t)
        for row in rows_of(rows):
            at = e.report.at("contexts", f"feature {row.feature}, {row.band} {row.rank}")
            at.same("category", row.category, e.categories[t])
            inside = 0 <= row.window_start <= row.position < row.window_end <= len(ids)
            at.holds(
                inside,
                "position",
                f"token {row.position} is outside the part shown, or the part shown is outside the text",
            )
            if inside:
                at.same("token", row.token, e.token(ids[row.position]))
                _check_activation(e, at, block, row)
                check_cells(e, at, block, row)


def _check_activation(e: Evidence, at: Checker, block: Block, row: Row) -> None:
    column = column_of(block, row.feature)
    value = 0.0 if column is None else float(block.values[row.position, column])
    slack = 0.0 if column is None else float(block.slack[column])
    at.close("activation", row.activation, value, e.tolerance.relative, slack)
    at.holds(value > 0, "position", f"the feature is silent at token {row.position}")


def check_windows(e: Evidence) -> None:
    """Every part shown extends as far before and after its token as all others, or to an end of the text."""
    length = {text: len(e.seen.ids(t)) for t, text in enumerate(e.text_ids)}
    rows = [row for row in rows_of(e.published["contexts"]) if row.text in length]
    before = Counter(row.position - row.window_start for row in rows if row.window_start > 0)
    after = Counter(row.window_end - row.position for row in rows if row.window_end < length[row.text])
    for row in rows:
        at = e.report.at("contexts", f"feature {row.feature}, {row.band} {row.rank}")
        for usual, _ in before.most_common(1):
            at.same("window_start", row.window_start, max(0, row.position - usual))
        for usual, _ in after.most_common(1):
            at.same("window_end", row.window_end, min(length[row.text], row.position + usual))
