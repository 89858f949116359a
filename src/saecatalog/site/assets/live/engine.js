// The engine of the live part: a text flows in, the activations of every feature on each of its tokens flow out.
//
// It runs the program of live/manifest.js step by step, with the kernel in WebAssembly. Between steps, and within long
// ones, it lets the page do other work. It knows nothing of models: see `program.py` for what the steps mean, and
// `engine.py` for the same engine outside a browser.
"use strict";

(function (scope) {
  const { Parts, manifestOf, stop } = scope.saeParts;
  const BLOCK = 32, TILE = 4, PAGE = 65536, PART_BYTES = 1 << 23;
  const PACKINGS = { f32: [0, 128], f16: [1, 64], bf16: [2, 64], q8_0: [3, 34], q4_1: [4, 20] };
  const NORMS = { rms: 0, layer: 1, deviation: 2 };
  const ACTS = { relu: 0, silu: 1, gelu: 2, gelu_tanh: 3 };
  // Multiplications between two looks at the clock: a few milliseconds.
  const SLICE = 8e6, MOST_FEATURES = 512, SLICE_MILLISECONDS = 12;

  const blocks = (width) => Math.ceil(width / BLOCK);

  // Other work of the page, or of the worker, runs before this resolves. A timer would wait four milliseconds.
  const pause = () => new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => { channel.port1.close(); resolve(); };
    channel.port2.postMessage(0);
  });

  class Kernel {
    constructor(instance) {
      this.call = instance.exports;
      this.memory = instance.exports.memory;
      this.next = this.mark = instance.exports.__heap_base.value;
    }

    static async open(bytes) {
      const { instance } = await WebAssembly.instantiate(bytes, {});
      instance.exports._initialize();
      return new Kernel(instance);
    }

    // The address of so many bytes, which are 0.
    reserve(size) {
      const at = Math.ceil(this.next / 16) * 16;
      this.next = at + size;
      const missing = this.next - this.memory.buffer.byteLength;
      try {
        if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
      } catch {
        throw new Error("This browser has not enough memory for the model.");
      }
      new Uint8Array(this.memory.buffer, at, size).fill(0);
      return at;
    }

    write(at, content) { new Uint8Array(this.memory.buffer, at, content.length).set(content); }
    floats(at, count) { return new Float32Array(this.memory.buffer, at, count).slice(); }
    integers(at, count) { return new Int32Array(this.memory.buffer, at, count).slice(); }
  }

  async function opened(bytes) {
    try {
      return await Kernel.open(bytes);
    } catch (error) {
      throw new Error(`This browser cannot run the model: its WebAssembly has no SIMD, or is switched off (${error.message}).`);
    }
  }

  // The steps of a program on one text. Each is a generator that yields after every slice of its work.

  class Pass {
    constructor(live, ids, rows) {
      this.live = live;
      this.kernel = live.kernel;
      this.call = live.kernel.call;
      this.ids = ids;
      this.rows = rows;
      this.n = ids.length;
      this.widths = live.manifest.program.buffers;
      this.tensors = live.manifest.tensors;
      this.kernel.next = this.kernel.mark;
      this.strides = {};
      this.at = {};
      // Rows are filled up with zeros to whole blocks, which no step changes.
      for (const [name, width] of Object.entries(this.widths)) {
        this.strides[name] = blocks(width) * BLOCK;
        this.at[name] = this.kernel.reserve(4 * this.n * this.strides[name]);
      }
      const widest = Math.max(...Object.values(this.tensors).filter((t) => t.rows > 1).map((t) => blocks(t.columns) * BLOCK));
      this.scratch = this.kernel.reserve(4 * Math.max(TILE * widest, this.n));
      this.firings = [];
    }

    address(tensor) { return tensor ? this.live.weights + this.tensors[tensor].at : 0; }
    size(buffer) { return this.n * this.strides[buffer]; }

    *embed({ to, scale }) {
      const { packing, columns } = this.live.manifest.embedding;
      const held = this.kernel.reserve(this.rows.length);
      this.kernel.write(held, this.rows);
      this.call.unpack(PACKINGS[packing][0], held, this.at[to], this.n, blocks(columns));
      yield* this.scale({ on: to, by: scale });
    }

    *positions({ to, table }) {
      const rows = this.kernel.reserve(4 * this.size(to));
      this.call.unpack(PACKINGS[this.tensors[table].packing][0], this.address(table), rows, this.n, this.strides[to] / BLOCK);
      this.call.add(this.at[to], rows, this.size(to));
    }

    *norm({ kind, from, to, weight, bias, eps, parts }) {
      this.call.norm(this.at[from], this.at[to], this.n, this.strides[from], this.strides[to], parts,
        this.widths[to] / parts, NORMS[kind], this.address(weight), this.address(bias), eps);
    }

    *linear({ from, to, weight, bias }) {
      const rows = Math.ceil(this.widths[to] / TILE) * TILE, at_once = this.rowsAtOnce(from);
      for (let first = 0; first < rows; first += at_once) {
        this.product(from, weight, first, Math.min(at_once, rows - first), bias, this.at[to] + 4 * first, this.strides[to]);
        yield;
      }
    }

    rowsAtOnce(from) {
      return Math.max(1, Math.floor(SLICE / (this.n * this.strides[from] * TILE))) * TILE;
    }

    product(from, weight, first, rows, bias, to, stride) {
      const [code, bytes] = PACKINGS[this.tensors[weight].packing], n = this.strides[from] / BLOCK;
      this.call.linear(this.at[from], this.n, this.strides[from], code, this.address(weight) + first * n * bytes, n,
        rows, bias ? this.address(bias) + 4 * first : 0, to, stride, this.scratch);
    }

    *rotate({ on, heads, cos, sin, pairs }) {
      const turned = this.tensors[cos].columns / this.live.manifest.context;
      this.call.rotate(this.at[on], this.n, this.strides[on], heads, this.widths[on] / heads, turned,
        this.address(cos), this.address(sin), Number(pairs === "neighbours"));
    }

    *attention({ q, k, v, to, heads, kv_heads, scale, cap, window }) {
      const at_once = Math.max(1, Math.floor(SLICE / (2 * this.n * this.widths[q])));
      for (let first = 0; first < this.n; first += at_once) {
        this.call.attention(this.at[q], this.strides[q], this.at[k], this.strides[k], this.at[v], this.strides[v],
          this.at[to], this.strides[to], first, Math.min(this.n, first + at_once), heads, kv_heads,
          this.widths[q] / heads, this.widths[v] / kv_heads, scale, cap, window, this.scratch);
        yield;
      }
    }

    *act({ on, kind }) { this.call.act(this.at[on], this.size(on), ACTS[kind]); }
    *multiply({ on, by }) { this.call.multiply(this.at[on], this.at[by], this.size(on)); }
    *add({ on, by }) { this.call.add(this.at[on], this.at[by], this.size(on)); }
    *copy({ from, to }) { this.call.scale_to(this.at[from], this.at[to], 1, this.size(to)); }
    *scale({ on, by }) { if (by !== 1) this.call.scale_to(this.at[on], this.at[on], by, this.size(on)); }
    *shift({ on, by }) { this.call.shift(this.at[on], this.n, this.strides[on], this.address(by), this.widths[on]); }

    *encode({ from, weight, bias, kind, threshold, scale, magnitude_bias }) {
      const at_once = Math.min(MOST_FEATURES, this.rowsAtOnce(from)), most = this.n * at_once;
      const pre = this.kernel.reserve(4 * most), out = [0, 1, 2].map(() => this.kernel.reserve(4 * most));
      const gated = kind === "gated", d_sae = this.tensors[weight].rows;
      const vector = (name, first) => name ? this.address(name) + 4 * first : 0;
      for (let first = 0; first < d_sae; first += at_once) {
        const features = Math.min(at_once, d_sae - first);
        this.product(from, weight, first, Math.ceil(features / TILE) * TILE, gated ? null : bias, pre, at_once);
        const count = this.call.select(pre, this.n, at_once, features, first, vector(threshold, first),
          gated ? vector(bias, first) : 0, vector(scale, first), vector(magnitude_bias, first), ...out);
        this.firings.push([this.kernel.integers(out[0], count), this.kernel.integers(out[1], count), this.kernel.floats(out[2], count)]);
        yield;
      }
    }

    norms() {
      const { read } = this.live.manifest.program, to = this.kernel.reserve(4 * this.n);
      this.call.norms(this.at[read], to, this.n, this.strides[read], this.widths[read]);
      return this.kernel.floats(to, this.n);
    }

    // The firings of every token after the first `skip`, the features of each in ascending order.
    byToken(skip) {
      const last = this.live.manifest.program.steps.at(-1), found = Array.from({ length: this.n - skip }, () => []);
      for (const [tokens, features, activations] of this.firings)
        tokens.forEach((token, i) => { if (token >= skip) found[token - skip].push([features[i], activations[i]]); });
      if (last.kind !== "topk") return found;
      const strongest = (a, b) => b[1] - a[1] || a[0] - b[0];
      return found.map((firings) => firings.sort(strongest).slice(0, last.k).sort((a, b) => a[0] - b[0]));
    }
  }

  class Live {
    constructor(base, manifest) {
      this.base = base;
      this.manifest = manifest;
      this.parts = new Parts(base, manifest.parts);
      this.rows = new Map();
      this.busy = Promise.resolve();
    }

    static async open(base) {
      return new Live(base, await manifestOf(base));
    }

    names() {
      const weights = Math.ceil(this.manifest.weights / PART_BYTES);
      return ["kernel", "tokenizer", "features", ...Array.from({ length: weights }, (_, n) => `weights-${n}`)];
    }

    // Whether everything but a few rows of the embedding is on this machine.
    stored() { return this.parts.stored(this.names()); }

    // Load what every text needs. A second call goes on where one that failed or was stopped broke off.
    async load({ progress = () => {}, signal } = {}) {
      if (typeof WebAssembly !== "object") throw new Error("This browser cannot run the model, because it has no WebAssembly.");
      const total = this.names().reduce((sum, name) => sum + this.manifest.parts[name][0], 0);
      let loaded = 0;
      const tell = (more) => progress(Math.min(loaded += more, total), total);
      const get = async (name) => {
        stop(signal);
        const content = await this.parts.bytes(name, signal, tell);
        // Of a part that arrived just as the reader stopped, the browser may have kept nothing.
        stop(signal);
        return content;
      };
      if (!this.kernel) {
        const kernel = await opened(await get("kernel"));
        // A load that was stopped meanwhile must not take the place of the one that followed.
        stop(signal);
        this.weights = kernel.reserve(this.manifest.weights);
        kernel.mark = kernel.next;
        [this.kernel, this.held] = [kernel, new Set()];
      } else tell(this.manifest.parts.kernel[0]);
      for (const name of this.names().filter((name) => name.startsWith("weights-"))) {
        if (this.held.has(name)) { tell(this.manifest.parts[name][0]); continue; }
        const content = await get(name);
        this.kernel.write(this.weights + Number(name.slice(8)) * PART_BYTES, content);
        this.held.add(name);
        await pause();
      }
      if (!this.tokenizer) this.tokenizer = scope.saeTokens(JSON.parse(new TextDecoder().decode(await get("tokenizer"))));
      await this.features();
      progress(total, total);
    }

    features() {
      this.table = this.table || this.parts.json("features").catch((error) => { this.table = null; throw error; });
      return this.table;
    }

    // The contents of the windows of one of the catalog's texts.
    async windows(text) {
      const part = (await this.parts.json("windows"))[text];
      return part === undefined ? [] : (await this.parts.json(`texts-${part}`))[text];
    }

    // One text at a time: the memory is shared. A text that was stopped gives way at once.
    run(text, options = {}) {
      const run = this.busy.then(() => this.runNow(text, options));
      this.busy = run.catch(() => {});
      return run;
    }

    async runNow(text, { signal, progress = () => {} }) {
      stop(signal);
      const { context, prepend_bos, bos_token_id, norm_limit, program } = this.manifest;
      const started = performance.now(), skip = Number(prepend_bos);
      const found = this.tokenizer.encode(text, context - skip);
      const ids = prepend_bos ? [bos_token_id, ...found.ids] : Array.from(found.ids);
      if (ids.length === skip) return result(found, [], new Float32Array(0), norm_limit, started);
      const pass = new Pass(this, ids, await this.embedding(ids, signal));
      let looked = performance.now(), done = 0;
      for (const step of program.steps) {
        for (const _ of pass[step.op](step)) {
          if (performance.now() - looked < SLICE_MILLISECONDS) continue;
          await pause();
          stop(signal);
          looked = performance.now();
        }
        progress(++done, program.steps.length);
      }
      return result(found, pass.byToken(skip), pass.norms().subarray(skip), norm_limit, started);
    }

    // The packed embedding rows of some tokens, one after another.
    async embedding(ids, signal) {
      const { packing, columns, rows, rows_per_part } = this.manifest.embedding;
      const size = blocks(columns) * PACKINGS[packing][1];
      if (ids.some((id) => id >= rows)) throw new Error("The tokenizer found a token that the model does not have.");
      const wanted = [...new Set(ids.map((id) => Math.floor(id / rows_per_part)))].filter((part) => !this.rows.has(part));
      await Promise.all(wanted.map(async (part) => this.rows.set(part, await this.parts.bytes(`rows-${part}`, signal))));
      const packed = new Uint8Array(size * ids.length);
      ids.forEach((id, i) => {
        const at = (id % rows_per_part) * size;
        packed.set(this.rows.get(Math.floor(id / rows_per_part)).subarray(at, at + size), i * size);
      });
      return packed;
    }
  }

  function result({ text, ids, ends, cut }, firings, norms, limit, started) {
    const starts = new Int32Array(firings.length + 1);
    firings.forEach((found, i) => { starts[i + 1] = starts[i] + found.length; });
    const all = firings.flat();
    return {
      text, ids, ends, cut, starts,
      left_out: Uint8Array.from(norms, (norm) => Number(norm > limit)),
      features: Int32Array.from(all, (firing) => firing[0]),
      activations: Float32Array.from(all, (firing) => firing[1]),
      milliseconds: performance.now() - started,
    };
  }

  scope.SaeLive = Live;
})(typeof self === "object" ? self : globalThis);
