"""Where a catalog stands in a site: beside the others, in the place of an earlier build of itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SaeKind

from saecatalog.cli import main
from saecatalog.errors import CatalogError
from saecatalog.site.inventory import FILE_LIST, MANIFEST, files_below
from saecatalog.site.places import catalog_named, place_of

FIRST = "tiny/0-res"


def manifest(sae: str = "a/b", corpus: str | None = "texts", model: str = "m") -> dict[str, Any]:
    named = {"name": corpus} if corpus is not None else {}
    return {"slug": FIRST, "model": {"name": model}, "sae": {"name": sae}, "corpus": named}


def with_weights(content: dict[str, Any], sae: str = "s") -> dict[str, Any]:
    """The manifest with the hashes of the weights."""
    hashes = {"weights_sha256": sae, "settings_hash": "h"}
    return {**content, "model": {**content["model"], "weights_sha256": "w"}, "sae": {**content["sae"], **hashes}}


def put(out: Path, slug: str, content: object) -> None:
    (out / slug / "data").mkdir(parents=True)
    (out / slug / FILE_LIST).write_text('{"files": {}}', encoding="utf-8")
    (out / slug / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("standing", "wanted"),
    [
        ({}, FIRST),
        ({FIRST: manifest()}, FIRST),
        ({FIRST: manifest(corpus="other")}, f"{FIRST}-texts"),
        ({FIRST: manifest(corpus="other"), f"{FIRST}-texts": manifest()}, f"{FIRST}-texts"),
        ({FIRST: manifest(), f"{FIRST}-texts": manifest()}, FIRST),
        ({FIRST: manifest(sae="c/b")}, f"{FIRST}-texts"),
        ({FIRST: manifest(sae="./a/b/")}, FIRST),
        ({FIRST: manifest(corpus=None)}, FIRST),
        ({FIRST: manifest(sae="c/b", corpus=None)}, f"{FIRST}-texts"),
        ({FIRST: "no mapping"}, f"{FIRST}-texts"),
        ({"tiny/9-mlp": manifest()}, "tiny/9-mlp"),
    ],
)
def test_place_of_a_catalog(standing: dict[str, Any], wanted: str, tmp_path: Path) -> None:
    for slug, content in standing.items():
        put(tmp_path, slug, content)
    assert place_of(tmp_path, files_below(tmp_path), manifest()) == wanted


@pytest.mark.parametrize(
    ("standing", "wanted"),
    [
        (with_weights(manifest("other/a/b", model="other/m")), FIRST),
        (with_weights(manifest("other/a/b", corpus="other")), f"{FIRST}-texts"),
        (with_weights(manifest("other/a/b"), sae="t"), f"{FIRST}-texts"),
        (manifest("other/a/b"), f"{FIRST}-texts"),
    ],
)
def test_the_same_folders_named_from_elsewhere_are_the_same_catalog(standing: Any, wanted: str, tmp_path: Path) -> None:
    put(tmp_path, FIRST, standing)
    assert place_of(tmp_path, files_below(tmp_path), with_weights(manifest())) == wanted


SITE = {"gpt/6-res": manifest(), "gpt/6-res-code": manifest(), "gpt/8-res": manifest(), "tiny/0-res": manifest()}


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("gpt/6-res", "gpt/6-res"),
        ("gpt/6-res-code/", "gpt/6-res-code"),
        ("gpt/8", "gpt/8-res"),
        ("ti", "tiny/0-res"),
        ("{site}/gpt/6-res", "gpt/6-res"),
        ("{site}/../site/tiny/0-res/", "tiny/0-res"),
    ],
)
def test_a_catalog_is_found_by_folder_path_and_beginning(word: str, wanted: str, tmp_path: Path) -> None:
    for slug, content in SITE.items():
        put(tmp_path / "site", slug, content)
    site = tmp_path / "site"
    assert catalog_named(site, files_below(site), word.format(site=site)) == wanted


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("gpt/6-rse", "Did you mean gpt/6-res"),
        ("gpt", "Name one: gpt/6-res, gpt/6-res-code, gpt/8-res."),
        ("", "Its catalogs: gpt/6-res"),
        (".", "Its catalogs: gpt/6-res"),
        ("../../etc", "Its catalogs: gpt/6-res"),
        ("compare", "Its catalogs: gpt/6-res"),
    ],
)
def test_a_name_that_fits_no_catalog_or_several_is_refused(word: str, said: str, tmp_path: Path) -> None:
    for slug, content in SITE.items():
        put(tmp_path / "site", slug, content)
    with pytest.raises(CatalogError) as error:
        catalog_named(tmp_path / "site", files_below(tmp_path / "site"), word)
    assert said in error.value.fix


def test_no_catalog_is_put_among_the_comparisons(tmp_path: Path) -> None:
    assert place_of(tmp_path, {}, {**manifest(), "slug": "compare/0-res"}) == "compare-model/0-res"


def test_a_third_of_the_same_names_has_a_place_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, FIRST, manifest(sae="c/b"))
    put(tmp_path, f"{FIRST}-texts", manifest(sae="d/b"))
    found = place_of(tmp_path, files_below(tmp_path), manifest())
    assert found.startswith(f"{FIRST}-texts-")
    put(tmp_path, found, manifest())
    assert place_of(tmp_path, files_below(tmp_path), manifest()) == found


def test_a_second_corpus_and_a_second_sae_of_one_name_stand_beside_the_first(
    workshop: Path, saes: Callable[..., Path], tmp_path: Path
) -> None:
    first, other = tmp_path / "runs/one/final", tmp_path / "runs/two/final"
    for folder, kind in ((first, "jumprelu"), (other, "standard")):
        shutil.copytree(saes("llama", SaeKind(kind)), folder)
    flags = ["--cache", str(workshop / "places-cache"), "--device", "cpu", "--quiet", "--out", str(tmp_path / "site")]
    flags += ["--concepts", str(tmp_path / "none")]
    for words, name in (("One cat.\nA dog ran.\n", "animals"), ("Where is it?\nNo!\n", "questions")):
        (tmp_path / f"{name}.txt").write_text(words, encoding="utf-8")
    builds = [(first, "animals"), (first, "questions"), (other, "animals"), (first, "animals")]
    seen: list[dict[str, bytes]] = []
    for sae, corpus in builds:
        assert main(["build", "--sae", str(sae), "--corpus", str(tmp_path / f"{corpus}.txt"), *flags]) == 0
        seen.append({str(p): p.read_bytes() for p in (tmp_path / "site").rglob("*/*.html")})
    catalogs = {path.parent.parent for path in (tmp_path / "site").rglob("data/manifest.json")}
    assert len(catalogs) == 3
    assert seen[0].items() <= seen[1].items() <= seen[2].items(), "no page of an earlier catalog changed"
    assert seen[3] == seen[2], "the same build again takes its own place"
    found = {json.loads((c / MANIFEST).read_text())["corpus"]["name"] for c in catalogs}
    assert found == {"animals", "questions"}
    front = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert all(c.relative_to(tmp_path / "site").as_posix() in front for c in catalogs)


def test_other_texts_of_the_same_name_are_told(
    workshop: Path, saes: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--sae", str(saes("llama", SaeKind("jumprelu"))), "--cache", str(workshop / "places-cache")]
    flags += ["--device", "cpu", "--quiet", "--out", str(tmp_path / "site"), "--concepts", str(tmp_path / "none")]
    said = []
    for folder, words in (("one", "One cat.\nA dog.\n"), ("two", "A dog.\nNo!\n"), ("three", "Where?\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(words, encoding="utf-8")
        assert main(["build", "--corpus", str(tmp_path / folder / "a.txt"), *flags]) == 0
        said.append("other texts of the name 'a'" in capsys.readouterr().err)
    assert said == [False, False, True]
