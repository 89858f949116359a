"""The error of the live part: an engine and a corpus flow in, how far a page is from the catalog flows out.

Both are activations of the same tokens: the beginnings of some texts, evenly spaced in the corpus. Positions with
massive activations are left out, as on the pages.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from saecatalog.analysis.activations import Activations
from saecatalog.live.engine import Engine, Run
from saecatalog.store import Store

TEXTS, TOKENS = 8, 32
"""How many texts are sampled, and how many tokens at most at the beginning of each; more would make builds slow."""

MOST_WRONG = 0.01
"""The largest share of missed and of false firings with which a catalog gets a live part."""

MOST_RELATIVE = 0.05
"""The largest mean relative error. Another SAE may fire on the same tokens, but not as strongly."""

STRONGEST = 5


@dataclass(frozen=True)
class LiveError:
    """How the page's activations compare with those that the catalog is made from."""

    texts: int
    tokens: int
    firings: int
    """Of the catalog, on these tokens."""
    top_five: float
    """Share of the tokens on which both have the same five strongest features."""
    missed: float
    """Share of the catalog's firings that the page does not have."""
    false: float
    """Share of the page's firings that the catalog does not have."""
    relative_error: float
    """Mean of |page - catalog| / catalog over the firings that both have."""

    @property
    def is_small(self) -> bool:
        """Whether a page may show such figures; not if they are not numbers."""
        return max(self.missed, self.false) <= MOST_WRONG and self.relative_error <= MOST_RELATIVE


def measure(engine: Engine, corpus: Activations, bos: int | None) -> LiveError:
    """Compare the page's activations with a corpus's."""
    # Only the first window of a text begins where the text does.
    longest = engine.bundle["context"] - int(bos is not None)
    texts = sample(corpus.store, min(TOKENS, longest))
    runs = (engine.run(_ids(corpus.store, tokens, bos)) for tokens in texts)
    return _summary([_compare(run, corpus, tokens, bos is not None) for run, tokens in zip(runs, texts, strict=True)])


def sample(store: Store, most: int) -> list[slice]:
    """The tokens, at most so many, at the beginnings of texts that are evenly spaced in a store."""
    texts = np.unique(np.linspace(0, store.n_texts - 1, TEXTS).round().astype(int))
    ends = [(int(store.text_offsets[t]), int(store.text_offsets[t + 1])) for t in texts]
    return [slice(start, min(stop, start + most)) for start, stop in ends]


def _ids(store: Store, tokens: slice, bos: int | None) -> list[int]:
    return [*([] if bos is None else [bos]), *map(int, store.token_ids[tokens])]


@dataclass(frozen=True)
class Compared:
    """The activations of both at the counted tokens of one text."""

    page: Float32[np.ndarray, "token d_sae"]
    catalog: Float32[np.ndarray, "token d_sae"]


def _compare(run: Run, corpus: Activations, tokens: slice, skip: bool) -> Compared:
    catalog = corpus.by_token[tokens].toarray()
    page = np.zeros((len(catalog) + int(skip), catalog.shape[1]), np.float32)
    page[run.tokens, run.features] = run.activations
    counted: Bool[np.ndarray, token] = corpus.included[tokens]
    return Compared(page[int(skip) :][counted], catalog[counted])


def _summary(found: list[Compared]) -> LiveError:
    page, catalog = (np.concatenate([getattr(c, side) for c in found]) for side in ("page", "catalog"))
    both = (page > 0) & (catalog > 0)
    fired, fired_page = int((catalog > 0).sum()), int((page > 0).sum())
    errors = np.abs(page[both] - catalog[both]) / catalog[both]
    return LiveError(
        texts=len(found),
        tokens=len(catalog),
        firings=fired,
        top_five=float((_top(page) == _top(catalog)).all(axis=1).mean()) if len(catalog) else 1.0,
        missed=(fired - int(both.sum())) / max(1, fired),
        false=(fired_page - int(both.sum())) / max(1, fired_page),
        relative_error=float(errors.mean()) if len(errors) else 0.0,
    )


def _top(activations: Float32[np.ndarray, "token d_sae"]) -> Int64[np.ndarray, "token 5"]:
    """The strongest features of each token, in the order of their numbers; of equal ones, the first."""
    return np.sort(np.argsort(-activations, axis=1, kind="stable")[:, :STRONGEST], axis=1)
