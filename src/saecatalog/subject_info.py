"""The facts about a model and an SAE that later stages and the manifest need, without loading either."""

from dataclasses import dataclass, fields

from saecatalog.stage_keys import stage_key


@dataclass(frozen=True, kw_only=True)
class SubjectNames:
    """What a subject is called, and where it came from. No figure depends on these."""

    slug: str
    """The catalog's folder in a site."""
    model_name: str
    model_source: str
    """File, folder or Hub name that the weights were loaded from."""
    sae_name: str
    """What the user types after `--sae`."""
    release: str
    sae_id: str
    neuronpedia_id: str | None


@dataclass(frozen=True, kw_only=True)
class SubjectFacts:
    """Everything about a subject that a figure depends on, as it was loaded."""

    d_model: int
    n_layers: int
    d_vocab: int
    model_sha256: str
    """Of the parameters, as `fingerprints.weights_sha256` defines it."""
    model_settings: str
    """Hash of the model's classes, settings and buffers."""
    tokenizer_hash: str
    library: str
    """What runs the model: transformer_lens or transformers."""
    architecture: str
    d_in: int
    d_sae: int
    d_out: int
    """Width of what the SAE writes: `d_in`, except for a transcoder."""
    hook: str
    """What the SAE reads."""
    hook_out: str
    """What the SAE writes: `hook`, except for a transcoder."""
    cross_layer: bool
    """Whether it is one layer of a cross-layer transcoder, whose decoder rows are sums over the layers it writes to."""
    layer: int | None
    prepend_bos: bool
    bos_token_id: int | None
    context: int
    """Tokens in a window, BOS included."""
    overlap: int
    """Tokens before a window of the same text that are run with it as context and not counted."""
    dtype: str
    device: str
    """Kind of device that the model runs on: cpu, cuda, mps."""
    sae_sha256: str
    sae_settings: str
    """Hash of the SAE's class, settings and buffers."""


@dataclass(frozen=True, kw_only=True)
class SubjectInfo(SubjectNames, SubjectFacts):
    """Names and facts of a loaded model and SAE, kept in the cache so that a rebuild loads no model."""

    @property
    def identity(self) -> str:
        """The key of everything computed with this subject: its facts, and the code and libraries that load and run it.

        Two subjects with the same identity give the same figures, whatever they are called.
        """
        return stage_key("saecatalog.subject", {f.name: getattr(self, f.name) for f in fields(SubjectFacts)})
