"""The build command: a config flows in, a published site and its summary flow out."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from saecatalog.cache import Output
from saecatalog.config import Config, SiteConfig
from saecatalog.engines import Engine
from saecatalog.explanations import NO_EXPLANATIONS, Explanations
from saecatalog.manifest import Manifest, has_live_part
from saecatalog.notes import Notes
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress, notice
from saecatalog.site.inventory import MANIFEST, Files, Keys, check_out, is_current
from saecatalog.site.output_folder import output_folder
from saecatalog.site.places import place_of
from saecatalog.site.root_keys import root_made_with, template_digests, templates_folder
from saecatalog.site.totals import of_manifest
from saecatalog.stage_keys import digest, stage_key
from saecatalog.store import Harvested
from saecatalog.workspace import Workspace


@dataclass(frozen=True)
class Summary:
    """The result of a build."""

    manifest: Manifest
    folder: Path
    entry: Path
    """The file to open."""
    rebuilt: bool
    size: int
    """Total size of the catalog's files, in bytes."""

    def lines(self, seconds: float) -> list[str]:
        """The closing summary: texts, tokens, features, pages, size, time."""
        counts, totals = self.manifest["counts"], of_manifest(self.manifest)
        word = "Built" if self.rebuilt else "Unchanged:"
        return [
            f"{word} {self.manifest['title']}",
            f"  {totals.corpus_words()}; {counts['features_fired']:,} of {counts['features']:,} features fired",
            f"  {totals.page_words()}; {counts['notable']:,} features are notable",
            f"  {self.size / 1e6:.1f} MB; {seconds:.1f} s",
        ]


def build(config: Config, progress: Progress) -> Summary:
    """Run every stage that is out of date and publish the site.

    Raises CatalogError, with the old site untouched, for any mistake in the settings, the texts or the environment.
    """
    with Pipeline(config, progress) as pipeline:
        return build_from(pipeline)


def build_from(pipeline: Pipeline) -> Summary:
    """Run every stage of a pipeline that is out of date and publish the site; raises CatalogError as `build` does."""
    config = pipeline.config
    site = replace(config.site, templates=str(templates_folder(config.site.templates)))
    out = Path(site.out)
    with output_folder(out) as workspace:
        files = check_out(out)
        notes, analysis, explanations = pipeline.notes, pipeline.analysed, pipeline.explanations
        manifest = {**pipeline.manifest, "slug": place_of(out, files, pipeline.manifest)}
        for line in (*warnings(manifest), *_replaced(out, manifest, pipeline.corpus)):
            notice(line)
        live = pipeline.live.folder if pipeline.live and has_live_part(manifest) else None
        effects = [part for part in (pipeline.effects, pipeline.steering) if part]
        parts = (pipeline.progress, live, explanations, effects, pipeline.note_scores)
        # Workers on this machine alone are no faster than the processes that write pages without them.
        engine = (lambda: pipeline.engine) if config.machines.address else None
        return build_site(analysis, manifest, notes, site, files, workspace, *parts, engine)


def plain_names_warnings(texts: int, example: str) -> Iterator[str]:
    """What to do about names of special tokens that were read as plain characters in so many texts."""
    if texts:
        yield (
            f"{texts:,} of the texts hold names of special tokens, such as {example}, which were read as plain "
            "characters. If they are meant as tokens, add --special-tokens."
        )


def few_notable_warnings(counts: Mapping[str, int], settings: Mapping[str, Any]) -> Iterator[str]:
    """Why fewer features are notable than the settings allow, if more features fired."""
    notable, wanted = counts["notable"], settings["notable"]
    if notable < min(wanted, counts["features_fired"]):
        yield (
            f"{notable:,} features are notable, although `notable` allows {wanted:,}: the rankings, most with "
            f"at most {settings['top']:,} entries, name no more. A larger `top` makes them longer."
        )


def warnings(manifest: Manifest) -> Iterator[str]:
    """What a user may have overlooked and what makes the figures mean something else."""
    yield from plain_names_warnings(**manifest["corpus"]["plain_names"])
    yield from few_notable_warnings(manifest["counts"], manifest["settings"])
    if "reason" in (manifest.get("effects") or {}):
        yield f"effects are not measured: {manifest['effects']['reason']}"
    for part in ("steering", "attribution"):
        if "reason" in ((manifest.get("effects") or {}).get(part) or {}):
            yield f"there is no {part}: {manifest['effects'][part]['reason']}"
    if "reason" in (manifest.get("live") or {}):
        yield f"there is no live part: {manifest['live']['reason']}."
    sae, variance = manifest["sae"], manifest["health"]["explained_variance"]
    if sae["cross_layer"]:
        yield (
            "this is one layer of a cross-layer transcoder. Its explained variance says nothing, because other "
            f"layers write to '{sae['hook_out']}' too."
        )
    elif variance < 0:
        yield (
            f"the SAE's explained variance on these texts is {variance:.3g}: the mean would be a better guess. "
            "It was probably trained on another model, hook or normalisation."
        )


def _replaced(out: Path, manifest: Manifest, corpus: Harvested) -> Iterator[str]:
    """A line if the catalog that is replaced was made of a corpus with the same name and without a text in common."""
    published = out / manifest["slug"] / "data" / "texts.parquet"
    sha256 = str(manifest["corpus"]["sha256"]).encode()
    if not published.is_file() or sha256 in (out / manifest["slug"] / MANIFEST).read_bytes():
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        before = set(pq.read_table(published, columns=["text"])["text"].to_pylist())
    except (pa.ArrowException, OSError):
        # A damaged catalog is made anew in any case.
        return
    if before.isdisjoint(text.id for text in corpus.texts):
        name = manifest["corpus"]["name"]
        yield f"other texts of the name '{name}' take the place of {published.parent.parent}; --corpus-name keeps both"


def build_site(
    analysis: Output,
    manifest: Manifest,
    notes: Notes,
    config: SiteConfig,
    files: Files,
    workspace: Workspace,
    progress: Progress,
    live: Path | None = None,
    explanations: Explanations = NO_EXPLANATIONS,
    effects: Sequence[Output] = (),
    note_scores: Output | None = None,
    engine: Callable[[], Engine] | None = None,
) -> Summary:
    """Publish an analysis with its notes if the site is out of date.

    `files` are those of the output folder, `workspace` is a temporary folder inside it, and `live` the folder of the
    live part, which is named by its key, if there is one. Tables of `effects` and of `note_scores`, the scores of the
    rules in notes, take the place of the analysis'. `engine` gives an engine whose workers may write pages.
    """
    out, slug = Path(config.out), manifest["slug"]
    keys = _keys(analysis, effects, live, manifest, notes, explanations, config, note_scores)
    rebuilt = not is_current(out, files, slug, keys)
    if rebuilt:
        # Imported late, so that a build with nothing to do loads neither tables nor the template engine.
        from saecatalog.site.publish import publish

        made = [analysis, *effects, *([note_scores] if note_scores else [])]
        folders = [part.folder for part in made]
        parts = (folders, live, manifest, notes, explanations, config, keys, files, workspace)
        size = publish(*parts, progress.open, engine)
    else:
        size = sum(file.size for path, file in files.items() if path.startswith(f"{slug}/"))
    published = json.loads((out / slug / "data" / "manifest.json").read_text(encoding="utf-8"))
    return Summary(published, out / slug, out / "index.html", rebuilt, size)


def _keys(
    analysis: Output,
    effects: Sequence[Output],
    live: Path | None,
    manifest: Manifest,
    notes: Notes,
    explanations: Explanations,
    config: SiteConfig,
    note_scores: Output | None,
) -> Keys:
    """Keys of everything a site depends on: analysis, manifest, settings, templates, code and notes."""
    templates = template_digests(Path(config.templates))
    # The commit only identifies the program; changes to its code are part of the stage's key.
    facts = {name: value for name, value in manifest.items() if name != "program"}
    # The folder of the live part is named by its key, which covers the limit on its size.
    elsewhere = ("out", "templates", "notes", "explanations", "live", "live_limit_mb")
    settings = {name: value for name, value in asdict(config).items() if name not in elsewhere}
    code = stage_key("saecatalog.site.publish")
    tables = (analysis.key, *(part.key for part in effects))
    rest = digest(code, *tables, live and live.name, facts, settings, explanations.facts())
    noted = [asdict(note) for note in notes.files], notes.images, note_scores and note_scores.key
    every = digest(rest, templates, *noted)
    return Keys(every, rest, root_made_with(templates), templates)
