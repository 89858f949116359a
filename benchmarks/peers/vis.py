"""`sae-vis` as its demo uses it (its README has no code), on a CPU in float32; runs in its own environment.

Differences from the demo: model and SAE are the stand-ins, and there is no second SAE to compare with. The package
imports `sae_lens` without requiring it; the last version before 6 is the newest one that works.
"""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from worker import Job

BEFORE = 5
"""Tokens shown before the listed token of a sequence: the tool's default."""


def load_sae(job: Job) -> torch.nn.Module:
    """The SAE, made from its weights as in the demo."""
    from sae_lens import SAE, SAEConfig

    weights = load_file(Path(job.sae) / "sae_weights.safetensors")
    d_in, d_sae = weights["W_enc"].shape
    layer = int(job.hook.split(".")[1])
    config = SAEConfig(
        architecture="standard", d_in=d_in, d_sae=d_sae, activation_fn_str="relu", apply_b_dec_to_input=True,
        finetuning_scaling_factor=False, context_size=job.tokens.shape[1], model_name="gpt2-small",
        hook_name=job.hook, hook_layer=layer, hook_head_index=None, prepend_bos=True, dataset_path="",
        dataset_trust_remote_code=False, normalize_activations="none", sae_lens_training_version=None,
        dtype="float32", device="cpu",
    )  # fmt: skip
    sae = SAE(config)
    sae.load_state_dict(weights)
    return sae


def main() -> None:
    """Make and save the feature-centric view of the first features."""
    job = Job()
    from sae_lens import HookedSAETransformer
    from sae_vis.data_config_classes import SaeVisConfig
    from sae_vis.data_storing_fns import SaeVisData

    model = HookedSAETransformer.from_pretrained("gpt2-small", device="cpu", dtype="float32")
    sae = load_sae(job)
    job.lap("load")
    config = SaeVisConfig(features=range(job.features))
    data = SaeVisData.create(sae=sae, model=model, tokens=job.tokens, cfg=config)
    job.lap("work")
    page = Path(job.out, "features.html")
    data.save_feature_centric_vis(filename=str(page))
    job.lap("save")
    job.answer(
        ["sae-vis", "sae-lens", "transformer-lens", "transformers"],
        bytes=page.stat().st_size,
        features_at_a_time=config.minibatch_size_features,
        windows_at_a_time=config.minibatch_size_tokens,
        tops={feature: tops(data, feature) for feature in job.sample},
    )


def tops(data: object, feature: int) -> list[tuple[int, int, float]]:
    """A feature's top sequences: window, position and activation of the listed token."""
    group = data.feature_data_dict[feature]["seqMultiGroup"].seq_group_data[0]
    found = []
    for sequence in group.seq_data:
        window, position = re.findall(r"\d+", sequence.token_posns[BEFORE])
        found.append((int(window), int(position), sequence.feat_acts[BEFORE]))
    return found


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
