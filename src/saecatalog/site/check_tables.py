"""Checks one table of a site: a Parquet file and the schema it should have flow in, its problems flow out."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from saecatalog.schemas import same_type


def table_problems(path: Path, wanted: pa.Schema) -> Iterator[str]:
    """A table that is missing, cannot be read to its end, or lacks a column; further columns are allowed."""
    if not path.is_file():
        yield "missing"
        return
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            for _ in file.iter_batches():
                pass
    except (pa.ArrowException, OSError) as error:
        yield f"cannot be read ({error})"
        return
    for field in wanted:
        if field.name not in schema.names:
            yield f"no column {field.name}"
        elif not same_type(schema.field(field.name).type, field.type):
            yield f"column {field.name} is {schema.field(field.name).type}, not {field.type}"
