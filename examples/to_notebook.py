"""Write `notebook.ipynb` from `notebook.py`: a script in cells flows in, a notebook without outputs flows out.

    python examples/to_notebook.py

A cell begins with a line `# %%`, and a text cell with `# %% [markdown]`. Outputs are left out, so that none can be
outdated.
"""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
CELL = re.compile(r"^# %%(?P<text> \[markdown\])?(?: tags=(?P<tags>\[.*\]))?\n", re.MULTILINE)


def cells(script: str) -> list[tuple[bool, list[str], str]]:
    """The cells of a script: whether it is text, its tags, and its source."""
    heads = list(CELL.finditer(script))
    ends = [head.start() for head in heads[1:]] + [len(script)]
    sources = [script[head.end() : end].strip("\n") for head, end in zip(heads, ends, strict=True)]
    return [(bool(h["text"]), json.loads(h["tags"] or "[]"), s) for h, s in zip(heads, sources, strict=True)]


def notebook(script: str) -> dict[str, object]:
    """The notebook of a script, in the format of Jupyter (nbformat 4.5)."""
    made = []
    for number, (is_text, tags, source) in enumerate(cells(script)):
        lines = source.splitlines(keepends=True)
        metadata = {"tags": tags} if tags else {}
        cell: dict[str, object] = {"id": f"cell-{number}", "metadata": metadata, "source": lines}
        if is_text:
            cell |= {"cell_type": "markdown", "source": [re.sub("^# ?", "", line) for line in lines]}
        else:
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def text_of(notebook: dict[str, object]) -> str:
    """A notebook as Jupyter writes it."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    written = text_of(notebook((HERE / "notebook.py").read_text(encoding="utf-8")))
    (HERE / "notebook.ipynb").write_text(written, encoding="utf-8")
