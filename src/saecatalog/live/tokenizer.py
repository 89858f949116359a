"""A model's tokenizer for the page: a fast tokenizer of `transformers` flows in, the settings of tokens.js flow out.

Only byte pair encoding is known, and of its normalizers and pre-tokenizers those that the tests compare with the
`tokenizers` library, token by token. Any other tokenizer is refused: a reader must never get wrong tokens.

The settings, in the order in which tokens.js uses them:

    added       tokens that are found in the text as typed: [content, id] each; id -1: plain characters after all
    nfc         null, or the text is composed (NFC) but for these characters, as in a class of a regular expression
    space       what each space becomes; null: it stays
    later       as `added`, but found after these changes
    mark        what is put before the text: {"text", "when": "always" or "first", "even_if_there"}; null: nothing
    splits      regular expressions: each match, and what is between matches, is encoded on its own; one after another
    classes     the code points of the classes in `splits`: the gap before each range and its length, in turn
    bytes       ids of the 256 bytes, if the symbols are bytes, with -1 for none; null: the symbols are characters
    characters  the characters that have a token, and `character_ids`
    fallback    ids of the 256 bytes that stand for characters without a token; null: they are unknown
    unknown     id of what is unknown, -1: it is left out; `fuse`: whether neighbours are one token
    whole       pieces that are a token although no merges lead to it: text to id
    left, right ids of the parts of each merge, the first to be made first; and `made`, of what is made of them, each as
                its difference from the one before it
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from saecatalog.live.patterns import DIGIT, YOUNG, UnknownPattern, class_names, class_ranges, translated
from saecatalog.live.program import NoProgram
from saecatalog.models.vocabulary import byte_alphabet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Part = dict[str, Any]
"""A normalizer, pre-tokenizer or model as it stands in tokenizer.json; or settings of the page."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How the byte-level pre-tokenizer splits a text (Radford et al. 2019)."""


class NoPageTokenizer(NoProgram):
    """The page cannot make this tokenizer's tokens; `reason` is about the tokenizer."""

    def __init__(self, reason: str):
        super().__init__(f"a page cannot make its tokens: {reason}")


def page_tokenizer(tokenizer: "PreTrainedTokenizerFast", special_tokens: bool) -> Part:
    """The settings of tokens.js for a tokenizer; names of special tokens are plain unless `special_tokens`.

    With them, the page makes the tokens that `windows.tokenize` does. Raises NoPageTokenizer.
    """
    whole: Part = json.loads(tokenizer.backend_tokenizer.to_str())
    found = _normal(whole["normalizer"]) | _added(whole["added_tokens"], special_tokens)
    found |= {"splits": [], "level": False}
    for place, part in enumerate(_parts(whole["pre_tokenizer"], "pretokenizers")):
        _add_pre_tokenizer(part, place, found)
    if found["later"] and found["mark"] and found["mark"]["even_if_there"]:
        raise NoPageTokenizer("it looks for added tokens after it has put a space before the text")
    found |= _model(whole["model"], found.pop("level"))
    return found | {"classes": _classes(found["splits"])}


def _parts(part: Part | None, inside: str) -> Iterator[Part]:
    """The steps of a normalizer or pre-tokenizer, in order."""
    if part is not None and part["type"] == "Sequence":
        for step in part[inside]:
            yield from _parts(step, inside)
    elif part is not None:
        yield part


def _normal(normalizer: Part | None) -> Part:
    found: Part = {"nfc": None, "space": None, "mark": None}
    for part in _parts(normalizer, "normalizers"):
        match part:
            case {"type": "NFC"} if not found["space"] and not found["mark"]:
                found["nfc"] = YOUNG
            case {"type": "Prepend", "prepend": str(mark)} if len(mark) == 1 and not found["mark"]:
                found["mark"] = {"text": mark, "when": "always", "even_if_there": True}
            case {"type": "Replace", "pattern": {"String": " "}, "content": str(mark)} if len(mark) == 1:
                found["space"] = mark
            case _:
                raise NoPageTokenizer(f"its normalizer ({part['type']}) is not known to the page")
    return found


def _added(tokens: list[Part], special_tokens: bool) -> Part:
    """The added tokens in two lists. Names of special tokens that are plain still keep others from being found."""
    kept = [token for token in tokens if special_tokens or not token["special"]]
    for token in kept:
        if token["single_word"] or token["lstrip"] or token["rstrip"]:
            raise NoPageTokenizer(f"its added token {token['content']} depends on what is around it")
    found: Part = {"added": [], "later": []}
    for token in tokens if kept else []:
        number = token["id"] if token in kept else -1
        found["later" if token["normalized"] else "added"].append([token["content"], number])
    return found


def _add_pre_tokenizer(part: Part, place: int, found: Part) -> None:
    """Add what a step of the pre-tokenizer does to the settings."""
    match part:
        case {"type": "ByteLevel"} if not found["level"]:
            if part["add_prefix_space"]:
                _add_mark(found, place, " ", "always")
            found["level"] = True
            found["splits"] += [_pattern(GPT2)] if part["use_regex"] else []
        case _ if found["level"]:
            raise NoPageTokenizer(f"its pre-tokenizer ({part['type']}) reads bytes")
        case {"type": "Digits"}:
            found["splits"].append(rf"[\p{{{DIGIT}}}]" + ("" if part["individual_digits"] else "+"))
        case {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"Regex": str(pattern)}}:
            found["splits"].append(_pattern(pattern))
        case {"type": "Split", "pattern": {"String": " "}, "invert": False} if found["space"]:
            pass  # no space is left
        case {"type": "Metaspace", "replacement": str(mark), "prepend_scheme": str(scheme)} if len(mark) == 1:
            if scheme != "never":
                _add_mark(found, place, mark, scheme)
            found["space"] = mark
            found["splits"] += [f"{mark}?[^{mark}]+|{mark}"] if part["split"] else []
        case _:
            raise NoPageTokenizer(f"its pre-tokenizer ({part['type']}) is not known to the page")


def _add_mark(found: Part, place: int, text: str, when: str) -> None:
    if place or found["mark"]:
        raise NoPageTokenizer("it puts spaces before parts of a text")
    found["mark"] = {"text": text, "when": when, "even_if_there": False}


def _pattern(pattern: str) -> str:
    try:
        return translated(pattern)
    except UnknownPattern as error:
        raise NoPageTokenizer(f"the page does not know a part of its regular expression: {error}") from error


def _classes(splits: list[str]) -> dict[str, list[int]]:
    names = sorted({name for split in splits for name in class_names(split)})
    try:
        return {name: class_ranges(name) for name in names}
    except UnknownPattern as error:
        raise NoPageTokenizer(f"the page does not know the class {error} of its regular expression") from error


def _model(model: Part, level: bool) -> Part:
    """The symbols and merges of byte pair encoding."""
    if model["type"] != "BPE":
        raise NoPageTokenizer(f"its tokens are not made by byte pair encoding ({model['type']})")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model[name]:
            raise NoPageTokenizer(f"its byte pair encoding has a {name.replace('_', ' ')}")
    vocabulary: dict[str, int] = model["vocab"]
    if model["unk_token"] is not None and model["unk_token"] not in vocabulary:
        raise NoPageTokenizer("it has no token for what is unknown")
    fallback = [vocabulary.get(f"<0x{byte:02X}>", -1) for byte in range(256)] if model["byte_fallback"] else None
    if fallback and -1 in fallback:
        raise NoPageTokenizer("it has no tokens for some bytes")
    characters = {} if level else {piece: number for piece, number in vocabulary.items() if len(piece) == 1}
    return {
        "bytes": _byte_ids(vocabulary) if level else None,
        "characters": "".join(characters),
        "character_ids": list(characters.values()),
        "fallback": fallback,
        "unknown": -1 if model["unk_token"] is None else vocabulary[model["unk_token"]],
        "fuse": model["fuse_unk"],
        "whole": _whole(model, level) if model["ignore_merges"] else {},
        **_merges(model["merges"], vocabulary),
    }


def _byte_ids(vocabulary: dict[str, int]) -> list[int]:
    """The id of each byte's token, in the order of the bytes."""
    return [vocabulary.get(char, -1) for char, _ in sorted(byte_alphabet().items(), key=lambda item: item[1])]


def _merges(merges: list[list[str]], vocabulary: dict[str, int]) -> dict[str, list[int]]:
    """Ids of the two parts of each merge, and of what is made of them; of merges of the same parts, the last counts."""
    last = {(left, right): place for place, (left, right) in enumerate(merges)}
    pairs = sorted(last, key=last.__getitem__)
    ids = [(vocabulary[left], vocabulary[right], vocabulary[left + right]) for left, right in pairs]
    left, right, made = map(list, zip(*ids, strict=True)) if ids else ([], [], [])
    return {"left": left, "right": right, "made": [b - a for a, b in pairwise([0, *made])]}


def _whole(model: Part, level: bool) -> dict[str, int]:
    """Tokens that a piece becomes as a whole, and that its merges would not give."""
    plain = Tokenizer.from_str(json.dumps({"model": model | {"ignore_merges": False}, "added_tokens": []}))
    alphabet = byte_alphabet()
    found = {}
    for piece, encoding in zip(model["vocab"], plain.encode_batch(list(model["vocab"])), strict=True):
        number = model["vocab"][piece]
        if encoding.ids != [number]:
            found[_typed(piece, alphabet) if level else piece] = number
    return {piece: number for piece, number in found.items() if piece is not None}


def _typed(piece: str, alphabet: dict[str, int]) -> str | None:
    """The text whose bytes a token stands for; None if no piece of a text can be it."""
    try:
        return bytes(alphabet[char] for char in piece).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return None
