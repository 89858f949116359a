"""Rules in notes: the text of a note's file flows in, its rule and the rest of the text flow out.

A note about a feature may begin with a rule, which says on which tokens the author thinks that the feature fires:

    ---
    rule:
      tokens: [" thanks", " thank"]
      regex: "thank(s|ful)?"
      category: letters
    ---

A token must meet everything that the rule names. Whether the model has the tokens is checked later, because the model
is not known here.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

import regex
import yaml

from saecatalog.errors import CatalogError, nearest
from saecatalog.names import slug, with_signs

FENCE = "---"
"""The line before and the line after the rule."""
FIELDS = ("tokens", "regex", "category")
MOST_TOKENS, LONGEST_REGEX = 20, 500
"""The most tokens of a rule, and characters of its regular expression: the page shows them all."""

FORM = 'A rule is written between two lines ---, such as: rule: {tokens: [" thanks", " thank"]}.'


@dataclass(frozen=True)
class NoteRule:
    """A rule: a token must meet every condition that is not empty, and one of them is not."""

    tokens: tuple[str, ...] = ()
    """The token is one of these, as the pages write them."""
    regex: str = ""
    """The token shares a character with a match of this regular expression in its text."""
    category: str = ""
    """The token's text is in this category."""
    line: int = 0
    """The line of the file on which the rule begins, for messages."""

    def json(self) -> str:
        """The rule as JSON: the conditions that are not empty."""
        given = {name: value for name, value in asdict(self).items() if value and name in FIELDS}
        return json.dumps(given, ensure_ascii=False)

    def words(self) -> str:
        """The rule as a reader sees it, such as `" thanks" or " thank", in category letters`."""
        parts = []
        if self.tokens:
            quoted = [f'"{shown(token)}"' for token in self.tokens]
            parts.append(" or ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted))
        if self.regex:
            parts.append(f"in a match of {shown(self.regex)}")
        if self.category:
            parts.append(f"in category {self.category}")
        return ", ".join(parts)


def shown(text: str) -> str:
    """A text on one line: line breaks and tabs as escapes, and a sign for other characters that cannot be seen."""
    return with_signs(text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))


def split_rule(markdown: str, kind: str, categories: Collection[str], file: str) -> tuple[NoteRule | None, str]:
    """The rule at the beginning of a note, if it has one, and the rest of the note.

    `kind` is that of the note, and `categories` are those of the catalog. Raises CatalogError, with the line of `file`,
    for a rule that cannot be used.
    """
    lines = markdown.split("\n")
    if lines[0].rstrip() != FENCE:
        return None, markdown
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE), 0)
    if not end:
        if lines[1:2] and lines[1].startswith("rule"):
            raise CatalogError("The rule of this note has no last line.", f"{file}, line 1", FORM)
        return None, markdown
    rule = _Reader(file, categories).read("\n".join(lines[1:end]))
    if kind != "feature":
        what = f"A rule says when a feature fires, and this note is about {_about(kind)}."
        raise CatalogError(what, f"{file}, line {rule.line}", "Move the rule into the note of a feature.")
    return rule, "\n".join(lines[end + 1 :])


def _about(kind: str) -> str:
    return {"index": "the front page", "category": "a category", "concept": "a concept"}[kind]


class _Reader:
    """Reads the rule of one file. YAML's tree is read rather than its values, because it knows the lines.

    In the tree, a scalar is text as written: `no` stays a word, and a name given twice is seen.
    """

    def __init__(self, file: str, categories: Collection[str]):
        self.file, self.categories = file, categories

    def read(self, text: str) -> NoteRule:
        """The rule in the lines between the fences."""
        try:
            tree = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._error(f"is not YAML: {error.problem}", mark) from None
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise self._error(f"is not YAML: {str(error).splitlines()[0]}", None) from None
        fields = self._fields(tree, ("rule",), "The beginning of this note")
        found = self._fields(fields["rule"], FIELDS, "The rule of this note") if fields else {}
        if not found:
            raise self._error("is empty", tree and tree.start_mark)
        rule = NoteRule(line=self._line(fields["rule"].start_mark))
        for name, node in found.items():
            rule = replace(rule, **{name: getattr(self, f"_{name}")(node)})
        return rule

    def _fields(self, node: Any, known: tuple[str, ...], what: str) -> dict[str, Any]:
        """The fields of a mapping by name."""
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            fix = f"{FORM} For a line across the page, write ***." if "rule" in known else FORM
            raise CatalogError(f"{what} has no fields.", self._at(node.start_mark), fix)
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name not in known:
                fix = nearest(name, known) or f"Use {' or '.join(known)}."
                raise CatalogError(f"{what} has an unknown field '{shown(name)}'.", self._at(key.start_mark), fix)
            if name in found:
                raise self._error(f"has '{name}' twice", key.start_mark)
            found[name] = value
        return found

    def _text(self, node: Any, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            raise self._error(f"needs a text in quotes for {what}", node.start_mark)
        return str(node.value)

    def _tokens(self, node: Any) -> tuple[str, ...]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        tokens = tuple(dict.fromkeys(self._text(one, "each of the 'tokens'") for one in nodes))
        if not 1 <= len(tokens) <= MOST_TOKENS:
            raise self._error(f"needs 1 to {MOST_TOKENS} 'tokens', not {len(tokens)}", node.start_mark)
        return tokens

    def _regex(self, node: Any) -> str:
        pattern = self._text(node, "'regex'")
        if len(pattern) > LONGEST_REGEX:
            raise self._error(f"has a 'regex' of more than {LONGEST_REGEX} characters", node.start_mark)
        try:
            regex.compile(pattern)
        except (regex.error, RecursionError, ValueError, OverflowError) as error:
            raise self._error(f"has a 'regex' that is not valid: {error}", node.start_mark) from None
        return pattern

    def _category(self, node: Any) -> str:
        name = self._text(node, "'category'")
        found = next((one for one in self.categories if slug(one) == slug(name)), None)
        if found is None:
            fix = nearest(name, self.categories) or f"Use one of: {', '.join(self.categories)}."
            what = f"The rule of this note names the category '{shown(name)}', which this catalog does not have."
            raise CatalogError(what, self._at(node.start_mark), fix)
        return found

    def _line(self, mark: Any) -> int:
        """The line of a place in the file; the first line is the fence."""
        return int(mark.line) + 2 if mark else 2

    def _at(self, mark: Any) -> str:
        return f"{self.file}, line {self._line(mark)}"

    def _error(self, what: str, mark: Any) -> CatalogError:
        return CatalogError(f"The rule of this note {what}.", self._at(mark), FORM)
