// "Try a text" on a feature's page: a panel above the examples with the reader's text, marked as the examples are. An
// example may be taken as the text; then its figures agree with those of the panel, because the model reads the same.
//
//   await saePanel.open(linked)    shows the panel; with the text in the address if it was linked to
//   await saePanel.edit(example)   shows it with the text of an example
window.saePanel = (() => {
  const SCRIPTS = ["assets/formats.js", ..."marks client elements loader runner tables".split(" ").map((name) => `assets/live/${name}.js`)];
  const root = document.body.dataset.root;
  // Not from the page's address: a web server may serve the page without `.html` in it.
  const feature = Number(/\d+/.exec(document.querySelector("h1").textContent)[0]);
  let panel = null;

  function addStyle() {
    return new Promise((done) => {
      const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `${root}assets/live/live.css`, onload: done, onerror: done });
      document.head.append(link);
    });
  }

  async function make() {
    await Promise.all([addStyle(), ...SCRIPTS.map((name) => window.saeLoad(root + name))]);
    return new Panel();
  }

  class Panel {
    constructor() {
      const { element } = window.saeTry;
      this.loader = new window.saeTry.Loader((engine, features, hadFocus) => this.start(engine, features, hadFocus));
      this.area = element("textarea", { id: "try-text", rows: 3, dir: "auto", spellcheck: false, placeholder: "Type or paste a text." });
      this.area.addEventListener("input", () => this.changed());
      this.status = element("p", { className: "sub", role: "status" });
      this.trouble = element("div");
      this.shown = element("div");
      this.node = this.build();
      this.runner = new window.saeTry.Runner(this.node, () => [this.area.value], ([run]) => this.show(run), (error) => this.fail(error));
      document.querySelector(".evidence").prepend(this.node);
      this.loader.begin();
    }

    build() {
      const { button, copyButton, element } = window.saeTry;
      const heading = element("header", {}, element("h2", { textContent: "Try a text" }), button("Close", () => this.close(), { className: "link" }));
      const field = element("div", { className: "field" }, element("label", { htmlFor: "try-text", textContent: `Your text, marked by feature ${feature}` }), this.area);
      this.whole = element("a", { textContent: "All features on this text" });
      const exact = element("a", { href: `${root}live/index.html#agreement`, textContent: "How exact these numbers are" });
      const links = element("p", { className: "actions sub" }, this.whole, copyButton(), exact, "Your text never leaves this page.");
      return element("section", { id: "try", className: "trying", "aria-label": "Try a text" }, heading, field, this.loader.node, this.trouble, this.shown, this.status, links);
    }

    fill(text) {
      if (text !== undefined) this.area.value = text;
      this.node.hidden = false;
      this.changed();
      this.node.scrollIntoView({ block: "nearest" });
      this.area.focus();
    }

    close() {
      this.node.hidden = true;
      history.replaceState(null, "", location.href.split("#")[0]);
      document.querySelector("a.try").focus();
    }

    changed() {
      const text = this.area.value;
      window.saeTry.writeAddress({ try: text });
      this.whole.href = `${root}live/index.html#${window.saeTry.fragment({ text, feature })}`;
      this.runner.soon();
    }

    start(engine, features, hadFocus) {
      this.names = new window.saeTry.Names(features);
      this.runner.engine = engine;
      if (hadFocus) this.area.focus();
      this.runner.now();
    }

    fail(error) {
      this.trouble.replaceChildren(window.saeTry.failure(error, () => this.runner.now()));
    }

    show(run) {
      const { element, legend, remarks, tokenTable } = window.saeTry;
      this.trouble.replaceChildren();
      if (!run) {
        this.status.textContent = "There is no text yet.";
        return this.shown.replaceChildren();
      }
      const entry = window.saeTry.firing(run).get(feature);
      const largest = this.names.max(feature);
      const text = element("p", { className: "text", dir: "auto" });
      window.saeMarks.highlight(text, run.text, run.ends, entry?.active ?? [], largest, { peak: entry?.at ?? -1 });
      for (const peak of text.querySelectorAll(".p")) peak.tabIndex = 0;
      this.shown.replaceChildren(legend(), text, ...(entry ? [tokenTable(run, entry.active, largest)] : []));
      this.status.textContent = `${this.words(run, entry, largest)} ${remarks(run, window.saeClient.longest(this.runner.engine.manifest))}.`;
    }

    words(run, entry, largest) {
      const { counted, number, percent } = window.saeTry;
      if (!entry) return `Feature ${feature} is silent on this text.`;
      const share = largest ? `, ${percent(entry.max / largest)} of its maximum in the catalog` : "";
      return `Feature ${feature} reaches ${number(entry.max)}${share}, and is active on ${counted(entry.active.length, "token")}.`;
    }
  }

  async function open(linked = false) {
    panel ??= await make();
    panel.fill(linked ? window.saeTry.readAddress().try : undefined);
  }

  // The text of an excerpt as the model read it: signs that stand for characters that cannot be seen are undone.
  function original(shown) {
    const copy = shown.cloneNode(true);
    for (const sign of copy.querySelectorAll("i.cc")) sign.replaceWith(String.fromCodePoint(parseInt(sign.title.slice(2), 16)));
    return copy.textContent;
  }

  // An excerpt in three: what comes before its peak, the peak, and what comes after.
  function inThree(shown) {
    const peak = shown.querySelector(".p");
    const range = document.createRange();
    range.setStart(shown, 0);
    range.setEndBefore(peak);
    const [before, words] = [original(range.cloneContents()), original(peak)];
    return [before, words, original(shown).slice(before.length + words.length)];
  }

  function sharedLength(a, b) {
    let length = 0;
    while (length < Math.min(a.length, b.length) && a[length] === b[length]) length += 1;
    return length;
  }

  // How much of an excerpt around its peak is in a window; -1 if the peak is not.
  function fit(content, [before, peak, after]) {
    const reversed = (words) => [...words].reverse();
    let best = -1;
    for (let at = content.indexOf(peak); at >= 0; at = content.indexOf(peak, at + 1)) {
      const left = sharedLength(reversed(before), reversed(content.slice(0, at)));
      best = Math.max(best, left + sharedLength(after, content.slice(at + peak.length)));
    }
    return best;
  }

  // The window of the text in which the excerpt's peak was read. Windows may overlap; a token counts in the first.
  function windowOf(windows, shown) {
    const parts = shown.querySelector(".p") ? inThree(shown) : ["", original(shown), ""];
    const [best] = windows.map(([, content]) => [content, fit(content, parts)]).sort((a, b) => b[1] - a[1]);
    return best && best[1] >= 0 ? best[0] : original(shown);
  }

  async function edit(item) {
    panel ??= await make();
    const shown = item.querySelector("p");
    // The page of a part of a long text has its number before the ending.
    const id = decodeURIComponent(/\/texts\/([^/#?]*?)(\.\d+)?\.html/.exec(item.querySelector('a[href*="/texts/"]').getAttribute("href"))[1]);
    try {
      const engine = await window.saeClient.open();
      panel.fill(windowOf(await engine.windows(id), shown));
    } catch {
      // The excerpt alone then; its figures may differ at the beginning, because the model misses what came before.
      panel.fill(original(shown));
    }
  }

  return { open, edit };
})();
