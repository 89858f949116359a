"""The scaling plan: its arithmetic against a scenario computed by hand, its page against what it prints."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from scale import TABLES, Costs, Machine, Model, Scenario, outcome, seconds, size, tables  # noqa: E402

COSTS = Costs(
    merge_entry=1e-6,
    merge_shard=2.0,
    shard=1.0,
    analysis_entry=1e-5,
    analysis_feature=0.1,
    page=0.5,
    feature_table_bytes=1000,
    score_bytes=2,
    feature_site_bytes=100,
    feature_page_bytes=10_000,
    text_page_bytes=20_000,
    text_tokens=1024,
    pages=10,
)
MACHINE = Machine(bf16=1e12, float32=1e11, network=1e6, cores=4)
MODEL = Model("toy", parameters=5e8, width=100, vocabulary=1000, l0=50)


def test_a_scenario_computed_by_hand() -> None:
    """Two layers of 2,000 features on 81,920 tokens (10 shards, 80 texts, 4,096,000 entries), two GPUs."""
    found = outcome(Scenario(MODEL, features=2000, tokens=81_920, layers=2, gpus=2), COSTS, MACHINE)
    # A token: 5e8 / 1e12 = 0.5 ms of the model and 2 * 100 * 2000 / 1e11 = 4 us of the SAE: 41.28768 s for all. Shards:
    # 10 s. Weights: 2 * 2000 * 100 * (1000 + 2000) / 1e11 = 0.012 s. Together 51.29968 s a layer.
    assert found.gpu == pytest.approx(102.59936)
    # A layer sends 4,096,000 * 8 + 81,920 * 20 = 34,406,400 bytes.
    assert found.sent == pytest.approx(68_812_800)
    assert found.steps == pytest.approx(
        {
            "model pass": 51.29968,
            "network": 68.8128,
            "merge": 2 * (4.096 + 20),
            "analyses": 2 * (40.96 + 200) / 8,
            "pages": 2 * (10 + 80) * 0.5 / 8,
        }
    )
    assert found.bottleneck == "network"
    # The model, the network and the merge go on at the same time; the network is slowest.
    assert found.wall == pytest.approx(68.8128 + 60.24 + 11.25)
    # A layer: tables 2,000,000 + 8,192,000; rows and search 200,000; pages 10 * 10,000 and 80 * 20,000.
    assert found.site == pytest.approx(2 * (10_192_000 + 200_000 + 100_000 + 1_600_000))


def test_costs_grow_as_they_must() -> None:
    """More tokens, features or layers never cost less; more GPUs change no work and never take longer."""
    for part in TABLES.values():
        for s in part:
            base = outcome(s, Costs(), Machine())
            for more in ("tokens", "features", "layers"):
                grown = outcome(Scenario(**{**vars(s), more: 2 * getattr(s, more)}), Costs(), Machine())
                pairs = [(grown.gpu, base.gpu), (grown.wall, base.wall), (grown.site, base.site)]
                assert all(after > before for after, before in pairs), more
            faster = outcome(Scenario(**{**vars(s), "gpus": 2 * s.gpus}), Costs(), Machine())
            assert (faster.gpu, faster.sent, faster.site) == (base.gpu, base.sent, base.site)
            assert faster.wall < base.wall


def test_the_page_has_the_tables_that_the_program_prints() -> None:
    assert tables(Costs(), Machine()) in (ROOT / "docs/scale.md").read_text("utf-8")


def test_times_and_sizes_are_in_units_that_suit() -> None:
    assert [seconds(v) for v in (0.04, 59, 60, 7200, 90_000)] == ["0.0 s", "59.0 s", "1.0 min", "2.0 h", "1.0 d"]
    assert [size(v) for v in (5e5, 2.5e7, 3e9, 4e12)] == ["0.5 MB", "25.0 MB", "3.0 GB", "4.0 TB"]
