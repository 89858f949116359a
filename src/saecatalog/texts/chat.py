"""Texts that hold special tokens: chats and texts as read flow in, texts as the model reads them flow out.

The turns of a chat go through the chat template of the model's tokenizer, which puts special tokens around them. A BOS
at the beginning is left out if each window gets its own.
"""

import json
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from saecatalog.errors import CatalogError
from saecatalog.replacing import replaced
from saecatalog.texts.corpus import Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DAY = (2024, 7, 26)
"""Some templates tell the model today's date. A catalog must not depend on the day it is built, so they are given the
date that Llama 3's templates use if they are given none."""


def is_prepared(texts: Sequence[Text], special_tokens: bool) -> bool:
    """Whether the texts can be tokenised as they were read."""
    return not special_tokens and not any(text.turns for text in texts)


def contents(
    texts: Sequence[Text], tokenizer: "PreTrainedTokenizerFast", special_tokens: bool, prepend_bos: bool
) -> list[str]:
    """The content of each text as the model reads it; with `special_tokens`, names of special tokens are meant as such.

    `prepend_bos` says whether each window begins with a BOS of its own.
    Raises CatalogError, with its place, for a chat that the template refuses, and if the tokenizer has no template.
    """
    found = [_rendered(text, tokenizer) if text.turns else text.content for text in texts]
    bos = tokenizer.bos_token if prepend_bos else None
    # Templates and packed texts begin with BOS.
    return [
        content.removeprefix(bos) if bos and (text.turns or special_tokens) else content
        for text, content in zip(texts, found, strict=True)
    ]


def _rendered(text: Text, tokenizer: "PreTrainedTokenizerFast") -> str:
    """A chat as one string, with the names of special tokens."""
    from jinja2 import TemplateError
    from transformers.utils import chat_template_utils as templates

    if not tokenizer.chat_template:
        fix = "Use a model that was trained on chats, or write each chat as one text with a field 'text'."
        raise CatalogError("This is a chat, and the model's tokenizer has no chat template.", text.source, fix)
    try:
        # The function of templates for the date cannot be given as an argument.
        with replaced(templates, "datetime", _FixedDay):
            rendered = tokenizer.apply_chat_template(json.loads(text.turns), tokenize=False)
    except (TemplateError, ValueError, TypeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError("The model's chat template refuses this chat.", text.source, f"It says: {why}.") from None
    return str(rendered)


class _FixedDay(datetime):
    """A clock that always says DAY."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_FixedDay":
        return cls(*DAY)
