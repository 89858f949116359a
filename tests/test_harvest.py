"""The harvest against plain `transformers`: one text at a time, no padding, every formula written out."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
import reference
import torch
from conftest import CONTEXT, D_SAE, LONG, SILENT, TWIN_A, TWIN_B, SaeKind
from harvesting import EXACT, load_arrays, make_text, run

from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.errors import CatalogError
from saecatalog.store import read_store
from saecatalog.subject import Subject, load_subject
from saecatalog.verify.model import hook_values

ARCHITECTURES = [
    SaeKind("standard"),
    SaeKind("jumprelu", apply_b_dec_to_input=False),
    SaeKind("topk"),
    SaeKind("topk", rescale=True),
    SaeKind("gated"),
    SaeKind("batchtopk"),
    SaeKind("batchtopk", rescale=True),
    SaeKind("standard", normalize="layer_norm"),
    SaeKind("jumprelu", normalize="constant_norm_rescale"),
    SaeKind("standard", prepend_bos=False),
]


POINTS = [
    "blocks.0.hook_resid_pre",
    "blocks.1.hook_resid_post",
    "blocks.3.hook_resid_post",
    "blocks.1.hook_mlp_out",
    "blocks.3.hook_mlp_out",
    "blocks.2.hook_attn_out",
    "blocks.2.attn.hook_z",
]


CASES = [
    *(("llama", kind) for kind in ARCHITECTURES),
    *(("gpt2", kind) for kind in ARCHITECTURES[:5]),
    *(("llama", SaeKind("jumprelu", hook=hook)) for hook in POINTS),
    *(("gpt2", SaeKind("standard", hook=hook)) for hook in POINTS),
    ("gemma", SaeKind("standard")),
    ("gemma", SaeKind("standard", hook="blocks.1.hook_mlp_out")),
    ("gemma", SaeKind("standard", hook="blocks.2.hook_attn_out")),
    ("sink", SaeKind("jumprelu")),
]


def case_name(case: tuple[str, SaeKind]) -> str:
    return f"{case[0]}-{case[1].slug}"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A test that changes the number of threads leaves it as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Against the reference

TAKES_HEADS = ("llama", SaeKind("standard", hook="blocks.2.attn.hook_z", reshape="hook_z"))


def test_an_sae_that_takes_heads_equals_the_reference(
    subjects: Callable, models: Callable, saes: Callable, texts: list[Any], tmp_path: Path
) -> None:
    test_every_token_equals_the_reference(TAKES_HEADS, subjects, models, saes, texts, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_every_token_equals_the_reference(
    case: tuple[str, SaeKind], subjects: Callable, models: Callable, saes: Callable, texts: list[Any], tmp_path: Path
) -> None:
    shape, kind = case
    folder = run(subjects(*case), texts, tmp_path / "store")
    found = cases.case_of(folder, [t.id for t in texts], [t.category for t in texts])
    bos = reference.bos_of(models(shape)) if kind.prepend_bos else None
    fired = 0
    for t, text in enumerate(texts):
        ids, x = reference.residuals(models(shape), kind.hook, text.content, CONTEXT, bos)
        wanted = reference.encode(saes(*case), x)
        assert found.tokens[t] == ids
        np.testing.assert_array_equal(found.activations[t] > 0, wanted > 0)
        # A small activation is the difference of large terms: its error is that of the largest.
        np.testing.assert_allclose(found.activations[t], wanted, rtol=1e-4, atol=3e-6 * wanted.max())
        np.testing.assert_allclose(found.norms[t], np.linalg.norm(x, axis=1), rtol=1e-4)
        errors = np.square(x - reference.decode(saes(*case), wanted, x)).sum(1)
        np.testing.assert_allclose(found.squared_errors[t], errors, rtol=1e-3)
        fired += int((wanted > 0).sum())
    n_tokens = sum(len(ids) for ids in found.tokens)
    assert 0.02 < fired / n_tokens / D_SAE < 0.2, "the SAE should be sparse, but not silent"


def test_bands_hold_the_sum_of_the_residuals(
    subjects: Callable, models: Callable, texts: list[Any], tmp_path: Path
) -> None:
    kind = SaeKind("jumprelu")
    store = read_store(run(subjects("sink", kind), texts, tmp_path / "store"))
    bos = reference.bos_of(models("sink"))
    rows = np.concatenate([reference.residuals(models("sink"), kind.hook, t.content, CONTEXT, bos)[1] for t in texts])
    norms = np.linalg.norm(rows, axis=1)
    assert len(store.bands) > 3
    for band, total in zip(store.bands.tolist(), store.band_sums, strict=True):
        inside = (norms >= 2 ** (band / 8)) & (norms < 2 ** ((band + 1) / 8))
        np.testing.assert_allclose(total, rows[inside].sum(0), rtol=1e-3, atol=1e-3)


def test_silent_and_twin_features(subjects: Callable, texts: list[Any], tmp_path: Path) -> None:
    matrix = read_store(run(subjects("llama", SaeKind("standard")), texts, tmp_path / "store")).matrix().toarray()
    assert not matrix[:, SILENT].any()
    np.testing.assert_array_equal(matrix[:, TWIN_A], matrix[:, TWIN_B])
    assert matrix[:, TWIN_A].any()


# The same whatever else is run


@pytest.fixture(scope="module")
def plain(subjects: Callable, texts: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict]:
    """Returns the arrays of a harvest with this many tokens per batch and this many threads."""

    def arrays(shape: str, kind: SaeKind, batch_tokens: int, threads: int) -> dict[str, np.ndarray]:
        torch.set_num_threads(threads)
        folder = tmp_path_factory.mktemp("same") / "store"
        return load_arrays(run(subjects(shape, kind), texts, folder, batch_tokens))

    return arrays


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ("gpt2", SaeKind("standard")),
        ("llama", SaeKind("jumprelu")),
        ("gpt2", SaeKind("topk", hook="blocks.3.hook_resid_post")),
        ("llama", SaeKind("gated", hook="blocks.1.hook_mlp_out")),
        ("llama", SaeKind("standard", normalize="layer_norm")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.slug,
)
def test_batch_size_and_threads_do_not_change_a_byte(shape: str, kind: SaeKind, plain: Callable) -> None:
    first = plain(shape, kind, 100000, 1)
    for batch_tokens, threads in ((1, 1), (7, 2), (64, 1), (64, 2), (100000, 2)):
        other = plain(shape, kind, batch_tokens, threads)
        for name in EXACT:
            assert first[name].tobytes() == other[name].tobytes(), f"{name} with {batch_tokens=} {threads=}"


class Narrow:
    """A subject on a device with memory for only a few tokens at once."""

    def __init__(self, subject: Any, most: int, error: RuntimeError):
        self.subject, self.most, self.error, self.passes = subject, most, error, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def replica(self) -> "Narrow":
        return Narrow(self.subject.replica(), self.most, self.error)

    def values(self, tokens: Any) -> Any:
        self.passes += 1
        if tokens.numel() > self.most:
            raise self.error
        return self.subject.values(tokens)


NO_MEMORY = [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("MPS backend out of memory (MPS allocated)")]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("error", NO_MEMORY, ids=["cuda", "mps"])
def test_a_batch_that_does_not_fit_is_halved(
    error: RuntimeError, subjects: Callable, texts: list[Any], tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    subject = subjects("gpt2", SaeKind("standard"))
    wide = load_arrays(run(subject, texts * 3, tmp_path / "wide", 100000))
    narrow = Narrow(subject, 64, error)
    assert {n: a.tobytes() for n, a in load_arrays(run(narrow, texts * 3, tmp_path / "narrow", 100000)).items()} == {
        n: a.tobytes() for n, a in wide.items()
    }
    before, narrow.passes = narrow.passes, 0
    narrow.most = 100000
    run(narrow, texts * 3, tmp_path / "again", 100000)
    assert narrow.passes < before, "nothing was halved"


def test_one_window_that_does_not_fit_is_an_error(subjects: Callable, texts: list[Any], tmp_path: Path) -> None:
    narrow = Narrow(subjects("gpt2", SaeKind("standard")), 0, NO_MEMORY[0])
    with pytest.raises(CatalogError, match="A single window does not fit into the device's memory"):
        run(narrow, texts, tmp_path / "store")


def test_another_runtime_error_is_not_taken_for_a_lack_of_memory(
    subjects: Callable, texts: list[Any], tmp_path: Path
) -> None:
    narrow = Narrow(subjects("gpt2", SaeKind("standard")), 0, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(narrow, texts, tmp_path / "store")


def test_the_order_of_texts_does_not_matter(subjects: Callable, texts: list[Any], tmp_path: Path) -> None:
    subject = subjects("gpt2", SaeKind("standard"))
    order = np.random.default_rng(1).permutation(len(texts)).tolist()
    straight = read_store(run(subject, texts, tmp_path / "a"))
    shuffled = read_store(run(subject, [texts[i] for i in order], tmp_path / "b", 64))
    for place, text in enumerate(order):
        assert slice_of(straight, text) == slice_of(shuffled, place)


def slice_of(store: Any, text: int) -> tuple[bytes, ...]:
    """Everything in a store about one text, as bytes."""
    start, stop = int(store.text_offsets[text]), int(store.text_offsets[text + 1])
    first, last = int(store.indptr[start]), int(store.indptr[stop])
    per_token = (store.token_ids, store.token_ends, store.norms, store.squared_errors, np.diff(store.indptr))
    entries = (store.features, store.activations)
    return (*(a[start:stop].tobytes() for a in per_token), *(a[first:last].tobytes() for a in entries))


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_a_text_alone_equals_itself_in_a_batch(
    shape: str, subjects: Callable, texts: list[Any], tmp_path: Path
) -> None:
    subject = subjects(shape, SaeKind("standard"))
    together = read_store(run(subject, texts, tmp_path / "all", 100000))
    for text in range(len(texts)):
        alone = read_store(run(subject, [texts[text]], tmp_path / str(text)))
        assert slice_of(alone, 0) == slice_of(together, text)


def test_last_token_where_pad_is_bos_is_eos(
    subjects: Callable, models: Callable, saes: Callable, tmp_path: Path
) -> None:
    """Finding the last token by comparison with the padding token stops one token early, and only in a batch."""
    kind = SaeKind("standard")
    subject = subjects("gpt2", kind)
    special = subject.tokenizer
    assert special.pad_token_id == special.bos_token_id == special.eos_token_id
    contents = ["x", "The cat sat", "😀", "The cat sat on the mat near the river"]
    store = read_store(run(subject, [make_text(i, c) for i, c in enumerate(contents)], tmp_path / "store", 100000))
    matrix = store.matrix().toarray()
    for number, content in enumerate(contents):
        _, x = reference.residuals(models("gpt2"), kind.hook, content, CONTEXT, special.bos_token_id)
        wanted = reference.encode(saes("gpt2", kind), x)
        last = matrix[int(store.text_offsets[number + 1]) - 1]
        np.testing.assert_allclose(last, wanted[-1], rtol=1e-4, atol=1e-5)
        if len(wanted) > 1:
            assert not np.allclose(last, wanted[-2], rtol=1e-2)


def test_padding_is_never_counted(subjects: Callable, tmp_path: Path) -> None:
    subject = subjects("gpt2", SaeKind("standard"))
    contents = ["x", "The cat sat on the mat.", "The dog barked at the cat and the cat ran. " * 3]
    store = read_store(run(subject, [make_text(i, c) for i, c in enumerate(contents)], tmp_path / "store", 100000))
    counts = [len(reference.token_ids(Path(subject.info.model_source), c)) for c in contents]
    assert np.diff(store.text_offsets).tolist() == counts
    assert store.n_tokens == sum(counts) == len(store.norms)


def test_activations_that_are_not_finite_are_told_with_text_and_token(subjects: Callable, tmp_path: Path) -> None:
    subject = subjects("llama", SaeKind("gated")).replica()
    subject.sae.b_mag = torch.nn.Parameter(torch.full_like(subject.sae.b_mag, torch.nan))
    with pytest.raises(CatalogError, match=r"SAE's activations .* not finite at token 0 of this text") as caught:
        run(subject, [make_text(0, "x y z")], tmp_path / "store")
    assert caught.value.where == "made here"
    assert "torch.float32" in caught.value.fix


def test_an_output_that_is_not_finite_is_told_with_text_token_and_weight(saes: Callable, tmp_path: Path) -> None:
    """In the values before the first layer, where a token has not yet reached the others."""
    kind = SaeKind("standard", hook="blocks.0.hook_resid_pre")
    subject = load_subject(SubjectConfig(str(saes("llama", kind)), device="cpu"), tmp_path)
    contents = ["x", "Yes.", "The cat, the dog and the cat. The cat and the dog? x", "The cat."]
    texts = [dataclasses.replace(make_text(i, content), source=f"line {i}") for i, content in enumerate(contents)]
    ids = subject.tokenizer.encode(contents[2], add_special_tokens=False)
    (bad,) = subject.tokenizer.encode("?", add_special_tokens=False)
    assert ids.index(bad) > CONTEXT, "in the second window of its text"
    with torch.no_grad():
        subject.model.module.embed.weight[bad] = torch.inf
    with pytest.raises(CatalogError) as caught:
        run(subject, texts, tmp_path / "store")
    words = f"The model's output at '{kind.hook}' is not finite at token {ids.index(bad)} of this text ('?')."
    assert caught.value.what == words
    assert caught.value.where == "line 2"
    assert "The model's weight '" in caught.value.fix
    assert "embed" in caught.value.fix


def test_an_output_too_large_for_the_number_format_is_told(saes: Callable, tmp_path: Path) -> None:
    config = SubjectConfig(str(saes("llama", SaeKind("standard"))), device="cpu", dtype="float16")
    subject = load_subject(config, tmp_path)
    with torch.no_grad():
        subject.model.module.embed.weight[:] = 60000
        subject.model.module.blocks[0].mlp.out.weight[:] = 60000
    with pytest.raises(CatalogError, match="not finite at token") as caught:
        run(subject, [make_text(0, "x y z")], tmp_path / "store")
    assert "too large for float16. Use --dtype float32." in caught.value.fix


def test_reference_rejects_what_it_does_not_know(models: Callable) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        hook_values(reference.model_of(models("llama")), "blocks.0.nonsense", [0])


def test_kinds_have_names_of_their_own() -> None:
    """If two kinds shared a folder, one SAE would be tested twice."""
    kinds = {kind for _, kind in CASES}
    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert len(dataclasses.fields(SaeKind)) == 7


@pytest.mark.parametrize("bos", [True, False])
def test_a_window_sees_the_tokens_before_it_that_it_takes_over(
    bos: bool, subjects: Callable, models: Callable, saes: Callable, tmp_path: Path
) -> None:
    """Every token against a forward pass of its own window, cut by hand."""
    kind, overlap = SaeKind("jumprelu", prepend_bos=bos), 5
    subject, model = subjects("llama", kind), reference.model_of(models("llama"))
    info = dataclasses.replace(subject.info, overlap=overlap)
    overlapping = Subject(subject.model, subject.sae, info, subject.device, subject.files)
    contents = [LONG, "The cat sat.", LONG[40:]]
    store = read_store(run(overlapping, [make_text(i, c) for i, c in enumerate(contents)], tmp_path / "store"))
    values, row = store.matrix().toarray(), 0
    front = [reference.bos_of(models("llama"))] if bos else []
    size = CONTEXT - bos
    for content in contents:
        ids = reference.token_ids(models("llama"), content)
        first = 0
        while first < len(ids):
            lead = overlap if first else 0
            window = ids[first - lead : first - lead + size]
            x = hook_values(model, kind.hook, front + window)[len(front) + lead :]
            expected = reference.encode(saes("llama", kind), x)
            np.testing.assert_allclose(values[row : row + len(x)], expected, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(store.norms[row : row + len(x)], np.linalg.norm(x, axis=1), rtol=1e-4)
            row, first = row + len(x), first + len(x)
    assert row == store.n_tokens
    alone = read_store(run(subject, [make_text(i, c) for i, c in enumerate(contents)], tmp_path / "alone"))
    assert not np.array_equal(alone.norms, store.norms)


def test_an_overlap_that_leaves_no_new_token_is_refused(saes: Callable, workshop: Path) -> None:
    config = SubjectConfig(sae=str(saes("llama", SaeKind("standard"))), device="cpu", overlap=CONTEXT - 1)
    with pytest.raises(CatalogError, match=r"holds 15 tokens, .* cannot begin with 15 tokens") as caught:
        load_subject(config, Cache(workshop / "cache"))
    assert caught.value.where == "--overlap 15"
