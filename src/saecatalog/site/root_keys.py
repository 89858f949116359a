"""The folder of page templates, and the keys of what is made with it."""

from pathlib import Path

from saecatalog.errors import CatalogError
from saecatalog.resources import resource
from saecatalog.stage_keys import digest, stage_key


def templates_folder(setting: str) -> Path:
    """The folder of page templates: the one of the settings, or the program's own.

    Raises CatalogError if the settings name a folder that does not exist.
    """
    if not setting:
        return resource("templates")
    if not Path(setting).is_dir():
        fix = "Correct [site] templates, or leave it out to use the program's own templates."
        raise CatalogError("The folder of page templates does not exist.", setting, fix)
    return Path(setting)


def template_digests(templates: Path) -> dict[str, str]:
    """The hash of each template, by its name."""
    files = sorted(path for path in templates.rglob("*") if path.is_file())
    return {path.relative_to(templates).as_posix(): digest(path.read_bytes().hex()) for path in files}


def root_made_with(digests: dict[str, str]) -> str:
    """The key of what the site's root page is made with, apart from its catalogs and comparisons."""
    return digest(stage_key("saecatalog.site.publish"), digests)
