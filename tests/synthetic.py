"""A small catalog made by hand, with hostile names and texts; every table agrees with the activations.

Twelve texts in three categories, a tokenizer that splits an emoji into four tokens, and twelve features: one is silent,
one fires everywhere, the others fire on some tokens. All figures are computed here the slow and obvious way.
"""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saecatalog.schemas import SCHEMAS
from saecatalog.tables import Tables, TableWriter

SCRIPT = "<script>alert(1)</script>"
CATEGORIES = [SCRIPT, 'Python & "code"', "mixed, مرحبا"]
CONCEPT = "numbers </title><b>"
CONTENTS = {
    SCRIPT: [
        f"The day {SCRIPT} was on Monday.",
        "A </script><img src=x onerror=alert(1)> in the text.",
        "Nothing & no one, 'quoted' and \"double\".",
        "&lt;already&gt; escaped &amp; more",
    ],
    'Python & "code"': [
        "def f(x):\n\treturn x  # two  spaces",
        "for i in range(3):\n    print(i)\r\n",
        "bell \x07, nul \x00, escape \x1b and a no-break\xa0space",
        "{{ 7 * 7 }} {% raw %} ${x} `code`",
    ],
    "mixed, مرحبا": [
        "مرحبا بالعالم hello",
        "smile 🙂 wave 👋🏽 family 👩\u200d👩\u200d👧 end",
        "override \u202etxt.exe and zero\u200bwidth",
        "é precomposed, e\u0301 combined, 漢字 and ไทย",
    ],
}
FEATURES = 12
SILENT = 5
PAGED = [0, 1, 2, 3, 4, 5, 6, 7]
CLEAR = {6: ("words", 0.9), 9: ("words", 0.8), 4: ("topics", 0.85), 0: ("common", 0.95), 7: ("positions", 0.7)}
"""The features that are listed as clear: the kind of each and the lower end of its clearness."""
TOUR = [6, 4, 0, 1, 2, 3, 5, 7]
"""The features with a page in the order of "next": the clearest first."""
THRESHOLD = 5.0
LIVE = {
    "bytes_first": 33_204_112,
    "bytes_total": 61_400_000,
    "context": 127,
    "norm_limit": 40.0,
    "special_tokens": False,
    "error": {
        "texts": 12,
        "tokens": 384,
        "firings": 14_038,
        "top_five": 1.0,
        "missed": 0.0,
        "false": 2.9e-5,
        "relative_error": 9e-7,
        "precision": "exact",
    },
}
"""The manifest's entry of a live part."""


def tokenize(content: str) -> tuple[list[str], list[int]]:
    """Words with the space before them, single symbols, and four byte tokens per character outside the basic plane."""
    tokens: list[str] = []
    ends: list[int] = []
    start = 0
    while start < len(content):
        stop = start + 1
        while (
            content[start] == " " and stop < len(content) and content[stop].isalnum() and content[stop] < "\U00010000"
        ):
            stop += 1
        while content[start].isalnum() and stop < len(content) and content[stop].isalnum():
            stop += 1
        piece = content[start:stop]
        if len(piece) == 1 and piece > "\uffff":
            tokens += [f"<0x{byte:02X}>" for byte in piece.encode()]
            ends += [stop] * 4
        else:
            tokens.append(piece)
            ends.append(stop)
        start = stop
    return tokens, ends


class World:
    """The texts, their tokens and the activations of every feature at every token."""

    def __init__(self) -> None:
        chance = np.random.default_rng(7)
        self.texts: list[dict[str, Any]] = []
        for category in CATEGORIES:
            for number, content in enumerate(CONTENTS[category]):
                tokens, ends = tokenize(content)
                values = np.where(
                    chance.random((len(tokens), FEATURES)) < 0.2, chance.random((len(tokens), FEATURES)), 0
                )
                values *= 10
                values[:, 0] = 1 + 8 * chance.random(len(tokens))
                values[:, SILENT] = 0
                if category != CATEGORIES[1]:
                    values[:, 1] = 0
                else:
                    values[0, 1] = 9.5
                name = f"t{CATEGORIES.index(category)}-{number}"
                record = {"text": name, "category": category, "content": content, "tokens": tokens, "ends": ends}
                self.texts.append(record | {"values": values})

    def firing(self, feature: int) -> list[tuple[float, dict[str, Any], int]]:
        """(activation, text, position) of every active token, the strongest first."""
        found = [
            (float(text["values"][i, feature]), text, i)
            for text in self.texts
            for i in range(len(text["tokens"]))
            if text["values"][i, feature] > 0
        ]
        return sorted(found, key=lambda entry: -entry[0])

    def scores(self, feature: int) -> list[float]:
        return [float(text["values"][:, feature].max()) for text in self.texts]


def write(
    folder: Path,
    neuronpedia: str | None = None,
    base_url: str = "",
    csv: bool = False,
    notes: list[dict[str, Any]] | None = None,
    explanations: list[dict[str, Any]] | None = None,
    world: World | None = None,
) -> tuple[Tables, dict[str, Any]]:
    """Write all tables and the manifest into `folder`; `world` has the activations, if they are not the usual ones."""
    folder.mkdir(parents=True, exist_ok=True)
    world = world or World()
    makers: dict[str, Callable[[World], Iterable[Any]]] = {
        "features": _features,
        "contexts": _contexts,
        "tokens": _tokens,
        "histograms": _histograms,
        "text_scores": _text_scores,
        "text_top": _text_top,
        "texts": _texts,
        "categories": _categories,
        "held_out": _held_out,
        "category_pairs": _category_pairs,
        "coactivation": _coactivation,
        "firings": _firings,
        "clusters": lambda _: [{"cluster": 0, "feature": 0}, {"cluster": 0, "feature": 2}],
        "concepts": _concepts,
        "concept_texts": _concept_texts,
        "logits": _logits,
        "logit_histograms": _logit_histograms,
        "neighbours": _neighbours,
        "rankings": _rankings,
        "detection": _detection,
        "notes": lambda _: [{"rule": ""} | note for note in notes or []],
        "explanations": lambda _: explanations or [],
    }
    with TableWriter(folder) as writer:
        for name, columns in SCHEMAS.items():
            # The tables of effects are empty in a catalog without effects; `effect_tables` fills them.
            rows = makers[name](world) if name in makers else []
            writer.write(name, pd.DataFrame(rows, columns=list(columns)))
    made = manifest(world, neuronpedia, base_url, csv)
    (folder / "manifest.json").write_text(json.dumps(made), encoding="utf-8")
    return Tables(folder), made


def manifest(world: World, neuronpedia: str | None, base_url: str, csv: bool) -> dict[str, Any]:
    """The manifest as a build writes it."""
    tokens = sum(len(text["tokens"]) for text in world.texts)
    groups = {
        name: {
            "texts": 4,
            "tokens": sum(len(t["tokens"]) for t in world.texts if t["category"] == name),
        }
        for name in CATEGORIES
    }
    return {
        "title": f"Tiny & {SCRIPT}",
        "description": 'A "catalog" made by hand.',
        "slug": "tiny/0-res",
        "authors": [],
        "year": None,
        "base_url": base_url,
        "csv": csv,
        "program": {"name": "saecatalog", "version": "0.0", "commit": "0123abc"},
        "model": {"name": "tiny_{model}", "d_model": 8, "n_layers": 2, "weights_sha256": "aa", "source": "by hand"}
        | {"library": "transformer_lens"},
        "sae": {
            "name": "tiny-res/blocks.0",
            "release": "tiny-res",
            "id": "blocks.0",
            "architecture": "standard",
            "d_in": 8,
            "d_sae": FEATURES,
            "d_out": 8,
            "hook": "blocks.0.hook_resid_pre",
            "hook_out": "blocks.0.hook_resid_pre",
            "cross_layer": False,
            "layer": 0,
            "prepend_bos": True,
            "weights_sha256": "bb",
            "neuronpedia_id": neuronpedia,
        },
        "corpus": {
            "name": "corpus",
            "sha256": "cc" * 32,
            "texts": 12,
            "tokens": tokens,
            "categories": groups,
            "concepts": {CONCEPT: {"texts": 4, "tokens": 40}},
            "plain_names": {"texts": 0, "example": ""},
        },
        "settings": {
            "text_score": "max",
            "strong_threshold": THRESHOLD,
            "strong_rule": "Set by hand.",
            "context": 128,
            "dtype": "float32",
            "top": 12,
            "notable": 8,
            "outlier_multiple": 4.0,
        },
        "health": {
            "l0_mean": 2.5,
            "l0_std": 0.5,
            "explained_variance": 0.8,
            "silent": 1,
            "density_edges": [-2.0, -1.0, 0.0],
            "density_counts": [9, 2],
            "excluded_positions": 0,
            "excluded_share": 0.0,
            "norm_median": 10.0,
            "norm_limit": 40.0,
        },
        "counts": {"texts": 12, "tokens": tokens, "features": FEATURES, "features_fired": 11, "notable": len(PAGED)},
        "libraries": {"numpy": "2.0"},
    }


def _features(world: World) -> list[dict[str, Any]]:
    tokens = sum(len(text["tokens"]) for text in world.texts)
    found = []
    for feature in range(FEATURES):
        values = np.array([value for value, _, _ in world.firing(feature)])
        scores = world.scores(feature)
        active = len(values)
        quantiles = np.quantile(values, [0.25, 0.5, 0.75, 0.9, 0.99]) if active else np.zeros(5)
        (density_low, density_high), (group, low) = _wilson(active, tokens), CLEAR.get(feature, ("syntax", 0.2))
        found.append(
            {
                "feature": feature,
                "n_tokens": tokens,
                "n_active": active,
                "density": active / tokens,
                "density_low": density_low,
                "density_high": density_high,
                "silent_below": math.nan if active else 3 / tokens,
                "max": values.max() if active else 0,
                "mean_active": values.mean() if active else 0,
                "std_active": values.std() if active else 0,
                **dict(zip(("q25", "q50", "q75", "q90", "q99"), quantiles, strict=True)),
                "n_texts": 12,
                "n_texts_active": sum(score > 0 for score in scores),
                "n_texts_strong": sum(score > THRESHOLD for score in scores),
                "top_text": world.firing(feature)[0][1]["text"] if active else "",
                "token_rule": world.texts[0]["tokens"][0] if active else "",
                "token_precision": 0.5 if active else 0,
                "token_recall": 0.25 if active else 0,
                "token_f1": 1 / 3 if active else 0,
                "token_share": 0.3 if active else 0,
                "bigram_first": "<start>" if feature == 1 else SCRIPT if feature == 2 else "",
                "bigram_second": "day" if feature in (1, 2) else "",
                "bigram_precision": 0.75 if feature in (1, 2) else 0,
                "bigram_recall": 0.5 if feature in (1, 2) else 0,
                "start_share": 0.25 if active else 0,
                "logit_std": 0.2,
                "logit_skew": 0.5,
                "logit_kurtosis": 3.0,
                "label": "" if feature == SILENT else f"label <{feature}> & '\"",
                "label_kind": "word" if active else "silent",
                "label_group": group.replace("common", "words") if active else "",
                "label_rule": json.dumps({"kind": "word", "values": [world.texts[0]["tokens"][0]]}) if active else "",
                "label_half": "first" if active else "",
                "label_precision": 0.5 if active else 0,
                "label_recall": 0.25 if active else 0,
                "label_f1": 1 / 3 if active else 0,
                "label_share": 0.3 if active else 0,
                "clearness": low + 0.02 if active else None,
                "clearness_low": low if active else None,
                "clearness_high": low + 0.05 if active else None,
                "notable": _notable(feature) if active else _notable(feature).removeprefix("clearest,"),
                "page": f"features/{feature}.html" if feature in PAGED else "",
            }
        )
    return found


def _notable(feature: int) -> str:
    reasons = {
        0: "strongest,frequent",
        1: f"specialist:{CATEGORIES[1]}",
        2: f"common:{CATEGORIES[2]},concept:{CONCEPT}",
        4: "clearest,selective",
        6: "clearest,selective",
    }
    return reasons.get(feature, "selective") if feature in PAGED else ""


def _wilson(hits: int, n: int) -> tuple[float, float]:
    z = 1.959964
    middle, spread = hits / n + z * z / (2 * n), z * math.sqrt(hits / n * (1 - hits / n) / n + z * z / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + z * z / n)), (middle + spread) / (1 + z * z / n)


def _contexts(world: World) -> list[dict[str, Any]]:
    """As in a built catalog, no text is shown twice for a feature: the weak examples come from the last two texts."""
    found = []
    for feature in range(FEATURES):
        best: dict[str, tuple[float, dict[str, Any], int]] = {}
        worst: dict[str, tuple[float, dict[str, Any], int]] = {}
        for entry in world.firing(feature):
            best.setdefault(entry[1]["text"], entry)
            worst[entry[1]["text"]] = entry
        weak = list(best)[-2:] if len(best) > 4 else []
        top = [entry for text, entry in best.items() if text not in weak]
        found += [_context(feature, "top", rank, *entry) for rank, entry in enumerate(top)]
        found += [_context(feature, "q0-25", rank, *worst[text]) for rank, text in enumerate(weak)]
    return found


def _context(feature: int, band: str, rank: int, value: float, text: dict[str, Any], at: int) -> dict[str, Any]:
    start, end = max(0, at - 6), min(len(text["tokens"]), at + 5)
    active = [i for i, value in enumerate(text["values"][:, feature]) if value > 0]
    return {
        "feature": feature,
        "rank": rank,
        "text": text["text"],
        "category": text["category"],
        "position": at,
        "token": text["tokens"][at],
        "activation": value,
        "band": band,
        "similar_hidden": rank,
        "window_start": start,
        "window_end": end,
        "active_positions": active,
        "active_values": [float(text["values"][i, feature]) for i in active],
    }


def token_id(token: str) -> int:
    return int.from_bytes(token.encode()[-3:])


def _tokens(world: World) -> list[dict[str, Any]]:
    found = []
    for feature in range(FEATURES):
        for rank, (value, text, at) in enumerate(world.firing(feature)[:10]):
            token = text["tokens"][at]
            row = {"feature": feature, "rank": rank, "token_id": token_id(token), "token": token, "n_active": 1}
            found.append(row | {"n_occurrences": 2, "p_active": 0.5, "mean_active": value, "share": 0.1})
    return found


def _histograms(world: World) -> list[dict[str, Any]]:
    found = []
    for feature in range(FEATURES):
        values = [value for value, _, _ in world.firing(feature)]
        if values:
            counts, edges = np.histogram(values, bins=8, range=(0, max(values)))
            found.append({"feature": feature, "edges": edges.tolist(), "counts": counts.tolist()})
    return found


def _text_scores(world: World) -> list[dict[str, Any]]:
    return [
        {
            "text": text["text"],
            "category": text["category"],
            "feature": feature,
            "score": score,
            "position": int(text["values"][:, feature].argmax()),
        }
        for text in world.texts
        for feature in range(FEATURES)
        if (score := float(text["values"][:, feature].max())) > 0
    ]


def _text_top(world: World) -> list[dict[str, Any]]:
    found = []
    for text in world.texts:
        scores = text["values"].max(axis=0)
        for rank, feature in enumerate(np.argsort(-scores, kind="stable")[:7].tolist()):
            if scores[feature] > 0:
                active = np.nonzero(text["values"][:, feature])[0].tolist()
                values = [float(text["values"][i, feature]) for i in active]
                row = {"text": text["text"], "rank": rank, "feature": feature, "score": float(scores[feature])}
                position = int(text["values"][:, feature].argmax())
                found.append(row | {"position": position, "active_positions": active, "active_values": values})
    return found


def _texts(world: World) -> list[dict[str, Any]]:
    return [
        {
            "text": text["text"],
            "category": text["category"],
            "source": f"{text['category']}.txt, line 1",
            "file": f"{text['category']}.txt",
            "half": ("first", "second")[int(text["text"][-1]) % 2],
            "n_tokens": len(text["tokens"]),
            "n_excluded": 0,
            "content": text["content"],
            "title": TITLES.get(text["text"], ("", ""))[0],
            "link": TITLES.get(text["text"], ("", ""))[1],
            "special_tokens": False,
            "token_ends": text["ends"],
        }
        for text in world.texts
    ]


def _detection(world: World) -> list[dict[str, Any]]:
    counts = {"n_tokens": 60, "n_active": 8, "n_matched": 6, "n_hit": 4, "precision": 2 / 3, "recall": 0.5, "f1": 4 / 7}
    counts |= {"n_texts": 6, "n_texts_active": 4, "n_texts_matched": 3, "n_texts_hit": 2, "text_precision": 2 / 3}
    rates = {"share": 0.6, "token_auroc": 0.5 + 0.25 - 1 / 52, "text_recall": 0.5, "text_auroc": 0.75}
    control = {"n_shuffled": 10, "shuffled_auroc": 0.5, "shuffled_high": 0.6}
    row = {**counts, **rates, **control, "half": "second"}
    found = [row | {"feature": f, "rule_source": "label", "rule": f"label <{f}> & '\""} for f in range(FEATURES)]
    found[1] |= {"token_auroc": 0.55}
    found[3] |= {"n_active": 0, "n_hit": 0, "recall": math.nan, "token_auroc": math.nan, "shuffled_high": math.nan}
    noted = row | {"feature": 2, "rule_source": "note", "rule": f'" {SCRIPT}" or "U+202Etxt"'}
    return sorted([one for one in found if one["feature"] != SILENT] + [noted], key=lambda one: one["feature"])


TITLES = {
    "t0-0": (SCRIPT, 'https://example.org/?a=1&b="2"'),
    "t0-1": ("A title\u202e without a link", ""),
    "t1-0": ("", "https://example.org/a"),
    "t1-1": ("A link that runs", "javascript:alert(1)"),
}
"""Title and link of some texts."""


def _category_pairs(world: World) -> list[dict[str, Any]]:
    """Feature 1 tells the second category from the first; between the others, nothing is clear."""
    names, pairs = CATEGORIES, ((1, 0, 0.97), (0, 2, 0.6), (2, 0, 0.6))
    shared = {"rank": 0, "texts": 4, "active": 4, "strong": 3, "texts_other": 4, "active_other": 0, "strong_other": 0}
    figures = {"mean": 9.5, "mean_other": 0.0, "auroc_low": 0.51, "auroc_high": 0.99, "p_value": 0.01}
    return [
        shared
        | figures
        | {"category": names[a], "other": names[b], "feature": place + 1, "auroc": auroc}
        | {"q_value": 0.02 if auroc > 0.9 else 0.4, "clear": auroc > 0.9}
        for place, (a, b, auroc) in enumerate(pairs)
    ]


def _firings(world: World) -> list[dict[str, Any]]:
    """The tokens of each feature with a page, and directions of which two are the same."""
    values = np.concatenate([text["values"] for text in world.texts])
    directions = np.random.default_rng(3).integers(-127, 128, (FEATURES, 6))
    directions[2] = directions[0]
    return [
        {"feature": f, "tokens": np.flatnonzero(values[:, f]).tolist(), "direction": directions[f].tolist()}
        for f in PAGED
    ]


def _categories(world: World) -> list[dict[str, Any]]:
    found = []
    for category in CATEGORIES:
        for feature in range(FEATURES):
            scores = world.scores(feature)
            inside = [s for s, t in zip(scores, world.texts, strict=True) if t["category"] == category]
            outside = [s for s, t in zip(scores, world.texts, strict=True) if t["category"] != category]
            active = sum(s > 0 for s in inside), sum(s > 0 for s in outside)
            strong = sum(s > THRESHOLD for s in inside), sum(s > THRESHOLD for s in outside)
            wins = sum((a > b) + (a == b) / 2 for a in inside for b in outside)
            found.append(
                {
                    "category": category,
                    "feature": feature,
                    "n_inside": 4,
                    "n_outside": 8,
                    "active_inside": active[0],
                    "active_outside": active[1],
                    "strong_inside": strong[0],
                    "strong_outside": strong[1],
                    "specialist_score": strong[0] - strong[1],
                    "balanced_score": float(strong[0] - strong[1]),
                    "strong_rate_inside": strong[0] / 4,
                    **dict(zip(("strong_inside_low", "strong_inside_high"), _wilson(strong[0], 4), strict=True)),
                    "strong_rate_outside": strong[1] / 8,
                    **dict(zip(("strong_outside_low", "strong_outside_high"), _wilson(strong[1], 8), strict=True)),
                    "max_inside": max(inside),
                    "mean_inside": sum(inside) / 4,
                    "lift": (strong[0] / 4) / (strong[1] / 8) if strong[1] else math.inf if strong[0] else 0.0,
                    "active_lift": (active[0] / 4) / (active[1] / 8) if active[1] else math.inf if active[0] else 0.0,
                    "auroc": wins / 32,
                    "auroc_low": max(0.0, wins / 32 - 0.2),
                    "auroc_high": min(1.0, wins / 32 + 0.1),
                    "sources_inside": 1,
                    "sources_outside": 2,
                    "p_value": 0.01,
                    "q_value": 1e-14,
                    "score_first": 1.0,
                    "score_second": 1.0 if feature % 2 else -1.0,
                    "auroc_first": 0.75,
                    "auroc_second": 0.5,
                    "held_out": "both" if feature % 2 else "first",
                    "evidence": "" if strong[0] <= strong[1] else "clear" if feature % 2 else "weak",
                }
            )
    return found


def _held_out(world: World) -> list[dict[str, Any]]:
    row = {"texts_first": 2, "texts_second": 2, "found_first": 12, "found_second": 6, "found_both": 6}
    return [row | {"category": name, "expected_both": 6.0, "auroc_held_out": 0.62} for name in CATEGORIES]


def _coactivation(world: World) -> list[dict[str, Any]]:
    return [
        {
            "feature_a": a,
            "feature_b": b,
            "level": level,
            "n_a": 10,
            "n_b": 8,
            "n_both": 6,
            "jaccard": 0.5,
            "lift": 3.0,
            "phi": 0.4,
            "decoder_cosine": -0.1,
        }
        for level in ("token", "text")
        for a, b in ((0, 2), (2, 3), (3, 9))
    ]


def _concepts(world: World) -> list[dict[str, Any]]:
    row = {"concept": CONCEPT, "n_texts": 4, "n_active": 3, "n_strong": 2, "consistency": 0.5}
    row |= {"consistency_low": 0.15, "consistency_high": 0.85, "mean_all": 3.0, "mean_active": 4.0}
    row |= {"n_rest": 12, "strong_rest": 3, "strong_rate_rest": 0.25}
    row |= {"auroc_first": math.nan, "auroc_second": math.nan, "held_out": "too few"}
    high = {"excess": 0.25, "excess_low": 0.05, "excess_high": 0.6, "auroc": 0.9, "auroc_low": 0.7, "auroc_high": 0.96}
    low = {"excess": -0.25, "excess_low": -0.5, "excess_high": 0.1, "auroc": 0.4, "auroc_low": 0.2, "auroc_high": 0.48}
    sure = {"p_value": 1e-7, "q_value": 0.0003, "responds": True}
    unsure = {"p_value": 0.7, "q_value": 1.0, "responds": False}
    return [row | {"feature": f} | (low | unsure if f == 3 else high | sure) for f in (2, 3, 9)]


def _concept_texts(world: World) -> list[dict[str, Any]]:
    row = {"concept": CONCEPT, "source": "numbers.txt, line 1", "n_tokens": 10, "n_excluded": 0}
    return [row | {"text": f"c{i}", "content": f"{i} {SCRIPT}", "special_tokens": False} for i in range(4)]


def _logit_histograms(world: World) -> list[dict[str, Any]]:
    return [{"feature": f, "edges": [-1.0, 0.0, 1.0, 2.0], "counts": [3, 5, 1]} for f in range(FEATURES)]


def _logits(world: World) -> list[dict[str, Any]]:
    signs = [" the", "\n", "<b>", "<0xE2>", "\u202e", '"', " مرحبا"]
    ids = [token_id(sign) for sign in signs]
    # A byte, and a token that is spelled like the name of the byte.
    signs[5], ids[5] = "<0xE2>", ids[3] + 1
    return [
        {
            "feature": f,
            "direction": way,
            "rank": r,
            "token_id": ids[r],
            "token": sign,
            "logit": (-1 if way[0] == "s" else 1) / (r + 1),
        }
        for f in range(FEATURES)
        for way in ("promoted", "suppressed")
        for r, sign in enumerate(signs)
    ]


def _neighbours(world: World) -> list[dict[str, Any]]:
    return [
        {"feature": f, "rank": r, "neighbour": (f + r + 1) % FEATURES, "cosine": 0.5 - r / 10}
        for f in range(FEATURES)
        for r in range(6)
    ]


def _rankings(world: World) -> list[dict[str, Any]]:
    lists = {
        "clearest": [f for f in (6, 4, 9) if world.firing(f)],
        **{
            f"clearest:{kind}": [f for f, (k, _) in CLEAR.items() if k == kind and world.firing(f)]
            for kind, _ in CLEAR.values()
        },
        "strongest": [0, 1, 9],
        "frequent": [0, 2, 3],
        "selective": [4, 6, 7],
        f"weak specialist:{CATEGORIES[0]}": [10],
        f"specialist:{CATEGORIES[1]}": [1],
        f"common:{CATEGORIES[2]}": [2, 0],
        f"consistent:{CONCEPT}": [2, 3, 9],
        f"strong:{CONCEPT}": [3, 2, 9],
        f"contrast:{CONCEPT}": [2, 9],
    }
    return [
        {"ranking": name, "rank": rank, "feature": feature, "value": 10.0 - rank}
        for name, features in lists.items()
        for rank, feature in enumerate(features)
    ]
