"""The templates: loads and compiles them, and knows which page is made from which.

In: the folder of templates. Out: a Jinja environment, and the files to write again when templates have changed.
"""

import re
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import (
    BytecodeCache,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateSyntaxError,
    nodes,
)
from jinja2.bccache import Bucket
from jinja2.meta import find_referenced_templates
from jinja2.runtime import Context
from markupsafe import Markup, escape

from saecatalog.constants import CLEAR_AUROC, SURE_Q
from saecatalog.errors import CatalogError
from saecatalog.site import charts, formats, tokens

# Pages make no requests, but without `connect-src 'self'` Lighthouse cannot read robots.txt and lowers its score.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'"
)
LIVE_CSP = CSP.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:")
"""The policy of pages that run the model. A worker made from a blob inherits it, so a text cannot be sent elsewhere
from there either; a worker from a file would have no policy."""
SECTIONS = (
    ("features/index.html", "Features"),
    ("categories/index.html", "Categories"),
    ("coactivation/index.html", "Co-activation"),
    ("concepts/index.html", "Concepts"),
    ("texts/index.html", "Texts"),
    ("about.html", "About"),
)
EFFECTS_SECTION = ("effects/index.html", "Effects")
"""The section of a catalog that was built with effects, even if none could be measured."""
LIVE_SECTION = ("live/index.html", "Try a text")
"""The section of a catalog with a live part. Its link needs a script, and shows only where scripts run."""

TEMPLATES = (
    (r"features/\d+\.html", "feature.html"),
    (r"features/\d+\.embed\.html", "feature_embed.html"),
    (r"features/(index|page-\d+)\.html", "features.html"),
    (r"effects/\d+\.html", "effect_page.html"),
    (r"texts/(index|index\.\d+|all\..*)\.html", "texts.html"),
    (r"texts/.*\.html", "text.html"),
    (r"(categories|clearest|coactivation|concepts|effects)/index(?:\.\d+)?\.html", r"\1.html"),
    (r"categories/[^/]*\.vs\.[^/]*\.html", "category_pair.html"),
    (r"categories/.*\.html", "category.html"),
    (r"concepts/.*\.html", "concept.html"),
    (r"live/index\.html", "live.html"),
    (r"([^/]*\.html)", r"\1"),
)
"""The template of each page, by the first pattern that matches its path; other files have no template."""


def environment(templates: Path) -> Environment:
    """The Jinja environment: everything is escaped, and an unknown name is an error."""
    env = Environment(
        loader=_Loader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_compiled,
    )
    env.template_class, env.context_class = _Template, _Context
    env.filters.update(formats.FILTERS)
    env.filters.update(
        show=lambda value, kind: formats.FILTERS[kind](value),
        token=tokens.token,
        bins=formats.bins,
        basename=lambda path: path.rpartition("/")[2],
    )
    env.globals.update(
        csp=Markup(CSP),
        sections=SECTIONS,
        percent_interval=formats.percent_interval,
        measured=formats.measured,
        interval=formats.interval,
        decimal_interval=formats.decimal_interval,
        levels=tokens.LEVELS,
        sure_q=SURE_Q,
        clear_auroc=CLEAR_AUROC,
        colour_percentile=f"{100 * charts.COLOUR_QUANTILE:g}th percentile",
    )
    return env


def check_templates(templates: Path) -> None:
    """Raises CatalogError, with file and line, for a template that is not valid Jinja."""
    env = environment(templates)
    for name in env.list_templates(["html"]):
        path = templates / name
        try:
            # The loader removes blank lines, so the file itself is parsed: its line numbers are right.
            _parsed(path.read_text(encoding="utf-8"))
        except TemplateSyntaxError as error:
            raise CatalogError(
                f"A page template has a mistake: {error.message}", f"{path}:{error.lineno}", "Correct the template."
            ) from error


def made_from(templates: Path, names: Collection[str], paths: Iterable[str]) -> set[str]:
    """The files, among `paths`, made from one of these templates or from one that extends or imports it."""
    if not names:
        return set()
    env = environment(templates)

    def parts(name: str) -> set[str]:
        tree = _parsed((templates / name).read_text(encoding="utf-8"))
        return {name}.union(*(parts(part) for part in find_referenced_templates(tree) if part))

    changed = {name for name in env.list_templates(["html"]) if not parts(name).isdisjoint(names)}
    return {path for path in paths if _template_of(path) in changed}


@cache
def _parsed(source: str) -> nodes.Template:
    """The tree of a template. Parsing takes long, and one run may read the templates for several catalogs."""
    return Environment(trim_blocks=True, lstrip_blocks=True).parse(source)


def _template_of(path: str) -> str:
    """The template of a file of a catalog; "" if it has none."""
    for pattern, name in TEMPLATES:
        if match := re.fullmatch(pattern, path):
            return match.expand(name)
    return ""


_NEEDS_ESCAPE = re.compile("[&<>\"']").search


class _Template(Template):
    """A template that escapes without making a `Markup` for each piece, which took a third of a page's time."""

    @classmethod
    def from_code(cls, environment: Environment, code: Any, globals: Any, uptodate: Any = None) -> Template:
        template = super().from_code(environment, code, globals, uptodate)
        template.root_render_func.__globals__["escape"] = _escape
        return template


def _escape(value: object) -> str:
    """The result of `markupsafe.escape`, to be written directly to the page."""
    if type(value) is Markup:
        return value
    if type(value) is str:
        return escape(value) if _NEEDS_ESCAPE(value) else value
    return str(value) if type(value) is int else escape(value)


class _Context(Context):
    """Calls macros and functions directly: whether one asks for the context took longer to find out than most calls."""

    def call(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        # What a template has set in a loop or a block around the call, for functions that ask for the context.
        named.pop("_loop_vars", None)
        named.pop("_block_vars", None)
        return function(*arguments, **named)


class _Compiled(BytecodeCache):
    """Keeps compiled templates for the next catalog of the same run, by name and source."""

    def __init__(self) -> None:
        self.codes: dict[tuple[str, str], Any] = {}

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        return name

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self.codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.codes[bucket.key, bucket.checksum] = bucket.code


_compiled = _Compiled()


class _Loader(FileSystemLoader):
    """Loads templates without indentation, blank lines, and the end tags of list items and inside tables.

    HTML makes these end tags optional. Together with the indentation, they would be a sixth of every page.
    """

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, path, fresh = super().get_source(environment, template)
        return re.sub(r"^\s+|</(?:t[dhr]|thead|tbody|li)>", "", source, flags=re.MULTILINE), path, fresh
