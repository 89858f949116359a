"""The same records in every format, in files or on standard input: what the tests of the readers have in common."""

import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

Records = Sequence[dict[str, str]]

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    ".zstd": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}
"""For each ending of a compressed file, the bytes in it."""


def as_jsonl(records: Records) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def as_json(records: Records) -> bytes:
    return json.dumps(list(records), indent=1, ensure_ascii=False).encode()


def as_csv(records: Records, delimiter: str = ",") -> bytes:
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, list(records[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return written.getvalue().encode()


def as_tsv(records: Records) -> bytes:
    return as_csv(records, "\t")


def as_parquet(records: Records, rows: int = 2) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(records)), sink, row_group_size=rows)
    return sink.getvalue().to_pybytes()


def as_arrow(records: Records, stream: bool = False) -> bytes:
    table = pa.Table.from_pylist(list(records))
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


RECORDS: dict[str, Callable[[Records], bytes]] = {
    ".jsonl": as_jsonl,
    ".ndjson": as_jsonl,
    ".json": as_json,
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".parquet": as_parquet,
    ".arrow": as_arrow,
    ".feather": lambda records: as_arrow(records, stream=True),
}
"""For each ending, a file of records; an Arrow file is a file or a stream, whatever its name says."""

TEXTS: dict[str, Callable[[Sequence[str]], bytes]] = {
    ".txt": lambda texts: "\n".join(texts).encode(),
    ".blocks.txt": lambda texts: "\n\n".join(texts).encode(),
    ".md": lambda texts: "\r\n\r\n".join(texts).encode(),
}
"""For each ending, a file of texts that are lines."""


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@contextmanager
def standard_input(data: bytes) -> Iterator[None]:
    """Give this process a pipe with some bytes as its standard input; there may be as many as a pipe holds."""
    out, into = os.pipe()
    with open(into, "wb") as pipe:
        pipe.write(data)
    with open(out, encoding="utf-8") as stdin, mock.patch.object(sys, "stdin", stdin):
        yield
