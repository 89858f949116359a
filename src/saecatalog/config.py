"""What to build: every setting, its default and its check, in one place, before anything is loaded.

A TOML file flows in (`catalog.toml`), a frozen `Config` flows out; the command line overrides fields of it. All
problems of a file are reported together, each with its line.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from saecatalog.addresses import WANTED, encode_base
from saecatalog.errors import CatalogError, nearest
from saecatalog.texts.formats.known import FORMATS
from saecatalog.texts.streams import is_stdin
from saecatalog.texts.text_files import decode, is_folder, printable, read_bytes

TEXT_SCORES = ("max", "last", "mean")
DTYPES = ("float32", "bfloat16", "float16")
FEATURES = ("auto", "notable", "all")
EFFECTS = ("off", "notable", "all")
ENGINES = ("auto", "threads", "ray")
EMBEDDED_SAE = "smollm2-135m-res-4k/blocks.12.hook_resid_pre"


def _setting(default: object, check: Callable[[object], str]) -> Any:
    """A field with a check: a function that returns "" for a valid value, or else describes the valid values."""
    return field(default=default, metadata={"check": check})


def _flag_only(default: bool) -> Any:
    """A switch that only the command line sets."""
    return field(default=default, metadata={"check": _flag, "flag_only": True})


def _text(value: object) -> str:
    return _any_text(value) if isinstance(value, str) and value.strip() else "a non-empty string"


def _any_text(value: object) -> str:
    """Byte 0 and undecodable bytes, which arguments and file names may have, fit neither on pages nor in JSON."""
    if not isinstance(value, str):
        return "a string"
    return "a string of UTF-8 without a byte 0" if re.search("[\0\ud800-\udfff]", value) else ""


def _name(value: object) -> str:
    fit = isinstance(value, str) and (not value or (value.strip() and not re.search("[\x01-\x1f\x7f-\x9f]", value)))
    return _any_text(value) if fit else "a name that can be shown on one line"


def _names(value: object) -> str:
    fit = isinstance(value, list | tuple) and all(name and not _name(name) for name in value)
    return "" if fit else "a list of names, each on one line"


def _year(value: object) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and 1000 <= value <= 9999
    return "" if good else "a year, such as 2026"


def _address(value: object) -> str:
    if not isinstance(value, str) or _any_text(value):
        return _any_text(value)
    try:
        encode_base(value)
    except ValueError as error:
        return f"{WANTED}, {error}"
    return ""


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _count(value: object) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else "a whole number, 1 or more"


def _whole(value: object) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else "a whole number, 0 or more"


def _contexts(value: object) -> str:
    good = isinstance(value, int) and not _count(value) and value >= 4
    return "" if good else "a whole number, 4 or more (one for each quarter of the activations)"


def _prompts(value: object) -> str:
    good = isinstance(value, list | tuple) and all(isinstance(p, str) and p.strip() for p in value)
    return "" if good else "a list of non-empty strings"


def _multiples(value: object) -> str:
    good = isinstance(value, list | tuple) and all(
        isinstance(m, int | float) and not isinstance(m, bool) and 0 < abs(m) < float("inf") for m in value
    )
    return (
        ""
        if good and isinstance(value, list | tuple) and len(set(value)) == len(value)
        else ("a list of different numbers, none of them 0")
    )


def _context(value: object) -> str:
    good = not _count(value) and value != 1
    return "" if good else "a whole number, 2 or more (BOS takes one position)"


def _number(value: object) -> str:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return "" if good else "a number, 0 or more"


def _multiple(value: object) -> str:
    good = isinstance(value, int | float) and not _number(value) and value > 1
    return "" if good else "a number above 1"


def _choice(*known: str) -> Callable[[object], str]:
    return lambda value: "" if value in known else "one of " + ", ".join(known)


def _device(value: object) -> str:
    good = isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value)
    return "" if good else "auto, cpu, cuda, cuda:1 (or another number) or mps"


def _paths(value: object) -> str:
    good = isinstance(value, list | tuple) and value and all(isinstance(p, str) and p for p in value)
    return "" if good else "a list of paths"


def _features(value: object) -> str:
    if value in FEATURES:
        return ""
    indices = isinstance(value, list | tuple) and value and all(isinstance(i, int) and i >= 0 for i in value)
    return "" if indices else f"{', '.join(FEATURES)}, or feature numbers such as 1,2,3"


@dataclass(frozen=True)
class SubjectConfig:
    """Which model and SAE to use, and how to run them."""

    sae: str = _setting(EMBEDDED_SAE, _text)
    """`release/id` as in `sae_lens`, a Hub repository and folder, or a folder that `sae_lens` saved."""
    model: str | None = _setting(None, _text)
    """Name of the language model; None means the model the SAE was trained on."""
    device: str = _setting("auto", _device)
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    dtype: str = _setting("float32", _choice(*DTYPES))
    """Number format of the model's weights and activations."""
    context: int | None = _setting(None, _context)
    """Tokens in a window, BOS included; None means the context length of the SAE's training."""
    overlap: int = _setting(0, _whole)
    """Tokens of a long text that each window takes over from the one before it, as context only."""
    batch_tokens: int | None = _setting(None, _count)
    """Most tokens to run at once; None chooses a value for the device. Affects speed and memory, never the result."""
    trust_remote_code: bool = _flag_only(False)
    """Run Python files that come with the model. Never read from a file, which may be somebody else's."""


@dataclass(frozen=True)
class CorpusConfig:
    """Which texts to run through the model."""

    paths: tuple[str, ...] = _setting(("corpora",), _paths)
    """Files and folders of texts, `-` for standard input, and datasets on the hub: `hf:OWNER/NAME:CONFIG:SPLIT`."""
    name: str = _setting("", _name)
    """Name of the corpus; "" makes one from the paths. The same SAE on a corpus of another name is another catalog."""
    format: str = _setting("auto", _choice("auto", *FORMATS))
    """How to read files; `auto` decides by file name."""
    concepts: str | None = _setting("corpora/concepts", _text)
    """Folder with one list of texts per concept; if it does not exist, there are no concepts."""
    text_field: str = _setting("text", _text)
    """Field of a record that holds the text."""
    category_field: str = _setting("category", _text)
    """Field that holds the category; for a record without one, the file's name is the category."""
    title_field: str = _setting("title", _text)
    """Field that holds the text's title, shown with its examples; it may be missing."""
    link_field: str = _setting("url", _text)
    """Field that holds the text's address, shown with its examples; it may be missing. Only http and https are kept."""
    chat_field: str = _setting("messages", _text)
    """Field that holds the turns of a chat, for a record without a text: a list of objects with role and content."""
    special_tokens: bool = _setting(False, _flag)
    """Whether names of special tokens in the texts, such as <|im_start|>, stand for these tokens."""
    limit_tokens: int | None = _setting(None, _count)
    """Stop after this many tokens, taking texts from all categories in turn. Of larger files, a sample is read."""
    seed: int = _setting(0, _whole)
    """Which sample is read if there is a limit; the same seed gives the same sample."""


@dataclass(frozen=True)
class AnalysisConfig:
    """How to compute the figures."""

    text_score: str = _setting("max", _choice(*TEXT_SCORES))
    """One number per text and feature: the largest, the last or the mean activation."""
    strong: float | None = _setting(None, _number)
    """A text score above this is strong; None derives it from the SAE's activations."""
    top: int = _setting(12, _count)
    """How many entries a ranking keeps: top texts of a feature, strongest features, specialists."""
    notable: int = _setting(240, _count)
    """Number of notable features; each gets a page of its own."""
    outlier_multiple: float = _setting(4.0, _multiple)
    """Positions where the norm of the SAE's input exceeds this multiple of the median count in no statistic."""


@dataclass(frozen=True)
class EffectsConfig:
    """How to measure what features do to the model's predictions."""

    features: str = _setting("off", _choice(*EFFECTS))
    """For which features: `notable`, `all`, or none (`off`)."""
    contexts: int = _setting(32, _contexts)
    """Active tokens sampled of each feature, in equal numbers from the quarters of its activations."""
    seed: int = _setting(0, _whole)
    """Which tokens and which controls are drawn; the same seed draws the same ones."""
    prompts: tuple[str, ...] = _setting(("I think that", "When we arrived, we"), _prompts)
    """What the model goes on with when it is steered; none for no continuations."""
    multiples: tuple[float, ...] = _setting((0.5, 1.0, 2.0), _multiples)
    """How strongly it is steered: multiples of a feature's largest activation; none for no steering."""


@dataclass(frozen=True)
class SiteConfig:
    """What to write, and where."""

    title: str = _setting("", _any_text)
    """Title of the catalog; if empty, one is made from the model and the SAE."""
    description: str = _setting("", _any_text)
    """One or two sentences for the front page."""
    authors: tuple[str, ...] = _setting((), _names)
    """Who made the catalog, for citations."""
    year: int | None = _setting(None, _year)
    """When it was made, for citations; None leaves it out, because a build does not know the date."""
    out: str = _setting("site", _text)
    """Folder of the site."""
    features: str | tuple[int, ...] = _setting("auto", _features)
    """Which features get a page: `notable`, `all`, or their numbers. `auto` means all if their pages fit in 600 MB,
    otherwise the notable ones and those that the catalog's lists name."""
    base_url: str = _setting("", _address)
    """Address the site will have, for canonical links and the sitemap; empty if it is not known."""
    csv: bool = _setting(False, _flag)
    """Write the data files as CSV too."""
    live: bool = _setting(False, _flag)
    """Let readers run the model on a text of their own."""
    live_limit_mb: float = _setting(250.0, _number)
    """The most megabytes that this may take; the weights are stored as precisely as that allows."""
    notes: str = _setting("", _any_text)
    """Folder of the author's notes, "" for none; the default of a catalog file is `notes` beside it, if it exists."""
    explanations: str = _setting("", _any_text)
    """File or folder of explanations of this SAE's features, from Neuronpedia or from `explain`; "" for none."""
    templates: str = _setting("", _any_text)
    """Folder of the page templates; "" for the program's own."""


@dataclass(frozen=True)
class MachinesConfig:
    """Which machines do the work. No result depends on it."""

    engine: str = _setting("auto", _choice(*ENGINES))
    """`threads` of this process, or `ray`; `auto` is Ray if an address, workers or GPUs are given."""
    address: str = _setting("", _any_text)
    """Of the Ray cluster: `auto` finds one that runs on this machine, HOST[:PORT] joins another; `local`, which is the
    default, starts one here for the time of the build."""
    workers: int | None = _setting(None, _count)
    """Number of Ray workers, each with a copy of the model; None means one for each GPU, or one on each machine."""
    gpus_per_worker: float = _setting(0.0, _number)
    """GPUs of each worker; a half lets two workers share one."""
    storage: str = _setting("", _any_text)
    """Address of shared storage, such as s3://bucket/folder: what the model computed is kept there, and the results of
    finished stages. "" keeps everything in the cache of the machine that builds."""

    @property
    def uses_ray(self) -> bool:
        given = bool(self.address or self.workers or self.gpus_per_worker)
        return self.engine == "ray" or (self.engine == "auto" and given)


@dataclass(frozen=True)
class Config:
    """Everything a build needs to know."""

    subject: SubjectConfig = SubjectConfig()
    corpus: CorpusConfig = CorpusConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    site: SiteConfig = SiteConfig()
    effects: EffectsConfig = EffectsConfig()
    machines: MachinesConfig = MachinesConfig()
    cache: Path = field(default_factory=lambda: user_cache_path("saecatalog"))


HUB = "hf:"
"""How a path begins that is the name of a dataset on the hub."""

NOTES = "notes"
"""The folder of notes that a catalog file need not name."""

SECTIONS: dict[str, Any] = {f.name: f.default for f in fields(Config) if f.name != "cache"}


def in_file(section: str) -> list[str]:
    """The names of the settings that a section of a catalog file may have."""
    return [f.name for f in fields(SECTIONS[section]) if "flag_only" not in f.metadata]


def load_config(path: Path) -> Config:
    """Read and check a catalog file; paths in it are relative to the file's own folder.

    Raises CatalogError that lists every unknown setting and every invalid value, with its line.
    """
    if is_folder(path, "catalog file"):
        raise CatalogError("This is a folder, not a catalog file.", printable(path), "Give the path of a TOML file.")
    source = decode(read_bytes(path), path, "catalog file")
    try:
        data = tomllib.loads(source)
    except (ValueError, RecursionError) as error:
        raise CatalogError("The catalog file cannot be read.", printable(path), str(error)) from None
    problems = _problems(data, source)
    if problems:
        raise CatalogError("The catalog file has invalid settings.", str(path), "\n         ".join(problems))
    return _from_mapping(data, path.parent)


def override(config: Config, section: str, **settings: object) -> Config:
    """The config with some settings of a section replaced; settings given as None keep their value."""
    given = {name: value for name, value in settings.items() if value is not None}
    part = getattr(config, section)
    for name, value in given.items():
        wanted = _check(part, name, value)
        if wanted:
            where = f"--{name.replace('_', '-')} {printable(value)}"
            raise CatalogError("This setting has an invalid value.", where, f"Use {wanted}.")
    return replace(config, **{section: replace(part, **given)})


def _check(section: Any, name: str, value: object) -> str:
    (setting,) = (f for f in fields(section) if f.name == name)
    return str(setting.metadata["check"](value))


def _problems(data: Mapping[str, Any], source: str) -> list[str]:
    """Every unknown section, unknown setting and invalid value of a catalog file, one sentence each."""
    found = []
    for section, settings in data.items():
        if section == "cache" and isinstance(settings, str):
            continue
        if section not in SECTIONS or not isinstance(settings, dict):
            hint = nearest(section, [*SECTIONS, "cache"]) or "Known: " + ", ".join(f"[{s}]" for s in SECTIONS) + "."
            found.append(f"{_line(source, section)}: unknown setting or section '{section}'. {hint}")
            continue
        known = in_file(section)
        for name, value in settings.items():
            where = f"{_line(source, name)}: [{section}] {name}"
            if name not in known and name in (f.name for f in fields(SECTIONS[section])):
                found.append(f"{where} cannot be set in a file; use --{name.replace('_', '-')}.")
            elif name not in known:
                hint = nearest(name, known) or "Known: " + ", ".join(known) + "."
                found.append(f"{where} is not a setting. {hint}")
            elif wanted := _check(SECTIONS[section], name, value):
                found.append(f"{where} is {value!r}; use {wanted}.")
    return found


def _line(source: str, name: str) -> str:
    """`line 12` for the line of the file that names a setting or section."""
    pattern = re.compile(rf"^\s*\[?\s*{re.escape(name)}\b")
    return next((f"line {n}" for n, text in enumerate(source.splitlines(), 1) if pattern.match(text)), "unknown line")


def _from_mapping(data: Mapping[str, Any], folder: Path) -> Config:
    """The config of a checked mapping, with the file's relative paths resolved."""
    parts: dict[str, Any] = {}
    for section, default in SECTIONS.items():
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in data.get(section, {}).items()}
        parts[section] = replace(default, **given)
    if "notes" not in data.get("site", {}) and (folder / NOTES).is_dir():
        parts["site"] = replace(parts["site"], notes=NOTES)
    config = Config(**parts)
    if "cache" in data:
        config = replace(config, cache=Path(_beside(folder, data["cache"])))
    return _resolve(config, folder)


def _beside(folder: Path, path: str) -> str:
    """A path that a catalog file names: absolute, below the user's home (`~`), or relative to the file's folder."""
    return str(folder / os.path.expanduser(path))


def _folder_beside(folder: Path, name: str) -> str:
    """The folder that a catalog file names, if there is one; else the name, which may be one on the hub."""
    path = _beside(folder, name)
    return path if Path(path).is_dir() or name.startswith("~") else name


def _resolve(config: Config, folder: Path) -> Config:
    """The config with its relative paths resolved against `folder`; an SAE or a model is a path only if it exists."""
    corpus, site, subject = config.corpus, config.site, config.subject
    return replace(
        config,
        subject=replace(
            subject,
            sae=_folder_beside(folder, subject.sae),
            model=subject.model and _folder_beside(folder, subject.model),
        ),
        corpus=replace(
            corpus,
            paths=tuple(p if is_stdin(p) or p.startswith(HUB) else _beside(folder, p) for p in corpus.paths),
            concepts=corpus.concepts and _beside(folder, corpus.concepts),
        ),
        site=replace(
            site,
            out=_beside(folder, site.out),
            notes=site.notes and _beside(folder, site.notes),
            explanations=site.explanations and _beside(folder, site.explanations),
            templates=site.templates and _beside(folder, site.templates),
        ),
    )


def with_absolute_paths(subject: SubjectConfig) -> SubjectConfig:
    """The subject with the folders that it names as absolute paths, for a process with another working folder."""

    def absolute(name: str) -> str:
        return str(Path(name).absolute()) if Path(name).is_dir() else name

    return replace(subject, sae=absolute(subject.sae), model=subject.model and absolute(subject.model))
