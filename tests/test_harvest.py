"""The harvest against plain `transformers`: one text at a time, no padding, every formula written out."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cases
import numpy as np
import pytest
import reference
import torch
from conftest import CONTEXT, D_SAE, LLAMA_TOKENS, SHAPES, SILENT, TWIN_A, TWIN_B, SaeKind, make_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from saecatalog.corpus import Text
from saecatalog.errors import CatalogError
from saecatalog.harvest import harvest
from saecatalog.store import FIXED_POINT, Piece, band_edge, norm_bands, ranges, read_store, write_store
from saecatalog.subject import weights_sha256
from saecatalog.verify import figures
from saecatalog.verify.model import byte_of_character, hook_values, token_ends, windows_of
from saecatalog.vocabulary import byte_alphabet, token_strings
from saecatalog.windows import TokenizedTexts, Window, limit_texts, make_batches, make_windows, tokenize

EXACT = (
    "text_offsets",
    "token_ids",
    "token_ends",
    "norms",
    "squared_errors",
    "indptr",
    "features",
    "activations",
    "bands",
    "band_sums",
    "shape",
)
"""Arrays that must not change by a byte: all of them."""

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


def run(subject: Any, texts: list[Any], folder: Path, batch_tokens: int = 256) -> Path:
    folder.mkdir(parents=True)
    harvest(subject, tokenize(texts, subject.tokenizer), batch_tokens, folder, lambda n: None)
    return folder


def make_text(number: int, content: str, category: str = "c") -> Text:
    return Text(f"t{number}", category, "made here", content)


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


# The same whatever stands beside it


def load_arrays(folder: Path) -> dict[str, np.ndarray]:
    return {p.stem: np.load(p) for p in folder.glob("*.npy")}


@pytest.fixture(scope="module")
def plain(subjects: Callable, texts: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict]:
    """Gives the arrays of a harvest with a number of tokens in a batch and a number of threads."""

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
    """A subject on a device whose memory holds few tokens at once."""

    def __init__(self, subject: Any, most: int, error: RuntimeError):
        self.subject, self.most, self.error, self.passes = subject, most, error, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def replica(self) -> "Narrow":
        return Narrow(self.subject.replica(), self.most, self.error)

    def residual(self, tokens: Any) -> Any:
        self.passes += 1
        if tokens.numel() > self.most:
            raise self.error
        return self.subject.residual(tokens)


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
    with pytest.raises(CatalogError, match="One window is too much for the memory"):
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
    """Everything a store holds of one text, in bytes."""
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
    """Looking for the last token by its difference from padding lands one token early, and only in a batch."""
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


def test_a_special_token_in_a_text_is_plain_text(subjects: Callable) -> None:
    for shape in ("llama", "gpt2"):
        tokenizer = subjects(shape, SaeKind("standard")).tokenizer
        ids = tokenize([make_text(0, "<|endoftext|> <s> </s> <pad>")], tokenizer).ids
        assert not set(ids.tolist()) & set(tokenizer.all_special_ids)


def test_numbers_that_are_not_finite_are_an_error(subjects: Callable, tmp_path: Path) -> None:
    subject = subjects("llama", SaeKind("gated")).replica()
    subject.sae.b_mag = torch.nn.Parameter(torch.full_like(subject.sae.b_mag, torch.nan))
    with pytest.raises(CatalogError, match="not finite"):
        run(subject, [make_text(0, "x y z")], tmp_path / "store")


def test_a_replica_shares_weights_and_computes_the_same(subjects: Callable) -> None:
    subject = subjects("llama", SaeKind("standard"))
    twin = subject.replica()
    assert weights_sha256(subject.model) == weights_sha256(twin.model)
    assert {p.data_ptr() for p in subject.model.parameters()} == {p.data_ptr() for p in twin.model.parameters()}
    ids = torch.tensor([[0, 7, 8, 9]])
    with torch.inference_mode():
        assert torch.equal(subject.residual(ids), twin.residual(ids))


@pytest.mark.parametrize(
    "normalize",
    ["none", "layer_norm", "constant_norm_rescale"],
)
def test_replicas_keep_nothing_of_each_other(normalize: str, subjects: Callable) -> None:
    """What one replica encodes between another's encoding and decoding must not show: threads do just that."""
    subject = subjects("llama", SaeKind("standard", normalize=normalize))
    twin = subject.replica()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn((16, 32), generator=generator), torch.randn((16, 32), generator=generator) * 9 + 4
    with torch.inference_mode():
        wanted = subject.decode(subject.encode(x))
        encoded = subject.encode(x)
        twin.encode(y)
        found = subject.decode(encoded)
    assert torch.equal(found, wanted)


def test_facts_of_a_subject(subjects: Callable, models: Callable) -> None:
    info = subjects("llama", SaeKind("jumprelu", hook="blocks.1.hook_mlp_out")).info
    assert (info.layer, info.hook, info.architecture) == (1, "blocks.1.hook_mlp_out", "jumprelu")
    assert (info.d_in, info.d_sae, info.d_model, info.n_layers, info.context) == (32, D_SAE, 32, 4, CONTEXT)
    assert info.bos_token_id == reference.bos_of(models("llama"))
    assert subjects("llama", SaeKind("standard", prepend_bos=False)).info.bos_token_id is None
    config = json.loads((models("llama") / "config.json").read_text())
    assert info.d_vocab == config["vocab_size"]


# Tokens and their characters


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_token_ends_reproduce_the_content(shape: str, subjects: Callable, models: Callable, texts: list[Any]) -> None:
    tokens = tokenize(texts, subjects(shape, SaeKind("standard")).tokenizer)
    for t, text in enumerate(texts):
        span = slice(int(tokens.offsets[t]), int(tokens.offsets[t + 1]))
        pieces = [reference.token_bytes(models(shape), i) for i in tokens.ids[span].tolist()]
        assert b"".join(pieces).decode() == text.content
        assert tokens.ends[span].tolist() == token_ends(pieces, text.content)


SPACED = ["a  b\n\n  c 😀 日本", "def f(x):\n    return x\n\n\n\ty  ", "The cat \n sat", "x\n  y"]


@pytest.fixture(scope="module")
def trimming_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tokenizer with tokens of white space, whose offsets leave white space out (as Pythia's do), and its folder."""
    folder = tmp_path_factory.mktemp("trimming")
    tokenizer = make_tokenizer(LLAMA_TOKENS, trim_offsets=True, texts=[text.replace(" ", "  ") for text in SPACED] * 9)
    tokenizer.save_pretrained(folder)
    return tokenizer, folder


@pytest.mark.parametrize("content", SPACED)
def test_token_ends_where_offsets_leave_white_space_out(content: str, trimming_tokenizer: tuple[Any, Path]) -> None:
    tokenizer, folder = trimming_tokenizer
    tokens = tokenize([make_text(0, content)], tokenizer)
    pieces = [reference.token_bytes(folder, i) for i in tokens.ids.tolist()]
    assert tokens.ends.tolist() == token_ends(pieces, content)


def byte_fallback_tokenizer() -> Any:
    """A tokenizer as Gemma's: spaces as U+2581, and bytes for the characters it does not know."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{b:02X}>" for b in range(256)), *"acst\u2581.", "ca", "cat"]
    merges = [("c", "a"), ("ca", "t")]
    model = models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def test_a_tokenizer_that_falls_back_to_bytes() -> None:
    tokenizer = byte_fallback_tokenizer()
    strings = token_strings(tokenizer, len(tokenizer))
    assert strings[4 + 0xE2] == "<0xE2>"
    assert (strings[4 + ord("x")], strings[-4], strings[-1]) == ("x", " ", "cat")
    for content in ("cat sat.", " 猫  cat😀\n", "é", "naïve cat — sat"):
        tokens = tokenize([make_text(0, content)], tokenizer)
        names = tokenizer.convert_ids_to_tokens(tokens.ids.tolist())
        pieces = [bytes([int(n[3:5], 16)]) if n[:3] == "<0x" else n.replace("\u2581", " ").encode() for n in names]
        assert b"".join(pieces).decode() == content
        assert tokens.ends.tolist() == token_ends(pieces, content)


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1, max_size=4))
def test_every_text_can_be_read_back(fast_tokenizer: tuple[Any, Path], contents: list[str]) -> None:
    tokenizer, folder = fast_tokenizer
    tokens = tokenize([make_text(i, c) for i, c in enumerate(contents)], tokenizer)
    for t, content in enumerate(contents):
        ids = tokens.ids[tokens.offsets[t] : tokens.offsets[t + 1]].tolist()
        assert ids == reference.token_ids(folder, content)
        ends = tokens.ends[tokens.offsets[t] : tokens.offsets[t + 1]].tolist()
        assert ends == token_ends([reference.token_bytes(folder, i) for i in ids], content)


@pytest.fixture(scope="module")
def fast_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = make_tokenizer(LLAMA_TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer, folder


def test_a_text_without_tokens_is_an_error(fast_tokenizer: tuple[Any, Path]) -> None:
    with pytest.raises(CatalogError, match="no token"):
        tokenize([make_text(0, "a"), make_text(1, "")], fast_tokenizer[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_vocabulary_as_text(shape: str, subjects: Callable, models: Callable) -> None:
    subject = subjects(shape, SaeKind("standard"))
    strings = token_strings(subject.tokenizer, subject.info.d_vocab)
    assert strings == [reference.token_text(models(shape), i) for i in range(subject.info.d_vocab)]
    assert "<0xE6>" in strings or "<0xF0>" in strings


def test_byte_alphabet() -> None:
    assert byte_alphabet() == byte_of_character()


# Windows and batches


def tokenized(lengths: list[int]) -> TokenizedTexts:
    total = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenizedTexts(np.arange(total, dtype=np.int32), np.arange(1, total + 1, dtype=np.int32), offsets)


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=12)


@given(LENGTHS, st.integers(2, 20), st.booleans())
def test_windows_cover_each_token_once(lengths: list[int], context: int, bos: bool) -> None:
    tokens = tokenized(lengths)
    windows = make_windows(tokens, context, bos)
    assert [i for w in windows for i in range(w.start, w.stop)] == list(range(sum(lengths)))
    found = [tokens.ids[w.start : w.stop].tolist() for w in windows]
    texts = np.split(tokens.ids, np.cumsum(lengths)[:-1])
    assert found == [w for ids in texts for w in windows_of(ids.tolist(), context, 0 if bos else None)]
    assert all(len(w) + bos <= context for w in windows)


@given(LENGTHS, st.integers(2, 20), st.integers(1, 200), st.integers(0, 1))
def test_batches_keep_to_the_budget(lengths: list[int], context: int, budget: int, extra: int) -> None:
    windows = make_windows(tokenized(lengths), context, bool(extra))
    batches = make_batches(windows, budget, extra)
    assert sorted((w.start, w.stop) for b in batches for w in b) == [(w.start, w.stop) for w in windows]
    assert all(len({len(w) for w in b}) == 1 for b in batches), "equal lengths need no padding"
    places = [len(b) * (max(len(w) for w in b) + extra) for b in batches]
    assert all(p <= budget or len(b) == 1 for p, b in zip(places, batches, strict=True))
    assert all(len(w) <= len(batches[0][0]) for w in windows)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30)), min_size=1, max_size=15), st.integers(1, 120))
def test_limit_takes_categories_in_turn(given_texts: list[tuple[str, int]], limit: int) -> None:
    given_texts = sorted(given_texts, key=lambda pair: pair[0])
    texts = [Text(f"{c}-{i}", c, "", "") for i, (c, _) in enumerate(given_texts)]
    lengths = [n for _, n in given_texts]
    kept = limit_texts(texts, tokenized(lengths), limit)
    queues = {c: [i for i, t in enumerate(texts) if t.category == c] for c in "abc"}
    wanted: list[int] = []
    while sum(lengths[i] for i in wanted) < limit and any(queues.values()):
        for category in "abc":
            if queues[category] and sum(lengths[i] for i in wanted) < limit:
                wanted.append(queues[category].pop(0))
    assert kept == [texts[i] for i in sorted(wanted)]


# What is kept for the next harvest


class Stopped(Exception):
    """Stands for whatever may break a harvest off."""


@pytest.fixture
def harvested(subjects: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """Gives a store's arrays and the tokens that were run for it; shards are small and kept from call to call."""
    monkeypatch.setattr("saecatalog.harvest.SHARD_TOKENS", 40)
    subject = subjects("gpt2", SaeKind("standard"))

    def run_texts(texts: list[Any], shards: Path | None, stop_after: int | None = None) -> tuple[dict, int]:
        ticks: list[int] = []

        def tick(n: int) -> None:
            ticks.append(n)
            if stop_after is not None and sum(ticks) > stop_after:
                raise Stopped

        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        harvest(subject, tokenize(texts, subject.tokenizer), 64, folder, tick, shards)
        return load_arrays(folder), sum(ticks)

    return run_texts


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name in EXACT:
        assert found[name].tobytes() == wanted[name].tobytes(), name


def test_a_harvest_goes_on_where_it_broke_off(harvested: Callable, texts: list[Any], tmp_path: Path) -> None:
    wanted, all_tokens = harvested(texts, None)
    with pytest.raises(Stopped):
        harvested(texts, tmp_path / "shards", stop_after=all_tokens // 2)
    (tmp_path / "shards/.left.part").write_bytes(b"half a shard")
    found, tokens_run = harvested(texts, tmp_path / "shards")
    assert_same(found, wanted)
    assert 0 < tokens_run < 0.75 * all_tokens
    assert not list((tmp_path / "shards").glob(".*"))
    assert harvested(texts, tmp_path / "shards")[1] == 0


def test_a_grown_corpus_runs_only_what_is_new(harvested: Callable, texts: list[Any], tmp_path: Path) -> None:
    half, tokens_of_half = harvested(texts[::2], tmp_path / "shards")
    whole, tokens_run = harvested(texts, tmp_path / "shards")
    wanted, all_tokens = harvested(texts, None)
    assert tokens_run == all_tokens - tokens_of_half
    assert_same(whole, wanted)
    assert_same(harvested(texts[::2], tmp_path / "shards")[0], half)


def test_a_shrunk_corpus_gives_what_a_fresh_harvest_gives(
    harvested: Callable, texts: list[Any], tmp_path: Path
) -> None:
    harvested(texts, tmp_path / "shards")
    found, _ = harvested(texts[3:], tmp_path / "shards")
    assert_same(found, harvested(texts[3:], None)[0])


# The store's own arithmetic


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 7))))
def test_ranges(runs: list[tuple[int, int]]) -> None:
    found = ranges(np.array([s for s, _ in runs], np.int64), np.array([n for _, n in runs], np.int64))
    assert found.tolist() == [i for start, length in runs for i in range(start, start + length)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_pieces_in_any_order_make_the_same_store(lengths: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, d_sae = sum(lengths), 6
    dense = np.where(generator.random((n, d_sae)) < 0.3, generator.random((n, d_sae)) + 0.1, 0).astype(np.float32)
    residual = generator.normal(size=(n, 3))
    norms = np.linalg.norm(residual, axis=1).astype(np.float32)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    shuffled = generator.permutation(len(lengths)).tolist()
    cut = int(generator.integers(0, len(lengths) + 1))
    groups = [group for group in (shuffled[:cut], shuffled[cut:]) if group]
    windows = [
        Window(s, s + length, bytes([i] * 16)) for i, (s, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    pieces = [piece([windows[i] for i in g], dense, residual, norms) for g in groups]
    with tempfile.TemporaryDirectory() as folder:
        ids = np.arange(n, dtype=np.int32)
        tokens = TokenizedTexts(ids, ids + 1, np.array([0, n], np.int64))
        write_store(Path(folder), pieces, windows, tokens, d_sae)
        store = read_store(Path(folder))
        np.testing.assert_array_equal(store.matrix().toarray(), dense)
        np.testing.assert_array_equal(store.norms, norms)
        np.testing.assert_array_equal(store.squared_errors, norms * 2)
        np.testing.assert_allclose(store.band_sums.sum(0), residual.sum(0), atol=n / FIXED_POINT)
        assert store.token_positions().tolist() == list(range(n))


def piece(windows: list[Window], dense: np.ndarray, residual: np.ndarray, norms: np.ndarray) -> Piece:
    """One batch's share of a dense matrix: the rows of the given windows."""
    rows = [i for window in windows for i in range(window.start, window.stop)]
    entries = [(f, dense[i, f]) for i in rows for f in range(dense.shape[1]) if dense[i, f] > 0]
    band = [int(np.floor(8 * np.log2(float(norms[i])))) for i in rows]
    sums = {b: sum(residual[i] for i, other in zip(rows, band, strict=True) if other == b) for b in sorted(set(band))}
    return Piece(
        keys=np.array([list(window.key) for window in windows], np.uint8),
        lengths=np.array([len(window) for window in windows], np.int64),
        counts=np.array([(dense[i] > 0).sum() for i in rows], np.int64),
        features=np.array([f for f, _ in entries], np.int32),
        activations=np.array([v for _, v in entries], np.float32),
        norms=norms[rows],
        squared_errors=norms[rows] * 2,
        bands=np.array(list(sums), np.int32),
        band_sums=np.round(np.array(list(sums.values())) * FIXED_POINT).astype(np.int64),
    )


@given(st.lists(st.floats(2.0**-20, 2.0**20, width=32), min_size=1))
def test_norm_bands_and_edges(values: list[float]) -> None:
    bands = norm_bands(np.array(values, np.float32))
    for value, band in zip(values, bands.tolist(), strict=True):
        assert 2 ** (band / 8) <= value * (1 + 1e-12)
        assert value * (1 - 1e-12) < 2 ** ((band + 1) / 8)
        np.testing.assert_allclose(band_edge(value), figures.norm_limit(value, 1.0))


def test_a_norm_of_zero_has_a_band() -> None:
    assert np.isfinite(norm_bands(np.zeros(1, np.float32))).all()


def test_reference_rejects_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        hook_values(
            SimpleNamespace(model=SimpleNamespace(layers=[SimpleNamespace(attn=None)])), "blocks.0.nonsense", [0]
        )


def test_kinds_have_names_of_their_own() -> None:
    """Two kinds that share a folder would test one SAE twice."""
    kinds = {kind for _, kind in CASES}
    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert len(dataclasses.fields(SaeKind)) == 7
