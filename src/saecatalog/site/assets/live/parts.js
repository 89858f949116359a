// The files of the live part: names flow in, checked bytes flow out. See `parts.py` for what a file looks like.
//
// Over http, files are fetched, and the browser keeps them between visits. In a folder, a page may only load scripts.
"use strict";

(function (scope) {
  const STORE = "saecatalog-live";

  const stop = (signal) => { if (signal && signal.aborted) throw new DOMException("Stopped.", "AbortError"); };

  const CRC = new Uint32Array(256).map((_, byte) => {
    for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
    return byte;
  });

  function crc32(bytes) {
    let sum = -1;
    for (let i = 0; i < bytes.length; i++) sum = CRC[(sum ^ bytes[i]) & 255] ^ (sum >>> 8);
    return ~sum >>> 0;
  }

  const SPECIAL = { 0x6e: 0x0a, 0x72: 0x0d, 0x22: 0x22, 0x5c: 0x5c };

  // The content of a file that was fetched: what stands in its string.
  function unescaped(file, name, size) {
    const head = `saePart("${name}","`;
    for (let i = 0; i < head.length; i++) if (file[i] !== head.charCodeAt(i)) return null;
    const content = new Uint8Array(size);
    let from = head.length, to = 0;
    for (;;) {
      let next = from;
      while (next < file.length && file[next] !== 0x5c && file[next] !== 0x22) next++;
      if (to + next - from > size) return null;
      content.set(file.subarray(from, next), to);
      to += next - from;
      if (file[next] !== 0x5c) return to === size && file[next] === 0x22 ? content : null;
      if (to === size) return null;
      content[to++] = SPECIAL[file[next + 1]];
      from = next + 2;
    }
  }

  const arrived = new Map();
  // The scripts of a folder call these.
  scope.saePart = (name, text) => {
    const content = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) content[i] = text.charCodeAt(i) & 255;
    arrived.set(name, content);
  };
  scope.saeLive = (manifest) => arrived.set("manifest", manifest);

  // Load a file of a folder, where a page may only load scripts; resolves with what it passed to `saePart` or `saeLive`.
  function script(url, name, charset) {
    return new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.charset = charset;
      element.onload = element.onerror = () => {
        element.remove();
        const found = arrived.get(name);
        arrived.delete(name);
        if (found) resolve(found);
        else reject(new Error(`A file of this catalog is missing or damaged: live/${url.split("/").pop()}.`));
      };
      element.src = url;
      document.head.append(element);
    });
  }

  async function body(response, signal, tell) {
    const pieces = [];
    let size = 0;
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      size += value.length;
      tell(value.length);
    }
    const whole = new Uint8Array(size);
    let at = 0;
    for (const piece of pieces) { whole.set(piece, at); at += piece.length; }
    return whole;
  }

  class Parts {
    constructor(base, listed) {
      this.base = base;
      this.listed = listed;
      this.fetched = base.startsWith("http");
      this.failed = new Set();
    }

    url(name) {
      return `${this.base}${name}-${this.listed[name][1].toString(16).padStart(8, "0")}.js`;
    }

    // The browser keeps parts between visits where it can: on secure pages, and if there is room.
    store() {
      this.opened = this.opened || (this.fetched && scope.caches ? scope.caches.open(STORE).catch(() => null) : Promise.resolve(null));
      return this.opened;
    }

    async stored(names) {
      if (!this.fetched) return true;
      const store = await this.store();
      if (!store) return false;
      const found = await Promise.all(names.map((name) => store.match(this.url(name))));
      return found.every(Boolean);
    }

    // The bytes of a part; `tell` is called with how many more have arrived.
    async bytes(name, signal, tell = () => {}) {
      const [size, crc] = this.listed[name];
      const again = this.failed.has(name);
      this.failed.add(name);
      const content = this.fetched ? await this.download(name, again, signal, tell) : await script(this.url(name), name, "x-user-defined");
      if (!this.fetched) tell(size);
      if (content && content.length === size && crc32(content) === crc) {
        this.failed.delete(name);
        return content;
      }
      const store = await this.store();
      if (store) await store.delete(this.url(name));
      throw new Error(`A file of this catalog is damaged or was cut off: ${this.url(name).split("/").slice(-2).join("/")}. Try again.`);
    }

    // A browser may have been told to keep a wrong answer for a while, so the second attempt goes to the server.
    async download(name, again, signal, tell) {
      const url = this.url(name), store = await this.store();
      const kept = store && await store.match(url);
      let response = kept;
      try {
        response = response || await fetch(url, { signal, cache: again ? "reload" : "default" });
        if (!response.ok) throw new Error(`The server answers ${response.status}`);
        const copy = kept ? null : response.clone();
        const saved = store && copy ? store.put(url, copy).catch(() => {}) : null;
        const file = await body(response, signal, tell);
        await saved;
        return unescaped(file, name, this.listed[name][0]);
      } catch (error) {
        stop(signal);
        throw new Error(`The download broke off at live/${url.split("/").pop()} (${error.message}). Try again; if that does not help, reload the page.`);
      }
    }

    async json(name, signal) {
      return JSON.parse(new TextDecoder().decode(await this.bytes(name, signal)));
    }
  }

  async function manifestOf(base) {
    if (!base.startsWith("http")) return script(`${base}manifest.js`, "manifest", "utf-8");
    let response;
    try {
      response = await fetch(`${base}manifest.js`, { cache: "no-cache" });
      if (!response.ok) throw new Error(`the server answers ${response.status}`);
      return JSON.parse((await response.text()).replace(/^saeLive\(|\)\s*$/g, ""));
    } catch (error) {
      throw new Error(`The list of this catalog's files cannot be loaded: live/manifest.js (${error.message}). Try again.`);
    }
  }

  scope.saeParts = { Parts, manifestOf, stop };
})(typeof self === "object" ? self : globalThis);
