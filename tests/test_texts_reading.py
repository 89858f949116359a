"""Reading with a limit: bounded, spread over the files, decided by the seed; small corpora are read in full."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from text_forms import PACKED, RECORDS, TEXTS, as_csv, as_jsonl, as_parquet, write

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.texts.corpus import Text, read_corpus
from saecatalog.texts.reading import CHARACTERS_PER_TOKEN, TOGETHER, shared
from saecatalog.texts.records import Record

N, LIMIT = 6000, 400
"""Texts of a file, and a limit in tokens that needs a small part of it."""
ENOUGH = LIMIT * CHARACTERS_PER_TOKEN
TAIL = "ü漢字 " * 4


def contents(n: int = N) -> list[str]:
    return [f"Text number {number} of many: {TAIL}{'x' * (number % 50)}".strip() for number in range(n)]


def number(text: Text) -> int:
    return int(text.content.split()[2])


def read(path: Path, **settings: Any) -> list[Text]:
    return read_corpus(CorpusConfig(paths=(str(path),), concepts=None, **settings))


def as_quoted_csv(records: Sequence[dict[str, str]]) -> bytes:
    return as_csv([{"text": 'two\n"lines"', "kind": "a, b"}, *({"text": r["text"], "kind": "c"} for r in records)])


FILES: dict[str, Callable[[list[str]], bytes]] = {
    **TEXTS,
    **{ending: lambda texts, form=form: form([{"text": t} for t in texts]) for ending, form in RECORDS.items()},
    ".parquet": lambda texts: as_parquet([{"text": t} for t in texts], rows=97),
    ".quoted.csv": lambda texts: as_quoted_csv([{"text": t} for t in texts]),
}  # fmt: skip


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("ending", FILES)
def test_a_sample_is_spread_over_the_file_and_decided_by_the_seed(tmp_path: Path, ending: str, packing: str) -> None:
    texts = contents()
    path = write(tmp_path / f"c{ending}{packing}", PACKED[packing](FILES[ending](texts)))
    found = [text for text in read(path, limit_tokens=LIMIT) if "lines" not in text.content]
    assert found == [text for text in read(path, limit_tokens=LIMIT) if "lines" not in text.content]
    other = read(path, limit_tokens=LIMIT, seed=1)
    assert {t.content for t in found} != {t.content for t in other}
    for sample in (found, other):
        assert {t.content for t in sample} <= {*texts, 'two\n"lines"'}
        assert len({t.content for t in sample}) == len(sample)
        assert 0.7 * ENOUGH <= sum(len(t.content) for t in sample) <= 1.1 * ENOUGH
    thirds = Counter(number(text) * 3 // N for text in found)
    assert min(thirds[third] for third in range(3)) > len(found) / 6


@pytest.mark.parametrize("ending", FILES)
def test_a_corpus_below_the_allowance_is_read_in_full(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"c{ending}", FILES[ending](contents(30)))
    assert read(path, limit_tokens=10_000) == read(path)


@pytest.mark.parametrize("ending", [".txt", ".blocks.txt", ".jsonl", ".tsv"])
def test_the_source_of_a_sampled_text_leads_to_it(tmp_path: Path, ending: str) -> None:
    data = FILES[ending](contents())
    for text in read(write(tmp_path / f"c{ending}", data), limit_tokens=LIMIT):
        name, _, place = text.source.partition(", byte ")
        found = data[int(place) :].splitlines()[0].decode()
        assert name == f"c{ending}"
        assert text.content == (json.loads(found)["text"] if ending == ".jsonl" else found)


def test_rows_of_tables_are_named_by_their_numbers(tmp_path: Path) -> None:
    for ending in (".parquet", ".arrow"):
        for text in read(write(tmp_path / f"c{ending}", FILES[ending](contents())), limit_tokens=LIMIT):
            assert text.source == f"c{ending}, row {number(text) + 1}"


def test_the_first_row_of_a_sampled_table_is_no_text(tmp_path: Path) -> None:
    """Whatever is in front of it; a later row with the same words is one."""
    for start in (b"", b"\xef\xbb\xbf", b"\n\n", b"\xef\xbb\xbf\r\n"):
        rows = b"text\tkind\n" + b"".join(b"number %d\t\n" % n for n in range(900)) + b"text\tkind\n"
        path = write(tmp_path / "c.tsv", start + rows)
        found = Counter(text.content for text in read(path, limit_tokens=600, category_field="none"))
        assert found == {**{f"number {n}": 1 for n in range(900)}, "text": 1}


def test_a_rare_category_is_as_frequent_in_samples_as_in_the_file(tmp_path: Path) -> None:
    """Its records are short and next to each other, so that they have few of the bytes."""
    rare, common = [{"text": f"r{n}", "category": "rare"} for n in range(100)], []
    for n in range(900):
        common.append({"text": f"{n} " + "word " * 40, "category": "common"})
    path = write(tmp_path / "x.jsonl", as_jsonl([*common[:300], *rare, *common[300:]]))
    shares = []
    for seed in range(60):
        counts = Counter(text.category for text in read(path, limit_tokens=1500, seed=seed))
        shares.append(counts["rare"] / counts.total())
    assert sum(shares) / len(shares) == pytest.approx(0.1, rel=0.25)


def test_an_error_in_a_part_that_is_not_read_is_not_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", as_jsonl([{"text": t} for t in contents()]) + b"not JSON\n")
    assert read(path, limit_tokens=20)


def test_an_encoding_without_a_mark_is_named_in_a_large_file_too(tmp_path: Path) -> None:
    path = write(tmp_path / "c.txt", "\n".join(contents()).encode("utf-16-le"))
    with pytest.raises(CatalogError, match="is UTF-16LE, not UTF-8"):
        read(path, limit_tokens=LIMIT)


def test_files_share_the_allowance_and_small_ones_are_read_in_full(tmp_path: Path) -> None:
    write(tmp_path / "small.txt", b"one\ntwo\nthree\n")
    write(tmp_path / "packed.txt.gz", PACKED[".gz"]("\n".join(contents()).encode()))
    for name in ("large", "larger"):
        write(tmp_path / f"{name}.txt", "\n".join(contents()).encode())
    sizes: Counter[str] = Counter()
    for text in (texts := read(tmp_path, limit_tokens=LIMIT)):
        sizes[text.category] += len(text.content)
    assert {t.content for t in texts if t.category == "small"} == {"one", "two", "three"}
    for name in ("large", "larger", "packed"):
        assert sizes[name] == pytest.approx(ENOUGH / 3, rel=0.1), name


def test_every_category_has_a_text_however_many_there_are(tmp_path: Path) -> None:
    for n in range(300):
        write(tmp_path / f"c{n:03d}.txt", "\n".join(contents(20)).encode())
    texts = read(tmp_path, limit_tokens=10)
    assert len({text.category for text in texts}) == 300
    assert len(texts) < 400


def test_of_a_folder_of_many_texts_some_files_are_read(tmp_path: Path) -> None:
    for n, content in enumerate(contents(900)):
        write(tmp_path / "c" / f"{n}.py", content.encode())
    found = read(tmp_path, limit_tokens=LIMIT)
    assert ENOUGH <= sum(len(text.content) for text in found) <= ENOUGH + 200
    assert found == read(tmp_path, limit_tokens=LIMIT)
    assert {t.content for t in found} != {t.content for t in read(tmp_path, limit_tokens=LIMIT, seed=3)}
    thirds = Counter(number(text) * 3 // 900 for text in found)
    assert min(thirds[third] for third in range(3)) > len(found) / 6


def test_of_a_folder_of_many_files_of_records_many_give_some(tmp_path: Path) -> None:
    for n in range(TOGETHER + 20):
        records = [{"text": f"{n} {m} {'word ' * 20}"} for m in range(40)]
        write(tmp_path / "c" / f"{n}.jsonl", as_jsonl(records))
    found = read(tmp_path, limit_tokens=1500)
    assert len({text.source.partition(",")[0] for text in found}) >= TOGETHER
    assert sum(len(text.content) for text in found) <= 1.5 * 1500 * CHARACTERS_PER_TOKEN


def test_a_sample_too_small_for_the_limit_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A text that alone exceeds the allowance is dropped for shorter ones."""
    texts = ["a", "b", "x" * 10_000]
    path = write(tmp_path / "c.txt.gz", PACKED[".gz"]("\n".join(texts).encode()))
    seeds = [seed for seed in range(20) if len(read(path, limit_tokens=100, seed=seed)) == 2]
    assert seeds
    assert "the sample has 2 characters, so fewer than the limit of 100 tokens may be used" in capfd.readouterr().err


def test_shares_grow_when_small_parts_need_less() -> None:
    given: dict[int, float] = {}

    def take(size: int, share: float) -> list[Record]:
        given[size] = share
        return [Record("c", "s", "x" * int(min(size, share)))]

    sizes = [1, 500, 10, 900]
    Random(1).shuffle(sizes)
    shared(sizes, float, 400, take)
    assert given == {1: 100, 10: 133, 500: 194.5, 900: 195} or sum(min(s, g) for s, g in given.items()) >= 399
