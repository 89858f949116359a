"""The facts about a model and an SAE that later stages and the manifest need, without loading either."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SubjectInfo:
    """Facts about a loaded model and SAE, kept in the cache so that a rebuild loads no model."""

    slug: str
    """The catalog's folder in a site."""
    model_name: str
    model_source: str
    """File, folder or Hub name that the weights were loaded from."""
    d_model: int
    n_layers: int
    d_vocab: int
    model_sha256: str
    sae_name: str
    """What the user types after `--sae`."""
    release: str
    sae_id: str
    architecture: str
    d_in: int
    d_sae: int
    hook: str
    layer: int | None
    prepend_bos: bool
    bos_token_id: int | None
    context: int
    """Tokens in a window, BOS included."""
    dtype: str
    neuronpedia_id: str | None
    sae_sha256: str

    @classmethod
    def from_json(cls, text: str) -> "SubjectInfo":
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)
