"""The comparison with Neuronpedia's exports: every kind of disagreement is planted, and every malformed row refused."""

import errno
import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pandas as pd
import pytest
from scipy import stats
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from synthetic import FEATURES, SCRIPT, SILENT, write

from saecatalog.cli import main
from saecatalog.json_lines import read_lines
from saecatalog.neuronpedia.compare import MAX_RATIO, share
from saecatalog.tables import Tables

ID = "gpt2-small/6-res-jb"
MODEL, SOURCE = ID.split("/")

Rows = list[dict[str, Any]]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return write(tmp_path_factory.mktemp("compared") / "data", neuronpedia=ID)[0]


@pytest.fixture(scope="module")
def exported(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rows]:
    """The catalog's own export: nothing disagrees."""
    out = tmp_path_factory.mktemp("export")
    assert main(["export-neuronpedia", str(tables.folder.parent), "--out", str(out)]) == 0
    return {kind: read(next(out.rglob(f"{kind}/*.gz"))) for kind in ("features", "activations")}


def read(path: Path) -> Rows:
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


def save(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def run(tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Compare rows with the catalog; returns the printed JSON."""

    def compared(*kinds: Rows) -> dict[str, Any]:
        files = [str(save(tmp_path / f"{number}.jsonl", rows)) for number, rows in enumerate(kinds)]
        words = ["--site", str(tables.folder.parent), "--out", str(tmp_path / "out"), "--json"]
        capsys.readouterr()
        assert main(["compare-neuronpedia", *files, *words]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return compared


def changed(rows: Rows, feature: int, **values: Any) -> Rows:
    """The rows with other values for one feature."""
    return [row | values if row["index"] == str(feature) else row for row in rows]


def named(found: dict[str, Any]) -> dict[int, list[str]]:
    return {one["feature"]: one["disagreements"] for one in found["features"]}


def test_a_catalog_agrees_with_itself(run: Run, exported: dict[str, Rows]) -> None:
    found = run(exported["features"], exported["activations"])
    assert (named(found), found["compared"], found["missing"]) == ({}, FEATURES, 0)
    assert (found["silent_on_both"], found["median_shared_promoted"]) == (1, 1)


def test_the_kinds_of_disagreement_are_found(run: Run, exported: dict[str, Rows], tables: Tables) -> None:
    ours, rows = tables.features, exported["features"]
    other = [f"other {n}" for n in range(7)]
    rows = changed(rows, 1, frac_nonzero=float(ours.density[1]) / 3.5)
    rows = changed(rows, 2, maxActApprox=float(ours["max"][2]) * MAX_RATIO * 1.01)
    rows = changed(rows, 3, pos_str=other)
    rows = changed(rows, 4, neg_str=other)
    rows = changed(rows, SILENT, frac_nonzero=0.5, maxActApprox=3.0)
    rows = changed(rows, 6, frac_nonzero=0.0, maxActApprox=0.0)
    peaks = [
        row | {"tokens": [f"{token}!" for token in row["tokens"]]} if row["index"] == "7" else row
        for row in exported["activations"]
        if row["index"] != "6"
    ]
    wanted = {3: ["promoted"], 4: ["suppressed"], 5: ["silent here"], 6: ["silent there"], 1: ["density"]}
    wanted |= {2: ["maximum"], 7: ["tokens"]}
    found = run(rows, peaks)
    assert named(found) == wanted
    assert list(named(found)) == list(wanted), "what follows from the weights alone comes first"
    assert all(found["counts"][kinds[0]] == 1 for kinds in wanted.values())


def test_small_differences_are_not_named(run: Run, exported: dict[str, Rows], tables: Tables) -> None:
    ours, rows = tables.features, exported["features"]
    rows = changed(rows, 1, frac_nonzero=float(ours.density[1]) / 2.5)
    rows = changed(rows, 2, maxActApprox=float(ours["max"][2]) * MAX_RATIO * 0.99)
    rows = changed(rows, SILENT, frac_nonzero=float(ours.silent_below[SILENT]) * 0.9, maxActApprox=1.0)
    assert named(run(rows)) == {}


def test_a_density_within_the_interval_is_never_named(run: Run, exported: dict[str, Rows], tables: Tables) -> None:
    """Of a rare feature, a few tokens more or less change the density by any factor."""
    ours = tables.features.loc[1]
    near = run(changed(exported["features"], 1, frac_nonzero=float(ours.density_low)))
    assert named(near) == {}


def test_a_rounded_density_of_zero_is_not_silence(run: Run, exported: dict[str, Rows]) -> None:
    assert named(run(changed(exported["features"], 1, frac_nonzero=0.0))) == {}


def test_vocabulary_spellings_are_the_same_tokens(run: Run, exported: dict[str, Rows]) -> None:
    spelled = str.maketrans({" ": "Ġ", "\n": "Ċ"})
    rows = [row | {"pos_str": [token.translate(spelled) for token in row["pos_str"]]} for row in exported["features"]]
    assert named(run(rows)) == {}
    assert share([" a", "\ufffd"], [" a", "<0xE2>", " b"]) == 1
    assert share(["\ufffd"], [" a"]) is None


def test_a_feature_that_fires_on_bos_there_is_judged_by_the_other_tokens(run: Run, exported: dict[str, Rows]) -> None:
    bos = [
        row | {"tokens": ["<bos>", *row["tokens"]], "values": [999.0, *row["values"]]}
        for row in exported["activations"]
    ]
    found = run(exported["features"], bos)
    assert named(found) == {}


def test_another_sae_is_recognised_by_its_promoted_tokens(run: Run, exported: dict[str, Rows]) -> None:
    rows = [row | {"pos_str": [f"x{n}" for n in range(7)]} for row in exported["features"]]
    found = run(rows)
    assert found["looks_like_another_sae"] is True
    assert found["counts"]["promoted"] == FEATURES


def test_one_kind_of_file_is_enough_and_the_rest_is_said(
    exported: dict[str, Rows], tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "some.jsonl", [row for row in exported["activations"] if row["index"] in "12"])
    words = ["--site", str(tables.folder.parent), "--out", str(tmp_path / "out")]
    assert main(["compare-neuronpedia", str(path), *words]) == 0
    said = capsys.readouterr().out
    assert "0 of 2 compared features" in said
    assert "The densities of 2 of 2 features could not be compared." in said
    assert "The promoted tokens of 2 of 2 features could not be compared." in said
    assert f"{FEATURES - 2} features of this SAE are not in the files." in said
    assert "measured there on other texts" in said


def test_correlations_are_spearmans(
    exported: dict[str, Rows], tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = exported["features"]
    rows = [row | {"frac_nonzero": 0.01 + 0.07 * (int(row["index"]) * 5 % 12)} for row in rows]
    path = save(tmp_path / "rows.jsonl", rows)
    assert (
        main(["compare-neuronpedia", str(path), "--site", str(tables.folder.parent), "--out", str(tmp_path / "out")])
        == 0
    )
    ours = [float(d) for n, d in enumerate(tables.features["density"]) if n != SILENT]
    theirs = [row["frac_nonzero"] for row in rows if row["index"] != str(SILENT)]
    ranks = stats.pearsonr(stats.rankdata(ours), stats.rankdata(theirs)).statistic
    assert f"Rank correlation of the densities: {ranks:.2f}, over 11 features" in capsys.readouterr().out


def test_the_page_and_the_csv_file_have_the_figures(exported: dict[str, Rows], tables: Tables, tmp_path: Path) -> None:
    rows = changed(exported["features"], 3, pos_str=[f"{SCRIPT}{n}" for n in range(7)], maxActApprox=900.0)
    path = save(tmp_path / "rows.jsonl", rows)
    site, out = tables.folder.parent, tmp_path / "out"
    words = ["compare-neuronpedia", str(path), "--site", str(site), "--out", str(out)]
    assert main(words) == 0
    assert sorted(file.name for file in out.iterdir()) == ["comparison.csv", "index.html"]
    html = (out / "index.html").read_text(encoding="utf-8")
    page = HTMLParser(html)
    assert SCRIPT not in html
    assert not page.css("script")
    links = [link.attributes["href"] or "" for link in page.css("tbody a")]
    assert links == [links[0], f"https://www.neuronpedia.org/{ID}/3"]
    assert (out / links[0]).resolve() == site / "features/3.html"
    assert page.css_first("tbody tr td.words").text()
    table = pd.read_csv(out / "comparison.csv")
    assert list(table["feature"]) == list(range(FEATURES))
    assert table.set_index("feature").loc[3, "disagreements"] == "promoted, maximum"
    assert table["density"].tolist() == pytest.approx(tables["features"]["density"].tolist())


def test_a_report_that_exists_is_told_before_anything_is_read(
    tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "comparison.csv").write_text("mine", encoding="utf-8")
    words = ["compare-neuronpedia", str(tmp_path / "none.jsonl"), "--site", str(tables.folder.parent)]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "This report exists already." in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("comparison.csv", "mine")]


def test_a_report_is_written_whole_or_not_at_all(
    exported: dict[str, Rows],
    tables: Tables,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = save(tmp_path / "rows.jsonl", exported["features"]), tmp_path / "out"
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == "index.html":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert main(["compare-neuronpedia", str(path), "--site", str(tables.folder.parent), "--out", str(out)]) == 2
    assert "error: " in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_links_to_a_site_in_a_folder_of_any_name(exported: dict[str, Rows], tables: Tables, tmp_path: Path) -> None:
    site, out = tmp_path / "50% a#b?c: é", tmp_path / "out"
    shutil.copytree(tables.folder.parent, site)
    path = save(tmp_path / "rows.jsonl", changed(exported["features"], 3, maxActApprox=900.0))
    assert main(["compare-neuronpedia", str(path), "--site", str(site), "--out", str(out)]) == 0
    link = HTMLParser((out / "index.html").read_text(encoding="utf-8")).css_first("tbody a").attributes["href"] or ""
    found = urljoin((out / "index.html").as_uri(), link)
    assert Path(unquote(urlsplit(found).path)) == site / "features/3.html"


GOOD = {"modelId": MODEL, "layer": SOURCE, "index": "3", "frac_nonzero": 0.1, "maxActApprox": 2, "pos_str": ["a"]}
ACTIVE = {"modelId": MODEL, "layer": SOURCE, "index": "3", "tokens": ["a", "b"], "values": [0, 1.5]}

MALFORMED: list[tuple[str, bytes, str]] = [
    ("no JSON", b'{"modelId": ', "not valid JSON"),
    ("no object", b"[1]", "not a JSON object"),
    ("not UTF-8", b'{"modelId": "\xff"}', "not valid JSON"),
    ("neither kind", json.dumps({"description": "x"}).encode(), "neither of a feature nor of an activation"),
    ("no index", json.dumps({**GOOD, "index": None}).encode(), "'index' is null"),
    ("index with sign", json.dumps({**GOOD, "index": "-3"}).encode(), "'index' is \"-3\""),
    ("index true", json.dumps({**GOOD, "index": True}).encode(), "'index' is true"),
    ("huge index", json.dumps({**GOOD, "index": "9" * 5000}).encode(), "'index' is"),
    ("outside", json.dumps({**GOOD, "index": FEATURES}).encode(), f"no feature {FEATURES}"),
    ("density", json.dumps({**GOOD, "frac_nonzero": "0.1"}).encode(), "'frac_nonzero' is \"0.1\""),
    ("no share", json.dumps({**GOOD, "frac_nonzero": 1.01}).encode(), "'frac_nonzero' is 1.01"),
    ("maximum", json.dumps({**GOOD, "maxActApprox": [1]}).encode(), "'maxActApprox' is [1]"),
    ("tokens", json.dumps({**GOOD, "pos_str": ["a", 1]}).encode(), "'pos_str' is"),
    (
        "other model",
        json.dumps({**GOOD, "modelId": "gpt2-xl"}).encode(),
        f"'gpt2-xl/{SOURCE}'; the catalog's is '{ID}'",
    ),
    ("values", json.dumps({**ACTIVE, "values": [1]}).encode(), "2 tokens and 1 values"),
    ("no values", json.dumps({**ACTIVE, "values": None}).encode(), "'values' is null"),
    ("twice", json.dumps(GOOD).encode(), "Feature 3 is there twice."),
]


@pytest.mark.parametrize(("line", "said"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_malformed_row_is_named_with_file_and_line(
    line: bytes, said: str, tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb") as file:
        file.write(json.dumps(GOOD).encode() + b"\n\n" + line + b"\n")
    words = ["--site", str(tables.folder.parent), "--out", str(tmp_path / "out")]
    assert main(["compare-neuronpedia", str(path), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert f"{path}, line 3" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.jsonl.gz", gzip.compress(b"x" * 5000, mtime=0)[:-20], "damaged or cut off"),
        ("rows.jsonl.gz", b"{}", "not compressed with gzip"),
        ("rows.jsonl", b"\n", "have no row"),
        ("rows.txt/a.txt", b"{}", "has no file of exported rows"),
    ],
)
def test_files_that_hold_no_rows_are_refused(
    name: str, content: bytes, said: str, tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    given = path.parent if path.parent != tmp_path else path
    assert main(["compare-neuronpedia", str(given), "--site", str(tables.folder.parent)]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    for number in (0, 1):
        save(tmp_path / f"batch-{number}.jsonl", [{"n": number}])
    (tmp_path / "readme.txt").write_text("no rows", encoding="utf-8")
    assert [line.row for line in read_lines([tmp_path], "file")] == [{"n": 0}, {"n": 1}]
