// The tables of the live page: the features of a text or of one token of it, and what differs between two texts.
(() => {
  const { button, counted, element, number, percent, signed, tokenOf } = window.saeTry;
  const STEP = 20;

  // The names and figures of the catalog's features. The number of one without a page leads to its row.
  window.saeTry.Names = class {
    constructor(features) {
      this.table = features;
      this.count = features.label.length;
    }

    label(feature) { return this.table.label[feature] || "no label"; }
    max(feature) { return this.table.max[feature]; }
    has(feature) { return Number.isInteger(feature) && feature >= 0 && feature < this.count; }

    link(feature) {
      const place = this.table.page[feature] ? `features/${feature}.html` : `row.html?feature=${feature}`;
      return element("a", { className: "f", href: window.saeClient.catalog + place, textContent: feature });
    }

    // The catalog's figures of a feature, for a line of text.
    figures(feature) {
      if (!this.table.n_active[feature]) return "never active in the catalog’s texts";
      return `in the catalog up to ${number(this.max(feature))}, on ${percent(this.table.density[feature])} of tokens`;
    }

    cells(feature) {
      const silent = !this.table.n_active[feature];
      return [silent ? "silent" : number(this.max(feature)), percent(this.table.density[feature])];
    }
  };

  const cell = (content, settings = {}) => element("td", settings, content);

  function head(titles) {
    const cells = titles.map(([words, className = "", colSpan = 1]) => element("th", { scope: colSpan > 1 ? "colgroup" : "col", textContent: words, className, colSpan }));
    return element("thead", {}, element("tr", {}, ...cells));
  }

  // A table that shows its first rows, and more when asked. `fill(item)` makes a row.
  function long(label, titles, items, fill) {
    const body = element("tbody");
    const box = element("section", { className: "scroll", tabIndex: 0, "aria-label": label }, element("table", { className: "features" }, head(titles), body));
    const more = button("", () => grow());
    function grow() {
      const at = body.rows.length;
      body.append(...items.slice(at, at + STEP).map(fill));
      const left = items.length - body.rows.length;
      more.textContent = `Show ${Math.min(STEP, left)} more of ${left}`;
      more.hidden = left <= 0;
    }
    grow();
    return [box, more];
  }

  // The first two cells of every row: the feature, and its label, which is the button that colours the text by it.
  function lead(feature, page) {
    const pick = button(page.names.label(feature), () => page.choose(feature), { className: "pick" });
    pick.setAttribute("aria-pressed", String(feature === page.feature));
    pick.setAttribute("aria-label", `Colour by feature ${feature}: ${page.names.label(feature)}`);
    pick.dataset.feature = feature;
    return [element("th", { scope: "row" }, page.names.link(feature)), cell(pick, { className: "words" })];
  }

  // `entries` are of `firing`, with the value to show as `value` and its token as `at`.
  window.saeTry.featureTable = (page, run, entries, label) => {
    const titles = [["Feature"], ["Label", "words"], ["Here"], ["On", "words"], ["Catalog’s max"], ["Density"]];
    return long(label, titles, entries, ({ feature, value, at }) => {
      const [max, density] = page.names.cells(feature);
      return element("tr", {}, ...lead(feature, page), cell(number(value)), cell(tokenOf(run, at), { className: "words on" }), cell(max), cell(density));
    });
  };

  window.saeTry.changeTable = (page, changes) => {
    const titles = [["Feature"], ["Label", "words"], ["Change"], ["First"], ["Second"], ["Catalog’s max"]];
    return long("Features by largest change", titles, changes, ({ feature, first, second }) => element(
      "tr", {}, ...lead(feature, page), cell(signed(second - first)), cell(number(first)), cell(number(second)), cell(page.names.cells(feature)[0]),
    ));
  };

  // A feature on two texts, token by token: [token of the first or null, token of the second or null] with the values.
  window.saeTry.differenceTable = (runs, rows, feature) => {
    const shown = (run, token) => token === null ? "–" : tokenOf(run, token);
    const value = (token, activation) => token === null ? "–" : number(activation);
    const titles = [["First text", "words", 2], ["Second text", "words", 2], ["Difference"]];
    return long(`Feature ${feature}, token by token`, titles, rows, ({ pair: [a, b], values: [x, y], differs }) => element(
      "tr", { className: differs ? "differs" : "" },
      cell(shown(runs[0], a), { className: "words on" }), cell(value(a, x)),
      cell(shown(runs[1], b), { className: "words on" }), cell(value(b, y)), cell(signed(y - x)),
    ));
  };

  window.saeTry.tokenTable = (run, active, largest) => {
    const rows = active.map(([token, value]) => element(
      "tr", {}, cell(tokenOf(run, token), { className: "words on" }), cell(number(value)), cell(largest ? percent(value / largest) : "–"),
    ));
    const titles = [["Token", "words"], ["Activation"], ["Of the maximum"]];
    return element("details", { className: "numbers" }, element("summary", { textContent: `Token by token (${counted(active.length, "active token")})` }), element("table", {}, head(titles), element("tbody", {}, ...rows)));
  };
})();
