"""The build command: a config flows in, a published site and its summary flow out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saecatalog.config import Config
from saecatalog.errors import CatalogError
from saecatalog.pipeline import Pipeline, code_digest, digest
from saecatalog.progress import Progress


@dataclass(frozen=True)
class Summary:
    """What was built."""

    manifest: dict[str, Any]
    folder: Path
    entry: Path
    """The file to open."""
    rebuilt: bool

    def lines(self, seconds: float) -> list[str]:
        """The closing summary: texts, tokens, features, pages, size, time."""
        counts, pages = self.manifest["counts"], self.manifest["pages"]
        size = sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())
        word = "Built" if self.rebuilt else "Unchanged:"
        return [
            f"{word} {self.manifest['title']}",
            f"  {counts['texts']:,} texts, {counts['tokens']:,} tokens; "
            f"{counts['features_fired']:,} of {counts['features']:,} features fired",
            f"  {sum(pages.values()):,} pages, {pages['features']:,} of them of features; {size / 1e6:.1f} MB; "
            f"{seconds:.1f} s",
        ]


def build(config: Config, progress: Progress) -> Summary:
    """Run every stage that is out of date and publish the site.

    Raises CatalogError, with the old site untouched, for any mistake in the settings, the texts or the environment.
    """
    import json

    from saecatalog.site.publish import check_out, is_current, publish

    out, templates = Path(config.site.out), Path(config.site.templates)
    if not templates.is_dir():
        raise CatalogError("The folder of page templates is missing.", str(templates), "Run from the project's folder.")
    check_out(out)
    pipeline = Pipeline(config, progress)
    analysis = pipeline.analysed()
    slug = pipeline.info.slug
    template_files = sorted(p for p in templates.rglob("*") if p.is_file())
    key = digest(
        analysis.name,
        {name: value for name, value in asdict(config.site).items() if name not in ("out", "templates", "notes")},
        [asdict(note) for note in pipeline.notes.files],
        pipeline.notes.images,
        [[p.name, p.read_bytes().hex()] for p in template_files],
        code_digest("site/**/*", "tables.py", "names.py", "notes.py", "__init__.py"),
    )
    rebuilt = not is_current(out, slug, key)
    if rebuilt:
        publish(analysis, pipeline.notes, config.site, templates, key, progress.open)
    manifest = json.loads((out / slug / "data" / "manifest.json").read_text(encoding="utf-8"))
    return Summary(manifest, out / slug, out / "index.html", rebuilt)
