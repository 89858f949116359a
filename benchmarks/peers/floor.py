"""The bare floor: a forward pass to the hook and one encoding of every token, in plain PyTorch, keeping nothing."""

import time

import torch
from worker import Job

BATCHES = (4, 8, 16, 32, 64)
"""Batch sizes in windows; the fastest one is used."""
TRIAL = 64
"""Windows in a trial."""


def load_model(job: Job, layer: int) -> torch.nn.Module:
    """The model's blocks before the hook only, with the centred weights that the SAE expects."""
    from transformers import GPT2Model

    model = GPT2Model.from_pretrained(job.model).eval()
    model.h, model.ln_f = model.h[:layer], torch.nn.Identity()
    for weight in (model.wte.weight, model.wpe.weight, *(p for h in model.h for p in _writing(h))):
        weight.data -= weight.data.mean(-1, keepdim=True)
    return model


def _writing(block: torch.nn.Module) -> list[torch.Tensor]:
    """The weights and biases that write to the residual stream."""
    projections = (block.attn.c_proj, block.mlp.c_proj)
    return [tensor for layer in projections for tensor in (layer.weight, layer.bias)]


@torch.inference_mode()
def run(windows: torch.Tensor, batch: int, model: torch.nn.Module, sae: torch.nn.Module) -> float:
    """Seconds for these windows."""
    before = time.perf_counter()
    for part in windows.split(batch):
        sae.encode(model(part, use_cache=False).last_hidden_state)
    return time.perf_counter() - before


def main() -> None:
    """Find the batch size after a warm-up batch, and time the loop over all tokens."""
    job = Job()
    from sae_lens import SAE

    sae = SAE.load_from_disk(job.sae).eval()
    model = load_model(job, int(job.hook.split(".")[1]))
    job.lap("load")
    run(job.tokens[:4], 4, model, sae)
    trials = {batch: run(job.tokens[:TRIAL], batch, model, sae) for batch in BATCHES}
    batch = min(trials, key=trials.__getitem__)
    job.lap("trials")
    run(job.tokens, batch, model, sae)
    job.lap("work")
    job.answer(["transformers", "sae-lens"], batch=batch, trials=trials)


if __name__ == "__main__":
    main()
