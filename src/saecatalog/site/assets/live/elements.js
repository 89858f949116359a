// What the live page and the panel of a feature's page share: elements, formats, the address, and what a run gives.
window.saeTry = (() => {
  const { number, percent } = window.saeFormats;

  // An element with properties or attributes. Strings among the children become text, never HTML.
  function element(tag, settings = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(settings)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  const button = (words, press, settings = {}) => {
    const made = element("button", { type: "button", textContent: words, ...settings });
    made.addEventListener("click", press);
    return made;
  };

  const counted = (value, noun) => `${window.saeFormats.count(value)} ${noun}${value === 1 ? "" : "s"}`;
  const signed = (value) => value === 0 ? "0" : `${value < 0 ? "\u2212" : "+"}${number(Math.abs(value))}`;
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 9.95e6 ? 1 : 0)}\u00a0MB`;
  const seconds = (ms) => `${(ms / 1000).toFixed(2)}\u00a0s`;

  // The address. What stands after the # is never sent to a server.
  const decoded = (words) => {
    try {
      return decodeURIComponent(words);
    } catch {
      return words;
    }
  };

  function readAddress() {
    const parts = location.hash.slice(1).split("&").filter((part) => part.includes("="));
    return Object.fromEntries(parts.map((part) => [part.split("=")[0], decoded(part.slice(part.indexOf("=") + 1))]));
  }

  // Characters of a text that are kept in the address: far more than a model reads, while browsers hang at megabytes.
  const KEPT = 50_000;

  // A lone half of a character, which cannot be in an address, becomes a question mark in a box.
  const encoded = (words) => encodeURIComponent(words.slice(0, KEPT).replace(/\p{Surrogate}/gu, "\ufffd"));
  const fragment = (state) => Object.entries(state).map(([name, value]) => `${name}=${encoded(String(value))}`).join("&");

  function writeAddress(state) {
    try {
      history.replaceState(null, "", `#${fragment(state)}`);
    } catch {
      // Some browsers limit how often and how long; the next change tries again.
    }
  }

  const shared = () => (document.querySelector('link[rel="canonical"]')?.href ?? location.href.split("#")[0]) + location.hash;
  const copyButton = () => window.saeCopyButton("Copy link", "Copy link to this text", shared);

  function debounce(wait, act) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(act, wait);
    };
  }

  // Start and end of the characters of a token; tokens with the same end share a character.
  function unit(ends, token) {
    let first = token;
    while (first > 0 && ends[first - 1] === ends[token]) first -= 1;
    return [first ? ends[first - 1] : 0, ends[token]];
  }

  const tokenOf = (run, token) => {
    const shown = element("span", { className: "token" });
    window.saeMarks.token(shown, run.text.slice(...unit(run.ends, token)));
    return shown;
  };

  // Every feature that fires in a run: its number, its maximum and the token of it, and its activations [token, value].
  // Massive activations are left out, as in all figures of the catalog.
  function firing(run) {
    const found = new Map();
    for (let token = 0; token < run.ends.length; token += 1) {
      if (run.left_out[token]) continue;
      for (let at = run.starts[token]; at < run.starts[token + 1]; at += 1) {
        const [feature, value] = [run.features[at], run.activations[at]];
        const entry = found.get(feature) ?? { feature, max: 0, at: token, active: [] };
        entry.active.push([token, value]);
        if (value > entry.max) Object.assign(entry, { max: value, at: token });
        found.set(feature, entry);
      }
    }
    return found;
  }

  function legend() {
    const levels = window.saeMarks.level(1, 1);
    const steps = Array.from({ length: Math.ceil(levels / 2) }, (_, place) => 2 * place + 1);
    const scale = steps.map((n) => element("b", { className: `a${n}`, textContent: Math.round((100 * n) / levels) }));
    return element("p", { className: "legend" }, "Activation up to ", element("span", { className: "scale" }, ...scale), " % of the catalog’s maximum");
  }

  // What a reader must know of a run: how long it is, and what was not counted.
  function remarks(run, longest) {
    const left = run.left_out.reduce((sum, one) => sum + one, 0);
    const massive = left && `${counted(left, "token")} with massive activations left out, as in the catalog`;
    const cut = run.cut && `the text is longer than the model’s window of ${counted(longest, "token")} here, so the rest is left out`;
    return [`${counted(run.ends.length, "token")} in ${seconds(run.milliseconds)}`, massive, cut].filter(Boolean).join("; ");
  }

  return { button, copyButton, counted, debounce, element, firing, fragment, legend, megabytes, number, percent, readAddress, remarks, signed, tokenOf, writeAddress };
})();
