"""Verifies comparisons of two catalogs: the folder of a site flows in, every mismatch flows out.

All figures are recomputed from the tables that the two catalogs publish, in the slow and obvious way: the whole matrix
of correlations in float64, a few hundred rows at a time. Cosines need the SAEs themselves.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

import saecatalog
from saecatalog.compare.page import PAGE, render
from saecatalog.compare.tables import KINDS, LEAST_TEXTS, SCHEMAS
from saecatalog.errors import CatalogError
from saecatalog.resources import resource
from saecatalog.site.comparisons import outdated, shown
from saecatalog.site.inventory import FILE_LIST, MANIFEST, read_list, read_mapping
from saecatalog.site.root_keys import template_digests
from saecatalog.verify.published import rows_of
from saecatalog.verify.report import Disagreement, Report
from saecatalog.verify.runner import load_decoder

ROWS = 256
"""Rows of the matrix of correlations in memory at once."""

NEAR = 2e-5
"""Allowed difference of two correlations or cosines: the build compares them rounded to five decimals."""

Matrix = Float64[np.ndarray, "text feature"]


@dataclass(frozen=True)
class ComparisonOutcome:
    """The outcome for one comparison."""

    folder: Path
    report: Report
    notes: list[str] = field(default_factory=list)
    """Sentences that say what was not checked, and why."""

    @property
    def disagreements(self) -> list[Disagreement]:
        return self.report.found

    def facts(self) -> dict[str, object]:
        """The outcome as plain values."""
        return {
            "mismatches": [asdict(found) for found in self.disagreements],
            "not_checked": self.notes,
            "figures": self.report.checked,
        }

    def lines(self) -> list[str]:
        """Every mismatch, what was not checked, and the counts."""
        found = len(self.disagreements)
        summary = f"Checked {self.report.checked:,} figures; {found:,} mismatch{'es' * (found != 1)}"
        return [*map(str, self.disagreements), *self.notes, summary]


def verify_comparison(site: Path, folder: str) -> ComparisonOutcome:
    """Verify one comparison. Raises CatalogError if it cannot be read, or is not of these catalogs."""
    manifest, data = read_mapping(site / folder / MANIFEST), site / folder / "data"
    if why := outdated(site, manifest):
        raise CatalogError("The comparison is outdated.", str(data), f"Make it again: {why}.")
    outcome = ComparisonOutcome(site / folder, Report())
    tables = {name: pd.read_parquet(data / f"{name}.parquet") for name in KINDS[manifest["kind"]]}
    for name, table in tables.items():
        outcome.report.at(name).lists("columns", list(map(str, table)), list(SCHEMAS[name]))
    sides = [_Side(site / slug, slug) for slug in manifest["catalogs"]]
    at = outcome.report.at("manifest.json")
    for side, facts in zip(sides, manifest["facts"], strict=True):
        at.holds(shown(side.manifest) == facts, "facts", f"differ from the manifest of {side.slug}")
    if manifest["kind"] == "features":
        _check_matches(outcome, manifest, tables["matches"], sides)
    else:
        _check_changes(outcome, tables["changes"], sides)
    _check_coverage(outcome, manifest["kind"], tables, sides)
    _check_page(outcome, manifest, data)
    return outcome


class _Side:
    """The published tables of one of the catalogs."""

    def __init__(self, folder: Path, slug: str):
        self.slug, self.folder = slug, folder
        self.manifest = read_mapping(folder / MANIFEST)
        self.features = pd.read_parquet(folder / "data/features.parquet").set_index("feature", drop=False)
        categories = pd.read_parquet(folder / "data/categories.parquet")
        self.specialists: dict[int, list[tuple[float, str]]] = {}
        for row in rows_of(categories[categories["balanced_score"] > 0]):
            self.specialists.setdefault(row.feature, []).append((row.balanced_score, row.category))

    def texts(self) -> set[str]:
        return set(pd.read_parquet(self.folder / "data/texts.parquet", columns=["text"])["text"])

    def best_category(self, feature: int) -> set[str]:
        """The categories with the largest score of a feature; "" if it is no specialist."""
        scores = self.specialists.get(feature, [(0.0, "")])
        return {category for score, category in scores if score == max(scores)[0]}

    def categories_of(self, feature: int) -> set[str]:
        return {category for _, category in self.specialists.get(feature, [])}

    def scores(self, texts: list[str]) -> Matrix:
        """Every score on some texts."""
        place = {text: row for row, text in enumerate(texts)}
        found = np.zeros((len(texts), len(self.features)))
        table = pd.read_parquet(self.folder / "data/text_scores.parquet", columns=["text", "feature", "score"])
        table = table[table["text"].isin(place)]
        found[table["text"].map(place).to_numpy(int), table["feature"].to_numpy()] = table["score"].to_numpy()
        return found


def _standardised(scores: Matrix) -> Matrix:
    """Columns with mean 0 and length 1; 0 for a constant column."""
    centred = scores - scores.mean(0)
    constant = np.ptp(scores, axis=0) == 0 if len(scores) else np.ones(scores.shape[1], bool)
    length = np.where(constant, 1.0, np.linalg.norm(centred, axis=0))
    return np.where(constant, 0.0, centred / length)


def _unit(decoder: Float64[np.ndarray, "feature d_out"]) -> Float64[np.ndarray, "d_out feature"]:
    """Decoder rows of length 1, as columns; one of length 0 stays."""
    length = np.linalg.norm(decoder, axis=1, keepdims=True)
    return np.asarray((decoder / np.where(length == 0, 1.0, length)).T)


def _largest(a: Matrix, b: Matrix, allowed: np.ndarray, check: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each column of `a`: its largest product with an allowed column of `b`, and that with the one of `check`."""
    largest, of_check = np.full(a.shape[1], -np.inf), np.full(a.shape[1], np.nan)
    for start in range(0, a.shape[1], ROWS):
        rows = np.arange(start, min(start + ROWS, a.shape[1]))
        products = a[:, rows].T @ b
        known = np.asarray(check)[rows] >= 0
        of_check[rows[known]] = products[known, np.asarray(check)[rows[known]]]
        if allowed.any():
            largest[rows] = products[:, allowed].max(1)
    return largest, of_check


def _check_matches(
    outcome: ComparisonOutcome, manifest: dict[str, Any], table: pd.DataFrame, sides: list[_Side]
) -> None:
    texts = sorted(sides[0].texts() & sides[1].texts())
    outcome.report.at("manifest.json").same("shared_texts", manifest["shared_texts"], len(texts))
    texts = texts if manifest["compared_texts"] else []
    parts = [table[table["catalog"] == side.slug].reset_index(drop=True) for side in sides]
    scores = [side.scores(texts) for side in sides]
    order = sorted(range(len(texts)), key=lambda row: hashlib.sha256(texts[row].encode()).hexdigest())
    units = [_standardised(part) for part in scores]
    fits = [
        ((part > 0).sum(0) >= LEAST_TEXTS) & (np.ptp(part, axis=0) > 0) if texts else np.zeros(part.shape[1], bool)
        for part in scores
    ]
    # The texts of the first catalog are shuffled in both directions.
    mixed = [(units[0][order], units[1]), (units[1], units[0][order])]
    for k, (side, part) in enumerate(zip(sides, parts, strict=True)):
        at = outcome.report.at("matches", side.slug)
        _check_names(at, side, part)
        at.lists("n_texts_active", part["n_texts_active"].tolist(), (scores[k] > 0).sum(0).tolist())
        at.lists("compared", (part["match"] >= 0).tolist(), (fits[k] & fits[1 - k].any()).tolist())
        largest, mine = _largest(units[k], units[1 - k], fits[1 - k], part["match"].tolist())
        _check_best(outcome, side, part, "match", "correlation", largest, mine)
        null, _ = _largest(*mixed[k], fits[1 - k], part["match"].tolist())
        _check_chance(outcome, side, part, null)
        _check_status(outcome, side, part, parts[1 - k])
    _check_decoders(outcome, manifest, parts, sides)


def _check_names(at: Any, side: _Side, part: pd.DataFrame) -> None:
    """Each feature has a row, with its label, its page and its category."""
    for column in ("feature", "label", "page"):
        at.lists(column, part[column].tolist(), side.features[column].tolist())
    wrong = [row.feature for row in rows_of(part) if row.specialist not in side.best_category(row.feature)]
    at.lists("specialist", wrong, [])


def _check_best(
    outcome: ComparisonOutcome,
    side: _Side,
    part: pd.DataFrame,
    name: str,
    value: str,
    largest: np.ndarray,
    mine: np.ndarray,
) -> None:
    """The published partner has the published similarity, and no other has a larger one."""
    known = (part[name] >= 0).to_numpy()
    published = part[value].to_numpy(np.float64)
    good = ~known | ((np.abs(published - mine) <= NEAR) & (mine >= largest - NEAR))

    def tell(row: int) -> Disagreement:
        found = f"{mine[row]:.6g}; the largest is {largest[row]:.6g}"
        where, wrong = f"{side.slug}, feature {row}", name if mine[row] < largest[row] - NEAR else value
        return Disagreement("matches.parquet", where, wrong, f"{published[row]:.6g}", found)

    outcome.report.every(good, tell)


def _check_chance(outcome: ComparisonOutcome, side: _Side, part: pd.DataFrame, null: np.ndarray) -> None:
    """The smallest value that at least 95 % of the gaps between features that fire about as often lie below."""
    at = outcome.report.at("matches", side.slug)
    compared = part[part["match"] >= 0]
    for octave, rows in compared.groupby(compared["n_texts_active"].map(int.bit_length)):
        ordered = sorted(null[rows["feature"].to_numpy()].tolist())
        wanted = ordered[math.ceil(0.95 * (len(ordered) - 1))]
        at.holds(
            bool((np.abs(rows["chance"] - wanted) <= NEAR).all()),
            "chance",
            f"not {wanted:.6g} for features of {2 ** (int(octave) - 1)} or more texts",
        )


def _check_status(outcome: ComparisonOutcome, side: _Side, part: pd.DataFrame, other: pd.DataFrame) -> None:
    """What the published figures of a feature and its match say."""
    rows, others = list(rows_of(part)), list(rows_of(other))
    for row in rows:
        back = others[row.match] if row.match >= 0 else None
        mutual = back is not None and back.match == row.feature
        above = [r is not None and round(r.correlation, 5) > round(r.chance, 5) for r in (row, back)]
        if row.n_texts_active == 0:
            wanted = "silent"
        elif back is None:
            wanted = "rare"
        elif mutual and all(above):
            wanted = "matched"
        else:
            wanted = "one way" if above[0] else "alone"
        at = outcome.report.at("matches", f"{side.slug}, feature {row.feature}")
        at.same("status", row.status, wanted)
        at.same("mutual", bool(row.mutual), mutual)


def _check_decoders(
    outcome: ComparisonOutcome, manifest: dict[str, Any], parts: list[pd.DataFrame], sides: list[_Side]
) -> None:
    """Cosines of matches, and the nearest decoder rows; only if the SAEs can be loaded here."""
    if manifest["no_decoders"]:
        empty = all((part["nearest"] < 0).all() and part["nearest_cosine"].isna().all() for part in parts)
        outcome.report.at("matches").holds(
            empty, "nearest", "there are cosines, although the decoders were not compared"
        )
        return
    try:
        units = [_unit(load_decoder(side.manifest)) for side in sides]
    except CatalogError as error:
        outcome.notes.append(f"Cosines of decoder rows were not checked. {error.what}")
        return
    everything = [np.ones(unit.shape[1], bool) for unit in units]
    for k, (side, part) in enumerate(zip(sides, parts, strict=True)):
        largest, mine = _largest(units[k], units[1 - k], everything[1 - k], part["nearest"].tolist())
        _check_best(outcome, side, part, "nearest", "nearest_cosine", largest, mine)
        _, cosine = _largest(units[k], units[1 - k], everything[1 - k], part["match"].tolist())
        _check_best(outcome, side, part, "match", "match_cosine", cosine, cosine)


def _check_changes(outcome: ComparisonOutcome, table: pd.DataFrame, sides: list[_Side]) -> None:
    """Every figure of both catalogs, and what follows from them."""
    at = outcome.report.at("changes")
    for which, side in zip(("first", "second"), sides, strict=True):
        for column in ("label", "page", "density", "max"):
            at.lists(f"{column}_{which}", table[f"{column}_{which}"].tolist(), side.features[column].tolist())
        mine = table[f"specialist_{which}"].tolist()
        wrong = [f for f, name in enumerate(mine) if name not in side.best_category(f)]
        at.lists(f"specialist_{which}", wrong, [])
    names = {(True, True): "both", (True, False): "only first", (False, True): "only second", (False, False): "silent"}
    rows = zip(rows_of(table), rows_of(sides[0].features), rows_of(sides[1].features), strict=True)
    for row, a, b in rows:
        here = outcome.report.at("changes", f"feature {row.feature}")
        status = names[a.n_active > 0, b.n_active > 0]
        here.same("status", row.status, status)
        here.close("ratio", row.ratio, b.density / a.density if status == "both" else math.nan)
        apart = a.density_high < b.density_low or b.density_high < a.density_low
        here.same("apart", bool(row.apart), bool(apart))


def _check_coverage(outcome: ComparisonOutcome, kind: str, tables: dict[str, pd.DataFrame], sides: list[_Side]) -> None:
    """The specialists of every category, counted one by one."""
    at = outcome.report.at("coverage")
    found = [(row.catalog, row.category) for row in rows_of(tables["coverage"])]
    named = [(side.slug, name) for side in sides for name in side.manifest["corpus"]["categories"]]
    at.lists("category", [" ".join(pair) for pair in found], [" ".join(pair) for pair in named])
    partner: dict[tuple[str, int], int] = {}
    if kind == "features":
        matched = tables["matches"][tables["matches"]["status"] == "matched"]
        partner = {(row.catalog, row.feature): row.match for row in rows_of(matched)}
    for row in rows_of(tables["coverage"]):
        mine, other = sides if row.catalog == sides[0].slug else sides[::-1]
        specialists = [f for f in mine.specialists if row.category in mine.categories_of(f)]
        others = [partner.get((mine.slug, f), -1) if kind == "features" else f for f in specialists]
        here = outcome.report.at("coverage", f"{row.catalog}, {row.category}")
        here.same("n_texts", row.n_texts, mine.manifest["corpus"]["categories"][row.category]["texts"])
        here.same("specialists", row.specialists, len(specialists))
        here.same("shared", row.shared, sum(row.category in other.categories_of(f) for f in others))


def _check_page(outcome: ComparisonOutcome, manifest: dict[str, Any], data: Path) -> None:
    """The page, rendered again from the comparison's own data."""
    if manifest["program"]["version"] != saecatalog.__version__:
        outcome.notes.append("The page was not compared, because another version of the program wrote it.")
        return
    own = template_digests(resource("templates"))
    if read_list(data.parent / FILE_LIST).get("templates", own) != own:
        outcome.notes.append("The page was not compared, because it was made with other templates than the program's.")
        return
    same = render(manifest, data, resource("templates")) == (data.parent / PAGE).read_bytes()
    outcome.report.at(PAGE).holds(same, "", "differs from its data")
