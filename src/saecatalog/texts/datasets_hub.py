"""Datasets on the hub: a name flows in, a sample of its records flows out, kept in the cache.

A dataset is streamed, so that no more of it is downloaded than the sample needs. Its files come in an order drawn with
the seed, and its records pass through a buffer from which they are drawn. A rebuild takes the sample from the cache.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saecatalog.config import HUB
from saecatalog.errors import CatalogError, nearest
from saecatalog.models.hub import hub_errors, reason
from saecatalog.stage_keys import stage_key
from saecatalog.texts.reading import CHARACTERS_PER_TOKEN, Reading
from saecatalog.texts.records import Left, Record, checked_name, make_record
from saecatalog.texts.sampling import enough

if TYPE_CHECKING:
    from saecatalog.cache import Cache, Output

BUFFER = 2000
"""Records among which the next one is drawn."""
DEFAULT_SPLIT = "train"
SAMPLE = "sample.json"
NAME = re.compile(r"(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(:(?P<config>[^:]*)(:(?P<split>[^:]+))?)?")


def is_dataset(path: Path) -> bool:
    """Whether a path is the name of a dataset on the hub."""
    return str(path).startswith(HUB)


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the hub, and which part of it to read."""

    name: str
    """`OWNER/NAME`."""
    config: str = ""
    """Configuration; "" for the only one or the default."""
    split: str = ""
    """Split; "" for the only one, or `train`."""

    @classmethod
    def named(cls, path: str) -> "HubDataset":
        """The dataset of a path such as `hf:OWNER/NAME:CONFIG:SPLIT`; raises CatalogError if it is none."""
        match = NAME.fullmatch(path.removeprefix(HUB))
        if not match:
            what = "This is not the name of a dataset on the hub."
            raise CatalogError(what, f"--corpus {path}", "Use hf:OWNER/NAME, hf:OWNER/NAME:CONFIG or ...:CONFIG:SPLIT.")
        return cls(**{part: found or "" for part, found in match.groupdict().items()})

    @property
    def where(self) -> str:
        return f"--corpus {HUB}{':'.join(astuple(self)).rstrip(':')}"

    @property
    def category(self) -> str:
        """The name of the dataset without its owner, and of the part of it."""
        parts = (self.name.rpartition("/")[2], self.config, self.split)
        return checked_name(" ".join(part for part in parts if part), self.where)

    def read(self, reading: Reading, limit: int | None, cache: "Cache | None") -> list[Record]:
        """The texts of the sample for a limit in tokens; the hub is asked only if it is not in the cache.

        Raises CatalogError if there is no limit, if the hub cannot be reached or has no such dataset.
        """
        if limit is None or cache is None:
            what = "A dataset on the hub is read in part, so the number of tokens needs a limit."
            raise CatalogError(what, self.where, "Add --limit-tokens N, or set limit_tokens.")
        kept = self._sample(reading, limit * CHARACTERS_PER_TOKEN, cache).json(SAMPLE)
        name, left, records = f"{self.name} at {kept['revision'][:10]}, {kept['split']}", Left(reading.fields), []
        for number, value in enumerate(kept["records"], 1):
            place = f"{name}, record {number} of the sample"
            records.append(make_record(value, self.category, place, place, reading.fields, left))
        left.tell(self.where)
        return [record for record in records if record]

    def _sample(self, reading: Reading, allowance: int, cache: "Cache") -> "Output":
        """The sample of the dataset as it is when it is first read; its key does not depend on the hub."""

        def make(folder: Path) -> None:
            found = self._download(reading, allowance)
            (folder / SAMPLE).write_text(json.dumps(found, default=str), encoding="utf-8")

        key = stage_key(
            "saecatalog.texts.datasets_hub", astuple(self), astuple(reading.fields), reading.seed, allowance
        )
        return cache.output("datasets", key, make)

    def _download(self, reading: Reading, allowance: int) -> dict[str, object]:
        """The revision, the split, and records with about so many characters, drawn with the seed."""
        from datasets import load_dataset
        from huggingface_hub import HfApi

        if Path(self.name).exists():
            fix = "Name it without hf: to read it, or run the command in another folder to read the one on the hub."
            raise CatalogError("There is a file or folder of this name here.", self.where, fix)
        with hub_errors("dataset", self.where), _clear(self.where):
            revision = str(HfApi().dataset_info(self.name).sha)
            splits = load_dataset(self.name, self.config or None, revision=revision, streaming=True)
            split = self._choose(list(splits))
            records = enough(_drawn(splits[split], reading, self.where), _size, allowance)
        return {"revision": revision, "split": split, "records": records}

    def _choose(self, splits: list[str]) -> str:
        """The split to read; raises CatalogError if it is not clear which."""
        wanted = self.split or (splits[0] if len(splits) == 1 else DEFAULT_SPLIT)
        if wanted not in splits:
            hint = nearest(wanted, splits) if self.split else ""
            fix = f"It has {', '.join(splits)}. {hint}".strip()
            raise CatalogError(f"This dataset has no split '{wanted}'.", self.where, fix)
        return wanted


def _drawn(rows: Any, reading: Reading, where: str) -> Iterator[dict[str, object]]:
    """The fields of the records of a streamed dataset, in an order drawn with the seed, each checked."""
    if rows.column_names:
        reading.fields.check(rows.column_names, where)
        rows = rows.select_columns(reading.fields.among(rows.column_names))
    for row in rows.shuffle(seed=reading.seed, buffer_size=BUFFER):
        record = {name: row[name] for name in reading.fields.among(row)}
        # Checked here, because the sample is kept as JSON, in which bytes or a date would be a text.
        make_record(record, "", where, where, reading.fields, Left(reading.fields))
        yield record


def _size(record: dict[str, object]) -> int:
    """The characters of a record."""
    return sum(len(str(value)) for value in record.values() if value is not None)


@contextmanager
def _clear(where: str) -> Iterator[None]:
    """Turn what `datasets` says about a dataset that it cannot read into a CatalogError."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    try:
        yield
    except DatasetNotFoundError:
        raise
    except (DatasetsError, ValueError, RuntimeError) as error:
        if reason(error):
            raise
        why = " ".join(str(error).split())
        raise CatalogError("The library datasets cannot read this dataset.", where, f"It says: {why[:500]}") from error
