"""The stage of steering and attribution: a subject, its corpus and the features wanted flow in, tables flow out.

Steering takes longest, so that finished groups of features are kept: an interrupted run resumes.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saecatalog.cache import checksum
from saecatalog.effects import STEERING
from saecatalog.effects.attribution import Peaks, attribute
from saecatalog.effects.parts import NoAttribution
from saecatalog.effects.steering import NoSteering, Steering
from saecatalog.json_files import write_json
from saecatalog.models.vocabulary import token_strings
from saecatalog.progress import Bar, notice
from saecatalog.stage_keys import digest
from saecatalog.store import Store
from saecatalog.subject import Subject
from saecatalog.tables import Columns, Tables, TableWriter
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import TokenizedTexts

TABLES = ("steering_prompts", "steering", "steering_prices", "attributions")
"""The tables of this stage; those of an analysis by these names are empty."""

AT_ONCE = 64
"""Features that are steered and kept together: with three multiples they fill their batches."""

SPLIT_AT_ONCE = 4096
"""Features whose activations are split at a time, with all parts of all contexts in memory."""

Progress = Callable[[int], AbstractContextManager[Bar]]


@dataclass(frozen=True)
class Job:
    """What is steered and split, and with what."""

    subject: Subject
    texts: Sequence[Text]
    store: Store
    analysis: Path
    """Folder of the tables of the analysis."""
    features: Sequence[int]
    """Those that never fired are left out."""
    prompts: Sequence[str]
    multiples: Sequence[float]
    batch_tokens: int | None


def measure_steering(job: Job, folder: Path, kept: Path, steer_bar: Progress, split_bar: Progress) -> None:
    """Write the tables of steering and attribution, and the facts about them, into an empty folder.

    `kept` is a folder of finished groups of features. The bars are for the features to steer and to split. Where the
    model cannot be steered, or activations cannot be split, the tables are empty and the facts say why.
    """
    table = Tables(job.analysis).read("features", ["feature", "max", "n_active"], job.features)
    table = table[table["n_active"] > 0]
    with TableWriter(folder, TABLES) as writer:
        facts = {
            "steering": _steer(job, table, kept, writer, steer_bar),
            "attribution": _split(job, table, writer, split_bar),
        }
    write_json(folder / STEERING, facts)


def _steer(job: Job, table: pd.DataFrame, kept: Path, writer: TableWriter, progress: Progress) -> dict[str, object]:
    """Write the tables of steering; returns the settings, or the reason why there is none."""
    vocabulary = token_strings(job.subject.tokenizer, job.subject.info.d_vocab)
    try:
        steering = Steering(job.subject, vocabulary, job.prompts, job.multiples)
        steering.check()
    except NoSteering as error:
        return {"reason": str(error)}
    writer.write("steering_prompts", steering.unsteered())
    features, maxima = table["feature"].tolist(), table["max"].tolist()
    with progress(len(features)) as bar:
        for start in range(0, len(features), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            for name, columns in _group(steering, features[part], maxima[part], kept).items():
                writer.write(name, columns)
            bar.update(len(features[part]))
    for path in kept.glob("*.json"):
        path.unlink(missing_ok=True)
    return {"prompts": list(job.prompts), "multiples": list(job.multiples)}


def _group(steering: Steering, features: list[int], maxima: list[float], kept: Path) -> dict[str, Columns]:
    """The rows of a group of features, which are kept in a file named by all they depend on and by their checksum."""
    key = digest(features, maxima, steering.prompts, steering.multiples)
    for path in kept.glob(f"{key}-*.json"):
        if path.stem == f"{key}-{checksum(path)}":
            tables: dict[str, dict[str, list[Any]]] = json.loads(path.read_text(encoding="utf-8"))
            return dict(tables)
        notice(f"the cache's {path} is damaged; its features are steered again")
        path.unlink()
    found: dict[str, Columns] = {}
    for name, rows in steering.steered(features, maxima).items():
        found[name] = {str(column): values for column, values in pd.DataFrame(rows).to_dict("list").items()}
    part = kept / ".part"
    part.write_text(json.dumps(found), encoding="utf-8")
    part.replace(kept / f"{key}-{checksum(part)}.json")
    return found


def _split(job: Job, table: pd.DataFrame, writer: TableWriter, progress: Progress) -> dict[str, object]:
    """Write the table of attributions; returns nothing, or the reason why there are none."""
    features = table["feature"].tolist()
    try:
        with progress(len(features)) as bar:
            for rows, n in _attributed(job, features):
                writer.write("attributions", rows)
                bar.update(n)
    except NoAttribution as error:
        return {"reason": str(error)}
    return {}


def _attributed(job: Job, features: list[int]) -> Iterator[tuple[Columns, int]]:
    store, ids = job.store, [text.id for text in job.texts]
    tokens = TokenizedTexts(
        np.asarray(store.token_ids),
        np.asarray(store.token_ends),
        np.asarray(store.text_offsets),
        tuple(text.source for text in job.texts),
    )
    for start in range(0, len(features), SPLIT_AT_ONCE):
        part = features[start : start + SPLIT_AT_ONCE]
        columns = ["feature", "band", "rank", "text", "position", "activation"]
        contexts = Tables(job.analysis).read("contexts", columns, part)
        peaks = Peaks.of(contexts, ids, tokens.offsets)
        yield attribute(job.subject, tokens, peaks, job.batch_tokens), len(part)
