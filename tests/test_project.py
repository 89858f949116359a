"""Properties of the repository: pinned dependencies, no paths of anyone's machine, and an original corpus."""

import re
import runpy
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import files
from itertools import chain
from pathlib import Path

import pytest

from saecatalog.site.asset_files import own_assets, plotly_bundle

ROOT = Path(__file__).parent.parent
CATEGORIES = sorted((ROOT / "corpora").glob("*.txt"))
CONCEPTS = sorted((ROOT / "corpora/concepts").glob("*.txt"))

# Scripts written without spaces between words: Thai, Lao, Khmer, Burmese, kana, Han.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")

# Spelled in parts, so that this file does not hold what it looks for.
FORBIDDEN = {
    "a package registry's host": re.compile(
        "|".join(
            re.escape(host)
            for host in ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "deb.debian" + ".org")
        )
        + "|download.pytorch" + r"\.org"
    ),
    "a path of one machine": re.compile("(?<![\\w.])/(?:work|root|opt" + "/wheels|opt" + "/pypi|home/[a-z]+)/"),
}  # fmt: skip


def committed_files() -> list[Path]:
    """The files that git tracks, or would track once added; none if this is not a clone."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [ROOT / name for name in found.stdout.split("\0") if name and (ROOT / name).is_file()]


def normal(name: str) -> str:
    """A distribution's name, normalised as on the package index."""
    return re.sub(r"[-_.]+", "-", name).lower()


def texts_of(path: Path) -> list[str]:
    """The texts of a corpus file, read in the plainest way."""
    content = path.read_bytes().decode("utf-8")
    parts = re.split(r"\n[ \t]*\n", content) if path.name.endswith(".blocks.txt") else content.split("\n")
    return [part.strip() for part in parts if part.strip()]


def words(text: str) -> float:
    """The number of words, by white space; in scripts without spaces, two characters count as one word."""
    return len(UNSPACED.sub(" ", text).split()) + len(UNSPACED.findall(text)) / 2


def pieces(text: str) -> float:
    """The number of words between punctuation, for formulas and data, which have few spaces."""
    return len(re.findall(r"\w+", UNSPACED.sub(" ", text))) + len(UNSPACED.findall(text)) / 2


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_committed_file_names_a_host_or_a_machine(what: str) -> None:
    files = committed_files()
    if not files:
        pytest.skip("not a git clone")
    corpora = ROOT / "corpora"
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files
        # The texts are about made-up machines, and packed weights can hold anything.
        if corpora not in path.parents and path.suffix not in (".safetensors", ".png", ".parquet")
        for match in FORBIDDEN[what].finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def requirements() -> Iterator[str]:
    """The names of every package the project asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in chain(project["dependencies"], *project["optional-dependencies"].values()):
        yield normal(re.match(r"[A-Za-z0-9._-]+", line).group())  # type: ignore[union-attr]


def test_constraints_pin_every_requirement_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    pinned = Counter(normal(line.partition("==")[0]) for line in lines)
    assert max(pinned.values()) == 1
    assert sorted(set(requirements()) - set(pinned)) == []
    assert "torch==2.13.0" in lines


def locked(part: str) -> dict[str, list[str]]:
    """The pins of a lock file, such as `jinja2==3.1.6`, each with its hashes."""
    lines = (ROOT / f"locks/{part}.txt").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    words = [line.split() for line in lines if not line.startswith("#")]
    return {pin: [word for word in rest if word.startswith("--hash=")] for pin, *rest in words}


@pytest.mark.parametrize("part", ["site", "test", "tools"])
def test_every_locked_file_has_a_hash(part: str) -> None:
    for pin, hashes in locked(part).items():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", pin), pin
        assert hashes, pin
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", found) for found in hashes), pin


def test_the_locks_are_those_of_the_constraints() -> None:
    """Run `make locks` if this fails. Which build of torch is installed depends on the machine, so it has no hash."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    wanted = {f"{normal(name)}=={version}" for name, _, version in (line.partition("==") for line in lines)}
    site, test = set(locked("site")), set(locked("test"))
    assert site | test == wanted - {"torch==2.13.0"}
    assert site & test == set()
    names = {pin.partition("==")[0] for pin in site}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {normal(re.match(r"[\w.-]+", line).group()) for line in project["dependencies"]} <= {*names, "torch"}  # type: ignore[union-attr]
    # Installed without asking what it is built with.
    assert "setuptools" in names


def test_the_locked_tools_are_those_asked_for() -> None:
    assert set((ROOT / ".github/tools.txt").read_text(encoding="utf-8").split()) <= set(locked("tools"))


BANNER = re.compile(rb"licen[sc]e|copyright|\(c\) ", re.IGNORECASE)
"""What scripts of others say about themselves, and this project's own do not."""
LONGEST_LINE = 500
"""Our own scripts are not minified."""


def theirs(script: Path) -> bool:
    """Whether others wrote a script: it has a banner, or it is minified."""
    content = script.read_bytes()
    return bool(BANNER.search(content)) or max(map(len, content.splitlines())) > LONGEST_LINE


def test_every_script_of_others_has_its_licence_beside_it() -> None:
    scripts = [path for path in [*own_assets(), plotly_bundle()] if path.suffix == ".js" and theirs(path)]
    assert plotly_bundle() in scripts
    published = {path.name: path for path in own_assets()}
    for script in scripts:
        licence = published[f"{script.name}.LICENSE.txt"].read_text(encoding="utf-8")
        assert BANNER.search(licence.encode()), script


def test_plotlys_licence_is_that_of_the_installed_one() -> None:
    (found,) = (path for path in files("plotly") or [] if path.name == "LICENSE.txt")
    published = {path.name: path for path in own_assets()}[f"{plotly_bundle().name}.LICENSE.txt"]
    assert published.read_text(encoding="utf-8") == found.read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "src/saecatalog/__init__.py").read_text(encoding="utf-8"))
    assert version
    assert f"version: {version[1]}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_changelog_section_of_a_release_is_found_once_it_is_dated() -> None:
    section = runpy.run_path(str(ROOT / ".github/changelog_section.py"))["section"]
    changelog = "## [Unreleased]\n\n## [0.2.0] - 2027-01-31\n\n- New.\n\n## [0.1.0] - unreleased\n\n- Old.\n"
    assert section(changelog, "0.2.0") == "- New."
    with pytest.raises(ValueError, match=r"no dated section \[0\.1\.0\]"):
        section(changelog, "0.1.0")


def test_the_oldest_dependencies_are_the_lower_bounds() -> None:
    """For the program's own dependencies; test tools are as in constraints.txt."""
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normal(name): version for name, _, version in (line.partition("==") for line in lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["dependencies"]:
        name, lowest = re.match(r"([\w.-]+)[>=]=([\d.]+)", line).groups()  # type: ignore[union-attr]
        assert re.fullmatch(re.escape(lowest) + r"(\.0)*", pinned[normal(name)]), line


def test_every_file_of_the_package_is_in_the_wheel() -> None:
    """A folder with modules is a package, and the patterns of package-data fit every other file."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for path in (p for p in committed_files() if (ROOT / "src/saecatalog") in p.parents):
        if path.suffix == ".py":
            assert (path.parent / "__init__.py").is_file(), path
            continue
        patterns = [
            (ROOT / "src").joinpath(*package.split(".")) / pattern
            for package, found in settings["package-data"].items()
            for pattern in found
        ]
        assert any(path.match(str(pattern)) for pattern in patterns), path


def test_there_are_enough_categories_and_concepts() -> None:
    assert sum(len(texts_of(path)) >= 80 for path in CATEGORIES) >= 12
    assert sum(len(texts_of(path)) >= 20 for path in CONCEPTS) >= 12


@pytest.mark.parametrize(
    ("path", "least"),
    [*((p, 80) for p in CATEGORIES), *((p, 20) for p in CONCEPTS)],
    ids=lambda v: getattr(v, "stem", v),
)
def test_every_corpus_file_has_enough_texts_of_the_right_length(path: Path, least: int) -> None:
    texts = texts_of(path)
    assert len(texts) >= least
    assert [text for text in texts if max(words(text), pieces(text)) < 5] == []
    assert [text for text in texts if words(text) > 120] == []


def test_no_text_stands_twice() -> None:
    counts = Counter(" ".join(text.split()) for path in [*CATEGORIES, *CONCEPTS] for text in texts_of(path))
    assert [text for text, count in counts.items() if count > 1] == []
