"""Small tokenizers of the kinds that models have, and texts that tokenizers find hard."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

MARK = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
CORPORA = Path(__file__).parent.parent / "corpora"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<s>"]
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")
GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus(most: int = 400) -> list[str]:
    """Texts from every file of the default corpus."""
    files = sorted(CORPORA.glob("*.txt"))
    return [line for file in files for line in file.read_text("utf-8").splitlines() if line.strip()][::4][:most]


HOSTILE = [
    "a",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t \n\r\n \n",
    "\x00",
    "a\x00b\x00\x00",
    " \x14=\x14",
    "\x14",
    "\x85a \x85\x85 b",
    "\ufeffa \ufeff\ufeff b",
    "x² y³ ²³ ½ ¾ Ⅷ ٣٤ १२३ 〇一二三 ①②",
    "1234567 12 1 3.14159e-10",
    "it's IT'S we'll WE'LL 'ſ 'S 's'd'm K'T",
    "👩‍👩‍👧‍👦 👋🏽 🏳️‍🌈🇩🇪🇫🇷 ❤️",
    "e\u0301e\u0301 o\u0302\u0323 \u0301",
    "e\u0897\u0316\u0301 \U000105d2\u0307 \U0001611e\U0001611e\u0301",
    "\U000105c9 \U00016d68 \u0897\u088f \U0001ccf0\ua7ce\U00032000",
    "שלום עולם مرحبا بالعالم \u202eabc\u202c",
    "สวัสดีชาวโลก 日本語テスト 한국어 한",
    "\u1100\u1161\u11a8 \u0915\u093c \u0958",
    "<|endoftext|> <|im_start|>user\n<s></s><|im_start",
    "<|x|><|xy|><|endoftext|>",
    "<pad><unk><0x41> ▁▁ ▁a  ▁ <td>",
    "def f(x):\n\treturn {'a': [1, 2]}  # ok\n\n\n        pass",
    "https://example.org/a?b=c&d=%20#e_f",
    "ÅÅÅ ﬁﬂ ǅ İi ẞß",
    "\u2028\u2029\u200b\u200d\ufe0f",
    "\U0010ffff\ue000\ufffe\uffff",
    "a" * 300,
    "ab" * 300,
    " " * 300,
    "\n" * 50 + "x",
    "the " * 100,
    "é" * 99,
    "😀" * 77,
    "!?" * 100,
    "'" * 9,
]


def random_texts(count: int, seed: int) -> list[str]:
    """Texts of words, spaces and characters of all planes, without half characters."""
    chance = random.Random(seed)
    planes = [(0x20, 0x7F), (0, 0x100), (0x100, 0x600), (0x600, 0x3000), (0x3000, 0xD800), (0xE000, 0x110000)]
    words = [
        "the",
        " of",
        "  ",
        " 'll",
        "\n\n",
        "\r\n",
        "12",
        " x",
        "e\u0301",
        "<|im_start|>",
        "<|x|>",
        "\n",
        " ",
        MARK,
        "ing",
        "é",
    ]

    def piece() -> str:
        return chance.choice(words) if chance.random() < 0.5 else chr(chance.randrange(*chance.choice(planes)))

    return ["".join(piece() for _ in range(chance.randrange(1, 40))) for _ in range(count)]


def trained(pre_tokenizer: Any, normalizer: Any = None, alphabet: bool = True, **model: Any) -> Tokenizer:
    """A byte-level BPE, trained on texts of the corpus."""
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    letters = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=letters, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(corpus(150), trainer)
    return tokenizer


def byte_level(prefix_space: bool = False, **more: Any) -> Tokenizer:
    return trained(pre_tokenizers.ByteLevel(add_prefix_space=prefix_space), **more)


def split_level(pattern: str, **more: Any) -> Tokenizer:
    """As Qwen's and Llama 3's: a regular expression first, then bytes."""
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    return trained(pre_tokenizers.Sequence(steps), **more)


def smol(individual: bool = True) -> Tokenizer:
    return trained(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual), pre_tokenizers.ByteLevel(False)]))


def neo_x() -> Tokenizer:
    """As Pythia's: composed, with runs of spaces as added tokens, which are looked for in the composed text."""
    tokenizer = byte_level(normalizer=normalizers.NFC())
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(2, 9)])
    tokenizer.add_tokens([AddedToken("<|x|>", normalized=False), AddedToken("<|xy|>", normalized=True)])
    return tokenizer


def overlapping() -> Tokenizer:
    """Added tokens that are parts of names of special tokens."""
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ("<|", "|>", "im_start", "end", "<|x")])
    return tokenizer


def spaced(
    normalizer: Any = None,
    pre_tokenizer: Any = None,
    fallback: bool = True,
    unknown: str | None = "<unk>",
    fuse: bool = True,
) -> Tokenizer:
    """A BPE whose spaces are U+2581, as SentencePiece makes it; several merges make the same token."""
    letters = "abcdefghijklmnopqrstuvwxyzTHEIS0123456789.,;'é\n" + MARK
    merges = [
        ("t", "h"),
        ("th", "e"),
        (MARK, "the"),
        ("h", "e"),
        ("t", "he"),
        (MARK + "t", "he"),
        (MARK, "t"),
        (MARK, MARK),
    ]
    merges += [
        (2 * MARK, 2 * MARK),
        ("a", "a"),
        ("aa", "aa"),
        ("a", "aa"),
        ("aa", "a"),
        ("i", "n"),
        ("in", "g"),
        ("\n", "\n"),
        ("o", "f"),
        (MARK, "of"),
    ]
    pieces = dict.fromkeys(["<pad>", "<s>", "</s>", "<unk>", *(BYTES if fallback else []), *letters])
    pieces |= dict.fromkeys(left + right for left, right in merges)
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    model = models.BPE(vocabulary, merges, unk_token=unknown, byte_fallback=fallback, fuse_unk=fuse)
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer


def gemma() -> Tokenizer:
    tokenizer = spaced(normalizers.Replace(" ", MARK), pre_tokenizers.Split(" ", "merged_with_previous"), fuse=False)
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ("\n\n", 2 * MARK, 3 * MARK, "<td>", "[X]")])
    return tokenizer


def llama_2() -> Tokenizer:
    return spaced(normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]))


def metaspace(scheme: str, split: bool, **more: Any) -> Tokenizer:
    tokenizer = spaced(None, pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split), **more)
    tokenizer.add_tokens([AddedToken("<td>", normalized=False), AddedToken("<|x|>", normalized=True)])
    return tokenizer


KNOWN: dict[str, Callable[[], Tokenizer]] = {
    "GPT-2": byte_level,
    "a space before the text": lambda: byte_level(True),
    "some bytes have no token": lambda: byte_level(alphabet=False),
    "some bytes are unknown": lambda: byte_level(alphabet=False, unk_token="<s>"),
    "unknown bytes are one token": lambda: byte_level(alphabet=False, unk_token="<s>", fuse_unk=True),
    "SmolLM": smol,
    "runs of digits": lambda: smol(False),
    "Qwen": lambda: split_level(QWEN, normalizer=normalizers.NFC()),
    "Llama 3": lambda: split_level(LLAMA_3, ignore_merges=True),
    "GPT-4o": lambda: split_level(GPT_4O),
    "NeoX": neo_x,
    "overlapping names": overlapping,
    "Gemma": gemma,
    "Llama 2": llama_2,
    "Mistral": lambda: metaspace("first", False),
    "a mark before every part": lambda: metaspace("always", True),
    "no mark": lambda: metaspace("never", True),
    "unknown characters": lambda: spaced(normalizers.Replace(" ", MARK), fallback=False, fuse=False),
    "unknown characters are one token": lambda: spaced(normalizers.Replace(" ", MARK), fallback=False),
    "unknown characters are left out": lambda: spaced(normalizers.Replace(" ", MARK), fallback=False, unknown=None),
}
"""Tokenizers that the page has to know."""


def for_transformers(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)
