"""Readability statistics of the source of Python packages.

    python benchmarks/source.py FOLDER [FOLDER ...]

One column for each folder of source. Lines are those with code or a comment, docstrings left out. A comment counts
unless it is an instruction to a tool (`noqa`, `type:`, `fmt:`).
"""

import argparse
import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path

LONG_FUNCTION, LONG_MODULE = 60, 400
INSTRUCTION = re.compile(r"#\s*(noqa|type:|fmt:|pragma|mypy:|ruff:|pylint|!)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[Function]:
    """Every function and method, nested ones included."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def comments(source: str) -> int:
    """Number of comments for human readers."""
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(token.type == tokenize.COMMENT and not INSTRUCTION.match(token.string) for token in found)


def code_lines(source: str, tree: ast.Module) -> int:
    """Number of lines that are neither blank nor part of a docstring."""
    texts = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return sum(bool(line.strip()) and number not in texts for number, line in enumerate(source.splitlines(), 1))


def documented(tree: ast.Module) -> tuple[int, int]:
    """Number of public functions and classes, and how many of them have a docstring."""
    public = [
        node for node in ast.walk(tree) if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
    ]
    return len(public), sum(ast.get_docstring(node) is not None for node in public)


def measure(folder: Path) -> dict[str, str]:
    """The figures of one folder of source."""
    sources = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}
    trees = {path: ast.parse(source) for path, source in sources.items()}
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for tree in trees.values() for node in functions(tree)]
    lines = sum(code_lines(source, trees[path]) for path, source in sources.items())
    public, with_words = (sum(column) for column in zip(*map(documented, trees.values()), strict=True))
    any_type = sum(len(re.findall(r"\bAny\b", source)) for source in sources.values())
    ignored = sum(len(re.findall(r"type: ignore|noqa", source)) for source in sources.values())
    return {
        "modules": f"{len(sources)}",
        "lines of code": f"{lines:,}",
        f"modules over {LONG_MODULE} lines": f"{sum(s.count(chr(10)) > LONG_MODULE for s in sources.values())}",
        "functions": f"{len(lengths):,}",
        "median lines of a function": f"{statistics.median(lengths):.0f}",
        f"functions over {LONG_FUNCTION} lines": f"{sum(length > LONG_FUNCTION for length in lengths)}",
        "longest function": f"{max(lengths)}",
        "comments in 100 lines": f"{100 * sum(map(comments, sources.values())) / lines:.1f}",
        "public names with a docstring": f"{100 * with_words / public:.0f} %",
        "`Any`": f"{any_type}",
        "silenced checks": f"{ignored}",
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("folder", type=Path, nargs="+")
    folders = arguments.parse_args().folder
    found = [measure(folder) for folder in folders]
    print("| | " + " | ".join(folder.name for folder in folders) + " |")
    print("|---" * (len(folders) + 1) + "|")
    for name in found[0]:
        print(f"| {name} | " + " | ".join(figures[name] for figures in found) + " |")


if __name__ == "__main__":
    main()
