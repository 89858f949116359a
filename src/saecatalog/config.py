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

from saecatalog import setting_checks as check
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
    return field(default=default, metadata={"check": check.flag, "flag_only": True})


@dataclass(frozen=True)
class SubjectConfig:
    """Which model and SAE to use, and how to run them."""

    sae: str = _setting(EMBEDDED_SAE, check.text)
    """`release/id` as in `sae_lens`, a Hub repository and folder, or a folder that `sae_lens` saved."""
    model: str | None = _setting(None, check.text)
    """Name of the language model; None means the model the SAE was trained on."""
    device: str = _setting("auto", check.device)
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    dtype: str = _setting("float32", check.choice(*DTYPES))
    """Number format of the model's weights and activations."""
    context: int | None = _setting(None, check.context)
    """Tokens in a window, BOS included; None means the context length of the SAE's training."""
    overlap: int = _setting(0, check.whole)
    """Tokens of a long text that each window takes over from the one before it, as context only."""
    batch_tokens: int | None = _setting(None, check.count)
    """Most tokens to run at once; None chooses a value for the device. Affects speed and memory, never the result."""
    trust_remote_code: bool = _flag_only(False)
    """Run Python files that come with the model. Never read from a file, which may be somebody else's."""


@dataclass(frozen=True)
class CorpusConfig:
    """Which texts to run through the model."""

    paths: tuple[str, ...] = _setting(("corpora",), check.paths)
    """Files and folders of texts, `-` for standard input, and datasets on the hub: `hf:OWNER/NAME:CONFIG:SPLIT`."""
    name: str = _setting("", check.name)
    """Name of the corpus; "" makes one from the paths. The same SAE on a corpus of another name is another catalog."""
    format: str = _setting("auto", check.choice("auto", *FORMATS))
    """How to read files; `auto` decides by file name."""
    concepts: str | None = _setting("corpora/concepts", check.text)
    """Folder with one list of texts per concept; if it does not exist, there are no concepts."""
    text_field: str = _setting("text", check.text)
    """Field of a record that holds the text."""
    category_field: str = _setting("category", check.text)
    """Field that holds the category; for a record without one, the file's name is the category."""
    title_field: str = _setting("title", check.text)
    """Field that holds the text's title, shown with its examples; it may be missing."""
    link_field: str = _setting("url", check.text)
    """Field that holds the text's address, shown with its examples; it may be missing. Only http and https are kept."""
    chat_field: str = _setting("messages", check.text)
    """Field that holds the turns of a chat, for a record without a text: a list of objects with role and content."""
    special_tokens: bool = _setting(False, check.flag)
    """Whether names of special tokens in the texts, such as <|im_start|>, stand for these tokens."""
    limit_tokens: int | None = _setting(None, check.count)
    """Stop after this many tokens, taking texts from all categories in turn. Of larger files, a sample is read."""
    seed: int = _setting(0, check.whole)
    """Which sample is read if there is a limit; the same seed gives the same sample."""


@dataclass(frozen=True)
class AnalysisConfig:
    """How to compute the figures."""

    text_score: str = _setting("max", check.choice(*TEXT_SCORES))
    """One number per text and feature: the largest, the last or the mean activation."""
    strong: float | None = _setting(None, check.number)
    """A text score above this is strong; None derives it from the SAE's activations."""
    top: int = _setting(12, check.count)
    """How many entries a ranking keeps: top texts of a feature, strongest features, specialists."""
    notable: int = _setting(240, check.count)
    """Number of notable features; each gets a page of its own."""
    outlier_multiple: float = _setting(4.0, check.multiple)
    """Positions where the norm of the SAE's input exceeds this multiple of the median count in no statistic."""


@dataclass(frozen=True)
class EffectsConfig:
    """How to measure what features do to the model's predictions."""

    features: str = _setting("off", check.choice(*EFFECTS))
    """For which features: `notable`, `all`, or none (`off`)."""
    contexts: int = _setting(32, check.contexts)
    """Active tokens sampled of each feature, in equal numbers from the quarters of its activations."""
    seed: int = _setting(0, check.whole)
    """Which tokens and which controls are drawn; the same seed draws the same ones."""
    prompts: tuple[str, ...] = _setting(("I think that", "When we arrived, we"), check.prompts)
    """What the model goes on with when it is steered; none for no continuations."""
    multiples: tuple[float, ...] = _setting((0.5, 1.0, 2.0), check.multiples)
    """How strongly it is steered: multiples of a feature's largest activation; none for no steering."""


@dataclass(frozen=True)
class SiteConfig:
    """What to write, and where."""

    title: str = _setting("", check.any_text)
    """Title of the catalog; if empty, one is made from the model and the SAE."""
    description: str = _setting("", check.any_text)
    """One or two sentences for the front page."""
    authors: tuple[str, ...] = _setting((), check.names)
    """Who made the catalog, for citations."""
    year: int | None = _setting(None, check.year)
    """When it was made, for citations; None leaves it out, because a build does not know the date."""
    out: str = _setting("site", check.text)
    """Folder of the site."""
    features: str | tuple[int, ...] = _setting("auto", check.features(*FEATURES))
    """Which features get a page: `notable`, `all`, or their numbers. `auto` means all if their pages fit in 600 MB,
    otherwise the notable ones and those that the catalog's lists name."""
    base_url: str = _setting("", check.address)
    """Address the site will have, for canonical links and the sitemap; empty if it is not known."""
    csv: bool = _setting(False, check.flag)
    """Write the data files as CSV too."""
    live: bool = _setting(False, check.flag)
    """Let readers run the model on a text of their own."""
    live_limit_mb: float = _setting(250.0, check.number)
    """The most megabytes that this may take; the weights are stored as precisely as that allows."""
    notes: str = _setting("", check.any_text)
    """Folder of the author's notes, "" for none; the default of a catalog file is `notes` beside it, if it exists."""
    explanations: str = _setting("", check.any_text)
    """File or folder of explanations of this SAE's features, from Neuronpedia or from `explain`; "" for none."""
    templates: str = _setting("", check.any_text)
    """Folder of the page templates; "" for the program's own."""


@dataclass(frozen=True)
class MachinesConfig:
    """Which machines do the work. No result depends on it."""

    engine: str = _setting("auto", check.choice(*ENGINES))
    """`threads` of this process, or `ray`; `auto` is Ray if an address, workers or GPUs are given."""
    address: str = _setting("", check.any_text)
    """Of the Ray cluster: `auto` finds one that runs on this machine, HOST[:PORT] joins another; `local`, which is the
    default, starts one here for the time of the build."""
    workers: int | None = _setting(None, check.count)
    """Number of Ray workers, each with a copy of the model; None means one for each GPU, or one on each machine."""
    gpus_per_worker: float = _setting(0.0, check.number)
    """GPUs of each worker; a half lets two workers share one."""
    storage: str = _setting("", check.any_text)
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
