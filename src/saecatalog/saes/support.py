"""Which of the known SAEs can be built: rows of the list flow in, counts by reason flow out, without the network.

Each reason is what a build would refuse an SAE for, taken from where the build takes it. That nothing speaks against an
SAE does not mean that it was built: its weights were not read.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from saecatalog import embedded
from saecatalog.saes.listing import Listed

NO_HOOK = "not known here: only a file of its repository names the hook, and a build reads it"


@dataclass(frozen=True)
class Support:
    """What is known of whether some SAEs can be built."""

    rows: int
    buildable: int
    families: dict[str, tuple[int, int]]
    """For each family (the loader of sae_lens and the model's library): number of SAEs, and of those buildable."""
    reasons: dict[str, int]
    """For each reason against an SAE, the number of SAEs, the largest first."""
    notes: dict[str, int]
    """What is decided only when the SAE is loaded, or holds with a limitation, and for how many of those buildable."""


def support(rows: Sequence[Listed]) -> Support:
    """Count the SAEs that can be built, and those that cannot by reason."""
    against = [reason(row) for row in rows]
    families: dict[str, tuple[int, int]] = {}
    for row, why in zip(rows, against, strict=True):
        all_, good = families.get(family(row), (0, 0))
        families[family(row)] = all_ + 1, good + (not why)
    good_rows = [row for row, why in zip(rows, against, strict=True) if not why]
    return Support(
        rows=len(rows),
        buildable=len(good_rows),
        families=dict(sorted(families.items())),
        reasons=dict(Counter(filter(None, against)).most_common()),
        notes=dict(Counter(note for row in good_rows for note in notes(row)).most_common()),
    )


def family(row: Listed) -> str:
    """The loader of sae_lens, and the library that runs the model."""
    return f"{row.loader}, {library(row.model_name) or 'no library'}"


def reason(row: Listed) -> str:
    """Why a build refuses this SAE; "" if nothing that is installed speaks against it."""
    return next(filter(None, _reasons(row)), "")


def _reasons(row: Listed) -> Iterator[str]:
    from saecatalog.subject import UNFOLDED, UNSUPPORTED

    if row.architecture in UNSUPPORTED:
        yield f"architecture '{row.architecture}': {UNSUPPORTED[row.architecture]}"
    if row.normalization in UNFOLDED:
        yield f"normalization '{row.normalization}' without its factor"
    if not library(row.model_name):
        yield f"neither transformer_lens nor transformers {_version('transformers')} has the model {row.model_name}"
    if not row.hook_known:
        yield NO_HOOK
    elif not _understood(row.hook):
        yield f"the hook '{row.hook}' is not known"


def notes(row: Listed) -> Iterator[str]:
    """What is not decided before an SAE is loaded, or is a limitation."""
    from saecatalog.subject import CROSS_LAYER

    if _unpickles(row.loader):
        yield "its weights are a file of torch.save: it is opened if it holds tensors only"
    if not row.architecture:
        yield "only a file of its repository names the architecture"
    if not row.normalization:
        yield "only a file of its repository names the normalization"
    if "transcoder" in row.architecture and CROSS_LAYER.search(row.name):
        yield "a layer of a cross-layer transcoder: its explained variance says nothing"
    if library(row.model_name) == "transformers":
        yield "its model is run by plain transformers, as transformer_lens does not have it"


def _understood(hook: str) -> bool:
    """Whether a hook's name is one that models are run with."""
    from saecatalog.models.decoder_layer import POINTS
    from saecatalog.models.hooked_model import FLAGS
    from saecatalog.models.plain_model import is_module_path

    point = hook.split(".", 2)[-1]
    return hook == "hook_embed" or is_module_path(hook) or point in POINTS or point in FLAGS


@cache
def library(model: str) -> str:
    """The library that runs a model; "" if neither has it without code of the model's own.

    `transformers` has it if one of its causal language models is of the family that the model's name begins with.
    """
    from saecatalog.models.model_loading import known_models

    if model == embedded.MODEL_NAME or model in known_models():
        return "transformer_lens"
    return "transformers" if "/" in model and _has_family(model) else ""


def _has_family(model: str) -> bool:
    """Whether the name of a type of model in `transformers` (`qwen3_5`) is in a model's name (`Qwen/Qwen3.5-27B`)."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TYPES

    name = "_" + re.sub(r"[^a-z0-9]+", "_", model.rpartition("/")[2].lower()) + "_"
    return any(f"_{kind}_" in name for kind in TYPES)


@cache
def _unpickles(loader: str) -> bool:
    """Whether the function of sae_lens for a family opens a file of torch.save, as its source shows."""
    import inspect

    from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_LOADERS

    return "torch.load(" in inspect.getsource(NAMED_PRETRAINED_SAE_LOADERS[loader])


def _version(library: str) -> str:
    from importlib.metadata import version

    return version(library)


# Text


def summary(found: Support, what: str = "") -> list[str]:
    """The counts as lines for a terminal."""
    lines = [f"{found.buildable:,} of {found.rows:,} SAEs{what} can be built{_share(found)}."]
    parts: Iterable[tuple[str, dict[str, int]]] = (("Not counted", found.reasons), ("Of those that can", found.notes))
    for title, counts in parts:
        if counts:
            lines += ["", f"{title}:", *(f"  {count:>7,}  {words}" for words, count in counts.items())]
    width = max(map(len, found.families))
    lines += ["", f"{'family':<{width}}  {'SAEs':>7}  buildable"]
    lines += [f"{name:<{width}}  {all_:>7,}  {good:>9,}" for name, (all_, good) in found.families.items()]
    return lines


def _share(found: Support) -> str:
    return f" ({100 * found.buildable / found.rows:.1f} %)"


def markdown(found: Support) -> str:
    """The counts as a page of the documentation."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("sae_lens", "transformer_lens", "transformers"))
    lines = [
        "# Which SAEs can be built",
        "",
        f"Made by `python build.py list --support --markdown` with {versions}; do not edit.",
        "",
        f"**{found.buildable:,} of the {found.rows:,} SAEs of `list` can be built{_share(found)}.** They are the",
        "default one and those of `sae_lens`' directory. *Can be built* means that nothing installed speaks against",
        "it: architecture, normalization, model and hook are known. No weights were read.",
        "",
        "| SAEs | not counted as buildable, because |",
        "|---:|---|",
        *(f"| {count:,} | {words} |" for words, count in found.reasons.items()),
        "",
        "| SAEs | that can, but |",
        "|---:|---|",
        *(f"| {count:,} | {words} |" for words, count in found.notes.items()),
        "",
        "Families by the function of `sae_lens` that loads them, and the library that runs the model:",
        "",
        "| family | SAEs | buildable |",
        "|---|---:|---:|",
        *(f"| {name} | {all_:,} | {good:,} |" for name, (all_, good) in found.families.items()),
    ]
    return "\n".join(lines) + "\n"
