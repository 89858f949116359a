"""onnxruntime-web as the engine of the live part: exactness, size, start, speed and memory in Chromium, on one thread.

    python benchmarks/live_onnxruntime.py [--runs 5]

Two subjects: the embedded default (12 layers of the model and the SAE, with the weights of their files, which the graph
holds as they are) and the shape of GPT-2 small (6 layers and 24,576 features, random weights in float16 or in blocks of
8 bits). Both are opened from a folder: the runtime and the model are in classic scripts, under the policy that a
catalog's pages have. Prints one line of JSON per subject.

Needs npm, Chromium and a package index: onnxruntime-web and onnx are installed into a temporary folder. The embedded
default must have been fetched (`python build.py fetch`).
"""

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from lighthouse import Quiet
from live_onnx_graphs import SAE, default_subject, gpt2_subject
from playwright.sync_api import Browser, Page, sync_playwright
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from saecatalog import embedded
from saecatalog.cache import Cache
from saecatalog.config import Config, CorpusConfig
from saecatalog.models import default_model
from saecatalog.texts.corpus import read_corpus
from saecatalog.texts.windows import tokenize

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from browsing import ARGUMENTS, CHROMIUM  # noqa: E402

WEB = "onnxruntime-web@1.30.0"
PYTHON = ("onnx==1.23.2", "protobuf==7.36.2", "ml-dtypes==0.6.0")
BUNDLE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
LENGTHS = (30, 100, 128)

PAGE = """<!doctype html><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; connect-src 'self';
 script-src 'self' 'wasm-unsafe-eval'">
<script src="page.js"></script>"""

SCRIPT = """
const files = {};
let session;

function part(name, text) {
  const bytes = (files[name] = new Uint8Array(text.length));
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
}

function script(src, charset) {
  return new Promise((onload, onerror) => {
    document.head.append(Object.assign(document.createElement("script"), { src, charset, onload, onerror }));
  });
}

async function bytes(name) {
  if (location.protocol !== "file:") return new Uint8Array(await (await fetch(name)).arrayBuffer());
  await script(`${name}.js`, "x-user-defined");
  return files[name];
}

async function start() {
  await script("ort.js", "utf-8");
  const [wasmBinary, model, data] = [await bytes("wasm"), await bytes("model"), await bytes("weights")];
  for (const name in files) delete files[name];
  const from = performance.now();
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary });
  const externalData = [{ path: "weights", data }];
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], externalData });
  return performance.now() - from;
}

async function encode(rows, count) {
  const x = new ort.Tensor("float32", rows, [1, count, rows.length / count]);
  const positions = new ort.Tensor("int64", BigInt64Array.from({ length: count }, (_, i) => BigInt(i)), [1, count]);
  return (await session.run({ x, positions })).activations.data;
}

async function firings(rows, count) {
  const found = await encode(Float32Array.from(rows), count);
  return [...found.entries()].filter(([, value]) => value > 0);
}

async function time(width, count) {
  const rows = Float32Array.from({ length: width * count }, (_, i) => Math.sin(i) * 0.1);
  const from = performance.now();
  await encode(rows, count);
  return performance.now() - from;
}
"""


def install(folder: Path) -> Path:
    """Install the two packages; returns the folder with the runtime's files."""
    npm = shutil.which("npm")
    if npm is None or CHROMIUM is None:
        sys.exit("This benchmark needs npm and Chromium; on Debian: apt install npm chromium")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "python"), *PYTHON]
    subprocess.run(pip, check=True)
    subprocess.run([npm, "install", "--silent", "--ignore-scripts", "--prefix", str(folder), WEB], check=True)
    sys.path.append(str(folder / "python"))
    return folder / "node_modules/onnxruntime-web/dist"


def script(name: str, data: bytes) -> bytes:
    """A classic script that holds bytes."""
    for plain, escaped in ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r")):
        data = data.replace(plain, escaped)
    return f'part("{name}", "'.encode() + data + b'")'


def classic(bundle: str) -> str:
    """The runtime's module as a classic script: its exports become a global, its address that of the page."""
    body, _, exported = bundle.replace("import.meta.url", "document.baseURI").rpartition("export{")
    pairs = [pair.split(" as ") for pair in exported.partition("}")[0].split(",")]
    return "(() => {" + body + "globalThis.ort={" + ",".join(f"{name}:{inner}" for inner, name in pairs) + "}})();"


def write_page(folder: Path, runtime: Path, model: dict[str, bytes]) -> None:
    """The page and what it loads, as files for http and as classic scripts."""
    folder.mkdir()
    ort = classic((runtime / BUNDLE).read_text(encoding="utf-8"))
    for name, text in (("page.html", PAGE), ("page.js", SCRIPT), ("ort.js", ort)):
        (folder / name).write_text(text, encoding="utf-8")
    for name, data in ({"wasm": (runtime / WASM).read_bytes()} | model).items():
        (folder / name).write_bytes(data)
        (folder / f"{name}.js").write_bytes(script(name, data))


def memory(process: int) -> float:
    """The private memory of a process, in MB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


def renderer(browser: Browser, page: Page) -> int:
    """The process of a page: the one that computes while the page does."""

    def command(process: int) -> str:
        return Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8")

    def computed() -> dict[int, float]:
        found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        pages = (process for process in found if process["type"] == "renderer")
        return {page["id"]: page["cpuTime"] for page in pages if "chrome-webui" not in command(page["id"])}

    before = computed()
    page.evaluate("for (const from = performance.now(); performance.now() < from + 1000; );")
    return max((after := computed()), key=lambda process: after[process] - before.get(process, 0))


def timed(page: Page, process: int, call: str) -> tuple[float, float]:
    """Milliseconds that a call takes, and how many of them the page's thread computes."""

    def computed() -> float:
        text = Path(f"/proc/{process}/task/{process}/schedstat").read_text(encoding="utf-8")
        return int(text.split()[0]) / 1e6

    before = computed()
    return page.evaluate(call), computed() - before


def texts(tokenizer: Any) -> Iterator[torch.Tensor]:
    """The ids of twenty texts from all categories in turn, with BOS, cut to the longest that the pages run."""
    corpus = read_corpus(CorpusConfig(paths=(str(ROOT / "corpora"),), concepts=str(ROOT / "corpora/concepts")))
    chosen = [corpus[at] for at in np.linspace(0, len(corpus) - 1, 20).astype(int)]
    tokens = tokenize(chosen, tokenizer)
    for start, stop in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        ids = tokens.ids[start : min(stop, start + 127)].astype(np.int64)
        yield torch.from_numpy(np.concatenate([[tokenizer.bos_token_id], ids]))


def compare(page: Page, folder: Path) -> dict[str, float]:
    """The page's activations of twenty texts against plain `transformers` in float32, BOS left out."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    sae = {name: torch.from_numpy(array).float() for name, array in load_file(SAE).items()}
    expected, found = [], []
    for ids in texts(tokenizer):
        with torch.no_grad():
            rows = model.get_input_embeddings()(ids)
            read = model(ids[None], output_hidden_states=True, use_cache=False).hidden_states[12][0]
            pre = (read - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
        expected.append((pre.relu() * (pre > sae["threshold"]))[1:])
        flat = torch.zeros(pre.numel())
        for place, value in page.evaluate("([rows, n]) => firings(rows, n)", [rows.flatten().tolist(), len(ids)]):
            flat[place] = value
        found.append(flat.reshape(pre.shape)[1:])
    return agreement(torch.cat(expected), torch.cat(found))


def agreement(expected: torch.Tensor, found: torch.Tensor) -> dict[str, float]:
    both = (expected > 0) & (found > 0)
    top = [activations.topk(5).indices.sort().values for activations in (expected, found)]
    return {
        "tokens": len(expected),
        "firings": int((expected > 0).sum()),
        "top_five_agree": float((top[0] == top[1]).all(1).float().mean()),
        "missed": int(((expected > 0) & (found == 0)).sum()),
        "false": int(((expected == 0) & (found > 0)).sum()),
        "relative_error": float(((found - expected).abs() / expected)[both].mean()),
        "largest_error": float(((found - expected).abs() / expected)[both].max()),
    }


def measure(base: str, width: int, runs: int, default: Path | None) -> dict[str, Any]:
    """One subject in a browser of its own: the least of its times, and its memory over the empty page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(f"{base}/page.html")
        process = renderer(browser, page)
        empty = memory(process)
        found: dict[str, Any] = {"start": timed(page, process, "start()")}
        for length in LENGTHS:
            times = [timed(page, process, f"time({width}, {length})") for _ in range(runs)]
            found[f"{length} tokens"] = tuple(map(min, zip(*times, strict=True)))
        found["memory"] = memory(process) - empty
        if default:
            found["agreement"] = compare(page, default)
        browser.close()
    return found


def zipped(*data: bytes) -> int:
    return sum(len(gzip.compress(piece, 6)) for piece in data)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--runs", type=int, default=5)
    runs = arguments.parse_args().runs
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, Cache(Config().cache) as cache:
        runtime = install(Path(temporary))
        file = default_model.downloaded(cache).file(embedded.GGUF)
        converted = default_model.converted(cache).file("config.json").parent
        engine = [(runtime / name).read_bytes() for name in (BUNDLE, WASM)]
        report(runtime=WEB, bytes=sum(map(len, engine)), gzip=zipped(*engine))
        subjects: list[tuple[str, dict[str, bytes], int, Path | None]] = [
            ("embedded default", default_subject(file), 576, converted),
            ("GPT-2 small, 16 bits", gpt2_subject(16), 768, None),
            ("GPT-2 small, 8 bits", gpt2_subject(8), 768, None),
        ]
        for at, (name, model, width, compared) in enumerate(subjects):
            site, size = Path(temporary) / str(at), sum(map(len, model.values()))
            write_page(site, runtime, model)
            report(subject=name, bytes=size, gzip=zipped(*model.values()))
            with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
                Thread(target=server.serve_forever, daemon=True).start()
                base = f"http://127.0.0.1:{server.server_port}"
                report(subject=name, opened="over http", **measure(base, width, runs, compared))
                server.shutdown()
            report(subject=name, opened="from a folder", **measure(site.as_uri(), width, runs, None))
            shutil.rmtree(site)


def report(**found: Any) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
