"""Show which features fire on any text, or how strongly one feature does, token by token.

Without a feature, lists the strongest features of each text and of each of its tokens, with their labels if a catalog
of the same model and SAE is in the site's folder. Massive activations, judged by the median norm of these texts, are
marked and excluded from the figures of texts.

--json prints one object: `sae`, `model`, `feature` (null without one), `labels` (the catalog they are from, or null)
and `texts`, a list of objects. Each has `text` and `tokens`: `position`, `token`, `counted` (false for a massive
activation) and, with a feature, `activation`, otherwise `features`, a list of `feature`, `label` and `activation`. With
a feature, a text also has `max`, `position` (of the maximum), `last`, `mean`, `n_active` and `n_tokens`; otherwise
`features`, a list of `rank`, `feature`, `label`, `score`, `position` and `token`."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saecatalog.commands.flags import add_json, add_special_tokens, add_subject
from saecatalog.commands.output import print_json, records
from saecatalog.commands.settings import config_of
from saecatalog.errors import CatalogError
from saecatalog.progress import Progress

if TYPE_CHECKING:
    from saecatalog.explore import Run
    from saecatalog.labels import Labels
    from saecatalog.subject_info import SubjectInfo

EXAMPLE = 'explore --text "The rain stopped at noon."'
TOP = 5
BAR = 24
"""Width of the longest bar, in characters."""
EXCLUDED = "massive activation, excluded"
WIDEST = 30
"""Most characters of a token before the columns after it move."""


def add(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "feature", nargs="?", type=int, help="index of the feature in the dictionary; default: the strongest ones"
    )
    p.add_argument("--text", action="append", default=[], help="text to run; can be repeated")
    p.add_argument("--file", type=Path, metavar="F", help="file of texts, in any corpus format")
    p.add_argument(
        "--top", type=int, metavar="N", help=f"features of each text and token, without a feature; default: {TOP}"
    )
    p.add_argument(
        "--site",
        type=Path,
        metavar="DIR",
        help="site with the labels, without a feature; default: the folder that is built",
    )
    add_json(p)
    add_special_tokens(p)
    add_subject(p)


def run(a: argparse.Namespace) -> int:
    """Show which features fire on texts, or how strongly one feature does."""
    from saecatalog.explore import check_feature, run_texts
    from saecatalog.labels import wanted_labels
    from saecatalog.pipeline import Pipeline
    from saecatalog.texts.corpus import read_text_list

    config = config_of(a)
    contents = [*a.text, *(read_text_list(a.file, config.corpus) if a.file else [])]
    if not contents:
        raise CatalogError("No text was given.", "explore", 'Add --text "..." or --file FILE.')
    for flag, value in (("--top", a.top), ("--site", a.site)):
        if a.feature is not None and value is not None:
            what = "This flag is for the strongest features, not for one that is given."
            raise CatalogError(what, f"{flag} {value}", f"Leave out {flag}, or the feature {a.feature}.")
    labels = None
    with Pipeline(config, Progress(a.quiet)) as pipeline:
        info = pipeline.info
        if a.feature is None:
            labels = wanted_labels(a.site, Path(config.site.out), info)
        else:
            check_feature(a.feature, info.d_sae)
        found = run_texts(pipeline, contents)
    top = TOP if a.top is None else a.top
    if a.json:
        print_json(_object(found, info, a.feature, top, labels))
        return 0
    lines = _top_lines(found, info, top, labels) if a.feature is None else _feature_lines(found, info, a.feature)
    for line in lines:
        print(line)
    return 0


def _object(
    run: "Run", info: "SubjectInfo", feature: int | None, top: int, labels: "Labels | None"
) -> dict[str, object]:
    """What `--json` prints."""
    parts = _top_parts(run, top, labels) if feature is None else _feature_parts(run, feature)
    return {
        "sae": info.sae_name,
        "model": info.model_name,
        "feature": feature,
        "labels": str(labels.folder) if labels else None,
        "texts": [{"text": text.content} | part for text, part in zip(run.texts, parts, strict=True)],
    }


def _feature_parts(run: "Run", feature: int) -> Iterator[dict[str, Any]]:
    """Of each text, the figures of a feature and its activation on each token."""
    from saecatalog.explore import feature_on_texts, feature_on_tokens

    tokens = feature_on_tokens(run, feature)
    for row in records(feature_on_texts(run, feature)):
        number = row.pop("text")
        mine = tokens[tokens["text"] == number].drop(columns="text")
        yield {**row, "tokens": records(mine)}


def _top_parts(run: "Run", top: int, labels: "Labels | None") -> Iterator[dict[str, Any]]:
    """Of each text, its strongest features and those of each token."""
    from saecatalog.explore import token_rows, top_of_texts, top_of_tokens
    from saecatalog.labels import with_labels

    names = None if labels is None else labels.names
    of_texts = with_labels(top_of_texts(run, top), names)
    of_tokens: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in records(with_labels(top_of_tokens(run, top), names)):
        found = {name: row[name] for name in ("feature", "label", "activation")}
        of_tokens.setdefault((row["text"], row["position"]), []).append(found)
    rows = token_rows(run)
    for number in range(len(run.texts)):
        mine = of_texts[of_texts["text"] == number].drop(columns="text")
        tokens = records(rows[rows["text"] == number].drop(columns="text"))
        tokens = [{**row, "features": of_tokens.get((number, row["position"]), [])} for row in tokens]
        yield {"features": records(mine), "tokens": tokens}


def _feature_lines(run: "Run", info: "SubjectInfo", feature: int) -> Iterator[str]:
    """One line per token of each text with the feature's activation, then the text's max, last and mean."""
    link = info.neuronpedia_id
    yield f"feature {feature} of {info.sae_name}" + (f"  https://www.neuronpedia.org/{link}/{feature}" if link else "")
    parts = list(_feature_parts(run, feature))
    largest = max([part["max"] for part in parts]) or 1.0
    for part in parts:
        yield ""
        names = _shown(part["tokens"])
        for name, row in zip(names, part["tokens"], strict=True):
            bar = "█" * round(BAR * row["activation"] / largest) if row["counted"] else EXCLUDED
            yield f"{row['position']:5d}  {name}  {row['activation']:8.3f}  {bar}".rstrip()
        yield (
            f"       max {part['max']:.3f} at {part['position']}, last {part['last']:.3f}, mean {part['mean']:.3f}, "
            f"active on {part['n_active']} of {part['n_tokens']} tokens"
        )


def _top_lines(run: "Run", info: "SubjectInfo", top: int, labels: "Labels | None") -> Iterator[str]:
    """A table of the strongest features of each text, then one line per token with its strongest features."""
    yield f"features of {info.sae_name}" + (f", with the labels of {labels.folder}" if labels else "")
    for text, part in zip(run.texts, _top_parts(run, top, labels), strict=True):
        yield ""
        yield repr(text.content)[1:-1]
        yield f"{'feature':>8}  {'score':>8}  {'at':>5}{'  label' if labels else ''}"
        for row in part["features"]:
            yield f"{row['feature']:8d}  {row['score']:8.3f}  {row['position']:5d}  {row['label']}".rstrip()
        yield ""
        for name, row in zip(_shown(part["tokens"]), part["tokens"], strict=True):
            firing = "  ".join(f"{found['feature']} {found['activation']:.3f}" for found in row["features"])
            yield f"{row['position']:5d}  {name}  {firing}  {'' if row['counted'] else EXCLUDED}".rstrip()


def _shown(tokens: "list[dict[str, Any]]") -> list[str]:
    """The tokens of a text with their controls as escapes, padded to one width."""
    names = [repr(row["token"])[1:-1] for row in tokens]
    width = min(WIDEST, max(map(len, names)))
    return [name.ljust(width) for name in names]
