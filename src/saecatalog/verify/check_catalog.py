"""Checks of the catalog as a whole: rankings and notable features from the published tables, manifest and health."""

import math
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from saecatalog.verify import formulas
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.published import Row, parts_of, rows_of
from saecatalog.verify.report import EXACT, SINGLE, Checker

SIX_DIGITS = 1e-5
"""Health figures are rounded to six significant digits."""

Key = Callable[[Row], tuple[float | Fraction, ...]]


def check_rankings(e: Evidence) -> None:
    """Every ranking, recomputed from the published figures."""
    found = {str(name): rows_of(rows) for name, rows in parts_of(e.published["rankings"], "ranking").items()}
    wanted = {**_clearest_rankings(e), **_feature_rankings(e), **_category_rankings(e), **_concept_rankings(e)}
    e.report.at("rankings").lists("ranking", sorted(found), sorted(name for name, rows in wanted.items() if rows))
    for name, ranked in wanted.items():
        at, rows = e.report.at("rankings", name), found.get(name, [])
        at.lists("feature", [row.feature for row in rows], [feature for feature, _ in ranked])
        at.lists("rank", [row.rank for row in rows], list(range(len(rows))))
        for row, (_, value) in zip(rows, ranked, strict=False):
            e.report.at("rankings", f"{name}, rank {row.rank}").close("value", row.value, value, SINGLE)


Ranked = dict[str, list[tuple[int, float]]]
"""The feature and its figure at every rank of every ranking."""


def _rank(e: Evidence, rows: list[Row], key: Key, value: Callable[[Row], float]) -> list[tuple[int, float]]:
    """The first rows by a key; ties are broken by the feature's number."""
    ranked = formulas.ranked(rows, lambda row: (*key(row), row.feature), int(e.settings["top"]))
    return [(row.feature, float(value(row))) for row in ranked]


SAME_LIST = {"words", "syntax", "code"}
"""The groups of labels whose features may be listed as common."""


def _clearest_rankings(e: Evidence) -> Ranked:
    """The features that their labels explain best: those of each kind, and those of most kinds dealt one by one."""
    lists: dict[str, list[Row]] = {
        name: [] for name in ("words", "topics", "syntax", "code", "scripts", "common", "positions")
    }
    for row in sorted(rows_of(e.published["features"]), key=_clearness):
        # A feature without a clearness has nan, which is not above anything.
        if not row.clearness_low >= 0.5:
            continue
        members = lists.get("common" if row.label_group in SAME_LIST and _common(row) else row.label_group)
        if members is not None and all(row.label != other.label for other in members):
            members.append(row)
    dealt = [
        members[turn]
        for turn in range(max(map(len, lists.values())))
        for name, members in lists.items()
        if name not in ("common", "positions") and turn < len(members)
    ]
    named = {"clearest": dealt, **{f"clearest:{name}": members for name, members in lists.items()}}
    return {name: [(r.feature, float(r.clearness_low)) for r in members[:60]] for name, members in named.items()}


def _common(row: Row) -> bool:
    """Active on one of 200 tokens or more, or best predicted by a letter or by a token that is one of 1,000 or more."""
    token = row.token_rule.strip()
    occurrences = round(row.token_recall * row.n_active / row.token_precision)
    is_letter = len(token) == 1 and token.upper() != token.lower()
    return bool(200 * row.n_active >= row.n_tokens or 1000 * occurrences >= row.n_tokens or is_letter)


def _clearness(row: Row) -> tuple[float, ...]:
    """The order of the clearest features; those without a clearness come last."""
    there = row.clearness_low == row.clearness_low
    return (0, -row.clearness_low, -row.clearness, row.feature) if there else (1, row.feature)


def _feature_rankings(e: Evidence) -> Ranked:
    """The strongest, most frequent and most selective features."""
    fired = [row for row in rows_of(e.published["features"]) if row.n_active]
    strong = [row for row in fired if row.n_texts_strong]
    return {
        "strongest": _rank(e, fired, lambda r: (-r.max,), lambda r: float(r.max)),
        "frequent": _rank(e, fired, lambda r: (-r.n_texts_active,), lambda r: float(r.n_texts_active)),
        "selective": _rank(e, strong, lambda r: (r.n_texts_strong, -r.max), lambda r: float(r.n_texts_strong)),
    }


def _category_rankings(e: Evidence) -> Ranked:
    """Specialists and common features of each category."""
    ranked: Ranked = {}
    for name, part in parts_of(e.published["categories"], "category").items():
        rows = rows_of(part)
        special = [row for row in rows if row.balanced_score > 0]
        common = [row for row in rows if 2 * row.active_inside > row.n_inside]
        for ranking, grades in (("specialist", ["clear", "moderate"]), ("weak specialist", ["weak"])):
            ranked[f"{ranking}:{name}"] = _rank(
                e,
                [row for row in special if row.evidence in grades],
                lambda r: (r.evidence != "clear", -r.balanced_score, -r.auroc),
                lambda r: float(r.balanced_score),
            )
        ranked[f"common:{name}"] = _rank(e, common, lambda r: (-_more(r), -r.active_inside), lambda r: float(_more(r)))
    return ranked


def _more(row: Row) -> Fraction:
    """The difference between the active rates inside and outside the category, exactly."""
    outside = Fraction(row.active_outside, row.n_outside) if row.n_outside else Fraction(0)
    return Fraction(row.active_inside, row.n_inside) - outside


def _concept_rankings(e: Evidence) -> Ranked:
    """Consistent, strong and contrasting features of each concept."""
    ranked: Ranked = {}
    for name, part in parts_of(e.published["concepts"], "concept").items():
        rows = rows_of(part)
        strong, responding = [r for r in rows if r.n_strong], [r for r in rows if r.responds]
        ranked[f"consistent:{name}"] = _rank(
            e, strong, lambda r: (-r.consistency, -r.mean_all), lambda r: float(r.consistency)
        )
        ranked[f"strong:{name}"] = _rank(e, rows, lambda r: (-r.mean_all,), lambda r: float(r.mean_all))
        ranked[f"contrast:{name}"] = _rank(
            e, responding, lambda r: (-r.auroc_low, -r.auroc, -r.mean_all), lambda r: float(r.auroc_low)
        )
    return ranked


REASONS = {
    "clearest": "clearest",
    "strongest": "strongest",
    "frequent": "frequent",
    "selective": "selective",
    "specialist": "specialist:{}",
    "weak specialist": "weak specialist:{}",
    "contrast": "concept:{}",
}
"""The reason for which each kind of ranking makes its features notable."""


def check_notable(e: Evidence) -> None:
    """Every reason of a notable feature is a ranking that lists it or a note, and exactly the listed pages exist."""
    allowed: dict[int, set[str]] = {}
    noted = {row.name for row in rows_of(e.published["notes"]) if row.kind == "feature"}
    for row in rows_of(e.published["rankings"]):
        kind, _, name = row.ranking.partition(":")
        # The lists of single kinds of clear features give no reason, the one of all kinds does.
        if kind in REASONS and (kind != "clearest" or not name):
            allowed.setdefault(row.feature, set()).add(REASONS[kind].format(name))
    pages = {p.name for p in (e.published.folder / "features").glob("*.html") if p.stem.isdigit()}
    for row in rows_of(e.published["features"]):
        at, has_note = e.report.at("features", f"feature {row.feature}"), str(row.feature) in noted
        reasons = allowed.get(row.feature, set()) | ({"noted"} if has_note else set())
        rest = _without(row.notable, reasons)
        at.holds(not rest, "notable", f"no ranking gives the reason {rest!r}")
        at.holds(
            has_note == ("noted" in row.notable.split(",")),
            "notable",
            "the reason 'noted' does not match whether it has a note",
        )
        at.holds(
            row.page in ("", f"features/{row.feature}.html"), "page", f"{row.page} is not the page of this feature"
        )
        there = f"{row.feature}.html" in pages
        at.holds(
            there == bool(row.page),
            "page",
            f"the table says {row.page!r}, but the page {'exists' if there else 'does not exist'}",
        )


def _without(notable: str, reasons: set[str]) -> str:
    """What is left of a feature's reasons after removing the valid ones; names may contain commas."""
    rest = f",{notable},"
    for reason in sorted(reasons, key=len, reverse=True):
        rest = rest.replace(f",{reason},", ",")
    return rest.strip(",")


def check_manifest(e: Evidence) -> None:
    """Counts of texts, tokens and features, and the shapes of model and SAE."""
    at, counts, features = e.report.at("manifest.json"), e.manifest["counts"], e.published["features"]
    n_tokens = int(e.seen.counted.sum())
    at.same("counts.texts", counts["texts"], len(e.text_ids))
    at.same("counts.tokens", counts["tokens"], n_tokens)
    at.same("counts.features", counts["features"], len(features))
    at.same("counts.features_fired", counts["features_fired"], int((features["n_active"] > 0).sum()))
    at.same("counts.notable", counts["notable"], int((features["notable"] != "").sum()))
    sizes = Counter(e.categories), _tokens(e.categories, e.published["texts"]["n_tokens"].tolist())
    _check_sizes(at, "corpus.categories", e.manifest["corpus"]["categories"], *sizes)
    concepts = e.published["concept_texts"]["concept"].tolist()
    sizes = Counter(concepts), _tokens(concepts, e.published["concept_texts"]["n_tokens"].tolist())
    _check_sizes(at, "corpus.concepts", e.manifest["corpus"]["concepts"], *sizes)
    at.same("corpus.texts", e.manifest["corpus"]["texts"], len(e.text_ids))
    at.same("corpus.tokens", e.manifest["corpus"]["tokens"], len(e.seen.token_ids))
    _check_subject(e, at)


def _tokens(groups: list[str], lengths: list[int]) -> Counter[str]:
    total: Counter[str] = Counter()
    for group, length in zip(groups, lengths, strict=True):
        total[group] += length
    return total


def _check_sizes(
    at: Checker, what: str, stated: dict[str, dict[str, int]], texts: Counter[str], tokens: Counter[str]
) -> None:
    """Number of texts and tokens of every category or concept."""
    at.lists(what, sorted(stated), sorted(texts))
    for name in sorted(texts.keys() & stated.keys()):
        at.same(f"{what}.{name}.texts", stated[name]["texts"], texts[name])
        at.same(f"{what}.{name}.tokens", stated[name]["tokens"], tokens[name])


def _check_subject(e: Evidence, at: Checker) -> None:
    """Shapes of the model and of the SAE, and where the SAE reads and writes."""
    sae, model, config = e.manifest["sae"], e.manifest["model"], e.runner.model.config.get_text_config()
    loaded = e.runner.sae
    at.same("sae.architecture", sae["architecture"], loaded.architecture)
    for name in ("d_in", "d_sae", "d_out"):
        # Catalogs of versions without transcoders do not name what the SAE writes.
        at.same(f"sae.{name}", sae.get(name, loaded.d_in), getattr(loaded, name))
    named = dict(loaded.config["metadata"])
    read, written = hooks_named(named, loaded.is_transcoder)
    at.same("sae.hook", sae["hook"], read)
    at.same("sae.hook_out", sae.get("hook_out", read), written)
    parts = re.split("[^a-z0-9]+", f"{sae.get('release')}/{sae.get('id')}".lower())
    at.same("sae.cross_layer", sae.get("cross_layer", False), loaded.is_transcoder and "clt" in parts)
    # Most SAEs were trained with BOS; those of old versions of sae_lens do not say so.
    wanted = named.get("prepend_bos") is not False
    at.holds(not sae["prepend_bos"] or wanted, "sae.prepend_bos", "the SAE was trained without BOS")
    at.holds(
        sae["prepend_bos"] or not wanted or not e.runner.has_bos, "sae.prepend_bos", "the SAE was trained with BOS"
    )
    if not re.match(r"blocks\.|hook_", read) or named.get("model_class_name") == "AutoModelForCausalLM":
        at.same("model.library", model.get("library"), "transformers")
    at.same("model.d_model", model["d_model"], int(config.hidden_size))
    at.same("model.n_layers", model["n_layers"], int(config.num_hidden_layers))


def hooks_named(metadata: dict[str, Any], transcoder: bool) -> tuple[str, str]:
    """What an SAE reads and writes, from its metadata.

    For Gemma Scope 2, sae_lens names `hook_mlp_in`, which in transformer_lens is before the norm that the SAE was
    trained behind; the names of the modules are right.
    """
    read, written = str(metadata.get("hook_name") or ""), metadata.get("hook_name_out")
    if metadata.get("hf_hook_name") and (not read or read.rpartition(".")[2] == "hook_mlp_in"):
        read, written = str(metadata["hf_hook_name"]), metadata.get("hf_hook_name_out") or written
    return read, str(written) if transcoder else read


def check_health(e: Evidence) -> None:
    """How well the SAE fits this corpus, and which positions were left out."""
    at, health, seen = e.report.at("manifest.json"), e.manifest["health"], e.seen
    _check_norms(e, at)
    at.same("health.silent", health["silent"], int((e.published["features"]["n_active"] == 0).sum()))
    at.same("health.excluded_positions", health["excluded_positions"], int((~seen.counted).sum()))
    bounds = [_l0(e, surely) for surely in (True, False)]
    at.within("health.l0_mean", health["l0_mean"], bounds[0][0], bounds[1][0], SIX_DIGITS)
    # Two standard deviations differ by no more than the root mean square of the difference.
    undecided = _active(e, surely=False) - _active(e, surely=True)
    at.close("health.l0_std", health["l0_std"], bounds[0][1], SIX_DIGITS, _size(undecided))
    at.close("health.explained_variance", health["explained_variance"], _explained(e), e.tolerance.relative, SIX_DIGITS)
    _check_density_histogram(e, at)
    _check_threshold(e, at)


def _check_norms(e: Evidence, at: Checker) -> None:
    """The median of all norms, and the limit derived from it; near a step of the limit, either value is accepted."""
    health, multiple = e.manifest["health"], float(e.settings["outlier_multiple"])
    median = float(np.median(e.seen.norms)) if len(e.seen.norms) else 0.0
    at.close("health.norm_median", health["norm_median"], median, max(SIX_DIGITS, e.tolerance.relative / 10))
    limits = [formulas.norm_limit(median * (1 + d), multiple) for d in (-SIX_DIGITS, SIX_DIGITS)] if median else [0, 0]
    at.within("health.norm_limit", health["norm_limit"], limits[0], limits[1], SIX_DIGITS)


def _l0(e: Evidence, surely: bool) -> tuple[float, float]:
    """Mean and standard deviation of the number of active features over the counted tokens."""
    return formulas.mean_and_spread(_active(e, surely).tolist())


def _size(values: np.ndarray) -> float:
    """The root mean square; 0 if there are no values."""
    return float(np.sqrt((values**2).sum() / max(1, len(values))))


def _active(e: Evidence, surely: bool) -> np.ndarray:
    """The number of active features of each counted token: surely active ones, or possibly active ones too."""
    active = np.asarray(e.seen.matrix(surely).sum(1), np.float64).ravel()
    return np.asarray(active[e.seen.counted])


def _explained(e: Evidence) -> float:
    """1 - squared error / squared distance from the mean of what the SAE is to write, over the counted tokens."""
    n = max(1, int(e.seen.counted.sum()))
    spread = e.seen.written_square - float((e.seen.written_sum**2).sum()) / n
    return 1 - float(e.seen.squared_errors[e.seen.counted].sum()) / spread if spread else 0.0


def _check_density_histogram(e: Evidence, at: Checker) -> None:
    """Features by the logarithm of their density."""
    health = e.manifest["health"]
    counts, n = health.get("density_counts", []), int(e.seen.counted.sum())
    fired = [row.n_active for row in rows_of(e.published["features"]) if row.n_active]
    edges = [float(x) for x in health.get("density_edges", [])]
    logarithms = [math.log10(n_active / n) for n_active in fired]
    for number, (low, high) in enumerate(formulas.bin_counts(logarithms, edges, EXACT)):
        if number < len(counts):
            at.within(f"health.density_counts[{number}]", counts[number], low, high)
    at.same("health.density_counts", sum(counts), len(fired))


def _check_threshold(e: Evidence, at: Checker) -> None:
    """The strong threshold is the one in the settings, or else the one that the rule gives."""
    asked = e.settings["strong"]
    wanted = formulas.strong_threshold(e.scores.values.tolist()) if asked is None else float(asked)
    at.close("settings.strong_threshold", e.settings["strong_threshold"], wanted)
