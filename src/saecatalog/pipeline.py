"""The stages in order, each redone only where its inputs changed: a config flows in, a finished site flows out.

A stage's output is a folder in the cache, named by a hash of the stage's own code, its slice of the settings and its
inputs. Torch and the model libraries are imported only where a stage has to run the model.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saecatalog.config import Config
from saecatalog.constants import LENS_ENTRIES
from saecatalog.corpus import Text, corpus_hash, read_concepts, read_corpus
from saecatalog.directory import find_sae
from saecatalog.errors import CatalogError
from saecatalog.folders import keep_newest, new_folder, write_json
from saecatalog.notes import Notes, Subjects, read_notes
from saecatalog.progress import Progress
from saecatalog.store import read_lens, read_store
from saecatalog.subject_info import SubjectInfo

if TYPE_CHECKING:
    from saecatalog.store import Store
    from saecatalog.subject import Subject

PACKAGE = Path(__file__).parent
CACHED_STAGES = 12
"""Outputs of each stage kept in the cache; older ones are removed."""

LIBRARIES = ("torch", "transformers", "transformer-lens", "sae-lens", "numpy", "scipy", "pandas", "pyarrow", "plotly")
STAGE_CODE = {
    "subject": ("subject.py", "subject_info.py", "directory.py", "embedded/__init__.py"),
    "harvest": ("harvest.py", "shards.py", "store.py", "windows.py", "subject.py", "threads.py"),
    "lens": ("lens.py", "constants.py", "store.py", "vocabulary.py", "subject.py", "threads.py"),
    "analysis": ("analysis/*.py", "tables.py", "schemas.py", "constants.py", "names.py", "store.py", "threads.py"),
}


def digest(*parts: object) -> str:
    """A short hash of JSON-like parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def code_digest(*patterns: str) -> str:
    """A hash of the package's source files that match, so that a changed stage is never served from the cache."""
    files = sorted({path for pattern in patterns for path in PACKAGE.glob(pattern) if path.is_file()})
    return digest([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])


def stage_key(stage: str, *inputs: object) -> str:
    """The name of a stage's output: its code, the libraries it stands on, and what flows in."""
    libraries = [version(name) for name in LIBRARIES[:-1]]
    return digest(stage, code_digest(*STAGE_CODE[stage]), libraries, *inputs)


@dataclass(frozen=True)
class Harvested:
    """Texts, their store, and the key of both."""

    texts: list[Text]
    folder: Path
    key: str

    @property
    def store(self) -> "Store":
        return read_store(self.folder)


class Pipeline:
    """Runs the stages of one catalog, from the cache where it can."""

    def __init__(self, config: Config, progress: Progress):
        self.config, self.progress = config, progress

    @cached_property
    def texts(self) -> list[Text]:
        return read_corpus(self.config.corpus)

    @cached_property
    def concepts(self) -> list[Text]:
        return read_concepts(self.config.corpus)

    @cached_property
    def notes(self) -> Notes:
        """The author's notes, about features, categories and concepts of this catalog."""
        names = [list(dict.fromkeys(text.category for text in texts)) for texts in (self.texts, self.concepts)]
        return read_notes(self.config.site.notes, Subjects(self.info.d_sae, *names))

    @cached_property
    def subject(self) -> "Subject":
        """The model and the SAE, loaded at first use."""
        with self.progress.bar("load model", 1) as bar:
            from saecatalog.subject import load_subject

            subject = load_subject(self.config.subject, self.config.cache)
            bar.update()
            return subject

    @cached_property
    def info(self) -> SubjectInfo:
        """What there is to know of the subject, from the cache where it was loaded before."""
        subject = self.config.subject
        source = find_sae(subject.sae)
        folders = [p for p in (source.folder, Path(subject.model or "")) if p and p != Path() and p.is_dir()]
        key = stage_key(
            "subject", subject.sae, subject.model, subject.dtype, subject.context, [_fingerprint(f) for f in folders]
        )
        path = self.config.cache / "subjects" / f"{key}.json"
        if not path.exists():
            text = self.subject.info.to_json()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return SubjectInfo.from_json(path.read_text(encoding="utf-8"))

    def harvested(self, texts: list[Text], what: str, limit: int | None = None) -> Harvested:
        """The store of some texts; the model runs only where it is not in the cache."""
        key = stage_key("harvest", self._run_by, corpus_hash(texts), limit)
        folder = self.config.cache / "harvest" / key
        if not folder.exists():
            self._harvest(texts, what, limit, folder)
            keep_newest(folder.parent, CACHED_STAGES)
        _mark_used(folder)
        kept = set(json.loads((folder / "texts.json").read_text(encoding="utf-8")))
        return Harvested([text for text in texts if text.id in kept], folder, key)

    @property
    def _run_by(self) -> list[object]:
        """What the activations of a window depend on, besides its tokens."""
        info = self.info
        return [info.model_sha256, info.sae_sha256, info.hook, info.context, info.prepend_bos, info.dtype]

    def _harvest(self, texts: list[Text], what: str, limit: int | None, folder: Path) -> None:
        from saecatalog.harvest import harvest, n_missing
        from saecatalog.windows import limit_texts, tokenize

        subject = self.subject
        tokens = tokenize(texts, subject.tokenizer)
        if limit is not None and len(tokens.ids) > limit:
            texts = limit_texts(texts, tokens, limit)
            tokens = tokenize(texts, subject.tokenizer)
        shards = self.config.cache / "shards" / stage_key("harvest", self._run_by)
        missing = n_missing(subject, tokens, shards)
        with new_folder(folder) as temporary, self.progress.bar(what, missing, " tokens") as bar:
            harvest(subject, tokens, self.config.subject.batch_tokens, temporary, bar.update, shards)
            write_json(temporary / "texts.json", [text.id for text in texts])
        keep_newest(shards.parent, CACHED_STAGES)

    @cached_property
    def lens_folder(self) -> Path:
        """What the weights alone say."""
        key = stage_key("lens", self.info.model_sha256, self.info.sae_sha256, self.info.hook, LENS_ENTRIES)
        folder = self.config.cache / "lens" / key
        if not folder.exists():
            from saecatalog.lens import make_lens

            with new_folder(folder) as temporary, self.progress.bar("weights", self.info.d_sae, " features") as bar:
                make_lens(self.subject, LENS_ENTRIES, temporary, bar.update)
            keep_newest(folder.parent, CACHED_STAGES)
        _mark_used(folder)
        return folder

    @cached_property
    def corpus(self) -> Harvested:
        return self.harvested(self.texts, "corpus", self.config.corpus.limit_tokens)

    @cached_property
    def concept_corpus(self) -> Harvested | None:
        return self.harvested(self.concepts, "concepts") if self.concepts else None

    def analysed(self) -> Path:
        """The folder of all tables and of the manifest."""
        config = self.config
        pages = config.site.features
        self._check_features(pages)
        noted = self.notes.features
        corpus, concepts = self.corpus, self.concept_corpus
        sources = [text.source for text in corpus.texts]
        key = stage_key(
            "analysis",
            corpus.key,
            concepts and concepts.key,
            self.lens_folder.name,
            asdict(config.analysis),
            pages,
            noted,
            sources,
        )
        folder = config.cache / "analysis" / key
        if not folder.exists():
            self._analyse(folder)
            keep_newest(folder.parent, CACHED_STAGES)
        _mark_used(folder)
        return folder

    def _check_features(self, pages: str | tuple[int, ...]) -> None:
        outside = [f for f in pages if f >= self.info.d_sae] if isinstance(pages, tuple) else []
        if outside:
            raise CatalogError(
                f"Feature {outside[0]} is outside the dictionary.",
                "--features",
                f"This SAE's features run from 0 to {self.info.d_sae - 1}.",
            )

    def _analyse(self, folder: Path) -> None:
        from saecatalog.analysis.run import Inputs, analyse

        corpus, concepts = self.corpus, self.concept_corpus
        vocabulary = json.loads((self.lens_folder / "vocabulary.json").read_text(encoding="utf-8"))
        # From here on nothing runs the model: its memory is free for the analyses.
        self.__dict__.pop("subject", None)
        inputs = Inputs(
            texts=corpus.texts,
            store=corpus.store,
            concept_texts=concepts.texts if concepts else [],
            concept_store=concepts.store if concepts else None,
            lens=read_lens(self.lens_folder),
            vocabulary=vocabulary,
        )
        pages = self.config.site.features
        with new_folder(folder) as temporary:
            findings = analyse(inputs, self.config.analysis, pages, temporary, self.progress, self.notes.features)
            write_json(temporary / "manifest.json", self._manifest(findings))

    def _manifest(self, findings: Any) -> dict[str, Any]:
        """What was built from what: everything of the manifest that the analysis settles."""
        info, corpus, concepts = self.info, self.corpus, self.concept_corpus
        features = findings.tables["features"]
        return {
            "slug": info.slug,
            "model": {
                "name": info.model_name,
                "source": info.model_source,
                "d_model": info.d_model,
                "n_layers": info.n_layers,
                "weights_sha256": info.model_sha256,
            },
            "sae": {
                "name": info.sae_name,
                "release": info.release,
                "id": info.sae_id,
                "architecture": info.architecture,
                "d_in": info.d_in,
                "d_sae": info.d_sae,
                "hook": info.hook,
                "layer": info.layer,
                "prepend_bos": info.prepend_bos,
                "weights_sha256": info.sae_sha256,
                "neuronpedia_id": info.neuronpedia_id,
            },
            "corpus": {
                "sha256": corpus_hash(corpus.texts),
                "texts": len(corpus.texts),
                "tokens": corpus.store.n_tokens,
                "categories": _sizes(corpus),
                "concepts": _sizes(concepts) if concepts else {},
            },
            "settings": {
                **asdict(self.config.analysis),
                "strong_threshold": findings.strong,
                "strong_rule": findings.strong_rule,
                "context": info.context,
                "dtype": info.dtype,
                "limit_tokens": self.config.corpus.limit_tokens,
            },
            "health": findings.health,
            "counts": {
                "texts": len(corpus.texts),
                "tokens": int(features["n_tokens"].iloc[0]),
                "features": info.d_sae,
                "features_fired": int((features["n_active"] > 0).sum()),
                "notable": int((features["notable"] != "").sum()),
            },
            "libraries": {name: version(name) for name in LIBRARIES},
        }


def _mark_used(folder: Path) -> None:
    """Make a stage's output the newest of its kind, so that a later stage of this build does not remove it."""
    folder.touch()


def _sizes(harvested: Harvested) -> dict[str, dict[str, int]]:
    """Texts and tokens of each category."""
    offsets = harvested.store.text_offsets
    sizes: dict[str, dict[str, int]] = {}
    for text, n_tokens in zip(harvested.texts, (offsets[1:] - offsets[:-1]).tolist(), strict=True):
        size = sizes.setdefault(text.category, {"texts": 0, "tokens": 0})
        size["texts"] += 1
        size["tokens"] += n_tokens
    return sizes


def _fingerprint(folder: Path) -> list[list[object]]:
    """Names, sizes and times of a folder's files: enough to see that it changed."""
    stats = [(p, p.stat()) for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != ".py"]
    return [[p.name, s.st_size, s.st_mtime_ns] for p, s in stats]
