"""The stage of steering and attribution: a subject, its corpus and the features wanted flow in, tables flow out.

Steering takes longest, so that finished groups of features are kept: an interrupted run resumes.
"""

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from saecatalog.effects import STEERING
from saecatalog.effects.attribution import Peaks, attribute
from saecatalog.effects.kept import Kept
from saecatalog.effects.parts import NoAttribution
from saecatalog.effects.steering import NoSteering, Steering
from saecatalog.json_files import write_json
from saecatalog.models.vocabulary import token_strings
from saecatalog.progress import Bar
from saecatalog.remote_subject import RemoteSubject
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

Rows = dict[Hashable, list[Any]]
"""The columns of a table, as JSON has them."""

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
    remote: RemoteSubject | None = None
    """Workers that steer and split; None for this process."""


@dataclass(frozen=True)
class Group:
    """Features that are steered together."""

    features: list[int]
    maxima: list[float]
    """Their largest activations."""
    key: str
    """A hash of everything that the results depend on, but for model and SAE."""


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
    finished = Kept(kept, ".json", "its features are steered again")

    def run(groups: Iterator[Group]) -> Iterator[dict[str, Rows]]:
        if job.remote is None:
            return (_steered(steering, group) for group in groups)
        return job.remote.in_order(Steering, (vocabulary, job.prompts, job.multiples), _steered, groups)

    with progress(len(table)) as bar:
        for group, path, _ in finished.in_order(_groups(table, steering), run, _save):
            for name, rows in json.loads(path.read_text(encoding="utf-8")).items():
                writer.write(name, rows)
            bar.update(len(group.features))
    finished.tidy()
    return {"prompts": list(job.prompts), "multiples": list(job.multiples)}


def _groups(table: pd.DataFrame, steering: Steering) -> Iterator[Group]:
    for start in range(0, len(table), AT_ONCE):
        part = table.iloc[start : start + AT_ONCE]
        features, maxima = part["feature"].tolist(), part["max"].tolist()
        yield Group(features, maxima, digest(features, maxima, steering.prompts, steering.multiples))


def _steered(steering: Steering, group: Group) -> dict[str, Rows]:
    """The rows of a group of features in each table."""
    found = steering.steered(group.features, group.maxima)
    return {name: pd.DataFrame(columns).to_dict("list") for name, columns in found.items()}


def _save(file: IO[bytes], found: dict[str, Rows]) -> None:
    file.write(json.dumps(found).encode())


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
    """The rows of some features and their number. Raises NoAttribution."""
    store = job.store
    tokens = TokenizedTexts(
        np.asarray(store.token_ids),
        np.asarray(store.token_ends),
        np.asarray(store.text_offsets),
        tuple(text.source for text in job.texts),
    )
    parts = [features[start : start + SPLIT_AT_ONCE] for start in range(0, len(features), SPLIT_AT_ONCE)]
    peaks = (_peaks(job, part, tokens) for part in parts)
    for part, rows in zip(parts, _rows(job, tokens, peaks), strict=True):
        if isinstance(rows, NoAttribution):
            raise rows
        yield rows, len(part)


def _rows(job: Job, tokens: TokenizedTexts, peaks: Iterator[Peaks]) -> Iterator[Columns | NoAttribution]:
    """The rows of each part of the features, from here or from workers."""
    given = (tokens, job.batch_tokens)
    if job.remote is None:
        return map(Splitter(job.subject, *given).rows, peaks)
    return job.remote.in_order(Splitter, given, Splitter.rows, peaks)


def _peaks(job: Job, features: list[int], tokens: TokenizedTexts) -> Peaks:
    columns = ["feature", "band", "rank", "text", "position", "activation"]
    contexts = Tables(job.analysis).read("contexts", columns, features)
    return Peaks.of(contexts, [text.id for text in job.texts], tokens.offsets)


@dataclass(frozen=True)
class Splitter:
    """Splits activations into what each part of the model adds."""

    subject: Subject
    tokens: TokenizedTexts
    batch_tokens: int | None

    def rows(self, peaks: Peaks) -> Columns | NoAttribution:
        """The rows of some features, or the reason why there are none, which an engine does not raise."""
        try:
            return attribute(self.subject, self.tokens, peaks, self.batch_tokens)
        except NoAttribution as error:
            return error
