// Whole texts marked by a feature: examples on a feature's page expand to them, and the page of a text is coloured by
// the feature that the reader points at. Each text is a script that calls saeText with its pieces, which are HTML escaped
// by the build, and with the marks of each feature, which the build has computed.
(() => {
  const texts = new Map();
  window.saeText = (text) => texts.set(document.currentScript.src, text);

  function parse(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }

  // The marks of a feature. Each is the pieces skipped, the level and the value, then p if it is the peak, then the number
  // of pieces if it is not 1.
  function marksOf(text, feature) {
    let at = 0;
    return text.marks[feature].split(" ").map((mark) => {
      const [skipped, level, value, peak, count = 1] = mark.split(",");
      const start = at + Number(skipped);
      at = start + Number(count);
      return { start, end: at, level, value, peak };
    });
  }

  // The HTML that the build would write for a text marked by a feature.
  function markup(text, feature) {
    let at = 0;
    const html = (start, end) => text.pieces.slice(start, end).join("");
    const parts = marksOf(text, feature).map(({ start, end, level, value, peak }) => {
      const before = html(at, start);
      at = end;
      return `${before}<b class="a${level}${peak ? " p" : ""}" title="${value}">${html(start, end)}</b>`;
    });
    return parts.join("") + html(at);
  }

  // An example that shows an excerpt of its text gets a button that switches between the excerpt and the whole text, or
  // all that one page of it has if the text is long.
  function growable(shown) {
    const item = shown.parentElement;
    const link = item.querySelector('a[href*="/texts/"]');
    // Not from the page's address: a web server may serve the page without `.html` in it.
    const [feature] = /\d+/.exec(document.querySelector("h1").textContent);
    const source = link.href.replace(/html(#.*)?$/, "js");
    const part = [...shown.childNodes];
    const cut = shown.className;
    const isLong = shown.classList.contains("long");
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const show = (whole) => {
      shown.replaceChildren(...(whole ? parse(markup(texts.get(source), feature)).childNodes : part));
      shown.className = whole ? "" : cut;
      for (const peak of shown.querySelectorAll(".p")) peak.tabIndex = 0;
      label(whole);
      item.dispatchEvent(new Event("marked", { bubbles: true }));
    };
    function label(whole) {
      button.textContent = whole ? "Excerpt only" : isLong ? "More of the text" : "Whole text";
      button.setAttribute("aria-expanded", String(whole));
    }
    button.addEventListener("click", () => {
      const whole = button.getAttribute("aria-expanded") === "false";
      window.saeLoad(source).then(() => show(whole), () => location.assign(link.href));
    });
    label(false);
    link.parentElement.append(button);
  }
  for (const shown of document.querySelectorAll(".examples > li > p:is(.l, .r)")) growable(shown);

  // The page of a text: one copy of the text is coloured by the chosen feature, or by the one pointed at. Each piece is an
  // element whose class alone changes, so that the selection and the focus are kept.
  const MOST_NAMED = 6;

  class Reader {
    constructor(text) {
      this.whole = document.querySelector(".whole");
      this.reading = document.querySelector(".reading");
      this.list = document.getElementById("features");
      this.rows = new Map([...this.list.querySelectorAll(".firings > li")].map((row) => [row.id.slice(1), row]));
      this.marks = new Map([...this.rows.keys()].map((feature) => [feature, marksOf(text, feature)]));
      this.whole.replaceChildren(parse(text.pieces.map((piece) => `<b>${piece}</b>`).join("")));
      this.cells = [...this.whole.children];
      this.makeButtons();
      this.listenToList();
      this.listenToText();
      this.chooseFromAddress();
      addEventListener("hashchange", () => this.chooseFromAddress());
      document.querySelector(".reader").classList.add("coloured");
      // The address may name a row of the list; the text is now beside that row.
      if (location.hash) scrollTo({ top: 0, behavior: "instant" });
    }

    paint(feature) {
      if (feature === this.painted) return;
      this.painted = feature;
      for (const cell of this.whole.querySelectorAll("b[title]")) {
        for (const name of ["class", "title", "tabindex"]) cell.removeAttribute(name);
      }
      let peak = null;
      for (const { start, end, level, value } of this.marks.get(feature)) {
        for (const cell of this.cells.slice(start, end)) Object.assign(cell, { className: `a${level}`, title: value });
        if (!peak || Number(value) > Number(peak.title)) peak = this.cells[start];
      }
      peak.tabIndex = 0;
      this.describe();
    }

    // The line under the text: the feature it is coloured by or, while a token is pointed at, what fires there.
    describe() {
      for (const row of this.rows.values()) row.classList.remove("fires");
      this.reading.textContent = `Feature ${this.painted}: ${this.rows.get(this.painted).querySelector(".count").textContent}`;
    }

    describeToken(cell) {
      const found = this.firingAt(this.cells.indexOf(cell));
      const token = Object.assign(document.createElement("span"), { className: "token" });
      token.append(...[...cell.childNodes].map((node) => node.cloneNode(true)));
      const words = found.slice(0, MOST_NAMED).map(([feature, value]) => `${feature} (${value})`);
      if (found.length > MOST_NAMED) words.push(`${found.length - MOST_NAMED} more`);
      const subject = found.length === 1 ? "feature" : "features";
      this.reading.replaceChildren(token, found.length ? ` ${subject} ${words.join(", ")}` : " no listed feature fires here");
      const firing = new Set(found.map(([feature]) => feature));
      for (const [feature, row] of this.rows) row.classList.toggle("fires", firing.has(feature));
    }

    // Features and their activations on one piece, the strongest first.
    firingAt(piece) {
      const covers = ({ start, end }) => start <= piece && piece < end;
      const values = [...this.marks].map(([feature, marks]) => [feature, marks.find(covers)?.value]);
      return values.filter(([, value]) => value).sort((a, b) => b[1] - a[1]);
    }

    choose(feature) {
      this.chosen = feature;
      for (const [other, row] of this.rows) row.querySelector("button").setAttribute("aria-pressed", String(other === feature));
      const folded = this.rows.get(feature).closest("#others");
      if (folded) folded.open = true;
      this.paint(feature);
    }

    chooseFromAddress() {
      const [strongest] = this.rows.keys();
      const asked = location.hash.slice(2);
      this.choose(this.rows.has(asked) ? asked : strongest);
    }

    // The label of each row becomes the button that chooses it.
    makeButtons() {
      for (const [feature, row] of this.rows) {
        const label = row.querySelector("h3 .sub");
        const words = label.textContent || "no label";
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: words });
        button.setAttribute("aria-label", `Colour by feature ${feature}: ${words}`);
        button.addEventListener("click", () => {
          history.replaceState(null, "", `#f${feature}`);
          this.choose(feature);
        });
        label.replaceWith(button);
      }
    }

    listenToList() {
      const preview = (event) => this.paint(event.target.closest(".firings > li")?.id.slice(1) ?? this.chosen);
      const restore = () => this.paint(this.chosen);
      this.list.addEventListener("pointerover", preview);
      this.list.addEventListener("focusin", preview);
      this.list.addEventListener("pointerleave", restore);
      this.list.addEventListener("focusout", restore);
      this.list.addEventListener("keydown", (event) => {
        const buttons = [...this.list.querySelectorAll("li button")].filter((button) => button.checkVisibility());
        neighbour(event, buttons, "ArrowUp", "ArrowDown")?.click();
      });
    }

    // The marked tokens are one stop of the Tab key; the arrow keys move between them.
    listenToText() {
      const read = (event) => {
        const cell = event.target.closest("b");
        if (cell) this.describeToken(cell);
      };
      this.whole.addEventListener("pointerover", read);
      this.whole.addEventListener("focusin", read);
      // A finger leaves as soon as it is lifted; what fires on the touched token stays shown.
      this.whole.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.describe());
      this.whole.addEventListener("focusout", () => this.describe());
      this.whole.addEventListener("keydown", (event) => {
        const next = neighbour(event, [...this.whole.querySelectorAll("b[title]")], "ArrowLeft", "ArrowRight");
        if (next) event.target.tabIndex = -1;
      });
    }
  }

  // Moves the focus to the element before or after and returns that element; null for any other key.
  function neighbour(event, all, back, forth) {
    const place = all.indexOf(event.target);
    const next = place < 0 ? null : { [back]: all[place - 1], [forth]: all[place + 1] }[event.key];
    if (!next) return null;
    event.preventDefault();
    next.tabIndex = 0;
    next.focus();
    return next;
  }

  // The script of the page's text, if there is one, has run by then.
  document.addEventListener("DOMContentLoaded", () => {
    if (document.querySelector(".reader .firings")) texts.forEach((text) => new Reader(text));
  });
})();
