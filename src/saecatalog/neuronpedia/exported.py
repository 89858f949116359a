"""What Neuronpedia exported: its files flow in, its figures of each feature flow out.

Its exports have a file for features and one for activations; either may be missing. Rows are checked field by field.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.json_lines import NAMES, NUMBER, NUMBERS, SHARE, TEXTS, Field, Line, optional, read_lines
from saecatalog.neuronpedia.source import Source

KIND = "file of exported rows"

FEATURE = {
    **NAMES,
    "frac_nonzero": SHARE,
    "maxActApprox": optional(NUMBER),
    "pos_str": optional(TEXTS),
    "neg_str": optional(TEXTS),
}
ACTIVATION = {**NAMES, "tokens": TEXTS, "values": NUMBERS}
"""The fields that are read; exports have more."""

BOS = ("<bos>", "<s>", "<|endoftext|>", "<|begin_of_text|>")
"""Tokens that some exports begin with. The largest activation is looked for after them, as BOS never counts here."""

SPELLED = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n", "ĉ": "\t"})
"""Signs with which vocabularies spell white space; some exports have tokens as the vocabulary spells them."""


@dataclass
class Exported:
    """The figures of one feature on Neuronpedia. None, or an empty list, stands for what the files do not say."""

    density: float | None = None
    max: float | None = None
    promoted: list[str] = field(default_factory=list)
    suppressed: list[str] = field(default_factory=list)
    peaks: list[tuple[float, str]] = field(default_factory=list)
    """The largest activation of each example, and its token."""

    @property
    def silent(self) -> bool:
        """Whether it never fired there. A density of 0 alone may be a rounded one: exports have five decimals."""
        return self.density == 0 and not self.peaks and (self.max or 0) <= 0


def read_exported(paths: Iterable[Path], source: Source, d_sae: int) -> dict[int, Exported]:
    """The figures of the features in these files and folders, by number.

    Raises CatalogError, with file and line, for a row that is malformed, of another model or source, outside the
    dictionary, or there twice; and if there is no row.
    """
    found: dict[int, Exported] = {}
    for line in read_lines(paths, KIND):
        if "tokens" in line.row:
            _add_activation(_feature(found, line, source, d_sae, ACTIVATION), line)
        elif "frac_nonzero" in line.row:
            _add_feature(_feature(found, line, source, d_sae, FEATURE), line)
        else:
            fix = "It should have 'frac_nonzero' or 'tokens'. For explanations, use build --explanations."
            line.fail("This row is neither of a feature nor of an activation.", fix)
    if not found:
        raise CatalogError("These files have no row.", " ".join(map(str, paths)), "Give files of exported rows.")
    return found


def _feature(found: dict[int, Exported], line: Line, source: Source, d_sae: int, fields: dict[str, Field]) -> Exported:
    """The feature that a checked row is about."""
    line.check(fields)
    line.check_source(str(source))
    return found.setdefault(line.feature(d_sae), Exported())


def _add_feature(feature: Exported, line: Line) -> None:
    if feature.density is not None:
        line.fail(f"Feature {line.row['index']} is there twice.", "Give each batch once.")
    feature.density, feature.max = float(line.row["frac_nonzero"]), line.row.get("maxActApprox")
    feature.promoted, feature.suppressed = (list(map(plain, line.row.get(n) or [])) for n in ("pos_str", "neg_str"))


def _add_activation(feature: Exported, line: Line) -> None:
    tokens, values = line.row["tokens"], line.row["values"]
    if len(tokens) != len(values) or not tokens:
        line.fail(f"This row has {len(tokens)} tokens and {len(values)} values.", "It should have a value for each.")
    first = int(tokens[0] in BOS)
    largest = max(values[first:], default=0)
    if largest > 0:
        feature.peaks.append((float(largest), plain(tokens[values.index(largest, first)])))


def plain(token: str) -> str:
    """A token with its white space as such."""
    return token.translate(SPELLED)
