"""Reads the texts of files: inputs and settings flow in, records flow out, of a large file a sample.

Without a limit, everything is read. With one, there is an allowance of characters, several times what the limit needs,
which is shared among the files. A file within its share is read in full. Of a larger one, a sample is read that is
spread over the file. The tokenizer is not known here: the exact limit is applied when the texts have been tokenised.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TypeVar

from saecatalog.config import CorpusConfig
from saecatalog.errors import CatalogError
from saecatalog.progress import notice
from saecatalog.texts.formats.known import FORMATS, format_of
from saecatalog.texts.formats.pieces import Piece, Reader
from saecatalog.texts.records import Fields, Left, Record, make_record
from saecatalog.texts.sampling import enough, lowest
from saecatalog.texts.streams import Input
from saecatalog.texts.text_files import printable

CHARACTERS_PER_TOKEN = 16
"""Characters in hand for each token of a limit: most tokens have about four."""
TOGETHER = 64
"""Files of a large folder among which an allowance is shared, before others are looked at."""

S = TypeVar("S")


@dataclass(frozen=True)
class Reading:
    """How to read: the settings that matter here."""

    fields: Fields = field(default_factory=Fields)
    format: str = "auto"
    seed: int = 0

    @classmethod
    def of(cls, config: CorpusConfig) -> "Reading":
        fields = Fields(
            config.text_field, config.category_field, config.title_field, config.link_field, config.chat_field
        )
        return cls(fields, config.format, config.seed)

    def form(self, file: Input, member: bool = False) -> str:
        """The format of a file; in a category's folder, one that holds no records is a single text.

        Raises CatalogError if the name of a file that is not in such a folder does not say its format.
        """
        if self.format != "auto":
            return self.format
        if not member:
            return format_of(file)
        form = format_of(file, "files")
        return form if FORMATS[form].records else "files"

    def read(
        self, file: Input, category: str, allowance: float | None = None, folder: Path | None = None
    ) -> list[Record]:
        """The texts of a file, or a sample of about `allowance` characters if it has more than that.

        `folder` is that of its category, if there is one.

        Raises CatalogError if the file cannot be read in its format.
        """
        if file.size == 0:
            raise CatalogError("This corpus file is empty.", file.where, "Add at least one text, or remove the file.")
        form, left = self.form(file, folder is not None), Left(self.fields)
        if file.stdin and self.format == "auto":
            notice(f"standard input is read as {form}; --corpus-format says otherwise")
        reader = FORMATS[form]
        name = "" if reader.rows else file.shown if folder is None else _below(file, folder)

        def make(piece: Piece) -> Record | None:
            place = f", {piece.place}" if piece.place else ""
            value = reader.parse(piece.value, file.where + place)
            record = make_record(value, category, file.where + place, file.shown + place, self.fields, left)
            return record and replace(record, file=name)

        records = self._take(file, reader, make, allowance)
        left.tell(file.where)
        if form == "files" and not records:
            raise CatalogError("This corpus file is empty.", file.where, "Add a text, or remove the file.")
        return records

    def _take(
        self, file: Input, reader: Reader, make: Callable[[Piece], Record | None], allowance: float | None
    ) -> list[Record]:
        if allowance is None or file.size <= allowance:
            return [record for piece in reader.pieces(file, self.fields) if (record := make(piece))]
        chance = Random(f"{self.seed} {file.name}")
        spread = reader.scattered(file, self.fields, int(allowance), chance)
        if spread is None:
            return lowest(reader.pieces(file, self.fields), make, _size, allowance, chance)
        return enough((record for piece in spread if (record := make(piece))), _size, allowance)

    def read_folder(
        self, files: Sequence[Input], category: str, folder: Path, allowance: float | None = None
    ) -> list[Record]:
        """The texts of the files of a category's folder, or of some of them, drawn with the seed."""

        def read(file: Input, share: float | None) -> list[Record]:
            return self.read(file, category, share, folder)

        if allowance is None or sum(file.size for file in files) <= allowance:
            return [record for file in files for record in read(file, None)]
        drawn = Random(f"{self.seed} {category}").sample(files, len(files))
        records: list[Record] = []
        for first in range(0, len(drawn), TOGETHER):
            if allowance > 0:
                found = shared(drawn[first : first + TOGETHER], self._part_size, allowance, read)
                allowance -= total(found)
                records += found
        return records

    def _part_size(self, file: Input) -> float:
        """The size of a file of which a part can be read; 0 for one that is a single text."""
        return 0 if self.form(file, member=True) == "files" else file.size


def shared(
    parts: Sequence[S],
    size: Callable[[S], float],
    allowance: float,
    read: Callable[[S, float], list[Record]],
    each: bool = False,
) -> list[Record]:
    """Read parts, the smallest first, each with an equal share of what is left of the allowance.

    So small parts are read in full, and large ones share the rest. With `each`, every part is read, with a share of at
    least one character; otherwise reading ends when nothing is left.
    """
    records: list[Record] = []
    for n, part in enumerate(sorted(parts, key=size)):
        if allowance > 0 or each:
            found = read(part, max(allowance / (len(parts) - n), 1))
            allowance -= total(found)
            records += found
    return records


def total(records: Iterable[Record]) -> int:
    """The number of characters of some records."""
    return sum(map(_size, records))


def _below(file: Input, folder: Path) -> str:
    """The name of a file with those of the folders between it and the folder of its category, which it includes."""
    return printable((Path(folder.resolve().name) / file.path.relative_to(folder)).as_posix())


def _size(record: Record) -> int:
    return record.size
