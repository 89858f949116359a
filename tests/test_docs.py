"""The documentation: it builds strictly, its links lead somewhere, and its commands run.

A block marked `sh` is run line by line, in a folder that has what the pages name. `.hub` marks commands that download a
model, which are only parsed here, and so are those in blocks without a language.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import SaeKind

from saecatalog.cli import main, parser
from saecatalog.commands import NAMES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = ["../README.md", *sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(?: *(?P<kind>[^\n]*))\n(?P<lines>.*?)^```$", re.MULTILINE | re.DOTALL)
LARGE = {"1714": "5"}
"""Numbers of features of the default SAE, and what stands for them in the small one of the tests."""


def blocks(page: str) -> Iterator[tuple[str, list[str]]]:
    """The kind and the lines of every block of code of a page."""
    for match in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        yield match["kind"].strip(), match["lines"].splitlines()


def commands(page: str, *kinds: str) -> list[str]:
    """The lines of a page's blocks of these kinds."""
    return [line for kind, lines in blocks(page) if kind in kinds for line in lines if line.strip()]


RUN = [page for page in PAGES if commands(page, "sh", "python")]


def test_most_how_to_pages_have_commands() -> None:
    """Otherwise the tests below could pass because no block is found."""
    assert {"tutorial.md", "how-to/sae.md", "how-to/texts.md", "how-to/check.md"} <= set(RUN)


@pytest.mark.parametrize("page", PAGES)
def test_the_flags_of_a_command_exist(page: str) -> None:
    for line in commands(page, "sh", "", "{ .sh .hub }"):
        if line.startswith("saecatalog"):
            words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
            if words[:1] == ["--print-completion"]:
                assert words[1:] == ["bash"]
                continue
            parser().parse_args(words if words[:1] and words[0] in NAMES else ["build", *words])


@pytest.fixture
def run(
    workshop: Path,
    saes: Callable[..., Path],
    models: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], None]:
    """Runs a line of a page in a folder with an SAE, a model, texts and a site."""
    folder = tmp_path / "folder"
    shutil.copytree(workshop / "corpus", folder / "my-texts")
    shutil.copytree(saes("llama", SaeKind("jumprelu")), folder / "my-sae")
    shutil.copytree(saes("llama", SaeKind("topk")), folder / "my-other-sae")
    shutil.copytree(models("llama"), folder / "my-model")
    records = ['{"body": "The cat sat on the mat.", "product": "cats"}', '{"body": "A dog barked.", "product": "dogs"}']
    (folder / "reviews.jsonl").write_text("\n".join(records), encoding="utf-8")
    (folder / "my-concept.txt").write_text("The cat sat.\nA cat ran.\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(workshop / "docs-cache"))

    def run_line(line: str) -> None:
        for large, small in LARGE.items():
            line = re.sub(rf"\b{large}\b", small, line)
        words = shlex.split(line, comments=True)
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
        elif words[0] == "saecatalog":
            assert main(words[1:]) == 0, line
            if words[1] == "init":
                small_subject(Path(words[2]) / "catalog.toml", folder)
        else:
            subprocess.run(line, shell=True, check=True)

    return run_line


def small_subject(settings: Path, folder: Path) -> None:
    """Let a settings file name the small SAE and model."""
    text, n = re.subn(
        r"(?m)^sae = .*$", f'sae = "{folder}/my-sae"\nmodel = "{folder}/my-model"', settings.read_text("utf-8")
    )
    assert n == 1
    settings.write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(page: str, run: Callable[[str], None]) -> None:
    if page.startswith("how-to/") and page != "how-to/sae.md":
        run("saecatalog --sae my-sae --model my-model --corpus my-texts --concepts none --quiet")
    for line in commands(page, "sh"):
        run(line)
    for kind, lines in blocks(page):
        if kind == "python":
            exec("\n".join(lines), {})


def test_the_documentation_builds_strictly(tmp_path: Path) -> None:
    """MkDocs fails at a link, an anchor or a name that does not exist, and at a page without an entry."""
    mkdocs = pytest.importorskip("mkdocs.config", reason="needs the extra `docs`: make test installs it")
    from mkdocs.commands.build import build

    config = mkdocs.load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "docs"))
    build(config)
    assert len(list((tmp_path / "docs").rglob("*.html"))) > len(PAGES)
