"""The manifest: what a catalog was built from, and the figures about the catalog as a whole.

Facts about model and SAE, texts and their stores, and the findings of the analysis flow in; a JSON-like mapping flows
out, which becomes `data/manifest.json`. Every build makes it anew from the results of the cached stages, so that no
cached stage contains an outdated part of it.
"""

import re
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import saecatalog
from saecatalog.addresses import encode_base
from saecatalog.config import HUB, Config, CorpusConfig
from saecatalog.program import origin
from saecatalog.store import Harvested
from saecatalog.subject_info import SubjectInfo
from saecatalog.texts.corpus import corpus_hash
from saecatalog.texts.formats.known import stem
from saecatalog.texts.streams import Input

Manifest = dict[str, Any]

LIBRARIES = ("torch", "transformers", "transformer-lens", "sae-lens", "numpy", "scipy", "pandas", "pyarrow", "plotly")
"""The libraries whose versions are published. The keys of the stages cover all libraries."""


def make_manifest(
    info: SubjectInfo,
    corpus: Harvested,
    concepts: Harvested | None,
    findings: dict[str, Any],
    live: dict[str, Any] | None,
    config: Config,
) -> Manifest:
    """The whole manifest except the number of pages, which is known only once they are written.

    `findings` holds the figures of the analysis about the whole corpus: the content of its `findings.json`. `live` is
    the manifest of the live part, or why there is none; None if none is wanted.
    """
    manifest = {
        "slug": info.slug,
        "identity": info.identity,
        "model": _model(info),
        "sae": _sae(info),
        "corpus": _corpus(corpus, concepts, config.corpus),
        "settings": _settings(info, findings, config),
        "health": findings["health"],
        "live": live and (_live(live) if "parts" in live else live),
        "counts": {"texts": len(corpus.texts), "features": info.d_sae, **findings["counts"]},
        "libraries": {name: version(name) for name in LIBRARIES},
        "description": config.site.description,
        "authors": list(config.site.authors),
        "year": config.site.year,
        "base_url": encode_base(config.site.base_url),
        "csv": config.site.csv,
        "program": {"name": "saecatalog", "version": saecatalog.__version__, "commit": program_commit()},
    }
    return {**manifest, "title": config.site.title or _title(manifest)}


def has_live_part(manifest: Manifest) -> bool:
    """Whether readers of a catalog can run the model; catalogs of earlier versions do not say."""
    return "error" in (manifest.get("live") or {})


def corpus_name(config: CorpusConfig) -> str:
    """The name of a corpus: as set, or made from its datasets, and from the names of its files and folders."""
    return config.name or " + ".join(map(_name_of_path, config.paths))


def _name_of_path(path: str) -> str:
    if path.startswith(HUB):
        return path.removeprefix(HUB).rstrip(":")
    return Path(path).resolve().name if Path(path).is_dir() else stem(Input(Path(path)))


def _model(info: SubjectInfo) -> dict[str, object]:
    return {
        "name": info.model_name,
        "source": info.model_source,
        "library": info.library,
        "d_model": info.d_model,
        "n_layers": info.n_layers,
        "weights_sha256": info.model_sha256,
        "settings_hash": info.model_settings,
        "tokenizer_hash": info.tokenizer_hash,
    }


def _sae(info: SubjectInfo) -> dict[str, object]:
    return {
        "name": info.sae_name,
        "release": info.release,
        "id": info.sae_id,
        "architecture": info.architecture,
        "d_in": info.d_in,
        "d_sae": info.d_sae,
        "d_out": info.d_out,
        "hook": info.hook,
        "hook_out": info.hook_out,
        "cross_layer": info.cross_layer,
        "layer": info.layer,
        "prepend_bos": info.prepend_bos,
        "weights_sha256": info.sae_sha256,
        "settings_hash": info.sae_settings,
        "neuronpedia_id": info.neuronpedia_id,
        "source": info.neuronpedia_id or info.slug,
    }


def _live(live: dict[str, Any]) -> dict[str, object]:
    """What is published of the live part: sizes in bytes, the longest text in tokens, the error."""
    sizes = {name: size for name, (size, _) in live["parts"].items()}
    return {
        "bytes_first": sum(size for name, size in sizes.items() if not name.startswith("rows-")),
        "bytes_total": sum(sizes.values()),
        "context": live["context"] - int(live["prepend_bos"]),
        "norm_limit": live["norm_limit"],
        "special_tokens": live["special_tokens"],
        "error": live["error"],
    }


def _corpus(corpus: Harvested, concepts: Harvested | None, config: CorpusConfig) -> dict[str, object]:
    return {
        "name": corpus_name(config),
        "sha256": corpus_hash(corpus.texts),
        "texts": len(corpus.texts),
        "tokens": int(corpus.token_counts.sum()),
        "categories": _sizes(corpus),
        "concepts": _sizes(concepts) if concepts else {},
        "plain_names": corpus.plain_names,
    }


def _settings(info: SubjectInfo, findings: dict[str, Any], config: Config) -> dict[str, object]:
    return {
        **asdict(config.analysis),
        "strong_threshold": findings["strong"],
        "strong_rule": findings["strong_rule"],
        "context": info.context,
        "overlap": info.overlap,
        "dtype": info.dtype,
        "device": info.device,
        "limit_tokens": config.corpus.limit_tokens,
        # Without a limit, everything is read.
        "seed": None if config.corpus.limit_tokens is None else config.corpus.seed,
        "special_tokens": config.corpus.special_tokens,
    }


def _sizes(harvested: Harvested) -> dict[str, dict[str, int]]:
    """Number of texts and tokens of each category, in the order of the texts."""
    sizes: dict[str, dict[str, int]] = {}
    for text, n_tokens in zip(harvested.texts, harvested.token_counts.tolist(), strict=True):
        size = sizes.setdefault(text.category, {"texts": 0, "tokens": 0})
        size["texts"] += 1
        size["tokens"] += n_tokens
    return sizes


def _title(manifest: Manifest) -> str:
    """The default title: model, hook, size of the dictionary and corpus."""
    model, sae, corpus = (without_paths(manifest)[part] for part in ("model", "sae", "corpus"))
    return f"{model['name']} · {sae['hook']} · {sae['d_sae']:,} features · {corpus['name']}"


def without_paths(manifest: Manifest) -> Manifest:
    """The manifest as pages show it: a model or SAE from a folder is called by the folder's name, without its path."""
    named = {"model": ("name", "source"), "sae": ("name", "release")}
    shown = {
        part: {**manifest[part], **{key: _last_part(manifest[part][key]) for key in keys}}
        for part, keys in named.items()
    }
    return {**manifest, **shown}


def _last_part(name: str) -> str:
    return re.split(r"[\\/]", name.rstrip("\\/"))[-1] if re.match(r"[/.~]|[A-Za-z]:[\\/]", name) else name


def program_commit() -> str:
    """The program's commit, marked if its files have changed since; "" if it is not known."""
    package = Path(__file__).parent
    if not _git(package, "ls-files", "--error-unmatch", __file__):
        # An installed copy may lie in a repository of somebody else's; it knows its commit if git was asked for it.
        return str((origin() or {}).get("vcs_info", {}).get("commit_id", ""))
    commit = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--", str(package), str(package.parent.parent / "templates"))
    return f"{commit} with changes" if commit and changed else commit


def _git(folder: Path, *words: str) -> str:
    try:
        run = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
