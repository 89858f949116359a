"""A subject on other machines: what its workers refuse, and how often they make what their calls need."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from conftest import SaeKind

from saecatalog.engines import Threads
from saecatalog.errors import CatalogError
from saecatalog.subject import Subject


class Tool:
    """Counts how many of it were made, and notes how many calls ran beside each other."""

    made = 0

    def __init__(self, subject: Subject, factor: int):
        Tool.made += 1
        self.factor, self.inside, self.most = factor, 0, 0
        self.lock = threading.Lock()

    def work(self, item: int) -> tuple[int, int]:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.01)
        with self.lock:
            self.inside -= 1
        return self.factor * item, self.most


def test_a_process_makes_what_calls_need_once_and_runs_one_at_a_time(elsewhere: Callable) -> None:
    """Models keep state during a pass."""
    remote = replace(elsewhere("llama", SaeKind("standard")), engine=Threads())
    Tool.made = 0
    assert list(remote.in_order(Tool, (3,), Tool.work, range(8))) == [(3 * item, 1) for item in range(8)]
    assert Tool.made == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sae_sha256": "another"}, "load another model or SAE than this machine: different sae_sha256."),
        ({"device": "cuda"}, "The workers run the model on cpu, this machine on cuda, which rounds differently."),
        ({"device": "cuda", "dtype": "bfloat16"}, "different dtype, device."),
    ],
)
def test_another_subject_is_refused(elsewhere: Callable, changes: dict[str, Any], words: str) -> None:
    remote = elsewhere("llama", SaeKind("standard"))
    other = replace(remote, info=replace(remote.info, **changes))
    with pytest.raises(CatalogError) as error:
        list(other.in_order(Tool, (3,), Tool.work, range(2)))
    assert words in error.value.what


def test_another_name_of_the_same_subject_is_not(elsewhere: Callable) -> None:
    remote = elsewhere("llama", SaeKind("standard"))
    same = replace(remote, info=replace(remote.info, sae_name="elsewhere", model_source="copy", slug="x"))
    assert [found for found, _ in same.in_order(Tool, (2,), Tool.work, range(3))] == [0, 2, 4]
