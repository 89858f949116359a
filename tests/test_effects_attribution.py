"""Where features come from: against one pass with plain hooks and the formulas written out, for many architectures."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from any_sae import save_any
from conftest import LLAMA_TOKENS, SaeKind, make_tokenizer
from families import FAMILIES, LAYER, N_LAYERS, epsilon_of, load_plain, make
from test_hook_matrix import load

from saecatalog.cache import Cache
from saecatalog.config import SubjectConfig
from saecatalog.effects.attribution import Peaks, attribute
from saecatalog.effects.parts import Encoder, NoAttribution, Plan, encoder_of, split
from saecatalog.harvest import harvest
from saecatalog.models.plain_model import PlainModel
from saecatalog.store import Store, read_store
from saecatalog.subject import load_subject
from saecatalog.texts.windows import tokenize

IDS = torch.arange(3, 17)[None]
RUNNERS = ("HookedTransformer", "TransformerBridge", "transformers")
N_HEADS = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a family's model."""
    tokenizer = make_tokenizer(LLAMA_TOKENS)

    @cache
    def folder(name: str) -> Path:
        return make(name, tokenizer, tmp_path_factory.mktemp("family"))

    return folder


class Reference:
    """The parts of what is read at a hook of layer LAYER, one after another, for one window."""

    def __init__(self, name: str, folder: Path):
        self.family, self.module = FAMILIES[name], load_plain(folder)
        self.seen: dict[tuple[int, str, str], np.ndarray] = {}
        for layer in range(N_LAYERS):
            for part in self._parts():
                self._listen(layer, part)
        with torch.no_grad():
            self.module(IDS, use_cache=False)

    def _parts(self) -> set[str]:
        f = self.family
        return {"", f.attention, f.projection, f.mlp, f.after_attention or f.attention, f.after_mlp or f.mlp}

    def _listen(self, layer: int, part: str) -> None:
        def note(_: Any, given: Any, named: Any, out: Any) -> None:
            first = given[0] if given else named["hidden_states"]
            self.seen[layer, part, "in"] = first[0].double().numpy()
            self.seen[layer, part, "out"] = (out[0] if isinstance(out, tuple) else out)[0].double().numpy()

        self._module(layer, part).register_forward_hook(note, with_kwargs=True)

    def _module(self, layer: int, part: str) -> Any:
        return self.module.get_submodule(f"{self.family.layers}.{layer}" + (f".{part}" if part else ""))

    def gain_of(self, layer: int, norm: str) -> np.ndarray:
        return self._module(layer, norm).weight.detach().double().numpy() + int(self.family.adds_one)

    def scale(self, x: np.ndarray) -> np.ndarray:
        x = x - x.mean(1, keepdims=True) if self.family.layer_norm else x
        return np.sqrt((x**2).mean(1, keepdims=True) + epsilon_of(self.module.config))

    def attention(self, layer: int) -> list[np.ndarray]:
        """What each head adds to the residual stream, and what the bias does."""
        projection = self._module(layer, self.family.projection)
        weight = projection.weight.detach().double().numpy()
        weight = weight.T if isinstance(projection, torch.nn.Linear) else weight
        z = self.seen[layer, self.family.projection, "in"]
        parts = [part @ rows for part, rows in zip(np.split(z, N_HEADS, 1), np.split(weight, N_HEADS), strict=True)]
        bias = np.zeros(weight.shape[1]) if projection.bias is None else projection.bias.detach().double().numpy()
        parts.append(np.tile(bias, (len(z), 1)))
        if self.family.after_attention:
            scale = self.scale(np.sum(parts, axis=0))
            parts = [part / scale * self.gain_of(layer, self.family.after_attention) for part in parts]
        return parts

    def stream(self, point: str) -> list[np.ndarray]:
        """The parts of the residual stream at a point of layer LAYER."""
        found = [self.seen[0, "", "in"]]
        middle = point != "hook_resid_pre" and not self.family.parallel
        for layer in range(LAYER + 1):
            if layer < LAYER or middle or point == "hook_resid_post":
                found += self.attention(layer)
            if layer < LAYER or point == "hook_resid_post":
                found.append(self.seen[layer, self.family.after_mlp or self.family.mlp, "out"])
        return found

    def before_mlp(self, weighted: bool) -> list[np.ndarray]:
        """What each part adds to the input of the MLP, and the norm's bias."""
        parts = self.stream("hook_resid_mid")
        scale, norm = self.scale(np.sum(parts, axis=0)), self._module(LAYER, self.family.ln2)
        if self.family.layer_norm:
            parts = [part - part.mean(1, keepdims=True) for part in parts]
        gain = self.gain_of(LAYER, self.family.ln2) if weighted else 1.0
        bias = norm.bias.detach().double().numpy() if weighted and self.family.layer_norm else 0.0
        return [*(part / scale * gain for part in parts), np.zeros_like(parts[0]) + bias]


def wanted(reference: Reference, point: str, direction: np.ndarray) -> np.ndarray:
    """`[position, part]`: what each part adds along a direction, the constant last."""
    if point in ("ln2.hook_normalized", "mlp.hook_in"):
        return np.stack([part @ direction for part in reference.before_mlp(point == "mlp.hook_in")], 1)
    if point == "attn.hook_z":
        z = reference.seen[LAYER, reference.family.projection, "in"] * direction
        parts = [part.sum(1) for part in np.split(z, N_HEADS, 1)]
        return np.stack([*parts, *[np.zeros(len(z))] * 2], 1)
    parts = reference.attention(LAYER) if point == "hook_attn_out" else reference.stream(point)
    return np.stack([*(part @ direction for part in parts), np.zeros(len(parts[0]))], 1)


@torch.inference_mode()
def computed(model: Any, point: str, direction: np.ndarray) -> tuple[Plan, np.ndarray, np.ndarray]:
    """The plan, `[position, part]`, and what the direction finds in what is read."""
    hook = f"blocks.{LAYER}.{point}"
    model.prepare([hook])
    plan = Plan(model, hook)
    model.prepare(plan.hooks)
    *found, read = (value[0].flatten(1).double() for value in model.values((*plan.hooks, hook), IDS))
    values = dict(zip(plan.hooks, found, strict=True))
    columns = torch.from_numpy(direction).expand(len(read), -1)
    parts = split(plan, values, read, read, Encoder(columns, torch.zeros(len(read), dtype=torch.float64)))
    return plan, parts.numpy(), read.numpy() @ direction


POINTS = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "attn.hook_z", "ln2.hook_normalized")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", ["GPT-2", "NeoX", "Llama", "Qwen 3", "Gemma 2", "Gemma 3"])
def test_parts_as_written_out_add_up(name: str, runner: str, folders: Callable[[str], Path]) -> None:
    reference, model = Reference(name, folders(name)), load(name, runner, folders(name))
    for point in (*POINTS, *(["mlp.hook_in"] if runner != "HookedTransformer" else [])):
        if FAMILIES[name].parallel and point == "hook_resid_mid":
            continue
        direction = np.random.default_rng(1).normal(size=32)
        plan, found, total = computed(model, point, direction)
        expected = wanted(reference, point, direction)
        assert found.shape == expected.shape == (IDS.shape[1], len(plan.parts)), point
        np.testing.assert_allclose(found.sum(1), total, atol=1e-4 * np.abs(found).sum(1).max(), err_msg=point)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), err_msg=point)


# Over a corpus, end to end


HOOK = "blocks.2.hook_resid_pre"
KINDS = {
    "standard": SaeKind("standard", hook=HOOK),
    "gated": SaeKind("gated", hook=HOOK),
    "normalised": SaeKind("jumprelu", hook=HOOK, normalize="layer_norm", apply_b_dec_to_input=False),
    "rescaled": SaeKind("topk", hook=HOOK, normalize="constant_norm_rescale", rescale=True),
    "attention": SaeKind("standard", hook="blocks.1.hook_attn_out"),
    "heads": SaeKind("standard", hook="blocks.1.attn.hook_z"),
}


@pytest.fixture(scope="module")
def harvested(texts: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], tuple[Any, Store]]:
    """Returns the tokens of the corpus and the store of a subject."""

    @cache
    def run(subject: Any) -> tuple[Any, Store]:
        folder = tmp_path_factory.mktemp("store")
        tokens = tokenize(texts, subject.tokenizer)
        harvest(subject, tokens, None, folder, lambda _: None)
        return tokens, read_store(folder)

    return run


def peaks_of(store: Store, features: list[int]) -> Peaks:
    """The three strongest tokens of each feature."""
    matrix = store.matrix().tocsc()
    rows = []
    for feature in features:
        column = matrix[:, [feature]].tocoo()
        order = np.argsort(-column.data, kind="stable")[:3]
        rows += [(feature, token, value) for token, value in zip(column.row[order], column.data[order], strict=True)]
    numbers, tokens, values = (np.array(part) for part in zip(*rows, strict=True))
    return Peaks(numbers.astype(np.int64), tokens.astype(np.int64), values.astype(np.float32))


FEATURES = [5, 9, 17, 30]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma"])
def test_parts_of_activations_over_a_corpus(shape: str, kind: str, subjects: Callable, harvested: Callable) -> None:
    """Parts add up to the mean activation, whatever the batches and the other features asked for."""
    subject = subjects(shape, KINDS[kind])
    tokens, store = harvested(subject)
    peaks = peaks_of(store, FEATURES)
    table = pd.DataFrame(attribute(subject, tokens, peaks))
    assert table.groupby("feature")["rank"].agg(list).map(lambda ranks: ranks == list(range(len(ranks)))).all()
    sizes = table["contribution"].abs()
    assert all(part.is_monotonic_decreasing for _, part in sizes.groupby(table["feature"]))
    assert (table["n_contexts"] == 3).all()
    means = {f: peaks.activations[peaks.features == f].astype(float).mean() for f in FEATURES}
    np.testing.assert_allclose(table["share"], table["contribution"] / table["feature"].map(means), rtol=1e-9)
    if kind in ("attention", "heads"):
        # All parts fit into the table: four heads, the bias of attention and that of the SAE.
        totals = table.groupby("feature")["contribution"].sum()
        np.testing.assert_allclose(totals, [means[f] for f in totals.index], rtol=1e-3)
    pd.testing.assert_frame_equal(table, pd.DataFrame(attribute(subject, tokens, peaks, 16)))
    alone = pd.DataFrame(attribute(subject, tokens, peaks_of(store, [17])))
    pd.testing.assert_frame_equal(table[table["feature"] == 17].reset_index(drop=True), alone)


def test_parts_that_do_not_add_up_are_refused(subjects: Callable, harvested: Callable) -> None:
    subject = subjects("llama", KINDS["standard"])
    tokens, store = harvested(subject)
    peaks = peaks_of(store, FEATURES)
    wrong = Peaks(peaks.features, peaks.tokens, peaks.activations * 1.05 + 1)
    with pytest.raises(NoAttribution, match="do not add up: feature 5 has an activation of"):
        attribute(subject, tokens, wrong)


def test_what_is_no_sum_of_parts_is_refused(subjects: Callable, harvested: Callable) -> None:
    subject = subjects("llama", SaeKind("standard", hook="blocks.1.hook_mlp_out"))
    tokens, store = harvested(subject)
    with pytest.raises(NoAttribution, match="mlp_out' is not a sum of parts of the model"):
        attribute(subject, tokens, peaks_of(store, [5]))


def test_an_sae_without_an_encoder_is_refused(models: Callable, tmp_path: Path) -> None:
    folder = save_any(tmp_path / "sae", models("llama"), "matching_pursuit", HOOK)
    sae = load_subject(SubjectConfig(sae=str(folder), device="cpu"), Cache(tmp_path / "cache")).sae
    with pytest.raises(NoAttribution, match="'matching_pursuit' has no encoder"):
        encoder_of(sae, torch.tensor([0]))


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["standard", "gated", "rescaled"])
def test_where_a_feature_is_active_the_encoder_is_its_activation(kind: str, subjects: Callable) -> None:
    sae = subjects("gpt2", KINDS[kind]).sae
    x = torch.randn(200, sae.cfg.d_in, generator=torch.Generator().manual_seed(1)) * 20
    activations = sae.encode(x).double()
    normalised = sae.run_time_activation_norm_fn_in(x).double()
    columns, constants = encoder_of(sae, torch.arange(sae.cfg.d_sae))
    active = activations > 0
    assert active.sum() > 100
    torch.testing.assert_close((normalised @ columns.T + constants)[active], activations[active], rtol=1e-4, atol=1e-3)


def test_hooks_named_by_modules(folders: Callable[[str], Path]) -> None:
    """A hook of plain transformers has the parts of the hook of transformer_lens with the same values."""
    model = PlainModel(load_plain(folders("Llama")), None)
    names = {
        "model.layers.1": "blocks.1.hook_resid_post",
        "model.layers.1.input": "blocks.1.hook_resid_pre",
        "model.layers.1.post_attention_layernorm.output": "blocks.1.mlp.hook_in",
        "model.layers.1.mlp": "blocks.1.hook_mlp_out",
        "model.layers.1.self_attn.q_proj": "model.layers.1.self_attn.q_proj",
    }
    for path, name in names.items():
        model.prepare([path])
        assert model.usual_name(path) == name


def test_peaks_are_the_first_twelve_of_the_top_band() -> None:
    rows = [(7, band, rank, "b", rank % 3, 1.0) for band in ("q0-25", "top") for rank in reversed(range(20))]
    contexts = pd.DataFrame(rows, columns=["feature", "band", "rank", "text", "position", "activation"])
    peaks = Peaks.of(contexts, ["a", "b"], np.array([0, 5, 9]))
    assert peaks.tokens.tolist() == [5 + rank % 3 for rank in range(12)]
