"""The view models of steering with a feature, and of where the feature comes from.

In: the tables `steering`, `steering_prompts`, `steering_prices` and `attributions`. Out: plain values for the template
of the feature's page. What a model wrote is hostile: the template escapes it as it does a text of the corpus.
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from saecatalog.site import svg, tokens
from saecatalog.site.catalog import Catalog
from saecatalog.site.feature_rows import FeatureRows
from saecatalog.site.records import Row

PROMPTS, TOKENS, COMPONENTS = 3, 3, 10
"""How many prompts, tokens of each prediction, and components are shown of a feature; the data files have the rest."""
LONGEST = 80
"""Characters of a continuation on a page."""
NAMES = {"embedding": "Embedding", "head": "Head", "mlp": "MLP", "bias": "Attention bias"}
"""What the kinds of component are called; a bias without a layer is that of the SAE."""


class Written(NamedTuple):
    """What the model writes after a prompt: `multiple` is that of the feature's maximum, 0 without steering."""

    multiple: float
    ahead: list[tuple[str, float]]
    continuation: Markup


class Steered(NamedTuple):
    """A prompt with what the model writes without and with the feature."""

    prompt: Markup
    written: list[Written]


class Steering(NamedTuple):
    """Prompts with what the model writes, and the price: the loss on a neutral text by multiple, 0 first."""

    prompts: list[Steered]
    prices: list[tuple[float, float]]
    n_tokens: int


class Component(NamedTuple):
    """A part of the model before the hook: its name, what it adds, and which share of the whole that is."""

    name: str
    contribution: float
    share: float


class Origin(NamedTuple):
    """The components that add most, over so many contexts, as a table with a picture of their contributions."""

    components: list[Component]
    picture: Markup
    n_contexts: int


def of_feature(catalog: Catalog, by_feature: FeatureRows, number: int) -> Steering | None:
    """What the page of a feature shows of steering; None if it was not steered with."""
    rows = by_feature.of("steering")[number]
    if not rows:
        return None
    prices = by_feature.of("steering_prices")[number]
    return Steering(
        [Steered(tokens.visible(prompt.text), _written(prompt, rows)) for prompt in catalog.prompts[:PROMPTS]],
        [(0.0, price.loss_unsteered) for price in prices[:1]] + [(price.multiple, price.loss) for price in prices],
        prices[0].n_tokens if prices else 0,
    )


def _written(prompt: Row, rows: Sequence[Row]) -> list[Written]:
    """What the model writes after a prompt: without the feature, then with it by its multiple."""
    steered = sorted((row for row in rows if row.prompt == prompt.prompt), key=lambda row: row.multiple)
    return [
        Written(
            getattr(row, "multiple", 0.0),
            list(zip(row.next_tokens, row.next_probs, strict=True))[:TOKENS],
            tokens.visible(tokens.shorten(row.continuation, LONGEST)),
        )
        for row in (prompt, *steered)
    ]


def origin(by_feature: FeatureRows, number: int) -> Origin | None:
    """The components before the hook that add most to the feature; None if it was not attributed to any."""
    rows = by_feature.of("attributions").first(number, COMPONENTS)
    if not rows:
        return None
    components = [Component(_name(row), row.contribution, row.share) for row in rows]
    return Origin(components, svg.signed_bars([row.contribution for row in rows]), rows[0].n_contexts)


def _name(row: Row) -> str:
    """A component as a reader knows it: `MLP 7`, or `Head 5.3` for head 3 of layer 5."""
    if row.kind == "bias" and row.layer < 0:
        return "SAE’s biases"
    place = ".".join(str(number) for number in (row.layer, row.head) if number >= 0)
    return f"{NAMES.get(row.kind, row.kind.capitalize())} {place}".rstrip()
