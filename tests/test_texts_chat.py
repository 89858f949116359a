"""Chats and texts with special tokens, as the tokenizer of the model itself reads them."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import SaeKind, make_tokenizer, save_model
from harvesting import make_text

from saecatalog.cli import main
from saecatalog.errors import CatalogError
from saecatalog.texts.chat import contents
from saecatalog.texts.windows import tokenize

CHATML = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
TURNS = [{"role": "user", "content": "The cat sat."}, {"role": "assistant", "content": "<|im_end|> It did."}]
NAMES = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<|im_start|>"}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    found = make_tokenizer(NAMES)
    found.chat_template = CHATML
    return found


def chat(turns: Any, source: str = "talks.jsonl, line 1") -> Any:
    return replace(make_text(0, ""), turns=json.dumps(turns), source=source)


def test_a_chat_is_what_the_tokenizer_itself_makes_of_it(tokenizer: Any) -> None:
    (content,) = contents([chat(TURNS)], tokenizer, False, True)
    assert content.startswith("<|im_start|>user\nThe cat sat.<|im_end|>\n<|im_start|>assistant\n")
    ids = tokenize([replace(make_text(0, content), special_tokens=True)], tokenizer).ids.tolist()
    own = tokenizer.apply_chat_template(TURNS, tokenize=True, return_dict=False)
    assert [tokenizer.bos_token_id, *ids] == own
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 2


def test_a_chat_keeps_its_bos_if_no_window_gets_one(tokenizer: Any) -> None:
    (content,) = contents([chat(TURNS)], tokenizer, False, False)
    ids = tokenize([replace(make_text(0, content), special_tokens=True)], tokenizer).ids.tolist()
    assert ids == tokenizer.apply_chat_template(TURNS, tokenize=True, return_dict=False)


def test_a_plain_text_stays_and_loses_its_bos_only_if_it_holds_special_tokens(tokenizer: Any) -> None:
    texts = [make_text(0, "<s>a"), chat(TURNS)]
    assert contents(texts, tokenizer, False, True)[0] == "<s>a"
    assert contents(texts, tokenizer, True, True)[0] == "a"


def test_a_template_that_asks_for_the_date_gets_the_same_one_each_day(tokenizer: Any) -> None:
    dated = make_tokenizer(NAMES)
    dated.chat_template = "{{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}"
    assert contents([chat(TURNS)], dated, False, True) == ["26 Jul 2024: The cat sat."]
    assert datetime.now().strftime("%d %b %Y") != "26 Jul 2024"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "has no chat template"),
        ("{{ raise_exception('roles must alternate') }}", "refuses this chat"),
        ("{{ messages[0].content.nothing.at_all }}", "refuses this chat"),
    ],
)
def test_a_chat_that_cannot_be_read_is_refused_with_its_place(template: str, words: str) -> None:
    other = make_tokenizer(NAMES)
    other.chat_template = template or None
    with pytest.raises(CatalogError, match=words) as caught:
        contents([chat(TURNS)], other, False, True)
    assert caught.value.where == "talks.jsonl, line 1"


@pytest.fixture(scope="module")
def flags(workshop: Path, saes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags for a model whose tokenizer has a chat template."""
    model = tmp_path_factory.mktemp("chat") / "model"
    save_model(model, "llama")
    config = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    (model / "chat_template.jinja").write_text(template, encoding="utf-8")
    assert "chat_template" not in config
    sae = saes("llama", SaeKind("jumprelu"))
    return [
        "--sae",
        str(sae),
        "--model",
        str(model),
        "--cache",
        str(workshop / "chat-cache"),
        "--device",
        "cpu",
        "--quiet",
    ]


def texts_of(site: Path) -> Any:
    (table,) = site.rglob("data/texts.parquet")
    return pq.read_table(table).to_pandas()


def test_chats_of_a_corpus_become_texts_with_special_tokens(flags: list[str], tmp_path: Path) -> None:
    talks = [{"messages": TURNS, "category": "talk"}, {"text": "Plain <s> words.", "category": "plain"}]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)), encoding="utf-8")
    words = ["--corpus", str(tmp_path / "talks.jsonl"), "--concepts", str(tmp_path / "none")]
    assert main(["build", *flags, *words, "--out", str(tmp_path / "site")]) == 0
    table = texts_of(tmp_path / "site").set_index("category")
    # BOS at the beginning is left out, because each window gets its own.
    assert table.loc["talk", "content"] == "user: The cat sat.</s><s>assistant: <|im_end|> It did.</s>"
    assert table["special_tokens"].to_dict() == {"talk": True, "plain": False}
    assert main(["verify", str(tmp_path / "site"), "--quiet", "--cache", str(tmp_path / "cache")]) == 0


def test_names_of_special_tokens_in_plain_texts_are_told(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("one </s> two\nthree\n<pad>\n", encoding="utf-8")
    words = ["--corpus", str(tmp_path / "a.txt"), "--concepts", str(tmp_path / "none"), "--out", str(tmp_path / "site")]
    for _ in range(2):
        assert main(["build", *flags, *words]) == 0
        said = capsys.readouterr().err
        assert "2 of the texts hold names of special tokens, such as </s>" in said or "such as <pad>" in said
    assert texts_of(tmp_path / "site")["n_tokens"].sum() > 10
    assert main(["build", *flags, *words, "--special-tokens"]) == 0
    assert "special tokens" not in capsys.readouterr().err
    assert texts_of(tmp_path / "site")["n_tokens"].min() == 1


def test_explore_and_concept_tell_plain_names_and_take_them_as_tokens(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("one </s> two\n", encoding="utf-8")
    (tmp_path / "corpus.txt").write_text("one\ntwo\n", encoding="utf-8")
    file = str(tmp_path / "a.txt")
    corpus = ["--corpus", str(tmp_path / "corpus.txt")]
    for words in (["explore", "3", "--file", file, *flags], ["concept", file, *flags, *corpus]):
        assert main(words) == 0
        assert "1 of the texts hold names of special tokens, such as </s>" in capsys.readouterr().err
        assert main([*words, "--special-tokens"]) == 0
        assert "special tokens" not in capsys.readouterr().err
