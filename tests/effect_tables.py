"""Tables of effects, steering and attributions for the synthetic catalog, made by hand, with hostile tokens and texts.

Feature 0 has more effect than chance, 1 none, 2 less, and 3 no control; feature 9 has an effect but no page.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from synthetic import CATEGORIES, CONTENTS, SCRIPT, World, token_id, tokenize

from saecatalog.schemas import SCHEMAS
from saecatalog.tables import Tables, write_table

MEASURED = [0, 1, 2, 3, 9]
EXCESS = {0: (0.02, 0.01, 0.03), 1: (0.001, -0.02, 0.02), 2: (-0.03, -0.05, -0.01), 9: (0.2, 0.1, 0.3)}
"""The difference from the control with its interval; feature 3 has no control."""
CORRELATIONS = {0: 0.42, 1: 0.1, 2: -0.2, 3: math.nan, 9: -0.5}
BANDS = ("q75-100", "q50-75", "q25-50", "q0-25")
MANIFEST = {"features": len(MEASURED), "contexts": 8, "seed": 0}
MOVED = [" the", "\n", SCRIPT, "<0xE2>", "\u202e", "</title>", " مرحبا"]
PROMPTS = ["The weather today is", f"A {SCRIPT}"]
MULTIPLES = [0.5, 2.0]


def add(tables: Tables, manifest: dict[str, Any]) -> None:
    """Write the tables into a catalog of `synthetic.write`, and the manifest's entry; for `test_site_pages.build`."""
    world = World()
    made = {
        "effects": _effects(),
        "effect_contexts": _contexts(world),
        "effect_tokens": _tokens(),
        "steering_prompts": [
            {"prompt": i, "text": text, "next_tokens": [" fine", "<b>"], "next_probs": [0.25, 0.125]}
            | {"continuation": f" fine & {SCRIPT}"}
            for i, text in enumerate(PROMPTS)
        ],
        "steering": _steering(),
        "steering_prices": [
            {"feature": f, "multiple": m, "loss": 3.0 + m, "loss_unsteered": 3.0, "n_tokens": 60}
            for f in MEASURED
            for m in MULTIPLES
        ],
        "attributions": _attributions(),
    }
    for name, rows in made.items():
        write_table(tables.folder, name, pd.DataFrame(rows, columns=list(SCHEMAS[name])))
    manifest["effects"] = MANIFEST


def _effects() -> list[dict[str, Any]]:
    groups = [("all", "", 8), *(("band", band, 2) for band in BANDS)]
    groups += [("category", CATEGORIES[1], 5), ("category", CATEGORIES[2], 3)]
    return [_effect(f, *group) for f in MEASURED for group in groups]


def _effect(feature: int, kind: str, group: str, n: int) -> dict[str, Any]:
    excess = EXCESS.get(feature, (math.nan,) * 3)
    control = 0.05 if feature in EXCESS else math.nan
    kl = 0.05 + np.nan_to_num(excess[0])
    row = {"feature": feature, "group_kind": kind, "group": group, "n_contexts": n, "n_next": n - 1, "n_texts": n}
    row |= {"loss_change": 0.01 * (feature - 1), "loss_low": 0.01 * (feature - 1) - 0.005, "loss_high": -0.001}
    if feature:
        row["loss_high"] = 0.01 * (feature - 1) + 0.005
    row |= {"kl": kl, "kl_low": kl - 0.01, "kl_high": kl + 0.01, "n_control": n if feature in EXCESS else 0}
    row |= {f"control_{name}": control for name in ("kl", "kl_low", "kl_high", "loss_change", "loss_low", "loss_high")}
    row |= dict(zip(("kl_excess", "kl_excess_low", "kl_excess_high"), excess, strict=True))
    return row | {"direct_correlation": CORRELATIONS[feature] if kind == "all" else math.nan}


def _contexts(world: World) -> list[dict[str, Any]]:
    found = []
    for feature in MEASURED:
        for rank, (value, text, at) in enumerate(world.firing(feature)[:8]):
            last = at + 1 == len(text["tokens"])
            found.append(
                {
                    "feature": feature,
                    "rank": rank,
                    "text": text["text"],
                    "category": text["category"],
                    "position": at,
                    "token": text["tokens"][at],
                    "activation": value,
                    "band": BANDS[rank // 2],
                    "loss_change": math.nan if last else 0.1,
                    "kl": 0.5 - rank / 20,
                    "next_token": "" if last else text["tokens"][at + 1],
                    "p_with": math.nan if last else 0.25,
                    "p_without": math.nan if last else 0.125,
                    "control_feature": 4 if feature in EXCESS else -1,
                    "control_loss_change": math.nan if last or feature not in EXCESS else 0.05,
                    "control_kl": 0.2 if feature in EXCESS else math.nan,
                }
            )
    return found


def _tokens() -> list[dict[str, Any]]:
    """The tokens of `synthetic` whose logits a feature promotes are among them: the first, second and fourth."""
    return [
        {"feature": f, "direction": way, "rank": rank, "token_id": token_id(sign), "token": sign}
        | {"change": sense * (1 - rank / 10), "direct_logit": sense * 0.5}
        for f in MEASURED
        for way, sense in (("raised", 1), ("lowered", -1))
        for rank, sign in enumerate(MOVED)
    ]


def _steering() -> list[dict[str, Any]]:
    words = "".join(tokenize(CONTENTS[CATEGORIES[2]][2])[0])
    return [
        {"feature": f, "multiple": m, "prompt": p, "next_tokens": ["\n", "</td>"], "next_probs": [0.5, 0.0625]}
        | {"continuation": f"{words} {m} </table>"}
        for f in MEASURED
        for m in MULTIPLES
        for p in range(len(PROMPTS))
    ]


def _attributions() -> list[dict[str, Any]]:
    parts = [("mlp", 1, -1, 3.0), ("head", 1, 3, -1.5), ("embedding", -1, -1, 0.5)]
    return [
        {"feature": f, "rank": rank, "kind": kind, "layer": layer, "head": head, "contribution": value}
        | {"share": value / 2, "n_contexts": 8}
        for f in MEASURED
        for rank, (kind, layer, head, value) in enumerate(parts)
    ]
