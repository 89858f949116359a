"""The rankings of the clearest features, and what they make notable, against loops over plain rows."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.analysis.clearest import clearest_rankings, kinds
from saecatalog.analysis.rankings import choose_notable
from saecatalog.constants import CLEAR, CLEAR_KINDS, CLEAREST
from saecatalog.verify.check_catalog import _clearest_rankings

FEATURES = st.lists(
    st.fixed_dictionaries(
        {
            "label_group": st.sampled_from(["words", "topics", "syntax", "code", "scripts", "positions", "mixed", ""]),
            "label": st.sampled_from("abcdefghijkl"),
            "n_active": st.sampled_from([10, 20, 499, 500, 3000]),
            "token_rule": st.sampled_from([" take", " p", "Я", "の", ""]),
            "occurrences": st.sampled_from([10, 99, 100, 4000]),
            "clearness_low": st.sampled_from([CLEAR, 0.7, 0.499, float("nan")]),
            "clearness": st.sampled_from([0.6, 0.8, 0.95]),
        }
    ),
    min_size=12,
    max_size=40,
)


TOKENS = 100_000
ORDINARY = {
    "label_group": "words",
    "n_active": 40,
    "token_rule": " take",
    "occurrences": 30,
    "clearness_low": 0.7,
    "clearness": 0.8,
}


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The columns that the rankings read, for a corpus of 100,000 tokens; every feature fires on ten of its token's."""
    found = pd.DataFrame([ORDINARY | row for row in rows]).assign(feature=range(len(rows)), n_tokens=TOKENS)
    return found.assign(
        density=found["n_active"] / TOKENS,
        token_precision=(10 / found["occurrences"]).astype(np.float32),
        token_recall=(10 / found["n_active"]).astype(np.float32),
    )


def kind_of(row: dict[str, Any]) -> str:
    """The kind by which a feature is clear, as the definitions say it."""
    group = row["label_group"]
    if not row["clearness_low"] >= 0.5 or group in ("mixed", ""):
        return ""
    is_common = row["n_active"] >= 500 or row["occurrences"] >= 100 or row["token_rule"] in (" p", "Я")
    return "common" if group in ("words", "syntax", "code") and is_common else group


def expected(rows: list[dict[str, Any]], most: int) -> dict[str, list[int]]:
    """Every ranking, feature by feature."""
    order = sorted(
        (number for number, row in enumerate(rows) if kind_of(row)),
        key=lambda n: (-rows[n]["clearness_low"], -rows[n]["clearness"], n),
    )
    found: dict[str, list[int]] = {}
    for number in order:
        members = found.setdefault(kind_of(rows[number]), [])
        if rows[number]["label"] not in [rows[other]["label"] for other in members]:
            members.append(number)
    queues = [list(found.get(kind, [])) for kind in ("words", "topics", "syntax", "code", "scripts")]
    dealt = []
    while any(queues):
        dealt += [queue.pop(0) for queue in queues if queue]
    named = {"clearest": dealt, **{f"clearest:{kind}": found.get(kind, []) for kind in CLEAR_KINDS}}
    return {name: members[:most] for name, members in named.items() if members}


@given(FEATURES, st.integers(1, 12))
def test_rankings_of_random_features(rows: list[dict[str, Any]], most: int) -> None:
    table = clearest_rankings(frame(rows), most)
    found = {name: part["feature"].tolist() for name, part in table.groupby("ranking", sort=False)}
    assert found == expected(rows, most)
    assert list(found) == list(expected(rows, most))
    for _, part in table.groupby("ranking"):
        assert part["rank"].tolist() == list(range(len(part)))
        assert part["value"].tolist() == [rows[f]["clearness_low"] for f in part["feature"]]


@given(FEATURES, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows: list[dict[str, Any]], chance: Any) -> None:
    table = frame(rows)
    shuffled = table.loc[chance.sample(range(len(table)), len(table))]
    pd.testing.assert_frame_equal(clearest_rankings(shuffled), clearest_rankings(table))


@given(FEATURES)
def test_kinds_are_those_of_the_definition(rows: list[dict[str, Any]]) -> None:
    assert kinds(frame(rows)).tolist() == [kind_of(row) for row in rows]


@given(FEATURES)
def test_verification_ranks_alike(rows: list[dict[str, Any]]) -> None:
    table = frame(rows)
    found = _clearest_rankings(SimpleNamespace(published={"features": table}))  # type: ignore[arg-type]
    wanted = {
        name: list(zip(part["feature"], part["value"], strict=True))
        for name, part in clearest_rankings(table).groupby("ranking")
    }
    assert {name: ranked for name, ranked in found.items() if ranked} == wanted


def test_nothing_clear_gives_no_ranking() -> None:
    unclear: list[dict[str, Any]] = [{"clearness_low": float("nan")}, {"clearness_low": 0.49}, {"label_group": "mixed"}]
    table = clearest_rankings(frame([{"label": "a"} | row for row in unclear]))
    assert table.empty
    assert list(table) == ["ranking", "rank", "feature", "value"]
    assert choose_notable(table, 4) == {}


def test_ties_go_by_clearness_then_index() -> None:
    table = clearest_rankings(frame([{"label": str(n), "clearness": c} for n, c in enumerate([0.7, 0.8, 0.8])]))
    assert table.query("ranking == 'clearest:words'")["feature"].tolist() == [1, 2, 0]


def test_a_ranking_is_cut() -> None:
    table = clearest_rankings(frame([{"label": str(n)} for n in range(CLEAREST + 3)]))
    assert table.groupby("ranking").size().to_dict() == {"clearest": CLEAREST, "clearest:words": CLEAREST}


def rankings(**lists: list[int]) -> pd.DataFrame:
    rows = [(name.replace("_", ":"), rank, f) for name, found in lists.items() for rank, f in enumerate(found)]
    return pd.DataFrame(rows, columns=["ranking", "rank", "feature"])


def test_a_quarter_of_the_notable_features_are_the_clearest() -> None:
    given_ = rankings(
        clearest=[50, 51, 52, 53], clearest_words=[50, 52], strongest=list(range(8)), frequent=[7, 50, *range(10, 16)]
    )
    notable = choose_notable(given_, 8)
    # Two of the clearest; then the rankings in turn, the clearest among them, to the same depth.
    assert notable == {
        0: ["strongest"],
        1: ["strongest"],
        2: ["strongest"],
        7: ["strongest", "frequent"],
        10: ["frequent"],
        50: ["clearest", "frequent"],
        51: ["clearest"],
        52: ["clearest"],
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_notable_features_are_not_all_clear(count: int) -> None:
    notable = choose_notable(rankings(clearest=[9, 8], strongest=[1, 2]), count)
    assert len(notable) == count


def test_a_list_of_one_kind_gives_no_reason() -> None:
    assert choose_notable(rankings(clearest_common=[1, 2], clearest_positions=[3]), 9) == {}
