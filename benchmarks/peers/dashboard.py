"""`sae-dashboard` as its README uses it, on a CPU in float32; runs in its own environment.

Differences from the README: the SAE is loaded from a folder, the hook's name is read from its place in today's
`sae_lens`, and 256 features are processed at a time (the tool's own default, faster than the README's 64), or more if
the job's `at_a_time` says so. `cached` in the job sets `cache_dir`, an empty folder.
"""

from pathlib import Path

import torch
from worker import Job

BEFORE = 5
"""Tokens shown before the listed token of a sequence: the tool's default."""


def main() -> None:
    """Make and save the feature-centric view of the first features."""
    job = Job()
    from sae_dashboard.data_writing_fns import save_feature_centric_vis
    from sae_dashboard.sae_vis_data import SaeVisConfig
    from sae_dashboard.sae_vis_runner import SaeVisRunner
    from sae_lens import SAE
    from transformer_lens import HookedTransformer

    model = HookedTransformer.from_pretrained("gpt2-small", device="cpu", dtype="float32")
    sae = SAE.load_from_disk(job.sae)
    sae.fold_W_dec_norm()
    job.lap("load")
    out = Path(job.out)
    config = SaeVisConfig(
        hook_point=sae.cfg.metadata.hook_name,
        features=list(range(job.features)),
        minibatch_size_features=job.given["at_a_time"],
        device="cpu",
        dtype="float32",
        cache_dir=out / "cache" if job.given["cached"] else None,
    )
    data = SaeVisRunner(config).run(encoder=sae, model=model, tokens=job.tokens)
    job.lap("work")
    page = out / "features.html"
    save_feature_centric_vis(sae_vis_data=data, filename=page)
    job.lap("save")
    job.answer(
        ["sae-dashboard", "sae-lens", "transformer-lens", "transformers"],
        bytes=page.stat().st_size,
        features_at_a_time=config.minibatch_size_features,
        windows_at_a_time=config.minibatch_size_tokens,
        tops={feature: tops(data, feature) for feature in job.sample},
    )


def tops(data: object, feature: int) -> list[tuple[int, int, float]]:
    """A feature's top sequences: window, position and activation of the listed token."""
    group = data.feature_data_dict[feature].sequence_data.seq_group_data[0]
    return [(s.original_index, s.qualifying_token_index, s.feat_acts[BEFORE]) for s in group.seq_data]


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
