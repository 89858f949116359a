"""Flags that several commands have."""

import argparse
from pathlib import Path

from saecatalog.config import DTYPES, ENGINES, TEXT_SCORES, AnalysisConfig, CorpusConfig, SiteConfig, SubjectConfig
from saecatalog.texts.formats.known import FORMATS


def add_catalog(p: argparse.ArgumentParser) -> None:
    p.add_argument("catalog", nargs="?", type=Path, metavar="CATALOG.toml", help="settings file; default: catalog.toml")


def add_subject(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("model and SAE")
    g.add_argument(
        "--model", metavar="M", help="language model, name or folder; default: the one the SAE was trained on"
    )
    g.add_argument(
        "--sae", metavar="SAE", help="name from `list`, Hub owner/repository/folder, or folder saved by sae_lens"
    )
    g.add_argument("--device", metavar="D", help=f"auto, cpu, cuda, cuda:1 or mps; default: {SubjectConfig.device}")
    g.add_argument("--dtype", choices=DTYPES, help=f"number format of the model; default: {SubjectConfig.dtype}")
    g.add_argument("--batch-tokens", metavar="N", type=int, help="tokens run at once: affects speed and memory only")
    g.add_argument(
        "--context", metavar="N", type=int, help="tokens run as one context, BOS included; default: that of the SAE"
    )
    g.add_argument(
        "--overlap",
        metavar="N",
        type=int,
        help="tokens that each window of a long text takes over from the one before it, as context; default: 0",
    )
    add_trust(g)
    add_cache(p)
    add_quiet(p)


def add_machines(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("machines")
    g.add_argument("--engine", choices=ENGINES, help="threads of this process, or Ray; default: Ray if flags below ask")
    g.add_argument("--address", metavar="A", help="Ray cluster to use: local (started here), auto, or HOST[:PORT]")
    g.add_argument("--workers", metavar="N", type=int, help="Ray workers; default: one for each GPU or machine")
    g.add_argument("--gpus-per-worker", metavar="G", type=float, help="GPUs of each worker, 1 or 0.5; default: 0")
    g.add_argument("--storage", metavar="URL", help="shared storage for results, such as s3://bucket/folder")


def add_trust(p: argparse._ActionsContainer) -> None:
    p.add_argument(
        "--trust-remote-code",
        action="store_const",
        const=True,
        help="run Python files that come with the model named by --model; without this, such a model is refused",
    )


def add_special_tokens(p: argparse._ActionsContainer) -> None:
    p.add_argument(
        "--special-tokens",
        action="store_const",
        const=True,
        help="names of special tokens in the texts, such as <|im_start|>, stand for these tokens",
    )


def add_cache(p: argparse.ArgumentParser, words: str = "models and cached results") -> None:
    p.add_argument("--cache", metavar="DIR", type=Path, help=f"{words}; default: your user cache folder")


def add_quiet(p: argparse.ArgumentParser) -> None:
    p.add_argument("--quiet", action="store_true", help="show no progress")


def add_corpus(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("texts")
    g.add_argument(
        "--corpus",
        metavar="PATH",
        nargs="+",
        help="files and folders (each entry of a folder is a category), - for standard input,\n"
        "or a dataset on the hub, hf:OWNER/NAME[:CONFIG[:SPLIT]]",
    )
    g.add_argument(
        "--corpus-format",
        choices=("auto", *FORMATS),
        help=f"format of files; default: {CorpusConfig.format} (by name)",
    )
    g.add_argument("--corpus-name", metavar="NAME", help="name of the corpus; default: made from the paths")
    g.add_argument(
        "--text-field", metavar="F", help=f"field of a record with the text; default: {CorpusConfig.text_field}"
    )
    g.add_argument(
        "--category-field", metavar="F", help=f"field with the category; default: {CorpusConfig.category_field}"
    )
    add_special_tokens(g)
    g.add_argument(
        "--concepts", metavar="DIR", help=f"folder with one file of texts per concept; default: {CorpusConfig.concepts}"
    )
    g.add_argument("--limit-tokens", metavar="N", type=int, help="use about N tokens, spread over the categories")
    g.add_argument(
        "--seed", metavar="N", type=int, help=f"which sample --limit-tokens takes; default: {CorpusConfig.seed}"
    )
    g = p.add_argument_group("analysis")
    g.add_argument(
        "--text-score", choices=TEXT_SCORES, help=f"a feature's score on a text; default: {AnalysisConfig.text_score}"
    )
    g.add_argument(
        "--strong",
        metavar="X",
        type=float,
        help="a score above X is strong; default: the 90th percentile of non-zero scores",
    )
    g.add_argument("--top", metavar="N", type=int, help=f"entries in each ranking; default: {AnalysisConfig.top}")


def add_site(p: argparse.ArgumentParser, words: str = "folder of a built site") -> None:
    site = Path(SiteConfig.out)
    p.add_argument("site", nargs="?", type=Path, default=site, metavar="SITE", help=f"{words}; default: {site}")


def add_site_flag(p: argparse.ArgumentParser, words: str = "folder of the site", default: Path | None = None) -> None:
    """Without a default, the settings say which folder it is: `config.site.out`."""
    said = default or "the folder that is built"
    p.add_argument("--site", type=Path, default=default, metavar="DIR", help=f"{words}; default: {said}")


def add_json(p: argparse._ActionsContainer) -> None:
    p.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else on standard output")


def add_neuronpedia_names(p: argparse.ArgumentParser) -> None:
    p.add_argument("--model-id", metavar="M", help="model on Neuronpedia; default: that of the catalog's SAE")
    p.add_argument("--source-id", metavar="S", help="source (SAE) on Neuronpedia; default: that of the catalog's SAE")
