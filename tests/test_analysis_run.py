"""All analyses together: properties of every table, and that no figure depends on how the work is divided."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from cases import make_case
from conftest import CONSTANT, CONTEXT, SILENT
from hostile_engine import HostileEngine
from studies import Study, analyse_case, close

from saecatalog import tables, threads
from saecatalog.analysis import FINDINGS, activations, by_feature, coactivation, disk_arrays, pair_counts, statistics
from saecatalog.analysis.run import Findings
from saecatalog.config import AnalysisConfig
from saecatalog.schemas import SCHEMAS, arrow_schema
from saecatalog.tables import Tables
from saecatalog.verify.formulas import Case


def test_the_studies_are_not_trivial(study: Study) -> None:
    n_excluded = sum(not k for kept in study.keep for k in kept)
    assert (n_excluded > 0) == (study.shape == "sink")
    assert SILENT not in study.fired
    assert CONSTANT in study.fired
    assert len(study.fired) > 30
    assert len({len(ids) for ids in study.case.tokens}) > 8
    assert min(len(ids) for ids in study.case.tokens) == 1
    assert max(len(ids) for ids in study.case.tokens) > 2 * CONTEXT
    assert 0 < sum(v[0] > study.findings.strong for v in study.scores.values()) < len(study.scores)


def test_massive_positions_are_left_out_of_everything(study: Study) -> None:
    if study.shape != "sink":
        pytest.skip("this model has no massive activations")
    mark = study.inputs.vocabulary.index("?")
    dropped = {
        (t, i, study.case.tokens[t][i]) for t, kept in enumerate(study.keep) for i, k in enumerate(kept) if not k
    }
    assert {token for *_, token in dropped} == {mark}
    assert len(dropped) == sum(ids.count(mark) for ids in study.case.tokens)
    assert mark not in study.table("tokens")["token_id"].tolist()
    names = study.case.text_ids
    shown = set(zip(study.table("contexts")["text"], study.table("contexts")["position"], strict=True))
    assert not shown & {(names[t], i) for t, i, _ in dropped}
    alone = next(name for name, ids in zip(names, study.case.tokens, strict=True) if ids == [mark])
    assert alone not in study.table("text_scores")["text"].tolist()
    assert study.table("texts").set_index("text")["n_excluded"][alone] == 1


def test_massive_positions_by_hand(tmp_path: Path) -> None:
    activations = [[[1.0], [50.0], [2.0]], [[60.0]], [[0.0], [3.0]]]
    case = make_case(activations, None, [[7, 7, 8], [7], [9, 7]])
    case.norms[0][1] = case.norms[1][0] = 200.0
    residual = [np.array([[2.0, 0], [200, 0], [0, 2.0]]), np.array([[200.0, 0]]), np.array([[-2.0, 0], [0, -2.0]])]
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=5.0), residual=residual)
    feature = found.tables["features"].loc[0]
    assert (feature["n_tokens"], feature["n_active"], feature["max"]) == (4, 3, 3)
    assert found.tables["texts"]["n_excluded"].tolist() == [1, 1, 0]
    assert found.tables["text_scores"]["text"].tolist() == ["t00", "t02"]
    assert found.health["excluded_positions"] == 2
    tokens = found.tables["tokens"]
    assert tokens[["token_id", "n_active", "n_occurrences"]].to_numpy().tolist() == [[7, 2, 2], [8, 1, 1]]
    close(found.health["norm_limit"], 8.0)
    close(found.health["explained_variance"], 1 - 4 / 16)


def assert_every_table_is_there(findings: Findings) -> None:
    """Every table, whether it has rows or not, is a file with the columns of its schema."""
    assert set(findings.tables) == set(SCHEMAS)
    for name in SCHEMAS:
        assert pq.read_schema(findings.tables.folder / f"{name}.parquet").equals(arrow_schema(name))
        assert list(findings.tables[name]) == list(SCHEMAS[name])


def test_every_table_of_a_study_is_there(study: Study) -> None:
    assert_every_table_is_there(study.findings)


def test_every_table_is_there_without_concepts(tmp_path: Path) -> None:
    assert_every_table_is_there(analyse_case(tmp_path, make_case([[[1.0]], [[2.0]]]), AnalysisConfig()))


def test_every_table_is_there_without_activations(tmp_path: Path) -> None:
    case, concepts = make_case([np.zeros((3, 4)), np.zeros((2, 4))], ["a", "b"]), make_case([np.zeros((1, 4))], ["c"])
    assert_every_table_is_there(analyse_case(tmp_path, case, AnalysisConfig(), concepts))


def test_one_text_of_one_token(tmp_path: Path) -> None:
    found = analyse_case(tmp_path, make_case([[[0.0, 2.5]]]), AnalysisConfig(strong=1.0))
    feature = found.tables["features"].loc[1]
    assert (feature["n_tokens"], feature["n_active"], feature["max"], feature["std_active"]) == (1, 1, 2.5, 0)
    assert feature["token_rule"] == "w0"
    row = found.tables["categories"].iloc[0]
    assert (row["n_inside"], row["n_outside"], row["auroc"], row["p_value"]) == (1, 0, 0.5, 1)
    contexts = found.tables["contexts"]
    assert contexts[["band", "position", "window_start", "window_end"]].to_numpy().tolist() == [["top", 0, 0, 1]]
    assert found.tables["coactivation"].empty
    assert found.health["l0_mean"] == 1


def test_nothing_fires(tmp_path: Path) -> None:
    case = make_case([np.zeros((3, 4)), np.zeros((2, 4))], ["a", "b"])
    concepts = make_case([np.zeros((1, 4))], ["c"])
    found = analyse_case(tmp_path, case, AnalysisConfig(), concepts)
    for name in ("contexts", "tokens", "histograms", "text_scores", "categories", "concepts", "rankings", "clusters"):
        assert found.tables[name].empty, name
    assert found.health["silent"] == 4
    assert (found.tables["features"]["label"] == "silent").all()


def test_everything_fires_equally(tmp_path: Path) -> None:
    case = make_case([np.full((3, 2), 1.5), np.full((1, 2), 1.5), np.full((2, 2), 1.5)], ["a", "b", "b"])
    found = analyse_case(tmp_path, case, AnalysisConfig(strong=1.0, top=2))
    features = found.tables["features"]
    assert features["density_high"].tolist() == [1, 1]
    assert features["top_text"].tolist() == ["t00", "t00"]
    assert features["std_active"].tolist() == [0, 0]
    assert features["token_rule"].tolist() == ["w0", "w0"], "all tokens tie, so the smallest id is the rule"
    assert (found.tables["categories"]["p_value"] == 1).all()
    assert found.tables["coactivation"].empty
    strongest = found.tables["rankings"].query("ranking == 'strongest'")
    assert strongest["feature"].tolist() == [0, 1]
    histogram = found.tables["histograms"]["counts"][0]
    assert histogram[-1] == 6
    assert sum(histogram) == 6
    top = found.tables["contexts"].query("band == 'top' and feature == 0")
    assert top[["text", "position"]].to_numpy().tolist() == [["t00", 0], ["t01", 0]]


# No figure depends on how the work is divided

CATEGORIES, TEXTS, WIDTH = 3, 24, 70


@pytest.fixture(scope="module")
def case() -> Case:
    """Texts of several lengths, with ties, whose features range from active on nearly every token to silent."""
    chance = np.random.default_rng(11)
    often = np.append(np.geomspace(0.95, 0.005, WIDTH - 1), 0)
    lengths = [int(n) for n in chance.integers(1, 60, TEXTS)]
    values = [np.round(chance.exponential(2, (n, WIDTH)), 1) * (chance.random((n, WIDTH)) < often) for n in lengths]
    tokens = [chance.zipf(1.5, n).clip(1, 40).tolist() for n in lengths]
    found = make_case(values, [f"c{text % CATEGORIES}" for text in range(TEXTS)], tokens)
    found.norms[3][:1] = 100.0
    return found


def concepts_of(case: Case) -> Case:
    return make_case([rows * 2 for rows in case.activations[:6]], ["a", "b"] * 3, case.tokens[:6])


def files_of(findings: Findings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in findings.tables.folder.iterdir()}


@pytest.fixture(scope="module")
def whole(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables of the case, analysed in parts of the usual size."""
    return analyse_case(tmp_path_factory.mktemp("whole"), case, AnalysisConfig(), concepts_of(case)).tables


@pytest.mark.slow
@pytest.mark.parametrize(("size", "dense"), [(1, True), (1, False), (50, False), (333, True)])
def test_sizes_of_parts_change_no_figure(
    case: Case, whole: Tables, size: int, dense: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "BLOCK_ENTRIES", size)
    monkeypatch.setattr(activations, "BLOCK_FEATURES", 9)
    monkeypatch.setattr(disk_arrays, "PART_ENTRIES", size)
    monkeypatch.setattr(statistics, "PART", size)
    monkeypatch.setattr(pair_counts, "BLOCK", 16)
    monkeypatch.setattr(pair_counts, "MOST_COUNTS", size * 7)
    monkeypatch.setattr(pair_counts, "MOST_MET", size)
    monkeypatch.setattr(coactivation, "IN_CACHE", size)
    monkeypatch.setattr(pair_counts, "GATHERED", size)
    monkeypatch.setattr(pair_counts, "WORTH_KEEPING", 2 * dense)
    monkeypatch.setattr(pair_counts, "DENSE_ROWS", size)
    monkeypatch.setattr(pair_counts, "GATHERING", 1e9 if dense else 1e-9)
    monkeypatch.setattr(tables, "GROUP_ROWS", size)
    found = analyse_case(tmp_path / "parts", case, AnalysisConfig(), concepts_of(case)).tables
    assert len(whole["coactivation"]) > 100
    for name in SCHEMAS:
        pd.testing.assert_frame_equal(in_order(name, found[name]), in_order(name, whole[name]), obj=name)


def in_order(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table in an order that does not depend on blocks; text scores are written block by block."""
    return table.sort_values(["feature", "text"], ignore_index=True) if name == "text_scores" else table


def test_threads_change_no_byte(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "BLOCK_FEATURES", 7)
    monkeypatch.setattr(pair_counts, "BLOCK", 16)
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "n_threads", lambda count=count: count)
        found.append(files_of(analyse_case(tmp_path / str(count), case, AnalysisConfig(), concepts_of(case))))
    assert found[0] == found[1] == found[2]


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileEngine]:
    with HostileEngine() as engine:
        yield engine


@pytest.mark.parametrize("reaches", [False, True])
@pytest.mark.parametrize(("text_score", "dense"), [("max", True), ("last", False), ("mean", False)])
def test_a_hostile_engine_changes_no_byte(
    case: Case,
    hostile: HostileEngine,
    text_score: str,
    dense: bool,
    reaches: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever and in whatever order the work is done, and however often; with files that all reach, or without."""
    monkeypatch.setattr(hostile, "reached", reaches)
    monkeypatch.setattr(hostile, "calls", [])
    monkeypatch.setattr(by_feature, "FILE_ENTRIES", 40)
    monkeypatch.setattr(by_feature, "ENTRIES_PER_FEATURE", 0)
    monkeypatch.setattr(pair_counts, "GATHERED", 50)
    monkeypatch.setattr(activations, "BLOCK_FEATURES", 7)
    monkeypatch.setattr(pair_counts, "BLOCK", 16)
    monkeypatch.setattr(pair_counts, "GATHERING", 1e9 if dense else 1e-9)
    config, concepts = AnalysisConfig(text_score=text_score), concepts_of(case)
    wanted = files_of(analyse_case(tmp_path / "here", case, config, concepts))
    found = files_of(analyse_case(tmp_path / "there", case, config, concepts, engine=hostile))
    assert found == wanted
    assert min(len(items) for _, _, items in hostile.calls) > 1
    assert ("write_columns" in {name for name, *_ in hostile.calls}) == reaches


def test_what_blocks_share_does_not_grow_with_the_dictionary(
    case: Case, hostile: HostileEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With twice the features there are twice the blocks, and each worker holds as much as before."""
    monkeypatch.setattr(activations, "BLOCK_FEATURES", WIDTH)
    twice = replace(case, activations=[np.tile(rows, 2) for rows in case.activations])
    for shown in (case, twice):
        analyse_case(tmp_path / str(shown.d_sae), shown, AnalysisConfig(strong=2.0), concepts_of(shown), engine=hostile)
    once, again = hostile.calls[-14:-7], hostile.calls[-7:]
    assert [name for name, *_ in once] == [name for name, *_ in again]
    for (name, shared, (item,)), (_, shared_again, items) in zip(once[:3], again[:3], strict=True):
        assert shared_again == shared, name
        assert len(items) == 2
        assert max(items) < 1.05 * item, name


def test_text_scores_come_text_by_text_in_blocks_of_features(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that texts take little space, and a reader of a few features can skip the row groups of others."""
    monkeypatch.setattr(activations, "BLOCK_FEATURES", 9)
    monkeypatch.setattr(tables, "GROUP_ROWS", 1)
    folder = analyse_case(tmp_path, case, AnalysisConfig()).tables.folder
    file = pq.ParquetFile(folder / "text_scores.parquet")
    assert file.num_row_groups == -(-WIDTH // 9)
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group).to_pandas()
        assert set(rows["feature"]) <= set(range(group * 9, group * 9 + 9))
        assert list(zip(rows["text"], rows["feature"], strict=True)) == sorted(
            zip(rows["text"], rows["feature"], strict=True)
        )
        told = file.metadata.row_group(group).column(2).statistics
        assert (told.min, told.max) == (rows["feature"].min(), rows["feature"].max())


# Nothing but tables and findings is left


def test_nothing_but_tables_and_findings_is_left(case: Case, tmp_path: Path) -> None:
    found = files_of(analyse_case(tmp_path, case, AnalysisConfig()))
    assert sorted(found) == sorted([FINDINGS, *(f"{name}.parquet" for name in SCHEMAS)])


def test_an_error_leaves_no_scratch_files(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the error happens: their folder is removed."""
    seen: list[set[str]] = []

    def broken(*arguments: object) -> None:
        seen.append({path.suffix for path in (tmp_path / "tables").iterdir()})
        raise OSError("no space left")

    monkeypatch.setattr(tables, "GROUP_ROWS", 1)
    monkeypatch.setattr(coactivation, "count_dense", broken)
    monkeypatch.setattr(coactivation, "count_gathered", broken)
    with pytest.raises(OSError, match="no space left"):
        analyse_case(tmp_path, case, AnalysisConfig())
    assert seen[0] == {".parquet", ""}
    assert {path.suffix for path in (tmp_path / "tables").iterdir()} == {".parquet"}
