// The page of two features side by side: shows those named in the address, pair.html?a=12&b=34. The data of each feature is
// in one of the scripts pairs/<block>.js, so that a reader loads only those of the two.
(() => {
  const root = document.body.dataset.root;
  const place = document.getElementById("compared");
  const form = document.getElementById("choose");
  const problem = document.getElementById("problem");
  const facts = place.dataset;
  const [nTokens, nTexts, size] = [facts.tokens, facts.texts, facts.size].map(Number);
  const { count, number, percent } = window.saeFormats;
  const decimals = (value) => value === null ? "–" : value.toFixed(2).replace("-", "\u2212");

  function made(tag, content, settings = {}) {
    const element = Object.assign(document.createElement(tag), settings);
    element.append(...[content].flat());
    return element;
  }

  function say(words) {
    problem.textContent = words;
    problem.hidden = false;
    place.hidden = true;
  }

  const bytes = (packed) => Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));

  // Ascending numbers, packed as the steps between them: seven bits a byte, low bits first, the last byte below 128.
  function ascending(packed) {
    const found = [];
    let [last, step, shift] = [0, 0, 1];
    for (const byte of bytes(packed)) {
      step += (byte & 127) * shift;
      shift *= 128;
      if (byte > 127) continue;
      last += step;
      found.push(last);
      [step, shift] = [0, 1];
    }
    return found;
  }

  async function load(wanted) {
    const block = Math.floor(wanted / Number(facts.block));
    // A block without data has no script.
    await window.saeLoad(`${root}pairs/${block}.js`).catch(() => null);
    const found = window.saePairs?.[block]?.[wanted];
    if (!found) return null;
    const texts = ascending(found.texts);
    const scores = new Float32Array(bytes(found.scores).buffer);
    return {
      ...found,
      number: wanted,
      tokens: ascending(found.tokens),
      direction: new Int8Array(bytes(found.direction).buffer),
      scores: new Map(texts.map((text, i) => [text, scores[i]])),
      texts,
    };
  }

  // How often two ascending lists of n things share one, and what chance would give.
  function overlap(a, b, n) {
    const other = new Set(b);
    const both = a.filter((one) => other.has(one)).length;
    const spread = Math.sqrt(a.length * (n - a.length)) * Math.sqrt(b.length * (n - b.length));
    return {
      both,
      onlyA: a.length - both,
      onlyB: b.length - both,
      chance: (a.length * b.length) / n,
      lift: a.length && b.length ? (both * n) / (a.length * b.length) : null,
      jaccard: both / Math.max(1, a.length + b.length - both),
      phi: spread ? (both * n - a.length * b.length) / spread : null,
    };
  }

  function cosine(a, b) {
    let [dot, ownA, ownB] = [0, 0, 0];
    for (let i = 0; i < a.length; i += 1) {
      dot += a[i] * b[i];
      ownA += a[i] * a[i];
      ownB += b[i] * b[i];
    }
    return ownA && ownB ? dot / Math.sqrt(ownA) / Math.sqrt(ownB) : null;
  }

  function pearson(x, y) {
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const [meanX, meanY] = [mean(x), mean(y)];
    let [xy, xx, yy] = [0, 0, 0];
    for (let i = 0; i < x.length; i += 1) {
      xy += (x[i] - meanX) * (y[i] - meanY);
      xx += (x[i] - meanX) ** 2;
      yy += (y[i] - meanY) ** 2;
    }
    return xx && yy ? xy / Math.sqrt(xx) / Math.sqrt(yy) : null;
  }

  // Equal values share the mean of their ranks.
  function ranks(values) {
    const order = values.map((_, i) => i).sort((i, j) => values[i] - values[j]);
    const found = new Array(values.length);
    for (let start = 0, stop = 0; start < order.length; start = stop) {
      while (stop < order.length && values[order[stop]] === values[order[start]]) stop += 1;
      for (let at = start; at < stop; at += 1) found[order[at]] = (start + stop - 1) / 2;
    }
    return found;
  }

  const column = (one) => Array.from({ length: nTexts }, (_, text) => one.scores.get(text) ?? 0);

  function verdict(a, b, tokens, alike) {
    const [double, within, together] = [facts.double, facts.within, facts.together].map(Number);
    const [narrow, wide] = a.tokens.length <= b.tokens.length ? [a, b] : [b, a];
    const inside = tokens.both / Math.max(1, narrow.tokens.length);
    const same = (tokens.phi ?? 0) >= double;
    const parallel = (alike ?? 0) >= double;
    if (same && parallel) return "They double each other: they fire on the same tokens and write in the same direction.";
    if (same) return "They fire on the same tokens but write in different directions.";
    if (tokens.lift >= together && inside >= within) {
      const rest = parallel ? " They write in the same direction." : "";
      return `Where ${narrow.number} fires, ${wide.number} nearly always fires too, but not the other way round.${rest}`;
    }
    if (parallel) return "They write in the same direction but fire on different tokens.";
    if (tokens.lift >= together) return "They fire together more often than chance, but each mostly without the other.";
    return "They fire together hardly more often than chance, or less.";
  }

  const link = (one) => made("a", String(one.number), { href: root + one.page, className: "f" });
  const cells = (values) => values.map((value) => made("td", value));

  function table(id, rows) {
    document.querySelector(`#${id} tbody`).replaceChildren(...rows.map((row) => made("tr", row)));
  }

  function list(heading, texts, scored) {
    const rows = texts.slice(0, Number(facts.shown)).map((text) => {
      const [name, page, beginning] = window.saePairTexts[text];
      const scores = scored.map((one) => number(one.scores.get(text))).join(" and ");
      return made("li", [made("q", beginning, { dir: "auto" }), " ", made("a", name, { href: root + page }), ` ${scores}`]);
    });
    const body = rows.length ? made("ul", rows, { className: "quotes" }) : made("p", "There is none.");
    return made("section", [made("h2", heading), body]);
  }

  function show(a, b) {
    const tokens = overlap(a.tokens, b.tokens, nTokens);
    const texts = overlap(a.texts, b.texts, nTexts);
    const alike = cosine(a.direction, b.direction);
    document.title = document.title.replace(/^[^·]*/, `Features ${a.number} and ${b.number} `);
    document.getElementById("verdict").textContent = verdict(a, b, tokens, alike);
    table("two", [a, b].map((one) => [
      made("th", [link(one), " ", made("span", one.label, { className: "sub" })], { scope: "row" }),
      ...cells([count(one.tokens.length), percent(one.tokens.length / nTokens), count(one.texts.length), number(one.max)]),
    ]));
    for (const [side, one] of [["a", a], ["b", b]]) {
      document.querySelector(`[data-only="${side}"]`).textContent = `Only ${one.number}`;
    }
    table("overlap", [["Tokens", tokens], ["Texts", texts]].map(([words, found]) => [
      made("th", words, { scope: "row" }),
      ...cells([count(found.both), number(found.chance), found.lift === null ? "–" : number(found.lift),
        count(found.onlyA), count(found.onlyB), decimals(found.jaccard), decimals(found.phi)]),
    ]));
    const [x, y] = [column(a), column(b)];
    const shared = a.promoted.filter((token) => b.promoted.includes(token));
    const names = shared.flatMap((token, i) => [i ? " " : "", made("span", token, { className: "token" })]);
    table("direction", [
      ["Cosine of the decoder rows", decimals(alike)],
      ["Correlation of text scores (Pearson)", decimals(pearson(x, y))],
      ["Correlation of their ranks (Spearman)", decimals(pearson(ranks(x), ranks(y)))],
      [`Tokens among the ${a.promoted.length} that each promotes most`, shared.length ? [`${shared.length}: `, ...names] : "none in common"],
    ].map(([words, value]) => [made("th", words, { scope: "row" }), made("td", value)]));
    const only = (one, other) => one.texts.filter((text) => !other.scores.has(text)).sort((s, t) => one.scores.get(t) - one.scores.get(s));
    const weaker = (text) => Math.min(a.scores.get(text) / a.max, b.scores.get(text) / b.max);
    const both = a.texts.filter((text) => b.scores.has(text)).sort((s, t) => weaker(t) - weaker(s));
    document.getElementById("texts").replaceChildren(
      list(`Only ${a.number}`, only(a, b), [a]),
      list("Both", both, [a, b]),
      list(`Only ${b.number}`, only(b, a), [b]),
    );
    problem.hidden = true;
    place.hidden = false;
  }

  function exampleOf(words) {
    const [a, b] = facts.example.split(",");
    return `${words} For example: pair.html?a=${a}&b=${b}`;
  }

  async function compare(given) {
    const bad = given.find((text) => !/^\d{1,9}$/.test(text) || Number(text) >= size);
    if (bad !== undefined) {
      say(exampleOf(`Name two features of this SAE: numbers from 0 to ${size - 1}.`));
      return;
    }
    if (Number(given[0]) === Number(given[1])) {
      say("Name two different features.");
      return;
    }
    try {
      await window.saeLoad(`${root}pairs/texts.js`);
    } catch (error) {
      say(`The data of this page cannot be loaded: ${error.message}.`);
      return;
    }
    const found = await Promise.all(given.map((text) => load(Number(text))));
    const missing = given.filter((_, i) => !found[i]);
    if (missing.length) {
      say(`This site has no data for comparing feature ${missing.join(" and feature ")}: only for ${count(Number(facts.compared))} of its features.`);
      return;
    }
    show(...found);
  }

  function fromAddress() {
    const given = new URLSearchParams(location.search);
    const wanted = ["a", "b"].map((name) => given.get(name) ?? "");
    ["a", "b"].forEach((name, i) => { form.elements[name].value = wanted[i].slice(0, 9); });
    if (wanted.some(Boolean)) compare(wanted);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = ["a", "b"].map((name) => form.elements[name].value.trim());
    history.replaceState(null, "", `?a=${wanted[0]}&b=${wanted[1]}`);
    compare(wanted);
  });
  fromAddress();
})();
