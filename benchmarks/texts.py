"""Seconds and memory until the texts of a large file are there, with a limit and without one.

    python benchmarks/texts.py [--gb 2] [--limit 100000] [--forms .jsonl .csv ...] [--whole .jsonl] [--window]

Makes a file of records of 10 to 500 words in a temporary folder for each form, reads it in a process of its own, and
prints seconds, the peak of the memory beyond what the imports take, and their ratios to reading all of it (`--whole`).
With `--window`, also the seconds and the memory beyond the model, which has run before, until the first window of the
first form has run through the stand-in of GPT-2-small. On Linux, the system forgets the file before each reading, so
that it comes from the disk.
"""

import argparse
import gzip
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from measure import ROOT, held, machine, peak_memory

from saecatalog.config import CorpusConfig

SHORTEST, LONGEST = 10, 500
"""Words of a record."""
POOL = 5000
"""Different records; each is written many times with another number before it."""
FORMS = (".jsonl", ".txt", ".tsv", ".csv", ".json", ".parquet", ".arrow", ".jsonl.gz")


def pool() -> list[str]:
    """Texts of words from the default corpus."""
    chance = random.Random(0)
    words = " ".join(path.read_text("utf-8") for path in sorted((ROOT / "corpora").glob("*.txt"))).split()
    return [" ".join(chance.choices(words, k=chance.randint(SHORTEST, LONGEST))) for _ in range(POOL)]


def numbered(size: int) -> Iterator[str]:
    """Texts with `size` characters in total, each with its number."""
    texts, number = pool(), 0
    while size > 0:
        text = f"{number} {texts[number % POOL]}"
        yield text
        size -= len(text)
        number += 1


def write(path: Path, size: int) -> None:
    """Write a file of the form that its name says."""
    form = "".join(path.suffixes)
    if form in (".parquet", ".arrow"):
        write_table(path, size)
        return
    packed = form.endswith(".gz")
    with gzip.open(path, "wt", compresslevel=1) if packed else path.open("w", encoding="utf-8") as file:
        file.write({".json": "[\n", ".csv": "text\n", ".tsv": "text\n"}.get(form, ""))
        for number, text in enumerate(numbered(size)):
            if "json" in form:
                file.write(",\n" if number and form == ".json" else "")
                file.write(json.dumps({"text": text}) + ("\n" if form != ".json" else ""))
            else:
                file.write('"' + text.replace('"', '""') + '"\n' if form == ".csv" else text.replace('"', "'") + "\n")
        file.write("]" if form == ".json" else "")


def write_table(path: Path, size: int) -> None:
    """Write a Parquet or Arrow file in groups of 20,000 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema({"text": pa.string()})
    arrow = path.suffix == ".arrow"
    with pa.OSFile(str(path), "wb") as sink:
        writer = pa.ipc.new_file(sink, schema) if arrow else pq.ParquetWriter(sink, schema)
        with writer:
            rows: list[str] = []
            for text in numbered(size):
                rows.append(text)
                if len(rows) == 20_000:
                    writer.write_table(pa.table({"text": rows}))
                    rows = []
            writer.write_table(pa.table({"text": rows}, schema))


def read(path: Path, limit: int | None) -> dict[str, float]:
    """Read the texts; the figures."""
    forget(path)
    import pyarrow.parquet  # noqa: F401

    from saecatalog.texts.corpus import read_corpus

    with peak_memory() as memory:
        start = time.perf_counter()
        texts = read_corpus(CorpusConfig(paths=(str(path),), concepts=None, limit_tokens=limit))
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "mb": memory.anonymous, "resident_mb": memory.resident, "texts": len(texts)}


def forget(path: Path) -> None:
    """Let the system drop what it holds of a file in memory."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class FirstWindow(Exception):
    """Raised when a window has run."""


def first_window(path: Path, limit: int) -> dict[str, float]:
    """Read the texts, cut them into tokens and windows, and run the first batch of the stand-in."""
    import standin

    from saecatalog.cache import Cache
    from saecatalog.config import SubjectConfig
    from saecatalog.harvest import harvest
    from saecatalog.subject import load_subject
    from saecatalog.texts.corpus import read_corpus
    from saecatalog.texts.windows import limit_texts, tokenize

    made = standin.standin()
    subject = load_subject(SubjectConfig(model=str(made.model), sae=str(made.sae), device="cpu"), Cache(standin.CACHE))

    def stop(done: int) -> None:
        raise FirstWindow

    warm_up(subject)
    forget(path)
    before = held()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with peak_memory(before) as reading:
            texts = read_corpus(CorpusConfig(paths=(str(path),), concepts=None, limit_tokens=limit))
        there = time.perf_counter() - start
        with peak_memory(before) as cutting:
            texts = limit_texts(texts, subject.tokenizer, limit)
            tokens = tokenize(texts, subject.tokenizer)
        cut = time.perf_counter() - start
        with peak_memory(before) as running, suppress(FirstWindow):
            # One window at a time, as on a device with little memory.
            harvest(subject, tokens, subject.info.context, Path(folder), stop)
        seconds = time.perf_counter() - start
    memory = {"texts": reading, "tokens": cutting, "window": running}
    return {
        "texts_seconds": there,
        "tokens_seconds": cut,
        "seconds": seconds,
        **{f"{name}_mb": peak.anonymous for name, peak in memory.items()},
    }


def warm_up(subject: Any) -> None:
    """Run a full batch, so that what the libraries set up on first use is not counted."""
    from saecatalog.harvest import harvest
    from saecatalog.texts.corpus import Text
    from saecatalog.texts.windows import tokenize

    texts = [Text(str(number), "c", "s", text) for number, text in enumerate(pool()[:20])]
    with tempfile.TemporaryDirectory() as folder:
        harvest(subject, tokenize(texts, subject.tokenizer), None, Path(folder), lambda n: None)


def alone(call: Any, *arguments: Any) -> dict[str, float]:
    """A call in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return dict(process.submit(call, *arguments).result())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--limit", type=int, default=100_000)
    parser.add_argument("--forms", nargs="+", default=list(FORMS))
    parser.add_argument("--whole", nargs="*", default=[".jsonl"], help="forms that are also read without a limit")
    parser.add_argument("--window", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for form in arguments.forms:
        folder = Path(tempfile.mkdtemp(prefix="texts-"))
        try:
            path = folder / f"texts{form}"
            write(path, int(arguments.gb * 1e9))
            row: dict[str, Any] = {"form": form, "gb": path.stat().st_size / 1e9}
            row |= alone(read, path, arguments.limit)
            if form in arguments.whole:
                whole = alone(read, path, None)
                row |= {f"whole_{name}": value for name, value in whole.items()}
                row |= {f"{name}_ratio": row[name] / whole[name] for name in ("seconds", "mb")}
            if arguments.window and form == arguments.forms[0]:
                row |= {f"window_{name}": value for name, value in alone(first_window, path, arguments.limit).items()}
        finally:
            shutil.rmtree(folder)
        rows.append(row)
        print(", ".join(f"{k} {v:,.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    print(json.dumps({"rows": rows, "machine": machine()}))


if __name__ == "__main__":
    main()
