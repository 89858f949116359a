"""The settings of a command: its catalog file, overridden by its flags."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from saecatalog.commands import NAMES
from saecatalog.config import FEATURES, Config, SiteConfig, load_config, override
from saecatalog.errors import CatalogError, nearest
from saecatalog.program import program_name

DEFAULT_CATALOG = Path("catalog.toml")

OWN = {
    "title": ("sae", "corpus"),
    "description": ("sae", "corpus"),
    "notes": ("sae", "corpus", "concepts"),
    "live": ("sae",),  # a live part of another model may be large
    "explanations": ("sae",),
}
"""Settings of a site that are about the file's own SAE or texts, and the flags that name others."""

OFF = "off"
"""No effects: so it is for another SAE than the file's, whose model may be large, unless a flag asks for them."""


def config_of(a: argparse.Namespace) -> Config:
    """The settings of the catalog file, overridden by the flags."""
    path = getattr(a, "catalog", None)
    if path and not path.exists() and path.suffix != ".toml":
        hint = nearest(str(path), NAMES) or "Commands: " + ", ".join(NAMES) + "."
        raise CatalogError("This is neither a command nor an existing catalog file.", str(path), hint)
    if path is None and DEFAULT_CATALOG.exists():
        path = DEFAULT_CATALOG
    config = load_config(path) if path else Config()
    if path is None and getattr(a, "corpus", ()) is None:
        _check_texts(config)

    def get(name: str) -> Any:
        return getattr(a, name, None)

    if get("model") is None and get("sae") is not None:
        config = replace(config, subject=replace(config.subject, model=None))
    names = ("model", "sae", "device", "dtype", "context", "overlap", "batch_tokens", "trust_remote_code")
    config = override(config, "subject", **{n: get(n) for n in names})
    if get("corpus"):
        # The name in the catalog file is that of its own texts.
        config = replace(config, corpus=replace(config.corpus, name=""))
    config = override(
        config, "corpus", paths=get("corpus") and tuple(get("corpus")), format=get("corpus_format"),
        concepts=get("concepts"), limit_tokens=get("limit_tokens"), name=get("corpus_name"), seed=get("seed"),
        text_field=get("text_field"), category_field=get("category_field"), special_tokens=get("special_tokens"),
    )  # fmt: skip
    config = override(config, "analysis", **{n: get(n) for n in ("text_score", "strong", "top", "notable")})
    config = _with_effects(config, get("effects") or (OFF if get("sae") else None))
    defaults: dict[str, Any] = {name: getattr(SiteConfig, name) for name in _of_others(a)}
    config = replace(config, site=replace(config.site, **defaults))
    config = override(
        config, "site", out=get("out"), features=features_of(get("features")), title=get("title"),
        notes=get("notes"), base_url=get("base_url"), csv=get("csv"), live=get("live"),
        live_limit_mb=get("live_limit_mb"), explanations=get("explanations"),
    )  # fmt: skip
    machines = ("engine", "address", "workers", "gpus_per_worker", "storage")
    config = _checked_machines(override(config, "machines", **{n: get(n) for n in machines}))
    return replace(config, cache=cache_of(a)) if get("cache") else config


def _checked_machines(config: Config) -> Config:
    """Raise CatalogError if something is said about Ray's workers that the threads of this process would ignore."""
    machines = config.machines
    if machines.engine == "threads" and replace(machines, engine="auto").uses_ray:
        what = "The threads of this process have no address, workers or GPUs of their own."
        raise CatalogError(what, "--engine threads", "Use --engine ray, or leave the other settings out.")
    return config


def _with_effects(config: Config, which: str | None) -> Config:
    """The config with effects of these features; None keeps those of the file."""
    return config if which is None else replace(config, effects=replace(config.effects, features=which))


def _of_others(a: argparse.Namespace) -> list[str]:
    """The settings in `OWN`, if the flags name another SAE or other texts."""
    return [name for name, flags in OWN.items() if any(getattr(a, flag, None) for flag in flags)]


def left_out(a: argparse.Namespace) -> list[str]:
    """Settings of the catalog file that a build does not use, because flags name another SAE or other texts."""
    path = a.catalog or DEFAULT_CATALOG
    config = load_config(path) if path.exists() else Config()
    names = [name for name in _of_others(a) if getattr(config.site, name) and getattr(a, name, None) is None]
    no_effects = a.sae and not a.effects and config.effects.features != OFF
    return [*names, *(["effects"] if no_effects else [])]


def _check_texts(config: Config) -> None:
    """Raise CatalogError in a folder that holds neither settings nor texts, if the user named none."""
    if not any(Path(path).exists() for path in config.corpus.paths):
        what = f"There are neither settings ({DEFAULT_CATALOG}) nor texts ({', '.join(config.corpus.paths)}/) here."
        fix = f"Start a catalog with `{program_name()} init`, or name your texts with --corpus PATH."
        raise CatalogError(what, str(Path.cwd()), fix)


def cache_of(a: argparse.Namespace) -> Path:
    """The folder of the cache: the flag, or the default."""
    return Path(a.cache.expanduser()) if a.cache else Config().cache


def features_of(words: str | None) -> str | tuple[int, ...] | None:
    """One of the words of `FEATURES`, or the numbers of `1,2,3`."""
    if words is None or words in FEATURES:
        return words
    try:
        return tuple(sorted({int(word) for word in words.split(",")}))
    except ValueError:
        raise CatalogError(
            f"'{words}' is not a valid choice of features.",
            "--features",
            f"Use {', '.join(FEATURES)}, or numbers such as 1,2,3.",
        ) from None
