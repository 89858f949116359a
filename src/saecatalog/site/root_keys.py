"""The keys of what pages are made with: the folder of templates flows in, hashes flow out."""

from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.stage_keys import digest, stage_key


def check_folder(templates: Path) -> None:
    """Raise CatalogError if there is no folder of templates."""
    if not templates.is_dir():
        raise CatalogError(
            "The folder of page templates is missing.", str(templates), "Run the command in the project's folder."
        )


def template_digests(templates: Path) -> dict[str, str]:
    """The hash of each template, by its name."""
    files = sorted(path for path in templates.rglob("*") if path.is_file())
    return {path.relative_to(templates).as_posix(): digest(path.read_bytes().hex()) for path in files}


def root_made_with(digests: dict[str, str]) -> str:
    """The key of what the site's root page is made with, apart from its catalogs and comparisons."""
    return digest(stage_key("saecatalog.site.publish"), digests)
