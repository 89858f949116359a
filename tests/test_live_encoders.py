"""The encoders of programs against those of sae_lens: every architecture that it registers, and every normalisation."""

from pathlib import Path

import live_reference
import pytest
import torch
from live_subjects import IDS, RESIDUAL, assert_same, llama, sae_of, subject_of
from sae_lens import SAE
from sae_lens.registry import SAE_CLASS_REGISTRY

from saecatalog.live.model_program import compile_program
from saecatalog.live.program import NoProgram
from saecatalog.live.sae_program import KINDS


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", sorted(SAE_CLASS_REGISTRY))
@torch.no_grad()
def test_every_architecture(architecture: str, normalize: str) -> None:
    if SAE_CLASS_REGISTRY[architecture][0] not in KINDS:
        sae = sae_of(RESIDUAL, 32, architecture)
        with pytest.raises(NoProgram, match=f"architecture '{architecture}' have no live part"):
            compile_program(subject_of(llama(), sae))
        return
    subject = subject_of(llama(), sae_of(RESIDUAL, 32, architecture, normalize))
    assert_same(subject, compile_program(subject))


@torch.no_grad()
def test_without_a_shift_the_encoder_reads_the_value_itself() -> None:
    sae = sae_of(RESIDUAL, 32)
    sae.cfg.apply_b_dec_to_input = False
    subject = subject_of(llama(), sae)
    program = compile_program(subject)
    assert program.steps[-1]["from"] == program.read
    assert_same(subject, program)


@torch.no_grad()
def test_ranking_by_the_norms_of_the_decoder() -> None:
    sae = sae_of(RESIDUAL, 32, "topk")
    before = compile_program(subject_of(llama(), sae))
    sae.cfg.rescale_acts_by_decoder_norm = True
    subject = subject_of(llama(), sae)
    program = compile_program(subject)
    assert_same(subject, program)
    chosen = [live_reference.run(p, IDS[0].numpy())[1] > 0 for p in (before, program)]
    assert (chosen[0] != chosen[1]).any()


@torch.no_grad()
def test_batchtopk_as_it_is_saved_for_inference(tmp_path: Path) -> None:
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    torch.manual_seed(4)
    metadata = SAEMetadata(model_name="none", hook_name=RESIDUAL)
    trained = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=32, d_sae=40, k=5, metadata=metadata))
    trained.topk_threshold.fill_(0.2)
    trained.save_inference_model(tmp_path)
    subject = subject_of(llama(), SAE.load_from_disk(tmp_path))
    program = compile_program(subject)
    assert program.steps[-1]["kind"] == "jumprelu"
    assert_same(subject, program)


@torch.no_grad()
def test_an_unknown_normalisation() -> None:
    sae = sae_of(RESIDUAL, 32)
    sae.cfg.normalize_activations = "covariance_whitening"
    with pytest.raises(NoProgram, match="normalisation 'covariance_whitening'"):
        compile_program(subject_of(llama(), sae))
