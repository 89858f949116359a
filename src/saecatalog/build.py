"""The build command: a config flows in, a published site and its summary flow out."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from saecatalog.config import Config, SiteConfig
from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest
from saecatalog.notes import Notes
from saecatalog.pipeline import Pipeline
from saecatalog.progress import Progress
from saecatalog.site.inventory import Files, Keys, check_out, files_below, is_current
from saecatalog.site.totals import of_manifest
from saecatalog.stage_keys import digest, stage_key


@dataclass(frozen=True)
class Summary:
    """What was built."""

    manifest: Manifest
    folder: Path
    entry: Path
    """The file to open."""
    rebuilt: bool
    size: int
    """Of the catalog's files together, in bytes."""

    def lines(self, seconds: float) -> list[str]:
        """The closing summary: texts, tokens, features, pages, size, time."""
        counts, totals = self.manifest["counts"], of_manifest(self.manifest)
        word = "Built" if self.rebuilt else "Unchanged:"
        return [
            f"{word} {self.manifest['title']}",
            f"  {totals.corpus_words()}; {counts['features_fired']:,} of {counts['features']:,} features fired",
            f"  {totals.page_words()}; {self.size / 1e6:.1f} MB; {seconds:.1f} s",
        ]


def build(config: Config, progress: Progress) -> Summary:
    """Run every stage that is out of date and publish the site.

    Raises CatalogError, with the old site untouched, for any mistake in the settings, the texts or the environment.
    """
    templates = Path(config.site.templates)
    if not templates.is_dir():
        raise CatalogError("The folder of page templates is missing.", str(templates), "Run from the project's folder.")
    files = check_out(Path(config.site.out))
    pipeline = Pipeline(config, progress)
    return build_site(pipeline.analysed, pipeline.manifest, pipeline.notes, config.site, files, progress)


def build_site(
    analysis: Path, manifest: Manifest, notes: Notes, config: SiteConfig, files: Files, progress: Progress
) -> Summary:
    """Publish an analysis with its notes, where that is out of date; `files` are those of the output folder."""
    out, slug = Path(config.out), manifest["slug"]
    keys = _keys(analysis, manifest, notes, config)
    rebuilt = not is_current(out, files, slug, keys.all)
    if rebuilt:
        # A build with nothing to do reads no table and no template engine.
        from saecatalog.site.publish import publish

        publish(analysis, manifest, notes, config, keys, files, progress.open)
        files = files_below(out)
    published = json.loads((out / slug / "data" / "manifest.json").read_text(encoding="utf-8"))
    size = sum(bytes_ for file, bytes_ in files.items() if file.startswith(f"{slug}/"))
    return Summary(published, out / slug, out / "index.html", rebuilt, size)


def _keys(analysis: Path, manifest: Manifest, notes: Notes, config: SiteConfig) -> Keys:
    """What a site is made of: the analysis, the manifest, the settings, the templates, the code, and the notes."""
    folder = Path(config.templates)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    templates = {p.relative_to(folder).as_posix(): digest(p.read_bytes().hex()) for p in files}
    # The commit says which program it was; whether its code differs is in the key of the stage.
    facts = {name: value for name, value in manifest.items() if name != "program"}
    settings = {name: value for name, value in asdict(config).items() if name not in ("out", "templates", "notes")}
    rest = stage_key("saecatalog.site.publish", analysis.name, facts, settings)
    return Keys(digest(rest, templates, [asdict(note) for note in notes.files], notes.images), rest, templates)
