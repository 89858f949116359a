"""The stages in order, each run only if its key changed: a config flows in, the outputs of the stages flow out.

A stage's key is made from its code and from the keys of the outputs that it reads; see `stage_keys` and `cache`. Torch
and the model libraries are imported only if a stage has to run the model.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from saecatalog.analysis import FINDINGS
from saecatalog.cache import Cache, Output
from saecatalog.config import Config, with_absolute_paths
from saecatalog.effects import EFFECTS, STEERING
from saecatalog.engines import Engine, Threads
from saecatalog.errors import CatalogError
from saecatalog.explanations import NO_EXPLANATIONS, Explanations, read_explanations
from saecatalog.json_files import write_json
from saecatalog.judged import basis_of
from saecatalog.lazy_subject import LazySubject
from saecatalog.live.bundle import LIVE
from saecatalog.manifest import Manifest, make_manifest
from saecatalog.notes import Notes, Subjects, read_notes
from saecatalog.progress import Progress, notice
from saecatalog.shards import Folder, Place
from saecatalog.shared_outputs import StoredOutputs
from saecatalog.stage_keys import stage_key
from saecatalog.storage import Storage
from saecatalog.store import Harvested
from saecatalog.subject_info import SubjectInfo
from saecatalog.texts import chat
from saecatalog.texts.corpus import Text, corpus_hash, read_concepts, read_corpus, with_ids

if TYPE_CHECKING:
    from saecatalog.remote_harvest import RemoteHarvest
    from saecatalog.remote_subject import RemoteSubject
    from saecatalog.subject import Subject

CONTENTS = "contents.json"
"""In the output of the texts that the tokenizer prepares: the content of each."""


@dataclass(frozen=True)
class Given:
    """What the caller of a pipeline has in hand, so that it is neither loaded nor read; None for what it has not."""

    subject: "Subject | None" = None
    """The model and the SAE that the settings name."""
    texts: list[Text] | None = None
    concepts: list[Text] | None = None


class Pipeline:
    """Runs the stages of one catalog, or takes their outputs from the cache."""

    def __init__(self, config: Config, progress: Progress, given: Given | None = None):
        self.config, self.progress, self.given = config, progress, given or Given()
        self.cache = Cache(config.cache)
        self._subject = LazySubject(config.subject, self.cache, progress, self.given.subject)
        self._held = ExitStack()

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *error: object) -> None:
        with self._held:
            self.cache.close()

    @cached_property
    def engine(self) -> Engine:
        """Who does the work. Workers on other machines start when a stage first has to run."""
        machines = self.config.machines
        if not machines.uses_ray:
            return Threads()
        from saecatalog.ray_engine import connect

        connection = connect(machines)
        self._held.callback(connection.close)
        return connection

    @cached_property
    def storage(self) -> Storage | None:
        """The storage that machines share, if the settings name one."""
        address = self.config.machines.storage
        if not address:
            return None
        storage = Storage(address)
        storage.check()
        return storage

    @cached_property
    def texts(self) -> list[Text]:
        given = self.given.texts
        return self._with_contents(read_corpus(self.config.corpus, self.cache) if given is None else given)

    @cached_property
    def concepts(self) -> list[Text]:
        given = self.given.concepts
        return self._with_contents(read_concepts(self.config.corpus) if given is None else given)

    def _with_contents(self, texts: list[Text]) -> list[Text]:
        prepared = self.prepared(texts)
        # An id is made from the content.
        return texts if prepared is texts else with_ids(prepared)

    def prepared(self, texts: list[Text]) -> list[Text]:
        """Texts as the model reads them: what chats and special tokens become depends on the tokenizer."""
        special = self.config.corpus.special_tokens
        if chat.is_prepared(texts, special):
            return texts

        info = self.info

        def make(folder: Path) -> None:
            write_json(folder / CONTENTS, chat.contents(texts, self.subject.tokenizer, special, info.prepend_bos))

        read = [[text.content, text.turns, text.source] for text in texts]
        key = (info.tokenizer_hash, info.prepend_bos, special, read)
        made = self._output("saecatalog.texts.chat", make, *key).json(CONTENTS)
        return [
            replace(text, content=content, turns="", special_tokens=special or bool(text.turns))
            for text, content in zip(texts, made, strict=True)
        ]

    @cached_property
    def notes(self) -> Notes:
        """The author's notes, about features, categories and concepts of this catalog."""
        names = [list(dict.fromkeys(text.category for text in texts)) for texts in (self.texts, self.concepts)]
        return read_notes(self.config.site.notes, Subjects(self.info.d_sae, *names))

    @cached_property
    def explanations(self) -> Explanations:
        """What others say of this SAE's features; none, with a notice, if their files are not as they should be."""
        made = self._facts
        try:
            path, source = self.config.site.explanations, str(made["sae"]["source"])
            return read_explanations(path, source, self.info.d_sae, basis_of(made))
        except CatalogError as error:
            notice(f"there are no explanations: {error.line()} The catalog is built without them.")
            return NO_EXPLANATIONS

    @property
    def subject(self) -> "Subject":
        """The model and the SAE, loaded on first use. Raises CatalogError if they are no longer those of `info`."""
        return self._subject.loaded

    @property
    def info(self) -> SubjectInfo:
        """Facts about the subject, which need not be loaded for them."""
        return self._subject.info

    def _output(self, module: str, make: Callable[[Path], None], *inputs: object) -> Output:
        """The output of a module for some inputs; an input that is itself an output counts by its key."""
        keys = [part.key if isinstance(part, Output) else part for part in inputs]
        shared = StoredOutputs(self.storage) if self.storage else None
        return self.cache.output(module.split(".")[1], stage_key(module, *keys), make, shared)

    def harvested(self, texts: list[Text], what: str, limit: int | None = None) -> Harvested:
        """The store of some texts; the model runs only if the store is not in the cache."""
        identity = self.info.identity

        def make(folder: Path) -> None:
            from saecatalog.harvest import harvest_texts

            batch_tokens = self.config.subject.batch_tokens
            key = stage_key("saecatalog.harvest", identity)
            stored = self.storage.below(f"shards/{key}") if self.storage else None
            with self._shards(key, stored) as place:
                harvest_texts(
                    self.subject, texts, limit, batch_tokens, folder, place,
                    lambda missing: self.progress.bar(what, missing, " tokens"), self._workers,
                )  # fmt: skip

        return Harvested.of(texts, self._output("saecatalog.harvest", make, identity, corpus_hash(texts), limit))

    @contextmanager
    def _shards(self, key: str, stored: Storage | None) -> Iterator[Place]:
        """Where the shards of a subject are: in shared storage if there is one, else in the cache."""
        if stored is not None:
            yield stored
            return
        with self.cache.collection("shards", key) as folder:
            yield Folder(folder)

    @cached_property
    def _workers(self) -> "RemoteHarvest | None":
        """What runs the texts on other machines; None if the threads of this process do."""
        remote = self._remote
        if remote is None:
            return None
        from saecatalog.remote_harvest import RemoteHarvest

        return RemoteHarvest(remote.engine, remote.config, remote.cache, remote.info)

    @property
    def _remote(self) -> "RemoteSubject | None":
        """The subject on other machines; None if the threads of this process run it."""
        engine = self.engine
        if isinstance(engine, Threads):
            return None
        from saecatalog.remote_subject import RemoteSubject

        return RemoteSubject(engine, with_absolute_paths(self.config.subject), self.cache.root.absolute(), self.info)

    @cached_property
    def lens(self) -> Output:
        """What the weights alone say."""

        def make(folder: Path) -> None:
            from saecatalog.lens import make_lens

            with self.progress.bar("weights", self.info.d_sae, " features") as bar:
                make_lens(self.subject, folder, bar.update, remote=self._remote)

        return self._output("saecatalog.lens", make, self.info.identity)

    @cached_property
    def live(self) -> Output | None:
        """What a reader's browser runs on a text of their own; None if the site is not to have it."""
        config, corpus = self.config, self.corpus
        if not config.site.live:
            return None
        multiple, limit = config.analysis.outlier_multiple, config.site.live_limit_mb
        special = any(text.special_tokens for text in corpus.texts)

        def make(folder: Path) -> None:
            from saecatalog.analysis.activations import include
            from saecatalog.live.live_part import make_live_part

            with self.progress.bar("live part", 1) as bar:
                live = make_live_part(self.subject, include(corpus.store, multiple), special, limit, folder)
                write_json(folder / LIVE, live)
                bar.update()

        inputs = (self.info.identity, corpus.output, multiple, special, limit)
        return self._output("saecatalog.live.live_part", make, *inputs)

    @cached_property
    def corpus(self) -> Harvested:
        return self.harvested(self.texts, "corpus", self.config.corpus.limit_tokens)

    @cached_property
    def concept_corpus(self) -> Harvested | None:
        return self.harvested(self.concepts, "concepts") if self.concepts else None

    @cached_property
    def analysed(self) -> Output:
        """All tables, and the findings about the corpus as a whole."""
        config = self.config
        if self.live is not None:
            # Before the analyses, because the model is released for them.
            self.live.file(LIVE)
        pages, noted = config.site.features, self.notes.features
        self._check_features(pages)
        corpus, concepts = self.corpus, self.concept_corpus

        def make(folder: Path) -> None:
            from saecatalog.analysis.run import analyse
            from saecatalog.analysis.study import Inputs

            inputs = Inputs.read(corpus, concepts, self.lens.folder)
            # Nothing runs the model from here on, so its memory is released for the analyses.
            self._subject.release()
            analyse(inputs, config.analysis, pages, folder, self.progress, noted, self.engine)

        read = (corpus.output, concepts and concepts.output, self.lens)
        # The tables say where each text comes from, which its harvest does not depend on.
        origins = [[[t.source, t.file, t.title, t.link] for t in part.texts] for part in (corpus, concepts) if part]
        return self._output("saecatalog.analysis.run", make, *read, asdict(config.analysis), pages, noted, origins)

    @cached_property
    def note_scores(self) -> Output | None:
        """The table `detection` with the scores of the rules in notes beside those of labels; None without one."""
        notes, config = self.notes, self.config.analysis
        if not notes.rules:
            return None
        corpus, analysed = self.corpus, self.analysed

        def make(folder: Path) -> None:
            import pandas as pd

            from saecatalog.analysis.note_detection import note_rows
            from saecatalog.tables import Tables, write_table

            found, vocabulary = Tables(analysed.folder), self.lens.json("vocabulary.json")
            labels = found.read("features", ["feature", "label_rule", "label_half"])
            rows = note_rows(corpus, vocabulary, labels, config, notes.rules, notes.rule_places)
            both = pd.concat([found["detection"], rows]).sort_values(["feature", "rule_source"])
            write_table(folder, "detection", both)

        rules = [[feature, rule.json()] for feature, rule in notes.rules.items()]
        inputs = (corpus.output, self.lens, analysed, asdict(config), rules)
        return self._output("saecatalog.analysis.note_detection", make, *inputs)

    @cached_property
    def effects(self) -> Output | None:
        """What features do to the model's predictions; None if that is not wanted."""
        wanted = self.config.effects
        if wanted.features == "off":
            return None
        config, corpus, features = self.config, self.corpus, self._features_with_effects()
        multiple = config.analysis.outlier_multiple

        def make(folder: Path) -> None:
            from saecatalog.effects.stage import Job, measure_effects
            from saecatalog.effects.steering import prompt_ids

            # A prompt that is too long shall not be found out minutes later.
            prompt_ids(self.subject, wanted.prompts)
            chosen = (features, wanted, multiple, config.subject.batch_tokens)
            job = Job(self.subject, corpus.texts, corpus.store, *chosen, self._remote)
            with self.cache.collection("contexts", stage_key("saecatalog.effects.stage", self.info.identity)) as kept:
                measure_effects(job, folder, kept, lambda n: self.progress.bar("effects", n, " contexts"))

        origins = [[text.id, text.category] for text in corpus.texts]
        read = (self.info.identity, corpus.output, origins, features, wanted.contexts, wanted.seed, multiple)
        return self._output("saecatalog.effects.stage", make, *read)

    @cached_property
    def steering(self) -> Output | None:
        """What the model writes when it is steered, and where features come from; None where there are no effects."""
        if self.effects is None or "reason" in self.effects.json(EFFECTS):
            return None
        corpus, analysis, wanted, features = (
            self.corpus,
            self.analysed,
            self.config.effects,
            self._features_with_effects(),
        )

        def make(folder: Path) -> None:
            from saecatalog.effects.steering_stage import Job, measure_steering

            chosen = (features, wanted.prompts, wanted.multiples, self.config.subject.batch_tokens)
            job = Job(self.subject, corpus.texts, corpus.store, analysis.folder, *chosen, self._remote)
            bars = [lambda n, w=what: self.progress.bar(w, n, " features") for what in ("steering", "attribution")]
            key = stage_key("saecatalog.effects.steering_stage", self.info.identity)
            with self.cache.collection("steering", key) as kept:
                measure_steering(job, folder, kept, *bars)

        read = (self.info.identity, corpus.output, analysis, features, wanted.prompts, wanted.multiples)
        made = self._output("saecatalog.effects.steering_stage", make, *read)
        # Nothing runs the model from here on.
        self._subject.release()
        return made

    def _features_with_effects(self) -> list[int]:
        findings = self.analysed.json(FINDINGS)
        return list(range(self.info.d_sae)) if self.config.effects.features == "all" else list(findings["notable"])

    def _check_features(self, pages: str | tuple[int, ...]) -> None:
        outside = [f for f in pages if f >= self.info.d_sae] if isinstance(pages, tuple) else []
        if outside:
            raise CatalogError(
                f"The SAE has no feature {outside[0]}.", "--features", f"Use numbers from 0 to {self.info.d_sae - 1}."
            )

    @cached_property
    def manifest(self) -> Manifest:
        """What the catalog is built from; made anew each time, from the outputs of the stages."""
        return {**self._facts, "explanations": self.explanations.facts()}

    @cached_property
    def _facts(self) -> Manifest:
        """The manifest without what it says of explanations."""
        findings = self.analysed.json(FINDINGS)
        live = None if self.live is None else self.live.json(LIVE)
        manifest = make_manifest(self.info, self.corpus, self.concept_corpus, findings, live, self.config)
        effects = None if self.effects is None else self.effects.json(EFFECTS)
        effects = {**effects, **self.steering.json(STEERING)} if effects and self.steering else effects
        return {**manifest, "effects": effects}
