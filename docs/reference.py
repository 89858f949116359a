"""The reference pages of the documentation: the code flows in, Markdown pages flow out.

A hook of MkDocs, named in `mkdocs.yml`; the pages exist only in the built documentation, so that they cannot fall
behind the code.
"""

import argparse
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from saecatalog.cli import parser
from saecatalog.compare import tables as comparison
from saecatalog.config import SECTIONS, in_file
from saecatalog.schemas import SCHEMAS, TABLES, Schema


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(page()) + "\n"))
    return files


def cell(words: object) -> str:
    """Words as they can stand in a cell of a table."""
    return " ".join(str(words).split()).replace("|", "\\|").replace("<", "&lt;")


def rows(head: tuple[str, ...], body: list[tuple[object, ...]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [head, tuple("---" for _ in head), *(tuple(cell(part) for part in row) for row in body)]
    return ["", *("| " + " | ".join(line) + " |" for line in lines), ""]


def commands() -> Iterator[str]:
    """Every command with its arguments, from the parser of the command line."""
    top = parser()
    (group,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    yield "# Commands"
    yield "\nIn a checkout, write `python build.py` for `saecatalog`. `build` is the default command.\n"
    for name, command in group.choices.items():
        yield f"## {name}\n"
        yield f"{command.description}\n"
        for part in command._action_groups:
            shown = [action for action in part._group_actions if action.dest != "help"]
            if shown:
                title = str(part.title)
                yield from rows((title[0].upper() + title[1:], ""), [(spelling(a), help_of(command, a)) for a in shown])
        yield f"```\n{command.epilog}\n```\n"
    yield f"## Exit codes\n\n{top.epilog}"


def spelling(action: argparse.Action) -> str:
    """How an argument is written: `--model M`, or `CATALOG.toml`."""
    value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
    flags = ", ".join(action.option_strings)
    return f"`{f'{flags} {value if action.nargs != 0 else str()}'.strip() or action.dest}`"


def help_of(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help of an argument, with its values filled in."""
    return command._get_formatter()._expand_help(action)


def settings() -> Iterator[str]:
    """Every setting of a catalog file, from the docstrings of the configuration."""
    yield "# Settings"
    yield (
        "\nA catalog file is TOML. All settings have defaults; `saecatalog init` writes a file that shows them. Flags "
        "of the command line override the file. Paths are relative to the file.\n"
    )
    yield (
        "`cache`, above all sections, is the folder for models and results. If it is not set, it is your user cache "
        "folder.\n"
    )
    for section, default in SECTIONS.items():
        yield f"## [{section}]\n\n{inspect.getdoc(type(default))}"
        words = attribute_docs(type(default))
        names = in_file(section)
        table: list[tuple[object, ...]] = [(f"`{n}`", f"`{toml(getattr(default, n))}`", words[n]) for n in names]
        yield from rows(("setting", "default", "meaning"), table)


def toml(value: object) -> str:
    """A default as a catalog file would write it; a setting without a default has none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def attribute_docs(kind: type) -> dict[str, str]:
    """The strings that stand below the fields of a dataclass, which Python itself does not keep."""
    import ast

    (body,) = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for line, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(below, ast.Expr):
            found[line.target.id] = ast.literal_eval(below.value)
    return {f.name: found[f.name] for f in fields(kind)}


def tables() -> Iterator[str]:
    """Every table of a catalog's data with its columns, from the schemas."""
    yield "# Tables and columns"
    yield (
        "\nThe numbers on the pages come from the Parquet files in the folder `data/` of a catalog, one for each "
        "table. The meaning of each column is in the file's own metadata too.\n"
    )
    for name, schema in SCHEMAS.items():
        yield from table(name, *TABLES[name], schema)
    yield "## Comparisons\n\nThe folder `data/` of a comparison of two catalogs has these tables."
    for name, schema in comparison.SCHEMAS.items():
        yield from table(name, *comparison.TABLES[name], schema)


def table(name: str, title: str, words: str, schema: Schema) -> Iterator[str]:
    """One table with its columns."""
    yield f"## {name}.parquet\n\n{title}. {words}"
    body: list[tuple[object, ...]] = [(f"`{c}`", f"`{kind}`", meaning) for c, (kind, meaning) in schema.items()]
    yield from rows(("column", "type", "meaning"), body)


PAGES: dict[str, Callable[[], Iterator[str]]] = {"commands": commands, "settings": settings, "tables": tables}
"""The pages by name, below `reference/`."""
