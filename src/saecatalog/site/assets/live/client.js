// The engine of the live part for a page: in a worker over http, so that a page never waits for it, and in the page, in
// slices, from a folder, where browsers allow no worker.
//
//   saeClient.catalog       the address of the catalog's folder
//   saeClient.problem()     why this browser cannot run the model, for readers; "" if it can
//   await saeClient.open()  the engine as in engine.js: manifest, stored, load, run, features, windows
//   saeClient.firstBytes(manifest), saeClient.longest(manifest)  what is loaded first, and the most tokens of a text
//   saeClient.keep()        once the model is loaded: makes the pages seen so far work offline
window.saeClient = (() => {
  const folder = new URL(".", document.currentScript.src).href;
  const catalog = new URL("../../", folder).href;
  const base = `${catalog}live/`;
  const ENGINE = ["tokens.js", "parts.js", "engine.js"];
  const overHttp = /^https?:$/.test(location.protocol);

  // A module with one instruction of SIMD, which the kernel needs: v128.const and drop.
  const SIMD = new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 23, 1, 21, 0, 253, 12, ...new Array(16).fill(0), 26, 11,
  ]);

  function problem() {
    if (typeof WebAssembly !== "object") return "This browser cannot run the model, because WebAssembly is missing or turned off.";
    if (!WebAssembly.validate(SIMD)) return "This browser cannot run the model, because its WebAssembly has no SIMD. A newer version will have it.";
    return "";
  }

  // The engine in a worker. Every call has a number; the answer, and its progress, come back with it.
  class Remote {
    constructor(worker) {
      this.worker = worker;
      this.calls = new Map();
      this.last = 0;
      worker.onmessage = ({ data }) => this.hear(data);
      worker.onerror = (event) => this.fail(new Error(`The model stopped working: ${event.message || "its worker failed"}.`));
    }

    hear({ id, progress, result, error }) {
      const call = this.calls.get(id);
      if (progress) return call?.progress?.(...progress);
      this.calls.delete(id);
      if (error) call?.failed(Object.assign(new Error(error.message), { name: error.name }));
      else call?.done(result);
    }

    fail(error) {
      for (const { failed } of this.calls.values()) failed(error);
      this.calls.clear();
    }

    call(method, args, { signal, progress } = {}) {
      const id = ++this.last;
      return new Promise((done, failed) => {
        if (signal?.aborted) return failed(signal.reason);
        this.calls.set(id, { done, failed, progress });
        signal?.addEventListener("abort", () => {
          this.worker.postMessage({ id, abort: true });
          this.calls.delete(id);
          failed(signal.reason);
        }, { once: true });
        this.worker.postMessage({ id, method, args });
      });
    }

    stored() { return this.call("stored", []); }
    load(options) { return this.call("load", [], options); }
    run(text, options) { return this.call("run", [text], options); }
    features() { return this.call("features", []); }
    windows(textId) { return this.call("windows", [textId]); }
  }

  // The worker is made from a blob, because it then has the policy of the page: it cannot connect to other hosts either.
  async function inWorker() {
    const scripts = [...ENGINE, "worker.js"].map((name) => folder + name);
    // Servers let browsers keep scripts for a while; those of an earlier build would not fit the parts of this one.
    await Promise.all(scripts.map(async (address) => (await fetch(address, { cache: "no-cache" })).arrayBuffer()));
    const code = `importScripts(${scripts.map((address) => JSON.stringify(address))});`;
    const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    try {
      const remote = new Remote(new Worker(address));
      remote.manifest = await remote.call("open", [base]);
      return remote;
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  async function inPage() {
    await Promise.all(ENGINE.map((name) => window.saeLoad(folder + name)));
    return window.SaeLive.open(base);
  }

  let opening = null;
  function open() {
    opening ??= (overHttp && window.Worker ? inWorker() : inPage());
    // After a failure the next call tries again.
    opening.catch(() => { opening = null; });
    return opening;
  }

  // The service worker keeps what it answers; what was loaded before it, it is told.
  async function keep() {
    if (!overHttp || !isSecureContext || !navigator.serviceWorker) return;
    try {
      await navigator.serviceWorker.register(`${catalog}live-sw.js`, { scope: catalog });
      const { active } = await navigator.serviceWorker.ready;
      const seen = performance.getEntriesByType("resource").map((entry) => entry.name);
      const engine = [...ENGINE, "worker.js"].map((name) => folder + name);
      active.postMessage({ keep: [location.href, ...seen, ...engine, `${base}manifest.js`, `${base}index.html`] });
    } catch {
      // Then there is no use offline; everything else works.
    }
  }

  // What is loaded before the first text: all but rows of the embedding, and the texts of examples.
  function firstBytes({ parts }) {
    const isLater = (name) => /^(rows|texts)-|^windows$/.test(name);
    return Object.entries(parts).reduce((sum, [name, [bytes]]) => sum + (isLater(name) ? 0 : bytes), 0);
  }

  // Tokens of the longest text, without BOS.
  const longest = ({ context, prepend_bos }) => context - Number(prepend_bos);

  return { catalog, problem, open, keep, firstBytes, longest };
})();
