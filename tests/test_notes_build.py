"""Notes from their folder to the site: what a build publishes, what an edit changes, and what `verify` finds."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import D_SAE, SILENT, SaeKind
from test_cli import GOOD, ROOT, catalog, refused, tree

from saecatalog.cli import main
from saecatalog.progress import Progress
from saecatalog.schemas import arrow_schema
from saecatalog.site.check import check_site
from saecatalog.verify.check_catalog import check_notable
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.pages import check_pages
from saecatalog.verify.published import Published
from saecatalog.verify.report import Report

NOTED = (SILENT, 40)
NOTES = {
    f"{NOTED[0]}.md": "Silent here.",
    f"{NOTED[1]}.md": f"See [the other]({NOTED[0]}.md).\n\n![A picture](img/a.png)",
    "categories/prose.md": "Plain sentences.",
    "concepts/animals.md": f"Cats, as feature [{NOTED[1]}](../{NOTED[1]}.md) knows.",
    "index.md": "Welcome.",
}
PICTURE = b"\x89PNG any bytes"
RULED = f"---\nrule:\n  regex: '[a-m]+'\n  category: prose\n---\n{NOTES[f'{NOTED[1]}.md']}"
"""One of these notes with a rule."""


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def flags(workshop: Path, saes: Callable[..., Path]) -> list[str]:
    """Flags for the tiny SAE and its corpus; with so few notable features, those with a note are not notable."""
    sae = saes("llama", SaeKind("jumprelu"))
    return [
        *("--sae", str(sae), "--corpus", str(workshop / "corpus"), "--concepts", str(workshop / "concepts")),
        *(
            "--cache",
            str(workshop / "cli-cache"),
            "--device",
            "cpu",
            "--quiet",
            "--notable",
            "4",
            "--features",
            "notable",
        ),
    ]


@pytest.fixture(scope="module")
def built(workshop: Path, flags: list[str]) -> tuple[Path, Path]:
    """A notes folder and the site built with it, for tests that only read them."""
    os.chdir(ROOT)
    notes, site = workshop / "notes", workshop / "noted-site"
    for name, words in NOTES.items():
        (notes / name).parent.mkdir(parents=True, exist_ok=True)
        (notes / name).write_text(words, encoding="utf-8")
    (notes / "img").mkdir()
    (notes / "img" / "a.png").write_bytes(PICTURE)
    (notes / "unused.png").write_bytes(PICTURE)
    assert main(["build", *flags, "--notes", str(notes), "--out", str(site)]) == GOOD
    return notes, site


@pytest.fixture
def copy(built: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of both that a test may change."""
    notes, site = built
    return shutil.copytree(notes, tmp_path / "notes"), shutil.copytree(site, tmp_path / "site")


def table(site: Path, name: str) -> list[dict[str, object]]:
    return pq.read_table(catalog(site) / "data" / f"{name}.parquet").to_pylist()


def test_a_site_with_notes_keeps_its_rules(built: tuple[Path, Path]) -> None:
    assert check_site(built[1]) == []


def test_the_published_table_holds_the_files(built: tuple[Path, Path]) -> None:
    site = built[1]
    folders = {"feature": "{}.md", "category": "categories/{}.md", "concept": "concepts/{}.md", "index": "index.md"}
    found = {folders[str(row["kind"])].format(row["name"]): row for row in table(site, "notes")}
    assert {name: row["markdown"] for name, row in found.items()} == NOTES
    shown = {name: dict(zip(row["images"], row["images_sha256"], strict=True)) for name, row in found.items()}
    picture = {"img/a.png": hashlib.sha256(PICTURE).hexdigest()}
    assert shown == {name: picture if "](img/" in words else {} for name, words in NOTES.items()}


def test_features_with_a_note_get_a_page_and_a_reason(built: tuple[Path, Path]) -> None:
    rows = {row["feature"]: row for row in table(built[1], "features")}
    assert {f for f, row in rows.items() if "noted" in str(row["notable"])} == set(NOTED)
    assert {rows[f]["notable"] for f in NOTED} == {"noted"}
    assert len([row for row in rows.values() if row["page"]]) == 4 + len(NOTED)
    for feature in NOTED:
        page = (catalog(built[1]) / f"features/{feature}.html").read_text("utf-8")
        assert 'id="note"' in page
        assert f"reason=noted#f{feature}" in page


def test_only_images_that_are_shown_are_published(built: tuple[Path, Path]) -> None:
    assert tree(catalog(built[1]) / "notes") == {"img/a.png": PICTURE}


@pytest.mark.slow
def test_an_edit_of_a_note_changes_its_page_and_loads_no_model(
    copy: tuple[Path, Path], flags: list[str], tmp_path: Path
) -> None:
    """In its own process, to see what was imported."""
    notes, site = copy
    before = tree(site)
    (notes / f"{NOTED[1]}.md").write_text("Edited words, and no picture.", encoding="utf-8")
    program = (
        "import sys; from saecatalog.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or ('torch' in sys.modules and 7) or 0)"
    )
    words = ["build", *flags, "--notes", str(notes), "--out", str(site)]
    run = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == GOOD, run.stderr
    after, slug = tree(site), catalog(site).relative_to(site)
    assert before.keys() - after.keys() == {f"{slug}/notes/img/a.png"}
    changed = {name for name in after if after[name] != before.get(name)}
    data = {f"{slug}/data/notes.parquet", f"{slug}/data/files.json", ".saecatalog.json"}
    assert changed - {f"{slug}/search-index.js"} == data | {f"{slug}/features/{NOTED[1]}.html"}
    assert b"Edited words" in after[f"{slug}/features/{NOTED[1]}.html"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words", "anew"),
    [
        (f"{NOTED[0]}.md", "Still silent.", {f"features/{NOTED[0]}.html", "search-index.js"}),
        ("categories/prose.md", "Plain *sentences*.", {"categories/prose.html"}),
        ("categories/code.md", "A note that is new.", {"categories/code.html"}),
        ("concepts/animals.md", "No cats.", {"concepts/animals.html"}),
        ("index.md", "", {"index.html"}),
        (f"{NOTED[1]}.md", RULED, {f"features/{NOTED[1]}.html", "search-index.js", "data/detection.parquet"}),
    ],
)
def test_an_edit_gives_what_a_full_build_gives_and_takes_the_rest_over(
    copy: tuple[Path, Path], flags: list[str], tmp_path: Path, name: str, words: str, anew: set[str]
) -> None:
    """Reused files are the same files, not new ones with the same bytes."""
    notes, site = copy
    before = {path.relative_to(site): path.stat().st_ino for path in site.rglob("*")}
    (notes / name).write_text(words, encoding="utf-8") if words else (notes / name).unlink()
    for out in (site, tmp_path / "full"):
        assert main(["build", *flags, "--notes", str(notes), "--out", str(out)]) == GOOD
    assert tree(site) == tree(tmp_path / "full")
    slug = catalog(site).relative_to(site)
    other = {
        path
        for path in catalog(site).rglob("*")
        if path.is_file() and path.stat().st_ino != before.get(path.relative_to(site))
    }
    always = {"about.html", "data/manifest.json", "data/notes.parquet", "data/files.json", "notes/img/a.png"}
    assert {path.relative_to(site / slug).as_posix() for path in other} == anew | always


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("text.html", {"texts"}),
        ("feature_embed.html", {"features"}),
        ("about.html", {"."}),
        ("macros.html", {".", "features", "texts", "categories", "concepts", "coactivation"}),
    ],
)
def test_an_edited_template_gives_what_a_full_build_gives_and_takes_the_rest_over(
    copy: tuple[Path, Path],
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    folders: set[str],
) -> None:
    """Pages of other templates are the same files, and so are scripts and data, which use no template."""
    notes, site = copy
    shutil.copytree(ROOT / "templates", tmp_path / "project/templates")
    (tmp_path / "project/catalog.toml").write_text('[site]\ntemplates = "templates"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path / "project")
    before = {path.relative_to(site): path.stat().st_ino for path in site.rglob("*")}
    template = Path("templates", name)
    words = template.read_text("utf-8")
    changed = words.replace("<p", '<p data-edited="1"').replace("<h1", '<h1 data-edited="1"')
    template.write_text(changed, encoding="utf-8")
    for out in (site, tmp_path / "full"):
        assert main(["build", *flags, "--notes", str(notes), "--out", str(out)]) == GOOD
    assert tree(site) == tree(tmp_path / "full")
    files = [path for path in catalog(site).rglob("*.*") if path.is_file() and path.name != "about.html"]
    other = [path for path in files if path.stat().st_ino != before.get(path.relative_to(site))]
    pages = {path.relative_to(catalog(site)) for path in other if path.suffix == ".html"}
    assert {path.parent.as_posix() for path in pages} | ({"."} if name == "about.html" else set()) == folders
    assert any(b"data-edited" in path.read_bytes() for path in other) or name == "about.html"
    assert not [path for path in other if path.suffix == ".js"]


@pytest.mark.slow
def test_where_there_are_no_hard_links_files_are_copied(
    copy: tuple[Path, Path], flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    notes, site = copy
    (notes / "index.md").write_text("Words.", encoding="utf-8")
    assert main(["build", *flags, "--notes", str(notes), "--out", str(tmp_path / "full")]) == GOOD
    monkeypatch.setattr(os, "link", refuse)
    assert main(["build", *flags, "--notes", str(notes), "--out", str(site)]) == GOOD
    assert tree(site) == tree(tmp_path / "full")


@pytest.mark.slow
def test_a_catalog_with_a_file_missing_is_built_anew(copy: tuple[Path, Path], flags: list[str]) -> None:
    notes, site = copy
    before = tree(site)
    (catalog(site) / "about.html").unlink()
    next(iter(sorted(catalog(site).glob("texts/*.html")))).unlink()
    assert main(["build", *flags, "--notes", str(notes), "--out", str(site)]) == GOOD
    assert tree(site) == before


def test_an_image_that_changed_is_published_again(copy: tuple[Path, Path], flags: list[str]) -> None:
    notes, site = copy
    (notes / "img" / "a.png").write_bytes(b"another picture")
    assert main(["build", *flags, "--notes", str(notes), "--out", str(site)]) == GOOD
    assert tree(catalog(site) / "notes") == {"img/a.png": b"another picture"}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("1.md", "[x](2.md)", "links to feature 2, which has no page"),
        (f"{D_SAE}.md", "x", f"0 to {D_SAE - 1}"),
        ("categories/prise.md", "x", "Did you mean prose"),
        ("1.md", "![x](none.png)", "none.png"),
        ("1.md", "---\nrule:\n  regex: '('\n---", "1.md, line 3"),
        ("1.md", "---\nrule: {tokens: [' thnaks']}\n---", "1.md, line 2"),
    ],
)
def test_a_mistake_leaves_the_old_site_as_it_was(
    copy: tuple[Path, Path],
    flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    words: str,
    said: str,
) -> None:
    notes, site = copy
    before = tree(site)
    (notes / name).write_text(words, encoding="utf-8")
    error = refused(capsys, "build", *flags, "--notes", str(notes), "--out", str(site))
    assert said in error
    assert str(notes / name) in error
    assert tree(site) == before
    refused(capsys, "build", *flags, "--notes", str(notes), "--out", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_missing_folder_is_refused_and_none_is_possible(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["build", *flags, "--out", str(tmp_path / "site")]
    assert "notes folder does not exist" in refused(capsys, *words, "--notes", str(tmp_path / "none"))
    assert main([*words, "--notes", ""]) == GOOD
    assert table(tmp_path / "site", "notes") == []
    assert not (catalog(tmp_path / "site") / "notes").exists()


def mismatches(site: Path) -> list[str]:
    """The mismatches that `verify` reports for the pages and files of a site."""
    report = Report()
    check_pages(Published(catalog(site)), report, Progress(quiet=True))
    return [str(line) for line in report.found]


def test_verify_makes_the_same_pages(built: tuple[Path, Path]) -> None:
    assert mismatches(built[1]) == []


def test_verify_finds_an_edited_note_and_an_edited_image(copy: tuple[Path, Path]) -> None:
    folder = catalog(copy[1])
    page = folder / f"features/{NOTED[0]}.html"
    page.write_text(page.read_text("utf-8").replace("Silent here", "Loud here"), encoding="utf-8")
    (folder / "notes/img/a.png").write_bytes(b"another")
    (folder / "notes/img/b.png").write_bytes(b"smuggled in")
    said = mismatches(copy[1])
    assert len(said) == 3
    assert all(any(name in line for line in said) for name in (page.name, "img/a.png", "img/b.png"))


def notable_lines(site: Path) -> list[str]:
    """The mismatches that `verify` reports for the reasons and pages of features."""
    evidence = SimpleNamespace(published=Published(catalog(site)), report=Report())
    check_notable(cast(Evidence, evidence))
    return [str(line) for line in evidence.report.found]


def test_verify_finds_a_feature_that_is_noted_without_a_note(copy: tuple[Path, Path]) -> None:
    assert notable_lines(copy[1]) == []
    rows = [row for row in table(copy[1], "notes") if row["name"] != str(NOTED[1])]
    pq.write_table(pa.Table.from_pylist(rows, arrow_schema("notes")), catalog(copy[1]) / "data" / "notes.parquet")
    said = notable_lines(copy[1])
    assert said
    assert all(f"feature {NOTED[1]}" in line for line in said)


@pytest.mark.slow
def test_a_rule_is_scored_shown_and_verified(
    copy: tuple[Path, Path], flags: list[str], workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The analyses are not repeated for it. Its figures follow from the texts of the second half."""
    notes, site = copy
    (notes / f"{NOTED[1]}.md").write_text(RULED, encoding="utf-8")
    (notes / f"{NOTED[0]}.md").write_text("---\nrule: {category: code}\n---\nSilent.", encoding="utf-8")
    analyses = sorted((workshop / "cli-cache/analysis").iterdir())
    assert main(["build", *flags, "--notes", str(notes), "--out", str(site)]) == GOOD
    assert len(sorted((workshop / "cli-cache/analysis").iterdir())) == len(analyses) + 1
    rows = {row["feature"]: row for row in table(site, "detection") if row["rule_source"] == "note"}
    assert set(rows) == set(NOTED)
    row, texts = rows[NOTED[1]], [text for text in table(site, "texts") if text["half"] == "second"]
    assert row["rule"] == "in a match of [a-m]+, in category prose"
    wanted = 0
    for text in texts:
        starts = [0, *text["token_ends"][:-1]]
        spans = [(min(a, b - 1), b) for a, b in zip(starts, text["token_ends"], strict=True)]
        if text["category"] == "prose":
            wanted += sum(any(char in "abcdefghijklm" for char in text["content"][max(a, 0) : b]) for a, b in spans)
    assert (row["n_matched"], row["n_tokens"]) == (wanted, sum(t["n_tokens"] - t["n_excluded"] for t in texts))
    page = (catalog(site) / f"features/{NOTED[1]}.html").read_text("utf-8")
    assert "The author’s rule, <b>in a match of [a-m]+, in category prose</b>, on the" in page
    assert "regex" not in page
    assert "cannot be tested" in (catalog(site) / f"features/{NOTED[0]}.html").read_text("utf-8")
    assert check_site(site) == []
    capsys.readouterr()
    words = ["verify", str(site), "--sample", str(D_SAE), "--cache", str(workshop / "cli-cache"), "--quiet"]
    assert main(words) == GOOD, capsys.readouterr().out
