"""The command `explain` against an endpoint on this machine: what is sent, kept, scored, written and refused."""

import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import SaeKind
from fake_endpoint import Answer, described, endpoint, error, excerpts, model, said
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.cli import main
from saecatalog.errors import CatalogError
from saecatalog.explain.answers import PARALLEL
from saecatalog.explain.endpoint import LARGEST, Client, Endpoint
from saecatalog.explain.excerpts import FEWEST, JUDGED, Shown
from saecatalog.explain.judging import controls
from saecatalog.explain.prompts import description_in, numbers_in
from saecatalog.explanations import read_explanations
from saecatalog.judged import NO_FIGURES, Judged, balanced_interval, basis_of
from saecatalog.tables import Tables

ROOT = Path(__file__).parent.parent
KEY = "sk-very-secret-0123456789"
WORDS = (
    *("cat", "dog", "mat", "lamp", "quay", "ferry", "keeper", "noon", "river", "town", "hall", "365", "steps"),
    *("sat", "ran", "barked", "burning", "old", "new", "the", "a", "on"),
)


@pytest.fixture(scope="module")
def flags(workshop: Path, saes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags for the tiny SAE and a corpus with enough texts for held-out samples."""
    folder, chance = tmp_path_factory.mktemp("many"), random.Random(5)
    for name in ("one", "two"):
        lines = [" ".join(chance.choices(WORDS, k=chance.randint(3, 9))) + "." for _ in range(40)]
        (folder / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    return [
        *("--sae", str(saes("llama", SaeKind("jumprelu"))), "--corpus", str(folder), "--concepts", "none"),
        *("--cache", str(workshop / "explain-cache"), "--device", "cpu", "--quiet"),
    ]


@pytest.fixture(scope="module")
def site(workshop: Path, flags: list[str]) -> Path:
    """A built site that the tests only read."""
    os.chdir(ROOT)
    assert main(["build", *flags, "--out", str(workshop / "explain-site")]) == 0
    return workshop / "explain-site"


@pytest.fixture(scope="module")
def catalog(site: Path) -> Path:
    (manifest,) = site.rglob("data/manifest.json")
    return manifest.parent.parent


@pytest.fixture
def call(site: Path, tmp_path: Path) -> Callable[..., int]:
    """Runs the command with a cache and an output of its own."""

    def run(url: str, *more: str, features: str = "4,6,7,8", out: str = "out.jsonl", folder: Path = site) -> int:
        words = ["explain", str(folder), "--endpoint", url, "--model", "m", "--features", features]
        return main([*words, "--out", str(tmp_path / out), "--cache", str(tmp_path / "cache"), "--quiet", *more])

    return run


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def data(catalog: Path, name: str) -> pd.DataFrame:
    return pq.read_table(catalog / f"data/{name}.parquet").to_pandas()


def test_scores_are_those_of_a_count_by_hand(call: Callable[..., int], catalog: Path, tmp_path: Path) -> None:
    """Every excerpt is looked up in the texts, and what the judge says of it is compared with the table of scores."""
    with endpoint(model) as standin:
        assert call(standin.url, "--yes") == 0
    texts, scores = data(catalog, "texts"), data(catalog, "text_scores")
    half = dict(zip(texts["text"], texts["half"], strict=True))
    rows = rows_of(tmp_path / "out.jsonl")
    assert [int(row["index"]) for row in rows] == [4, 6, 7, 8]
    questions = {
        (described(q), frozenset(excerpts(q).values())): excerpts(q) for q in standin.questions if described(q)
    }
    assert len({sample for _, sample in questions}) == 4
    for row in rows:
        score, feature = row["detection"], int(row["index"])
        fires = set(scores.loc[scores["feature"] == feature, "text"])
        own = [q for (words, _), q in questions.items() if words == row["description"]]
        counted = []
        for sample in own:
            ids = {n: ids_of(words, texts) for n, words in sample.items()}
            assert all({half[text] for text in found} == {"second"} for found in ids.values())
            active = {n for n, found in ids.items() if found & fires}
            named = {n for n, words in sample.items() if row["description"] in words}
            counted.append((len(active), len(sample) - len(active), len(named & active), len(named - active)))
        assert tuple(score[name] for name in ("n_active", "n_inactive", "hits", "false_alarms")) in counted


def ids_of(words: str, texts: pd.DataFrame) -> set[str]:
    """The held-out texts that an excerpt can be of."""
    inside = words.strip("…")
    return {row.text for row in texts.itertuples() if inside in row.content and row.half == "second"}


def test_the_examples_are_of_the_first_half_and_marked_where_the_feature_fires(catalog: Path) -> None:
    tables = Tables(catalog / "data")
    shown = Shown.of(tables, range(48), "max")
    contexts, texts = tables["contexts"], tables["texts"].set_index("text")
    for feature in range(4, 48):
        rows = contexts[(contexts["feature"] == feature) & (contexts["text"].map(texts["half"]) == "first")]
        examples = shown.examples(feature)
        assert bool(examples) == bool(len(rows))
        possible = {marked(row, texts.loc[row.text]) for row in rows.itertuples()}
        assert {example.words for example in examples} <= possible
        if examples:
            assert examples[0].strength == 10
            assert all(1 <= example.strength <= 10 for example in examples)


def marked(row: Any, text: Any) -> str:
    """A context character by character."""
    words, starts = "", [0, *text.token_ends[:-1]]
    tokens = [text.content[a:b] for a, b in zip(starts, text.token_ends, strict=True)]
    for place in range(row.window_start, row.window_end):
        words += f"\u27e6{tokens[place]}\u27e7" if place in row.active_positions else tokens[place]
    words = words.replace("\u27e7\u27e6", "").replace("\u27e6\u27e7", "")
    return "…" * int(row.window_start > 0) + words + "…" * int(row.window_end < text.n_tokens)


def test_a_sample_is_the_same_in_any_order_of_the_rows(catalog: Path) -> None:
    tables = Tables(catalog / "data")
    plain = Shown.of(tables, range(48), "max")

    class Shuffled(Tables):
        def read(self, name: str, *arguments: Any, **more: Any) -> pd.DataFrame:
            return super().read(name, *arguments, **more).sample(frac=1, random_state=3).reset_index(drop=True)

    other = Shown.of(Shuffled(catalog / "data"), range(48), "max")
    one = Shown.of(tables, [7], "max")
    for feature in range(48):
        assert plain.sample(feature) == other.sample(feature)
        assert plain.examples(feature) == other.examples(feature)
    assert plain.sample(7) == one.sample(7)


def test_a_sample_has_as_many_texts_as_there_are(catalog: Path) -> None:
    tables = Tables(catalog / "data")
    shown = Shown.of(tables, range(48), "max")
    held_out = set(tables["texts"].loc[tables["texts"]["half"] == "second", "text"])
    refused = set()
    for feature in range(48):
        fires = held_out & set(tables["text_scores"].loc[tables["text_scores"]["feature"] == feature, "text"])
        sample, silent = shown.sample(feature), len(held_out - fires)
        if isinstance(sample, str):
            assert min(len(fires), silent) < FEWEST
            refused.add(sample)
            continue
        assert len({one.text for one in sample}) == len(sample)
        assert {one.text for one in sample if one.active} == {one.text for one in sample} & fires
        assert sum(one.active for one in sample) == min(JUDGED, len(fires))
        assert sum(not one.active for one in sample) == min(JUDGED, silent)
    assert "active on fewer than five held-out texts" in refused  # the feature that never fires


def test_the_control_is_another_explanation_on_the_same_excerpts(call: Callable[..., int], tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Answer:
        question = body["messages"][-1]["content"]
        return said("none" if described(question) else f"words number {abs(hash(question))}")

    with endpoint(reply) as standin:
        assert call(standin.url, "--yes") == 0
    asked: dict[str, set[frozenset[str]]] = {}
    for question in standin.questions:
        if words := described(question):
            asked.setdefault(words, set()).add(frozenset(excerpts(question).values()))
    rows = {int(row["index"]): row for row in rows_of(tmp_path / "out.jsonl")}
    for feature, row in rows.items():
        other = rows[row["detection"]["control_feature"]]
        assert other is not row
        assert asked[row["description"]] & asked[other["description"]], feature


@given(st.sets(st.integers(0, 500)))
def test_every_feature_is_the_control_of_one_other(features: set[int]) -> None:
    found = controls(features)
    assert set(found) == set(found.values()) == (features if len(features) > 1 else set())
    assert all(a != b for a, b in found.items())


def test_nothing_is_sent_without_agreement(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with endpoint(model) as standin:
        assert call(standin.url, "--dry-run") == 0
        shown = capsys.readouterr().out
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
        assert call(standin.url) == 2
        assert "add --yes" in capsys.readouterr().err
        for answer in ("n\n", "\n", "no\n", ""):
            monkeypatch.setattr("sys.stdin", Terminal(answer))
            assert call(standin.url) == 0
            assert "Nothing was sent." in capsys.readouterr().out
        assert standin.asked == []
        assert not (tmp_path / "out.jsonl").exists()
        monkeypatch.setattr("sys.stdin", Terminal("y\n"))
        assert call(standin.url) == 0
    # Four are asked at the same time, so the one shown need not be the first to arrive.
    prompt = [line.removeprefix("  | ") for line in shown.splitlines() if line.startswith("  | ")]
    assert prompt in [question.splitlines() for question in standin.questions if not described(question)]
    assert "explaining: 4 requests" in shown
    assert "together: 12 requests" in shown
    assert "excerpts of your texts" in shown


def test_the_tokens_of_a_dry_run_are_a_quarter_of_the_bytes(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with endpoint(model) as standin:
        call(standin.url, "--dry-run", features="6")
        told = re.search(r"explaining: 1 requests with about ([\d,]+) tokens", capsys.readouterr().out)
        call(standin.url, "--yes", features="6")
    assert told
    first = next(question for question in standin.questions if not described(question))
    assert int(told[1].replace(",", "")) == -(-len(first.encode()) // 4)


def test_answers_are_kept_and_an_interrupted_run_goes_on(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = threading.Event()
    count = iter(range(10**6))

    def reply(body: dict[str, Any]) -> Answer:
        return error(400, "no more") if not broken.is_set() and next(count) >= 5 else model(body)

    with endpoint(reply) as standin:
        assert call(standin.url, "--yes") == 2
        assert "no more" in capsys.readouterr().err
        assert not (tmp_path / "out.jsonl").exists()
        answered = len(standin.asked)
        broken.set()
        assert call(standin.url, "--yes") == 0
        second = len(standin.asked) - answered
        capsys.readouterr()
        assert call(standin.url, out="again.jsonl") == 0  # nothing is left to agree to
        assert len(standin.asked) == answered + second
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
    with endpoint(model) as other:
        assert call(other.url, "--yes", out="whole.jsonl") == 0
    # Another endpoint is another model: nothing is taken from the first, and all is as without the interruption.
    assert second == len(other.asked) - 5
    assert rows_of(tmp_path / "whole.jsonl") == rows_of(tmp_path / "out.jsonl")
    assert other.most_at_once <= 4


def test_a_key_goes_into_one_header_and_nowhere_else(
    call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    with endpoint(model) as standin:
        assert call(standin.url, "--yes", "--key-env", "MY_KEY") == 0
    assert {headers["Authorization"] for headers in standin.headers} == {f"Bearer {KEY}"}
    assert KEY not in json.dumps(standin.asked)
    with endpoint(lambda body: error(401, f"Incorrect API key provided: {KEY}.")) as standin:
        assert call(standin.url, "--yes", "--key-env", "MY_KEY", out="b.jsonl") == 2
    printed = capsys.readouterr()
    assert "status 401" in printed.err
    assert KEY not in printed.out + printed.err
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with endpoint(model) as standin:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        assert call(standin.url, "--yes", out="c.jsonl") == 0
    assert "Authorization" not in standin.headers[0]
    assert call(standin.url, "--yes", "--key-env", "NO_SUCH_KEY") == 2
    assert "--key-env NO_SUCH_KEY" in capsys.readouterr().err


COMPLETION: dict[str, Any] = {"choices": [{"message": {"content": "x"}}]}
BAD = {
    "HTML": (Answer(b"<html><body>Welcome</body></html>"), "not JSON: <html>"),
    "no JSON": (Answer(b"\xff\x00nonsense"), "not JSON"),
    "nothing": (Answer(b""), "not JSON"),
    "other JSON": (Answer(b'{"answer": "x"}'), "not that of a chat completion"),
    "a list": (Answer(b"[]"), "not that of a chat completion"),
    "no choice": (Answer(b'{"choices": []}'), "not that of a chat completion"),
    "a number for words": (Answer(b'{"choices": [{"message": {"content": 3}}]}'), "not that of a chat completion"),
    "huge": (Answer(b'"' + b"x" * (LARGEST + 10) + b'"'), "larger than 1 MB"),
    "slow": (said("x", delay=5), "did not answer within 0.3 s"),
    "dripping": (said("x", drip=0.05), "did not answer within 0.3 s"),
    "no key": (error(401, "You need a key."), "--key-env"),
    "unknown model": (error(404, "The model `m` does not exist"), "model `m` does not exist"),
    "moved": (Answer(b"", 301, {"Location": "http://127.0.0.1:9/v1"}), "status 301"),
    "always busy": (error(429, "Slow down", retry_after="0"), "Slow down"),
    "busy for long": (error(429, "Slow down", retry_after="3600"), "a pause of 3,600 s"),
    "broken": (error(503, "Overloaded\nnow", retry_after="0"), "Overloaded now"),
    "no words": (said(""), "explained none"),
    "null": (said(None), "explained none"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_endpoint_is_one_clear_error(
    name: str, call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, words = BAD[name]
    with endpoint(lambda body: answer) as standin:
        assert call(standin.url, "--yes", "--timeout", "0.3", features="6") == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("error: ") == 1
    assert "Traceback" not in printed
    assert len(printed.splitlines()) == 3
    assert not (tmp_path / "out.jsonl").exists()


def test_an_endpoint_that_is_down_is_one_clear_error(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert call(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "--yes") == 2
    assert "There is no connection to the endpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/v1",
        "localhost:8000",
        "http://",
        "https://me:key@a/v1",
        "https://:key@a/v1",
        "http://[::1",
        "http://a:port/v1",
        "http://a/v1?key=3",
        "",
    ],
)
def test_an_address_that_is_none_is_refused(
    url: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(url, "--yes") == 2
    said = capsys.readouterr().err
    assert "--endpoint" in said
    assert "me:key" not in said


def failing(times: int, answer: Answer) -> Callable[[dict[str, Any]], Answer]:
    """An endpoint whose first answers are this one."""
    count = iter(range(10**6))
    return lambda body: answer if next(count) < times else said("fine")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_endpoint_is_asked_again(status: int) -> None:
    with endpoint(failing(3, error(status, "busy"))) as standin:
        with Client(Endpoint(standin.url, "m", pause=0.001)) as client:
            assert client.ask([{"role": "user", "content": "x"}]).content == "fine"
        assert len(standin.asked) == 4


def test_a_pause_that_the_endpoint_asks_for_is_kept() -> None:
    busy = failing(1, error(429, "busy", retry_after="0.2"))
    with endpoint(busy) as standin, Client(Endpoint(standin.url, "m", pause=60)) as client:
        assert client.ask([{"role": "user", "content": "x"}]).content == "fine"


def test_parameters_that_a_model_does_not_take_are_left_out() -> None:
    def reply(body: dict[str, Any]) -> Answer:
        if "max_tokens" in body:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in body:
            return error(400, "Unsupported value: 'temperature' does not support 0 with this model.")
        return said("fine")

    with endpoint(reply) as standin, Client(Endpoint(standin.url, "m")) as client:
        assert client.ask([{"role": "user", "content": "x"}]).content == "fine"
        assert client.ask([{"role": "user", "content": "y"}]).content == "fine"
    assert len(standin.asked) == 4
    assert standin.asked[-1]["max_completion_tokens"] > 0


def test_an_unreadable_judgement_is_no_score(call: Callable[..., int], tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Answer:
        return said("I think that many of them do.") if described(body["messages"][-1]["content"]) else model(body)

    with endpoint(reply) as standin:
        assert call(standin.url, "--yes") == 0
    assert {row["detection"]["unscored"] for row in rows_of(tmp_path / "out.jsonl")} == {
        "the judge's answer is not a list of numbers"
    }


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("1, 4, 7", {1, 4, 7}),
        ("none", set()),
        ("None.", set()),
        ("<think>3 or 5? No: 2.</think>\n2", {2}),
        ("Excerpts 1 and 2.", {1, 2}),
        ("[1,2]", {1, 2}),
        ("**Answer:** 3", {3}),
        ("0", None),
        ("21", None),
        ("1, none", None),
        ("", None),
        ("There are 3 of them: 1, 2, 5", None),
        ("99999999999999999999", None),
        ("No excerpt", None),
    ],
)
def test_answers_of_the_judge(answer: str, found: set[int] | None) -> None:
    assert numbers_in(answer, 20) == found


@given(st.sets(st.integers(1, 20), min_size=1), st.sampled_from([", ", " ", "\n", " and ", "; "]))
def test_any_list_of_numbers_is_read(numbers: set[int], between: str) -> None:
    assert numbers_in(between.join(map(str, sorted(numbers))), 20) == numbers


@given(st.text())
def test_any_answer_is_read_without_an_error(answer: str) -> None:
    assert len(description_in(answer)) <= 500
    assert "\n" not in description_in(answer)
    found = numbers_in(answer, 20)
    assert found is None or found <= set(range(1, 21))


def test_the_interval_covers_the_mean_of_two_shares() -> None:
    chance, covered = np.random.default_rng(2), []
    for p, q in [(0.9, 0.8), (0.5, 0.5), (0.7, 0.95), (0.3, 0.9)]:
        draws = zip(chance.binomial(10, p, 300), chance.binomial(10, q, 300), strict=True)
        ends = [balanced_interval(int(k), 10, int(m), 10) for k, m in draws]
        covered += [low <= (p + q) / 2 <= high for low, high in ends]
    assert 0.93 <= np.mean(covered) <= 0.98


def test_a_score_without_figures_has_a_column_for_each() -> None:
    figures = Judged("m", 10, 8, 5, 2, 4, 3, 3, 10, 0).figures()
    assert list(figures) == list(NO_FIGURES)
    assert figures["precision"] == pytest.approx(5 / 7)
    assert figures["recall"] == 0.5
    assert figures["balanced_accuracy"] == pytest.approx((0.5 + 0.75) / 2)
    assert figures["control_accuracy"] == pytest.approx((0.3 + 0.625) / 2)
    assert figures["label_accuracy"] == 1
    assert Judged("m", 10, 8, 0, 0).figures()["precision"] is None


def test_the_rule_of_a_label_is_tried_on_the_same_excerpts(
    call: Callable[..., int], catalog: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(catalog, changed)
    table = pq.read_table(changed / "data/features.parquet")
    frame = table.to_pandas()
    rule = json.dumps({"kind": "word", "values": ["cat"]})
    frame.loc[frame["feature"].isin([4]), "label_rule"] = rule
    frame.loc[frame["feature"].isin([6, 7, 8]), "label_rule"] = rule
    frame.loc[:, "label_half"] = "first"
    frame.loc[frame["feature"] == 8, "label_half"] = "all"
    frame.loc[frame["feature"] == 7, "label_rule"] = ""
    pq.write_table(
        type(table).from_pandas(frame, table.schema, preserve_index=False), changed / "data/features.parquet"
    )

    def reply(body: dict[str, Any]) -> Answer:
        return said("none" if described(body["messages"][-1]["content"]) else "cats")

    with endpoint(reply) as standin:
        assert call(standin.url, "--yes", folder=changed) == 0
    samples = Shown.of(Tables(changed / "data"), [4, 6, 7, 8], "max")
    for row in rows_of(tmp_path / "out.jsonl"):
        feature, sample = int(row["index"]), samples.sample(int(row["index"]))
        assert not isinstance(sample, str)
        named = [one.active for one in sample if re.search(r"\bcat\b", one.words)]
        wanted = (sum(named), len(named) - sum(named)) if feature in (4, 6) else (-1, -1)
        assert (row["detection"]["label_hits"], row["detection"]["label_false_alarms"]) == wanted


def given_file(path: Path, source: str, *rows: dict[str, Any]) -> Path:
    """A file as Neuronpedia exports it."""
    model_id, _, layer = source.partition("/")
    base = {"id": "c1", "modelId": model_id, "layer": layer, "authorId": "u", "typeName": "oai_token-act-pair"}
    base |= {"explanationModelName": "gpt-4o-mini", "embedding": "[0.5]"}
    path.write_text("".join(json.dumps(base | row) + "\n" for row in rows), encoding="utf-8")
    return path


def manifest_of(catalog: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((catalog / "data/manifest.json").read_text(encoding="utf-8"))
    return found


def test_explanations_from_a_file_are_scored_and_otherwise_unchanged(
    call: Callable[..., int], catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = manifest_of(catalog)
    told = [
        {"index": "6", "description": "cat"},
        {"index": "6", "description": " dog "},
        {"index": "9", "description": "mat"},
    ]
    told += [{"index": "30", "description": "another"}, {"index": "7", "description": ""}]
    path = given_file(tmp_path / "a.jsonl", manifest["sae"]["source"], *told)
    with endpoint(model) as standin:
        assert call(standin.url, "--yes", "--score-only", str(path), features="6,7,9") == 0
    assert all(described(question) for question in standin.questions)
    before, after = rows_of(path), rows_of(tmp_path / "out.jsonl")
    assert [{**row, "detection": None} for row in before] == [{**row, "detection": None} for row in after]
    assert ["detection" in row for row in after] == [True, True, True, False, False]
    assert after[0]["detection"]["control_feature"] == 9
    read = read_explanations(str(tmp_path / "out.jsonl"), manifest["sae"]["source"], 48, basis_of(manifest))
    assert [bool(one.judged) for one in read.found] == [True, True, True, False]
    with pytest.raises(CatalogError, match="none of the chosen"):
        raise_of(call(standin.url, "--score-only", str(path), features="11", out="b.jsonl"), capsys)


def raise_of(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    if code:
        raise CatalogError(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"sae": "other"}, "judged on other texts or another SAE"),
        ({"corpus": "other"}, "judged on other texts or another SAE"),
        ({"text_score": "last"}, "judged on other texts or another SAE"),
        ({"half": "first"}, "judged on other texts or another SAE"),
        ({"wording": "other"}, "reworded since it was judged"),
        ({"unscored": "too few"}, "too few"),
    ],
)
def test_a_score_counts_for_its_texts_sae_and_words_only(
    change: dict[str, Any], why: str, scored: Path, catalog: Path, tmp_path: Path
) -> None:
    (row, *_), manifest = rows_of(scored), manifest_of(catalog)
    row["detection"] |= change
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8")
    read = read_explanations(str(tmp_path / "a.jsonl"), manifest["sae"]["source"], 48, basis_of(manifest))
    assert read.found[0].unscored == why
    assert (read.found[0].judged is None) == bool(why)
    assert any("without its score" in line for line in read.notices({4})) == (why not in ("", "too few"))


@pytest.mark.parametrize(
    "change",
    [
        {"hits": 11}, {"false_alarms": -1}, {"n_active": 0}, {"n_active": "10"}, {"hits": True}, {"judge": None},
        {"control_feature": 48}, {"control_feature": -1, "control_hits": 1}, {"label_hits": -1},
    ],
)  # fmt: skip
def test_impossible_counts_are_refused_with_the_line(
    change: dict[str, Any], scored: Path, catalog: Path, tmp_path: Path
) -> None:
    (row, *_), manifest = rows_of(scored), manifest_of(catalog)
    row["detection"] |= {"label_hits": 0, "label_false_alarms": 0} | change
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(CatalogError) as error:
        read_explanations(str(tmp_path / "a.jsonl"), manifest["sae"]["source"], 48, basis_of(manifest))
    assert error.value.where.endswith("a.jsonl, line 1")


@pytest.fixture(scope="module")
def scored(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that the command wrote."""
    folder = tmp_path_factory.mktemp("scored")
    with endpoint(model) as standin:
        words = ["explain", str(site), "--endpoint", standin.url, "--model", "small", "--features", "4,6,7,8", "--yes"]
        assert main([*words, "--out", str(folder / "a.jsonl"), "--cache", str(folder), "--quiet"]) == 0
    return folder / "a.jsonl"


def test_the_build_shows_explanations_with_their_scores_and_verify_agrees(
    flags: list[str], scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site"
    assert main(["build", *flags, "--out", str(out), "--explanations", str(scored), "--features", "4,6,7,8,9"]) == 0
    assert "explanation" not in capsys.readouterr().err
    (page,) = out.rglob("features/6.html")
    row = rows_of(scored)[1]
    assert row["description"] in page.read_text(encoding="utf-8")
    assert f"small named {row['detection']['hits']} of" in page.read_text(encoding="utf-8")
    (index,) = out.rglob("search-index.js")
    assert '"explanation"' in index.read_text(encoding="utf-8")
    assert main(["check", str(out)]) == 0
    assert main(["verify", str(out), "--cache", flags[flags.index("--cache") + 1], "--quiet", "--sample", "2"]) == 0
    capsys.readouterr()


def test_verify_finds_a_wrong_score(
    flags: list[str], scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site"
    assert main(["build", *flags, "--out", str(out), "--explanations", str(scored)]) == 0
    (path,) = out.rglob("data/explanations.parquet")
    table = pq.read_table(path)
    frame = table.to_pandas()
    frame.loc[0, "balanced_low"] += 0.01
    frame.loc[1, "control_accuracy"] -= 0.05
    frame.loc[2, "n_active"] -= 1
    frame.loc[3, "precision"] = None
    pq.write_table(type(table).from_pandas(frame, table.schema, preserve_index=False), path)
    capsys.readouterr()
    assert main(["verify", str(out), "--cache", flags[flags.index("--cache") + 1], "--quiet", "--sample", "1"]) == 1
    found = capsys.readouterr().out
    wanted = ("4, rank 0, balanced_low", "6, rank 0, control_accuracy", "7, rank 0, n_active", "8, rank 0, precision")
    assert [place for place in wanted if f"explanations.parquet, feature {place}: published" not in found] == []
    assert "explanations.parquet: the rows are not those that the manifest names" in found


def test_a_stopped_run_keeps_what_was_answered(site: Path, tmp_path: Path) -> None:
    arrived = threading.Event()

    def reply(body: dict[str, Any]) -> Answer:
        if described(body["messages"][-1]["content"]):
            arrived.set()
            return said("none", delay=0.5)
        return model(body)

    with endpoint(reply) as standin:
        words = ["explain", str(site), "--endpoint", standin.url, "--model", "m", "--features", "4,6,7,8,9,10,11,12"]
        words += ["--out", str(tmp_path / "out.jsonl"), "--cache", str(tmp_path / "cache"), "--quiet", "--yes"]
        run = subprocess.Popen([sys.executable, "-m", "saecatalog", *words], stderr=subprocess.PIPE, text=True)
        assert arrived.wait(60)
        run.send_signal(signal.SIGTERM)
        _, said_last = run.communicate(timeout=60)
        assert (run.returncode, said_last) == (143, "error: Stopped. The same command goes on where it stopped.\n")
        assert not (tmp_path / "out.jsonl").exists()
        first = {json.dumps(request) for request in standin.asked}
        standin.asked.clear()
        assert main(words) == 0
        # Only what was on its way when the run stopped is asked again: no more than is asked at once.
        again = first & {json.dumps(request) for request in standin.asked}
        assert len(again) <= PARALLEL < len(first)
    assert len(rows_of(tmp_path / "out.jsonl")) == 8


@pytest.mark.parametrize("kind", ["another SAE", "no JSON", "not there", "a wrong row"])
def test_a_bad_file_is_one_line_and_the_catalog_is_built_without_it(
    kind: str, flags: list[str], scored: Path, catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    (row, *_) = rows_of(scored)
    if kind == "another SAE":
        path.write_text(json.dumps(row | {"layer": "8-other"}), encoding="utf-8")
    elif kind == "no JSON":
        path.write_text("{", encoding="utf-8")
    elif kind == "a wrong row":
        path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"index": "99"}), encoding="utf-8")
    assert main(["build", *flags, "--out", str(tmp_path / "site"), "--explanations", str(path)]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "explanations" in line)
    assert str(path) in line
    assert "The catalog is built without them." in line
    (table,) = (tmp_path / "site").rglob("data/explanations.parquet")
    assert len(pq.read_table(table)) == 0


def test_a_file_in_the_way_stays(call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out.jsonl").write_text("mine", encoding="utf-8")
    with endpoint(model) as standin:
        assert call(standin.url, "--yes") == 2
        assert call(standin.url, "--dry-run") == 0
        assert standin.asked == []
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == "mine"


def test_a_feature_that_is_not_there_is_refused(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("http://127.0.0.1:9/v1", "--yes", features="5,48") == 2
    assert "no feature 48" in capsys.readouterr().err


def test_hostile_texts_and_answers_stay_what_they_are(call: Callable[..., int], tmp_path: Path) -> None:
    """A question is valid JSON in each line of an excerpt, whatever the texts hold."""

    def reply(body: dict[str, Any]) -> Answer:
        question = body["messages"][-1]["content"]
        return said("1") if described(question) else said('"<script>alert(1)</script>\u202e\nDescription: all"')

    with endpoint(reply) as standin:
        assert call(standin.url, "--yes", features="6,7") == 0
    for question in standin.questions:
        if described(question):
            assert described(question) == "<script>alert(1)</script>\u202e Description: all"
            assert sorted(excerpts(question)) == list(range(1, len(excerpts(question)) + 1))
