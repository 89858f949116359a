"""Publishing: finished tables and templates flow in, a site folder flows out, whole or not at all.

A catalog is built beside its place, then swapped in. Each catalog lists its own files, so that a rebuild knows what it
may replace and leaves alone, with an error, what it did not write.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import saecatalog
from saecatalog.config import NOTES, SiteConfig
from saecatalog.errors import CatalogError
from saecatalog.notes import Notes, check_pages
from saecatalog.site.check import page_counts
from saecatalog.site.render import render_catalog, render_root
from saecatalog.store import new_folder, write_json
from saecatalog.tables import SCHEMAS, Tables, read_table, write_table

FILE_LIST = "data/files.json"
"""In each catalog: the files it consists of, and the key of the build that wrote them."""

ROOT_LIST = ".saecatalog.json"
"""At the site's root: the files there that belong to no catalog."""

TOLERATED = {".git", ".gitignore", ".gitattributes", ".github", "CNAME", ".DS_Store"}
"""What people keep in a site's folder for publishing; never touched."""


def check_out(out: Path) -> None:
    """Raise CatalogError where the output folder is a file or holds something this program did not write."""
    if out.exists() and not out.is_dir():
        raise CatalogError("The output folder is a file.", str(out), "Give another --out, or move the file away.")
    foreign = sorted(_foreign(out)) if out.exists() else []
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise CatalogError(
            "The output folder holds something that this program did not write.",
            f"{out}: {', '.join(foreign[:3])}{more}",
            "Move it away, or give another --out; nothing was changed.",
        )


def _foreign(out: Path) -> Iterator[str]:
    """Files below the output folder that neither the root's list nor a catalog's list names."""
    known = set(_read_list(out / ROOT_LIST)) | {ROOT_LIST}
    for slug in catalogs(out):
        known |= {f"{slug}/{file}" for file in _read_list(out / slug / FILE_LIST)}
        known.add(f"{slug}/{FILE_LIST}")
    for path in out.rglob("*"):
        relative = path.relative_to(out)
        if path.is_file() and relative.parts[0] not in TOLERATED and relative.as_posix() not in known:
            yield relative.as_posix()


def _read_list(path: Path) -> list[str]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def catalogs(out: Path) -> list[str]:
    """The folders of the catalogs in a site, relative to it."""
    return sorted(path.parent.parent.relative_to(out).as_posix() for path in out.rglob(FILE_LIST))


def is_current(out: Path, slug: str, key: str) -> bool:
    """True where the catalog stands there complete, built with this key."""
    try:
        listed = json.loads((out / slug / FILE_LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    complete = all((out / slug / file).is_file() for file in listed.get("files", []))
    return listed.get("key") == key and complete and all((out / f).is_file() for f in _read_list(out / ROOT_LIST))


def publish(
    analysis: Path, notes: Notes, config: SiteConfig, templates: Path, key: str, progress: Callable[..., Any]
) -> tuple[Path, dict[str, Any]]:
    """Build one catalog's folder beside its place, swap it in, and renew the site's root page.

    Returns the catalog's folder and its manifest. `key` identifies the build for `is_current`. Raises CatalogError for
    a note that links to a feature without a page.
    """
    out = Path(config.out)
    features = read_table(analysis, "features")
    check_pages(notes, set(features.loc[features["page"] != "", "feature"]))
    manifest = _complete(json.loads((analysis / "manifest.json").read_text(encoding="utf-8")), config)
    target = out / manifest["slug"]
    out.mkdir(parents=True, exist_ok=True)
    with new_folder(target) as folder:
        # The pages are made from the tables that are published, as `verify` makes them again.
        tables = _write_tables(analysis, notes, folder / "data", config.csv)
        render_catalog(tables, manifest, templates, folder, progress)
        _copy_images(notes, folder / NOTES)
        manifest["pages"] = page_counts(_files(folder))
        write_json(folder / "data" / "manifest.json", manifest)
        write_json(folder / FILE_LIST, {"key": key, "files": _files(folder)})
    _publish_root(out, templates)
    return target, manifest


def _files(folder: Path) -> list[str]:
    """Every file below a folder, by its relative path."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _complete(manifest: dict[str, Any], config: SiteConfig) -> dict[str, Any]:
    """The analysis' manifest with what the site adds: title, address, program."""
    sae = manifest["sae"]
    default = f"{manifest['model']['name']} · {sae['hook']} · {sae['d_sae']:,} features"
    return {
        **manifest,
        "title": config.title or default,
        "description": config.description,
        "base_url": config.base_url.rstrip("/") + "/" if config.base_url else "",
        "csv": config.csv,
        "program": {"name": "saecatalog", "version": saecatalog.__version__, "commit": program_commit()},
    }


def program_commit() -> str:
    """The program's own commit, marked where its files were changed since; "" where it is no git checkout."""
    package = Path(__file__).parent.parent
    commit = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--", str(package), str(package.parent.parent / "templates"))
    return f"{commit} with changes" if commit and changed else commit


def _git(folder: Path, *words: str) -> str:
    try:
        run = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _write_tables(analysis: Path, notes: Notes, data: Path, csv: bool) -> Tables:
    """The tables of a site as Parquet, and as CSV too on request: those of the analysis, and the notes."""
    data.mkdir(parents=True)
    for name in SCHEMAS:
        shutil.copyfile(analysis / f"{name}.parquet", data / f"{name}.parquet")
    write_table(data, "notes", notes.columns())
    tables = Tables(data)
    for name in SCHEMAS if csv else ():
        _flat(tables[name]).to_csv(data / f"{name}.csv", index=False, lineterminator="\n")
    return tables


def _copy_images(notes: Notes, folder: Path) -> None:
    """The images that the notes show."""
    for image, _ in notes.images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(notes.folder / image, folder / image)


def _flat(table: Any) -> Any:
    """List columns as numbers separated by spaces, for CSV has no lists."""
    lists = [c for c in table if len(table) and hasattr(table[c].iloc[0], "tolist") and table[c].dtype == object]
    return table.assign(**{c: [" ".join(map(str, row.tolist())) for row in table[c]] for c in lists})


def _publish_root(out: Path, templates: Path) -> None:
    """Renew the page that lists the catalogs, and drop files of an older root that are no longer part of it."""
    manifests = [
        json.loads((out / slug / "data" / "manifest.json").read_text(encoding="utf-8")) for slug in catalogs(out)
    ]
    with tempfile.TemporaryDirectory(prefix=".root-", dir=out) as folder:
        root = Path(folder)
        render_root(manifests, templates, root)
        # GitHub Pages would otherwise run Jekyll, which drops files whose names begin with an underscore.
        (root / ".nojekyll").touch()
        files = _files(root)
        for old in set(_read_list(out / ROOT_LIST)) - set(files):
            (out / old).unlink(missing_ok=True)
        for file in files:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).replace(out / file)
        write_json(out / ROOT_LIST, {"files": files})
