// The catalog's live page: texts that the reader types, coloured by a feature, with the strongest features of each text
// and of each token, and two texts side by side. What is shown is kept in the address, after the #.
(() => {
  const { button, copyButton, element, firing, legend, MarkedText, Names, number, readAddress, remarks, Runner, tokenOf, writeAddress } = window.saeTry;
  const SIDES = ["text", "with"];
  const LABELS = ["First text", "Second text"];
  const RANKS = [["activation", "activation"], ["share of the catalog’s maximum", "share"]];

  class LivePage {
    constructor(box) {
      this.state = readAddress();
      this.pinned = /^\d+$/.test(this.state.feature ?? "") ? Number(this.state.feature) : null;
      this.rank = "activation";
      this.loader = new window.saeTry.Loader((engine, features, hadFocus) => this.start(engine, features, hadFocus));
      this.runner = new Runner(box, () => this.typed(), (runs) => this.show(runs), (error) => this.fail(error));
      this.fields = SIDES.map((side, place) => this.field(side, LABELS[place]));
      this.texts = SIDES.map((_, side) => new MarkedText(`Tokens of the ${side ? "second " : ""}text`, (tokens) => this.select(side, tokens)));
      this.build(box);
      this.open(this.state.with !== undefined);
      this.loader.begin();
    }

    field(id, words) {
      const area = element("textarea", { id, rows: 4, dir: "auto", spellcheck: false, value: this.state[id] ?? "" });
      if (id === "text") area.placeholder = "Type or paste a text.";
      area.addEventListener("input", () => this.changed());
      const label = element("label", { htmlFor: id, textContent: words });
      return { area, label, node: element("div", { className: "field" }, label, area) };
    }

    build(box) {
      this.toggle = button("", () => this.open(!this.comparing, true));
      const actions = element("p", { className: "actions" }, this.toggle, copyButton(), element("span", { className: "sub", textContent: "Your text never leaves this page." }));
      const fields = element("div", { className: "sides" }, ...this.fields.map(({ node }) => node));
      this.status = element("p", { className: "sub", role: "status" });
      this.trouble = element("div");
      this.shown = element("div", { className: "shown", hidden: true }, this.chooser(), legend(), element("div", { className: "sides" }, ...this.texts.map(({ node }) => node)));
      this.found = element("div", { className: "found" });
      this.listen();
      box.append(element("div", { className: "typed" }, fields, actions, this.loader.node, this.trouble, this.status, this.shown), this.found);
      this.box = box;
    }

    chooser() {
      this.number = element("input", { id: "feature", inputMode: "numeric", autocomplete: "off", size: 6 });
      this.number.addEventListener("change", () => this.ask(this.number.value.trim()));
      this.figures = element("span", { className: "sub" });
      this.follow = button("Strongest", () => this.choose(null), { className: "link", title: "Colour by the strongest feature again" });
      return element("p", { className: "chooser" }, element("label", { htmlFor: "feature", textContent: "Coloured by feature" }), this.number, this.follow, this.figures);
    }

    // A feature that is pointed at in a table colours the text for as long as that lasts.
    listen() {
      const pointed = (event) => event.target.closest("tr")?.querySelector(".pick")?.dataset.feature;
      const preview = (event) => this.paint(pointed(event) ? Number(pointed(event)) : this.feature);
      this.found.addEventListener("pointerover", preview);
      this.found.addEventListener("focusin", preview);
      this.found.addEventListener("pointerleave", () => this.paint(this.feature));
      this.found.addEventListener("focusout", () => this.paint(this.feature));
      // A link within the page is not another text.
      addEventListener("hashchange", () => location.hash.includes("=") ? location.reload() : this.remember());
    }

    open(comparing, byReader = false) {
      this.comparing = comparing;
      this.fields[1].node.hidden = !comparing;
      this.fields[0].label.textContent = comparing ? LABELS[0] : "Text";
      this.toggle.textContent = comparing ? "Remove the second text" : "Compare with another text";
      this.box.classList.toggle("comparing", comparing);
      const [first, other] = this.fields.map(({ area }) => area);
      if (comparing && byReader) {
        other.value = first.value;
        other.focus();
      }
      if (byReader) this.changed();
    }

    typed() {
      return this.fields.slice(0, this.comparing ? 2 : 1).map(({ area }) => area.value);
    }

    changed() {
      this.remember();
      this.runner.soon();
    }

    remember() {
      const [text, other] = this.typed();
      writeAddress({ text, ...(other === undefined ? {} : { with: other }), ...(this.pinned === null ? {} : { feature: this.pinned }) });
    }

    start(engine, features, hadFocus) {
      this.names = new Names(features);
      if (this.pinned !== null && !this.names.has(this.pinned)) this.pinned = null;
      this.runner.engine = engine;
      if (hadFocus) this.fields[0].area.focus();
      this.runner.now();
    }

    fail(error) {
      this.trouble.replaceChildren(window.saeTry.failure(error, () => this.runner.now()));
    }

    show(runs) {
      this.trouble.replaceChildren();
      this.runs = runs;
      this.firings = runs.map((run) => run ? firing(run) : new Map());
      this.shown.hidden = !runs.some(Boolean);
      this.texts.forEach((text, side) => {
        text.node.hidden = !runs[side];
        if (runs[side]) text.show(runs[side]);
        text.mark(new Set());
      });
      this.pair = runs.length === 2 && runs.every(Boolean) ? window.saeTry.compare(runs) : null;
      this.pair?.other.forEach((tokens, side) => this.texts[side].mark(tokens));
      if (this.selection) this.select(this.selection.side, this.texts[this.selection.side].selection, false);
      this.status.textContent = this.words();
      this.choose(this.pinned, false);
    }

    words() {
      if (this.shown.hidden) return this.typed().some(Boolean) ? "" : "There is no text yet.";
      const longest = window.saeClient.longest(this.runner.engine.manifest);
      const each = this.runs.map((run, side) => run && `${this.runs.length > 1 ? `${LABELS[side]}: ` : ""}${remarks(run, longest)}.`);
      const silent = this.firings.every((found) => !found.size);
      return [...each, silent && "No feature fires."].filter(Boolean).join(" ");
    }

    select(side, tokens, draw = true) {
      this.selection = tokens && this.runs[side] ? { side, tokens } : null;
      // A token of one text at a time.
      if (tokens) this.texts[1 - side].select(null);
      if (draw) this.list();
    }

    // Colour by a feature from now on; null means by the one that stands out.
    choose(feature, byReader = true) {
      this.pinned = feature;
      if (byReader) this.remember();
      this.feature = feature ?? this.standout();
      this.follow.hidden = feature === null;
      this.number.value = this.feature ?? "";
      this.number.removeAttribute("aria-invalid");
      this.paint(this.feature);
      const { activeElement } = document;
      const kept = this.found.contains(activeElement) ? activeElement.dataset.feature : undefined;
      this.list();
      if (kept) this.found.querySelector(`.pick[data-feature="${kept}"]`)?.focus();
    }

    ask(words) {
      if (words === "") return this.choose(null);
      if (/^\d+$/.test(words) && this.names.has(Number(words))) return this.choose(Number(words));
      this.number.setAttribute("aria-invalid", "true");
      this.figures.textContent = `This SAE has the features 0 to ${this.names.count - 1}.`;
    }

    standout() {
      const changed = this.pair && window.saeTry.changes(this.firings)[0];
      const entries = this.firings.flatMap((found) => [...found.values()]);
      return changed?.feature ?? entries.sort((a, b) => b.max - a.max || a.feature - b.feature)[0]?.feature ?? null;
    }

    paint(feature) {
      if (this.shown.hidden) return;
      this.runs.forEach((run, side) => {
        if (run) this.texts[side].paint(this.firings[side].get(feature)?.active ?? [], feature === null ? 0 : this.names.max(feature));
      });
      this.describe(feature);
    }

    describe(feature) {
      if (feature === null) return this.figures.replaceChildren();
      const here = this.firings.map((found, side) => {
        const entry = found.get(feature);
        return entry ? [`${number(entry.max)} on `, tokenOf(this.runs[side], entry.at)] : ["silent"];
      });
      const parts = here.length > 1 ? [...here[0], " against ", ...here[1]] : here[0];
      this.figures.replaceChildren(this.names.link(feature), ` ${this.names.label(feature)}: `, ...parts, `; ${this.names.figures(feature)}`);
    }

    // The tables beside the text.
    list() {
      if (this.shown.hidden || this.feature === null) return this.found.replaceChildren();
      const single = this.pair ? [] : [this.strongest()];
      const both = this.pair ? [this.differing(), this.changing()] : [];
      this.found.replaceChildren(...(this.selection ? [this.token(), ...both] : [...both, ...single]));
    }

    section(title, lines, parts) {
      return element("section", {}, element("h2", {}, ...title), element("p", { className: "hint" }, ...lines), ...parts);
    }

    ranked(entries) {
      const share = (entry) => entry.value / (this.names.max(entry.feature) || Infinity);
      const size = this.rank === "share" ? share : (entry) => entry.value;
      return entries.sort((a, b) => size(b) - size(a) || b.value - a.value || a.feature - b.feature);
    }

    rankSwitch() {
      const group = element("span", { className: "switch", role: "group", "aria-label": "Ranked by" }, "Ranked by ");
      for (const [words, rank] of RANKS) {
        group.append(button(words, () => {
          this.rank = rank;
          this.list();
          this.found.querySelector('.switch [aria-pressed="true"]')?.focus();
        }, { "aria-pressed": String(rank === this.rank) }));
      }
      return group;
    }

    strongest() {
      const side = this.runs[0] ? 0 : 1;
      const entries = this.ranked([...this.firings[side].values()].map((entry) => ({ ...entry, value: entry.max })));
      const words = "Strongest features on the text";
      const lines = [this.rankSwitch(), " Choose a token in the text to see what fires there."];
      return this.section([words], lines, window.saeTry.featureTable(this, this.runs[side], entries, words));
    }

    token() {
      const { side, tokens } = this.selection;
      const run = this.runs[side];
      const at = (entry) => entry.active.filter(([token]) => tokens.includes(token)).sort((a, b) => b[1] - a[1])[0];
      const found = [...this.firings[side].values()].map((entry) => ({ ...entry, here: at(entry) })).filter((entry) => entry.here);
      const entries = this.ranked(found.map(({ here, ...entry }) => ({ ...entry, value: here[1], at: here[0] })));
      const whole = button("Back to the whole text", () => {
        this.texts[side].select(null);
        this.select(side, null);
      }, { className: "link" });
      const place = `Token ${tokens[0] + 1} of ${run.ends.length}. `;
      const silent = run.left_out[tokens[0]] ? "The activations on this token are massive and left out, as in the catalog." : "No feature fires on this token.";
      const table = entries.length ? window.saeTry.featureTable(this, run, entries, "Strongest features on the token") : [element("p", { textContent: silent })];
      return this.section(["Strongest features on ", tokenOf(run, tokens[0])], [place, this.rankSwitch(), " ", whole], table);
    }

    differing() {
      const rows = window.saeTry.differences(this.pair, this.firings.map((found) => found.get(this.feature)));
      const line = "Tokens on which it fires, and those that differ, which are underlined in blue. Difference: second less first.";
      return this.section([`Feature ${this.feature}, token by token`], [line], window.saeTry.differenceTable(this.runs, rows, this.feature));
    }

    changing() {
      const line = "Each feature’s maximum over the first and over the second text.";
      return this.section(["Features by largest change"], [line], window.saeTry.changeTable(this, window.saeTry.changes(this.firings)));
    }
  }

  new LivePage(document.getElementById("live"));
})();
