"""Every command, flag, setting and table is documented, and the documents name none that does not exist."""

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from saecatalog.cli import parser
from saecatalog.commands import NAMES
from saecatalog.config import SECTIONS, in_file
from saecatalog.schemas import SCHEMAS, TABLES
from saecatalog.texts.formats.known import FORMATS
from saecatalog.texts.streams import COMPRESSED

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "catalog.toml",
    "corpora/README.md",
    "notes/README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
)
OTHER_PROGRAMS = {"--head", "--durations", "--update-snapshots", "--bare-tokens", "--check"}
"""Flags in the documents that are those of pytest, of a benchmark, and of sha256sum."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    (group,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(group.choices)


def settings() -> Iterator[tuple[str, str, Any]]:
    """Section, name and default of every setting that a file may have."""
    for section, defaults in SECTIONS.items():
        for name in in_file(section):
            yield section, name, getattr(defaults, name)


def shown_settings() -> dict[tuple[str, str], tuple[Any, str, bool]]:
    """What catalog.toml shows, by section and name: the value, the comment after it, and whether it is set."""
    shown, section = {}, ""
    for line in read("catalog.toml").splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif match := re.fullmatch(r"(# )?(\w+) = (.+?)(?: +# (.+))?", line):
            value = tomllib.loads(f"value = {match[3]}")["value"]
            assert (section, match[2]) not in shown, line
            shown[section, match[2]] = (value, match[4] or "", match[1] is None)
    return shown


def test_the_readme_lists_every_command_once() -> None:
    listed = re.findall(r"^\| `saecatalog \[?([\w-]+)", read("README.md"), re.MULTILINE)
    assert sorted(listed) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_of_a_command_has_help(name: str) -> None:
    command = commands()[name]
    assert command.description
    assert [action.dest for action in command._actions if not (action.help or "").strip()] == []


def test_documents_name_no_flag_that_does_not_exist() -> None:
    known = {flag for command in (parser(), *commands().values()) for flag in command._option_string_actions}
    for name in DOCUMENTS:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", read(name)))
        assert named - known - OTHER_PROGRAMS == set(), name


def test_every_setting_has_a_flag_or_is_for_the_file_alone() -> None:
    flags = {action.dest for action in commands()["build"]._actions}
    missing = {name for _, name, _ in settings()} - flags
    assert missing == {
        "paths",
        "format",
        "name",
        "title_field",
        "link_field",
        "chat_field",
        "outlier_multiple",
        "contexts",
        "prompts",
        "multiples",
        "description",
        "authors",
        "year",
        "templates",
    }
    assert {"corpus", "corpus_format", "corpus_name"} <= flags  # paths, format and name


def test_catalog_toml_shows_every_setting_and_no_other() -> None:
    assert set(shown_settings()) == {(section, name) for section, name, _ in settings()} | {("", "cache")}


SET = {("site", "title"), ("site", "description"), ("site", "live"), ("effects", "features")}
"""What the default catalog sets to something else than the default."""


@pytest.mark.parametrize(("section", "name", "default"), [pytest.param(*s, id=f"{s[0]}.{s[1]}") for s in settings()])
def test_a_setting_is_shown_with_its_default(section: str, name: str, default: Any) -> None:
    """If the default is empty, the file shows an example, and the comment says what happens without the setting."""
    value, comment, is_set = shown_settings()[section, name]
    if is_set and (section, name) in SET:
        return
    if default in (None, "", ()):
        assert comment
        assert SECTIONS[section].__dataclass_fields__[name].metadata["check"](value) == ""
    else:
        assert value == (list(default) if isinstance(default, tuple) else default)


def test_every_format_of_texts_is_described() -> None:
    _, comment, _ = shown_settings()["corpus", "format"]
    assert comment == ", ".join(("auto", *FORMATS))
    described = set(re.findall(r"`(?:NAME)?(\.[\w.]+)`", read("corpora/README.md")))
    assert described == {ending for reader in FORMATS.values() for ending in reader.suffixes} | set(COMPRESSED)


def test_every_table_and_column_is_described() -> None:
    assert list(TABLES) == list(SCHEMAS)
    for name, (title, words) in TABLES.items():
        assert title, name
        assert words.endswith("."), name
    undescribed = [
        f"{table}.{column}"
        for table, schema in SCHEMAS.items()
        for column, (_, words) in schema.items()
        if (not words[:1].isalnum() and words[:1] not in "'\"(") or not words.endswith(".")
    ]
    assert undescribed == []
