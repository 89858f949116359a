"""The stages in order, each run only if its key changed: a config flows in, the outputs of the stages flow out.

A stage's output is a folder in the cache, named by its key. Torch and the model libraries are imported only if a stage
has to run the model.
"""

import json
import shutil
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from saecatalog.analysis import FINDINGS
from saecatalog.atomic_writes import new_folder
from saecatalog.config import Config
from saecatalog.constants import LENS_ENTRIES
from saecatalog.corpus import Text, corpus_hash, read_concepts, read_corpus
from saecatalog.embedded import SAE_FOLDER
from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest, make_manifest
from saecatalog.notes import Notes, Subjects, read_notes
from saecatalog.progress import Progress
from saecatalog.sae_directory import find_sae
from saecatalog.stage_keys import stage_key
from saecatalog.store import Harvested
from saecatalog.subject_info import SubjectInfo

if TYPE_CHECKING:
    from saecatalog.subject import Subject

CACHED_STAGES = 12
"""Number of outputs of each stage to keep in the cache; older ones are removed."""


class Pipeline:
    """Runs the stages of one catalog, or takes their outputs from the cache."""

    def __init__(self, config: Config, progress: Progress):
        self.config, self.progress = config, progress
        self._subject: Subject | None = None

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

    @property
    def subject(self) -> "Subject":
        """The model and the SAE, loaded on first use."""
        if self._subject is None:
            with self.progress.bar("load model", 1) as bar:
                from saecatalog.subject import load_subject

                self._subject = load_subject(self.config.subject, self.config.cache)
                bar.update()
        return self._subject

    @cached_property
    def info(self) -> SubjectInfo:
        """Facts about the subject, from the cache if it was loaded before."""
        subject = self.config.subject
        source = find_sae(subject.sae)
        folders = [p for p in (source.folder, Path(subject.model or "")) if p and p != Path() and p.is_dir()]
        named = [subject.sae, subject.model, subject.dtype, subject.context]
        key = stage_key("saecatalog.subject", named, [_fingerprint(folder) for folder in folders])
        path = self.config.cache / "subjects" / f"{key}.json"
        if not path.exists():
            text = self.subject.info.to_json()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return SubjectInfo.from_json(path.read_text(encoding="utf-8"))

    def harvested(self, texts: list[Text], what: str, limit: int | None = None) -> Harvested:
        """The store of some texts; the model runs only if the store is not in the cache."""
        from_subject = self._activation_inputs
        folder = self._folder("harvest", stage_key("saecatalog.harvest", from_subject, corpus_hash(texts), limit))
        if not folder.exists():
            from saecatalog.harvest import harvest_texts

            shards = self._folder("shards", stage_key("saecatalog.harvest", from_subject))
            batch_tokens = self.config.subject.batch_tokens
            with new_folder(folder) as temporary:
                harvest_texts(
                    self.subject, texts, limit, batch_tokens, temporary, shards,
                    lambda missing: self.progress.bar(what, missing, " tokens"),
                )  # fmt: skip
            _keep_newest(shards.parent, CACHED_STAGES)
        return Harvested.of(texts, self._used(folder))

    @property
    def _activation_inputs(self) -> list[object]:
        """What the activations of a window depend on, besides its tokens."""
        info = self.info
        return [info.model_sha256, info.sae_sha256, info.hook, info.context, info.prepend_bos, info.dtype]

    @cached_property
    def lens_folder(self) -> Path:
        """The folder of the lens."""
        info = self.info
        key = stage_key("saecatalog.lens", info.model_sha256, info.sae_sha256, info.hook, LENS_ENTRIES)
        folder = self._folder("lens", key)
        if not folder.exists():
            from saecatalog.lens import make_lens

            with new_folder(folder) as temporary, self.progress.bar("weights", info.d_sae, " features") as bar:
                make_lens(self.subject, LENS_ENTRIES, temporary, bar.update)
        return self._used(folder)

    @cached_property
    def corpus(self) -> Harvested:
        return self.harvested(self.texts, "corpus", self.config.corpus.limit_tokens)

    @cached_property
    def concept_corpus(self) -> Harvested | None:
        return self.harvested(self.concepts, "concepts") if self.concepts else None

    @cached_property
    def analysed(self) -> Path:
        """The folder of all tables and of the findings about the corpus as a whole."""
        config = self.config
        pages, noted = config.site.features, self.notes.features
        self._check_features(pages)
        corpus, concepts = self.corpus, self.concept_corpus
        sources = [text.source for text in corpus.texts]
        read = [corpus.key, concepts and concepts.key, self.lens_folder.name]
        key = stage_key("saecatalog.analysis.run", read, asdict(config.analysis), pages, noted, sources)
        folder = self._folder("analysis", key)
        if not folder.exists():
            self._analyse(folder)
        return self._used(folder)

    def _check_features(self, pages: str | tuple[int, ...]) -> None:
        outside = [f for f in pages if f >= self.info.d_sae] if isinstance(pages, tuple) else []
        if outside:
            raise CatalogError(
                f"The SAE has no feature {outside[0]}.", "--features", f"Use numbers from 0 to {self.info.d_sae - 1}."
            )

    def _analyse(self, folder: Path) -> None:
        from saecatalog.analysis.run import analyse
        from saecatalog.analysis.study import Inputs

        inputs = Inputs.read(self.corpus, self.concept_corpus, self.lens_folder)
        # Nothing runs the model from here on, so its memory is released for the analyses.
        self._subject = None
        config = self.config
        with new_folder(folder) as temporary:
            analyse(inputs, config.analysis, config.site.features, temporary, self.progress, self.notes.features)

    @cached_property
    def manifest(self) -> Manifest:
        """What the catalog is built from; made anew each time, from the outputs of the stages."""
        findings = json.loads((self.analysed / FINDINGS).read_text(encoding="utf-8"))
        return make_manifest(self.info, self.corpus, self.concept_corpus, findings, self.config)

    def _folder(self, stage: str, key: str) -> Path:
        return self.config.cache / stage / key

    def _used(self, folder: Path) -> Path:
        """Mark a stage's output as the most recently used, and remove the oldest ones."""
        folder.touch()
        _keep_newest(folder.parent, CACHED_STAGES)
        return folder


def _fingerprint(folder: Path) -> list[list[object]]:
    """Names, sizes and modification times of a folder's files: enough to detect a change."""
    # The modules beside the embedded SAE are part of the stage's key.
    code = ".py" if folder == SAE_FOLDER else None
    stats = [(p, p.stat()) for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != code]
    return [[p.name, s.st_size, s.st_mtime_ns] for p, s in stats]


def _keep_newest(folder: Path, limit: int) -> None:
    """Remove all entries of a cache folder but the `limit` most recently used ones."""
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime)
    for old in entries[: max(0, len(entries) - limit)]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
