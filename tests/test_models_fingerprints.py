"""What tells two loaded things apart, and what does not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken

from saecatalog.models.fingerprints import plain

PAIRS = [
    ({"a", "b"}, {"a", "c"}),
    (frozenset([1]), frozenset([2])),
    (b"x", b"y"),
    (np.float32(1), np.float32(2)),
    (np.ones(2), np.zeros(2)),
    (torch.ones(2), torch.zeros(2)),
    (AddedToken("<a>"), AddedToken("<b>")),
    (AddedToken("<a>"), AddedToken("<a>", lstrip=True)),
    (Path("a"), Path("b")),
    (torch.float16, torch.float32),
    (len, max),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_settings_that_differ_have_different_forms(one: object, other: object) -> None:
    assert plain(one) != plain(other)
    assert plain({"setting": one}) == plain({"setting": one})


SHOWN = """
from saecatalog.models.fingerprints import plain
class Thing:
    def __init__(self):
        self.inner = object()
print(plain([{"a", "b", "c", "d"}, object(), Thing(), Thing().__init__, [].append, lambda: 0]))
"""


def test_the_form_is_the_same_in_every_process() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", f"x = [0] * {n}\n{SHOWN}"], capture_output=True, text=True, check=True)
        for n in (1, 1000)
    ]
    assert runs[0].stdout == runs[1].stdout


def test_names_and_places_do_not_count() -> None:
    assert plain({"_name_or_path": "a", "device": "cpu", "n": 1}) == plain({"_name_or_path": "b", "n": 1})
