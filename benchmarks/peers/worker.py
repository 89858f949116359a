"""Shared code of the workers of `peers.py`; it runs in each tool's own environment and needs only torch and numpy.

The only argument is a job (a JSON object); the result is the last line of standard output.
"""

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch


class Job:
    """The job, and a timer for its parts."""

    def __init__(self) -> None:
        self.given = given = json.loads(sys.argv[1])
        self.model, self.sae, self.out = given["model"], given["sae"], given["out"]
        self.hook, self.features, self.sample = given["hook"], given["features"], given["sample"]
        self.tokens = torch.from_numpy(np.load(given["tokens"]))
        torch.set_num_threads(given["threads"])
        self.seconds: dict[str, float] = {}
        self._before = time.perf_counter()

    def lap(self, name: str) -> None:
        """Record the seconds since the last call under this name."""
        now = time.perf_counter()
        self.seconds[name] = now - self._before
        self._before = now

    def answer(self, packages: list[str], **found: Any) -> None:
        """Print the result as the last line."""
        versions = {name: version(name) for name in ["torch", *packages]}
        print(json.dumps({"seconds": self.seconds, "versions": versions, **found}))
