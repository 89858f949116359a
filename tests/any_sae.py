"""An SAE of any architecture that sae_lens registers, with random weights, saved as sae_lens saves it."""

import json
from pathlib import Path
from typing import Any

import torch

MORE = {"k": 4, "d_out": 0, "residual_threshold": 0.5, "max_iterations": 6, "n_heads": 2, "bottleneck_factor": 2}
"""Values of fields that some architectures have besides the common ones; a width is set for each SAE."""


def save_any(
    folder: Path,
    model: Path,
    architecture: str,
    hook: str,
    d_in: int = 32,
    d_sae: int = 40,
    d_out: int = 0,
    normalize: str = "none",
    **metadata: Any,
) -> Path:
    """`d_out` is that of a transcoder; further arguments are metadata."""
    from sae_lens.registry import SAE_CLASS_REGISTRY
    from sae_lens.saes.sae import SAEMetadata

    sae_class, config_class = SAE_CLASS_REGISTRY[architecture]
    given = {name: value for name, value in MORE.items() if name in config_class.__dataclass_fields__}
    given |= {"d_out": d_out or d_in} if "d_out" in given else {}
    config = config_class(
        d_in=d_in,
        d_sae=d_sae,
        apply_b_dec_to_input="transcoder" not in architecture,
        normalize_activations=normalize,
        metadata=SAEMetadata(model_name=str(model), hook_name=hook, context_size=16, prepend_bos=True),
        **given,
    )
    torch.manual_seed(2)
    sae = sae_class(config)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            scale = 0.1 if parameter.ndim == 1 else 0.3
            parameter.copy_(torch.randn_like(parameter) * scale)
            if name == "threshold":
                parameter.abs_()
    sae.save_model(folder)
    settings = json.loads((folder / "cfg.json").read_text())
    settings["metadata"] |= metadata
    (folder / "cfg.json").write_text(json.dumps(settings))
    return folder
