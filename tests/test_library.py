"""The library: its names, its answers against slow ones made from dense activations, its errors, and its notebook."""

import ast
import json
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import CODE, CONCEPTS, D_SAE, PROSE, SCRIPTS, SILENT, SaeKind

import saecatalog
from saecatalog import library
from saecatalog.schemas import SCHEMAS

ROOT = Path(__file__).parent.parent
CORPUS = {"prose": PROSE, "scripts": SCRIPTS, "code": CODE}
TOP = 3
MINE = ["The dog ran to the ferry. 😀", "cat.sit('mat')"]


@pytest.fixture(scope="module")
def subject(workshop: Path, saes: Callable[..., Path]) -> library.Subject:
    sae = saes("llama", SaeKind("jumprelu"))
    return saecatalog.load_subject(sae, device="cpu", cache=workshop / "library-cache")


@pytest.fixture(scope="module")
def harvest(subject: library.Subject) -> library.Harvest:
    return saecatalog.harvest_texts(subject, saecatalog.read_corpus(CORPUS, CONCEPTS))


@pytest.fixture(scope="module")
def catalog(harvest: library.Harvest) -> library.Analysis:
    return harvest.analyse(top=TOP)


@pytest.fixture(scope="module")
def opened(catalog: library.Analysis, workshop: Path) -> library.Catalog:
    """The same catalog, published and opened again."""
    summary = catalog.build_site(workshop / "library-site", title="Mine")
    assert summary.entry.is_file()
    return saecatalog.open_catalog(workshop / "library-site")


@pytest.fixture(scope="module")
def dense(harvest: library.Harvest) -> pd.DataFrame:
    """Every counted token's activations, `[token, feature]`, indexed by text and position."""
    tokens = harvest.tokens
    frame = pd.DataFrame(harvest.matrix.toarray(), index=pd.MultiIndex.from_frame(tokens[["text", "position"]]))
    return frame[tokens["counted"].to_numpy()]


@pytest.fixture(scope="module")
def scores(dense: pd.DataFrame) -> pd.DataFrame:
    """The largest activation of each feature on each text."""
    return dense.groupby(level="text").max()


def test_the_names_are_listed_once_and_are_no_modules() -> None:
    """A module of the same name would take the place of a function once it is imported."""
    assert saecatalog.__all__ == library.__all__
    assert [name for name in saecatalog.__all__ if find_spec(f"saecatalog.{name}")] == []
    assert all(getattr(saecatalog, name).__doc__ for name in saecatalog.__all__)
    assert set(saecatalog.__all__) <= set(dir(saecatalog))
    with pytest.raises(AttributeError, match="no attribute 'anything'"):
        _ = saecatalog.anything  # type: ignore[attr-defined]


def test_the_command_line_starts_without_the_library() -> None:
    program = (
        "import sys; import saecatalog; from saecatalog.cli import parser; parser();"
        "sys.exit(str({'pandas', 'numpy', 'torch', 'saecatalog.library'} & sys.modules.keys() or ''))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stderr.strip() == ""


def test_one_call_is_the_stages_in_turn(catalog: library.Analysis, subject: library.Subject, workshop: Path) -> None:
    cache = workshop / "library-cache"
    corpus = saecatalog.read_corpus(CORPUS, CONCEPTS)
    other = saecatalog.analyse(corpus, subject.info.sae_name, device="cpu", top=TOP, cache=cache)
    for name in SCHEMAS:
        pd.testing.assert_frame_equal(other.frame(name), catalog.frame(name))
    assert other.manifest == catalog.manifest


def test_texts_may_come_from_files(workshop: Path) -> None:
    from_files = saecatalog.read_corpus(workshop / "corpus", workshop / "concepts")
    frame = from_files.frame
    assert set(frame.loc[frame["category"] == "prose", "content"]) == {line.strip() for line in PROSE}
    given = saecatalog.read_corpus({"prose": [line.strip() for line in PROSE]})
    assert given.frame.groupby("category").size()["prose"] == len(PROSE)
    mine, theirs = (set(found.loc[found["category"] == "prose", "text"]) for found in (given.frame, frame))
    assert mine == theirs


def test_a_loaded_subject_stays_what_it_is_when_its_files_change(
    subject: library.Subject, saes: Callable[..., Path], workshop: Path, tmp_path: Path
) -> None:
    """Otherwise its activations would be kept in the cache as those of the SAE that is there now."""
    folder = shutil.copytree(saes("llama", SaeKind("jumprelu")), tmp_path / "sae")
    first = saecatalog.load_subject(folder, device="cpu", cache=workshop / "library-cache")
    shutil.copytree(saes("llama", SaeKind("standard")), folder, dirs_exist_ok=True)
    second = saecatalog.load_subject(folder, device="cpu", cache=workshop / "library-cache")
    corpus = saecatalog.read_corpus({"a": ["The cat sat."], "b": ["A dog ran."]}, None)
    old, new, same = (saecatalog.harvest_texts(s, corpus).matrix.toarray() for s in (first, second, subject))
    assert (old != new).any()
    np.testing.assert_array_equal(old, same)


def test_a_published_catalog_gives_the_same_answers(catalog: library.Analysis, opened: library.Catalog) -> None:
    for name in SCHEMAS.keys() - {"notes"}:
        pd.testing.assert_frame_equal(opened.frame(name), catalog.frame(name))
    pd.testing.assert_frame_equal(opened.strongest(30), catalog.strongest(30))
    pd.testing.assert_frame_equal(opened.specialists(), catalog.specialists())
    assert opened.manifest["title"] == "Mine"


def test_tables_are_the_callers_own(catalog: library.Analysis) -> None:
    for mine in (features := catalog.features, texts := catalog.frame("texts")):
        mine.loc[:, ["label"] if mine is features else ["content"]] = "changed"
    assert "changed" in set(texts["content"])
    assert "changed" not in set(catalog.features["label"]) | set(catalog.texts["content"])


def test_top_features_are_those_with_the_largest_scores(catalog: library.Analysis, scores: pd.DataFrame) -> None:
    for n in (2, 40):
        found = catalog.top_features(n=n)
        for text, row in scores.iterrows():
            wanted = [(f, v) for f, v in sorted(enumerate(row), key=lambda pair: (-pair[1], pair[0])) if v > 0][:n]
            mine = found[found["text"] == text]
            assert list(zip(mine["feature"], mine["score"], strict=True)) == wanted
            assert mine["rank"].tolist() == list(range(len(wanted)))
    one = catalog.top_features(str(scores.index[0]), 3)
    assert set(one["text"]) == {scores.index[0]}
    assert one["label"].tolist() == [catalog.features.loc[f, "label"] for f in one["feature"]]


def test_rankings_may_be_longer_than_the_published_ones(catalog: library.Analysis, scores: pd.DataFrame) -> None:
    largest, texts = scores.max(), (scores > 0).sum()
    fired = [f for f in range(D_SAE) if largest[f] > 0]
    by_max = sorted(fired, key=lambda f: (-largest[f], f))
    by_texts = sorted(fired, key=lambda f: (-texts[f], f))
    for n in (1, TOP, TOP + 5, 100):
        assert catalog.strongest(n)["feature"].tolist() == by_max[:n]
        assert catalog.most_frequent(n)["feature"].tolist() == by_texts[:n]
    strong = (scores > catalog.manifest["settings"]["strong_threshold"]).sum()
    by_few = sorted((f for f in fired if strong[f]), key=lambda f: (strong[f], -largest[f], f))
    assert catalog.most_selective(9)["feature"].tolist() == by_few[:9]


def test_specialists_have_their_figures(catalog: library.Analysis) -> None:
    rows = catalog.frame("categories")
    for category in CORPUS:
        inside = rows[(rows["category"] == category) & (rows["balanced_score"] > 0)]
        order = inside.sort_values(["balanced_score", "auroc", "feature"], ascending=[False, False, True])
        found = catalog.specialists(category, 100)
        assert found["feature"].tolist() == order["feature"].tolist()
        assert found["strong_inside"].tolist() == order["strong_inside"].tolist()
    assert catalog.specialists(n=2).groupby("category").size().max() <= 2


def test_common_features_are_active_in_most_texts_of_a_category(
    catalog: library.Analysis, scores: pd.DataFrame
) -> None:
    active, category = scores > 0, catalog.texts["category"].loc[scores.index]
    for name in CORPUS:
        inside, outside = active[category == name], active[category != name]
        shares = {f: (Fraction(int(inside[f].sum()), len(inside)), outside[f].sum()) for f in range(D_SAE)}
        more = {f: share - Fraction(int(n), len(outside)) for f, (share, n) in shares.items() if 2 * share > 1}
        wanted = sorted(more, key=lambda f: (-more[f], -shares[f][0], f))
        found = catalog.common_features(name, D_SAE)
        assert found["feature"].tolist() == wanted
        assert found["active_inside"].tolist() == [inside[f].sum() for f in wanted]
    pd.testing.assert_frame_equal(catalog.common_features(n=2).query("category == @name"), found[:2], check_like=True)


def test_partners_are_counted_on_the_tokens(catalog: library.Analysis, dense: pd.DataFrame) -> None:
    active = dense > 0
    feature = int(catalog.frame("coactivation")["feature_a"].mode()[0])
    found = catalog.coactivation(feature)
    assert len(found)
    assert feature not in set(found["feature"])
    assert found["phi"].is_monotonic_decreasing
    for row in found.itertuples():
        assert row.n_here == active[feature].sum()
        assert row.n_there == active[row.feature].sum()
        assert row.n_both == (active[feature] & active[row.feature]).sum()


def test_a_text_of_the_corpus_gives_the_activations_of_the_corpus(
    catalog: library.Analysis, subject: library.Subject, dense: pd.DataFrame
) -> None:
    text = catalog.texts.iloc[0]
    wanted = dense.loc[text["text"]]
    for feature in catalog.strongest(3)["feature"]:
        found = catalog.explore(feature, text["content"])
        assert "".join(found["token"]) == text["content"]
        np.testing.assert_allclose(found["activation"], wanted[feature], atol=1e-4)
        pd.testing.assert_frame_equal(subject.explore(feature, text["content"]), found)


@pytest.fixture(scope="module")
def mine(subject: library.Subject) -> pd.DataFrame:
    """Activations `[token, feature]` of MINE, run as a corpus, indexed by text and position."""
    run = saecatalog.harvest_texts(
        subject, saecatalog.read_corpus({str(n): [text] for n, text in enumerate(MINE)}, None)
    )
    assert run.tokens["counted"].all()
    places = pd.MultiIndex.from_arrays([run.tokens["text"].str[0].astype(int), run.tokens["position"]])
    return pd.DataFrame(run.matrix.toarray(), index=places)


def strongest(values: pd.Series, n: int) -> list[int]:
    """The features with the largest values above 0."""
    return [f for f in sorted(values.index, key=lambda f: (-values[f], f)) if values[f] > 0][:n]


def test_features_on_texts_are_the_strongest_of_all(catalog: library.Analysis, mine: pd.DataFrame) -> None:
    of_tokens = catalog.features_on(MINE, 4, each="token")
    for (text, position), values in mine.iterrows():
        found = of_tokens[(of_tokens["text"] == text) & (of_tokens["position"] == position)]
        assert found["feature"].tolist() == strongest(values, 4)
        np.testing.assert_allclose(found["activation"], values[found["feature"]], rtol=1e-5)
    of_texts = catalog.features_on(MINE, 6)
    for text, values in mine.groupby(level=0).max().iterrows():
        found = of_texts[of_texts["text"] == text]
        assert found["feature"].tolist() == strongest(values, 6)
        np.testing.assert_allclose(found["score"], values[found["feature"]], rtol=1e-5)
        for row in found.itertuples():
            assert mine.loc[(text, row.position), row.feature] == values[row.feature]


def test_a_concept_is_compared_with_the_corpus(
    catalog: library.Analysis, scores: pd.DataFrame, mine: pd.DataFrame
) -> None:
    found = catalog.concept(MINE, "mine").set_index("feature")
    strong = catalog.manifest["settings"]["strong_threshold"]
    largest = mine.groupby(level=0).max()
    assert set(found.index) == {f for f in range(D_SAE) if largest[f].any()}
    for feature, row in found.iterrows():
        own = largest[feature]
        assert (row["n_texts"], row["n_strong"]) == (len(MINE), (own > strong).sum())
        assert row["mean_all"] == pytest.approx(own.mean(), rel=1e-5)
        wins = [float(np.sign(a - b) / 2 + 0.5) for a in own for b in scores[feature]]
        assert row["auroc"] == pytest.approx(np.mean(wins), abs=1e-6)


def test_heatmaps_show_the_scores_and_overlaps(catalog: library.Analysis, scores: pd.DataFrame) -> None:
    (trace,) = catalog.category_heatmap().data
    features = [int(name.split()[0][1:]) for name in trace.y]
    wanted = scores.loc[list(trace.x), features].to_numpy().T
    np.testing.assert_allclose(np.array(trace.z, float), wanted, rtol=1e-2)
    (trace,) = catalog.coactivation_heatmap().data
    features = [int(name.split()[0][1:]) for name in trace.y]
    pairs = catalog.frame("coactivation")
    row = pairs[(pairs["level"] == "token") & pairs["feature_a"].isin(features) & pairs["feature_b"].isin(features)]
    for pair in row.itertuples():
        place = features.index(pair.feature_a), features.index(pair.feature_b)
        assert trace.z[place[0]][place[1]] == pytest.approx(pair.jaccard)


def test_a_histogram_counts_every_active_token(catalog: library.Analysis) -> None:
    feature = int(catalog.strongest(1)["feature"].iloc[0])
    (trace,) = catalog.histogram(feature).data
    assert sum(trace.y) == catalog.features.loc[feature, "n_active"]
    assert len(catalog.histogram(SILENT).data[0].x) == 0


MISTAKES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "feature": (lambda c: c.explore(D_SAE, "a"), f"0 to {D_SAE - 1}"),
    "rows": (lambda c: c.about("contexts", -1), f"0 to {D_SAE - 1}"),
    "text": (lambda c: c.top_features("prose-0"), "no text"),
    "empty": (lambda c: c.features_on(""), "no tokens"),
    "none": (lambda c: c.features_on([]), "No text"),
    "half": (lambda c: c.features_on("a\udcff"), "undecodable byte"),
    "half in a concept": (lambda c: c.concept(["a\udcff"]), "undecodable byte"),
    "no concept": (lambda c: c.concept([]), "No text"),
    "category": (lambda c: c.specialists("prise"), "Did you mean prose"),
    "concept": (lambda c: c.concept_features("animal"), "Did you mean animals"),
    "table": (lambda c: c.frame("feature"), "Did you mean features"),
    "n": (lambda c: c.strongest(0), "1 or more"),
    "kind": (lambda c: c.clearest("word"), "Did you mean words"),
    "n of texts": (lambda c: c.top_features(n=0), "1 or more"),
    "setting": (lambda c: c.build_site("x", titel="a"), "Did you mean title"),
    "value": (lambda c: c.build_site("x", csv="yes"), "true or false"),
    "corpus": (lambda c: saecatalog.read_corpus({"a": []}), "has no texts"),
    "string": (lambda c: saecatalog.read_corpus({"a": "text"}), "list of strings"),
    "number": (lambda c: saecatalog.read_corpus({"a": [1]}), "a, text 1"),
    "alike": (lambda c: saecatalog.read_corpus({"a b": ["x"], "A-b": ["y"]}), "same name"),
    "file": (lambda c: saecatalog.read_corpus("nowhere"), "nowhere"),
    "sae": (lambda c: saecatalog.load_subject("corpora"), "does not contain an SAE"),
    "site": (lambda c: saecatalog.open_catalog("nowhere"), "does not exist"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_error(name: str, catalog: library.Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    mistake, said = MISTAKES[name]
    with pytest.raises(saecatalog.CatalogError) as told:
        mistake(catalog)
    assert said in str(told.value)
    assert not (ROOT / "x").exists()


def test_a_damaged_table_is_one_clear_error(opened: library.Catalog, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manifest.json").write_text(json.dumps(opened.manifest), encoding="utf-8")
    (tmp_path / "data/features.parquet").write_bytes(b"PAR1 nothing")
    damaged = saecatalog.open_catalog(tmp_path)
    for question in (
        damaged.strongest,
        damaged.specialists,
        damaged.category_heatmap,
        lambda: damaged.about("tokens", 1),
    ):
        with pytest.raises(saecatalog.CatalogError, match="cannot be read"):
            question()
    (tmp_path / "data/manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(saecatalog.CatalogError, match="manifest of this catalog cannot be read"):
        saecatalog.open_catalog(tmp_path)


def test_nothing_is_printed_and_notices_are_warnings(
    catalog: library.Analysis, subject: library.Subject, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", saecatalog.CatalogWarning)
        catalog.features_on("The cat sat.")
        saecatalog.harvest_texts(subject, saecatalog.read_corpus({"a": ["A dog ran.", "It sat."]}, None)).analyse()
    with pytest.warns(saecatalog.CatalogWarning, match="such as </s>"):
        subject.features_on("one </s> two")
    assert capfd.readouterr() == ("", "")


EXAMPLES = ROOT / "examples"


def test_the_notebook_is_the_script() -> None:
    """Run `python examples/to_notebook.py` if this fails."""
    made = runpy.run_path(str(EXAMPLES / "to_notebook.py"))
    script = (EXAMPLES / "notebook.py").read_text(encoding="utf-8")
    assert made["text_of"](made["notebook"](script)) == (EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8")


def shown(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns the value of its last line, as a notebook shows it."""
    *lines, last = ast.parse(source).body
    exec(compile(ast.Module(lines, []), "cell", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    exec(compile(ast.Module([last], []), "cell", "exec"), names)
    return None


def test_the_notebook_answers_every_question(catalog: library.Analysis, workshop: Path) -> None:
    """On the tiny subject: only the cell with the parameters is replaced."""
    book = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    (given,) = (cell for cell in code if "parameters" in cell["metadata"].get("tags", []))
    names: dict[str, Any] = {"__name__": "notebook"}
    exec("".join(given["source"]).replace("read_corpus(", "dict(corpus="), names)
    mine = {
        "SAE": catalog.manifest["sae"]["name"],
        "CORPUS": saecatalog.read_corpus(CORPUS, CONCEPTS),
        "TEXT": MINE[0],
        "IDEA": CONCEPTS["animals"],
        "analyse": lambda *words: saecatalog.analyse(*words, device="cpu", cache=workshop / "library-cache"),
    }
    # `read_corpus` is the only other name that the cell makes.
    assert names.keys() - mine.keys() == {"__name__", "__builtins__", "read_corpus"}
    names |= mine
    answers = [shown("".join(cell["source"]), names) for cell in code if cell is not given]
    assert all(answer is not None for answer in answers)
    tables = [answer for answer in answers if isinstance(answer, pd.DataFrame)]
    assert len(tables) >= 12
    assert all(len(table) for table in tables)
    assert sum(type(answer).__name__ == "Figure" for answer in answers) == 3
