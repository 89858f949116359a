"""The live part of a catalog: a subject and its corpus flow in, a folder of parts with its manifest flows out.

The weights are stored as precisely as the limit on their size allows, and the error against the catalog is measured.
"""

import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from saecatalog.analysis.activations import Activations
from saecatalog.errors import CatalogError
from saecatalog.live.bundle import Bundle, listed, make_bundle
from saecatalog.live.engine import Engine
from saecatalog.live.kernel import BINARY
from saecatalog.live.measure import LiveError, measure
from saecatalog.live.model_program import compile_program
from saecatalog.live.packing import PRECISIONS
from saecatalog.live.parts import write_part
from saecatalog.live.program import NoProgram, Program
from saecatalog.live.tokenizer import page_tokenizer
from saecatalog.subject import Subject

MOST_WEIGHTS = 3 << 30
"""Bytes of weights that an engine can hold: WebAssembly has addresses of 32 bits, and a text takes memory too."""

IN_WORDS = {"exact": "in full precision", "half": "in half precision", "int8": "with 8-bit weights"}


@dataclass(frozen=True)
class Attempt:
    """One precision of the weights."""

    precision: str
    bundle: Bundle
    error: LiveError

    @property
    def megabytes(self) -> float:
        return float(sum(size for size, _ in self.bundle["parts"].values()) / 1e6)

    def words(self) -> str:
        """Its size and its error, for a message."""
        error = (
            f"misses {self.error.missed:.2%} and invents {self.error.false:.2%} of the firings, "
            f"the others differ by {self.error.relative_error:.2%}"
        )
        return f"{self.megabytes:.0f} MB {IN_WORDS[self.precision]} ({error})"


def make_live_part(
    subject: Subject, corpus: Activations, special_tokens: bool, limit_mb: float, folder: Path
) -> Bundle:
    """Write the parts of a subject into an empty folder; returns the manifest, or `{"reason": ...}` if it has none.

    Raises CatalogError if no precision keeps both the limit on the size and the limits on the error.
    """
    try:
        tokenizer = page_tokenizer(subject.tokenizer, special_tokens)
        settings = {**_settings(subject, corpus), "special_tokens": special_tokens}
        best = _most_precise(compile_program(subject), settings, corpus, limit_mb, folder)
    except NoProgram as reason:
        return {"reason": str(reason)}
    parts = [
        write_part(folder, "tokenizer", orjson.dumps(tokenizer)),
        write_part(folder, "kernel", BINARY.read_bytes()),
    ]
    error = {**asdict(best.error), "precision": best.precision}
    return {**best.bundle, "error": error, "parts": {**best.bundle["parts"], **listed(parts)}}


def _settings(subject: Subject, corpus: Activations) -> Bundle:
    """What the engine needs to know besides the program."""
    info = subject.info
    names = ("context", "prepend_bos", "bos_token_id", "d_sae")
    return {**{name: getattr(info, name) for name in names}, "norm_limit": corpus.norm_limit}


def _most_precise(program: Program, settings: Bundle, corpus: Activations, limit_mb: float, folder: Path) -> Attempt:
    """The most precise weights that are within the limit, in `folder`.

    Raises NoProgram if the page would be wrong at any precision, and CatalogError if it would be too large.
    """
    attempts = []
    for precision in PRECISIONS:
        (own := folder / precision).mkdir()
        try:
            bundle = {**settings, **make_bundle(program, precision, own)}
            if bundle["weights"] > MOST_WEIGHTS:
                continue
            attempt = Attempt(precision, bundle, measure(Engine(bundle, own), corpus, settings["bos_token_id"]))
            attempts.append(attempt)
            if not attempt.error.firings:
                raise NoProgram("no feature fires on the sample of the corpus, so its error cannot be measured")
            if not attempts[0].error.is_small:
                raise NoProgram(f"its figures would differ from the catalog's: {attempt.words()}")
            if attempt.megabytes <= limit_mb and attempt.error.is_small:
                for file in own.iterdir():
                    file.rename(folder / file.name)
                return attempt
        finally:
            shutil.rmtree(own)
    raise _too_large(attempts, limit_mb)


def _too_large(attempts: list[Attempt], limit_mb: float) -> Exception:
    """Why no attempt is good enough."""
    if not attempts:
        return NoProgram(f"its weights take more than the {MOST_WEIGHTS / 1e9:.1f} GB that a browser can hold")
    words = "; ".join(attempt.words() for attempt in attempts)
    enough = min(attempt.megabytes for attempt in attempts if attempt.error.is_small)
    return CatalogError(
        f"The live part would take {words}.",
        f"[site] live_limit_mb = {limit_mb:g}",
        f"Set the limit to {math.ceil(enough)}, or live to false.",
    )
