// The table of all features: sorting, filtering and paging over the data in features/table-data.js; the state is in the
// address, so that a view can be linked. Without script the table stands in the page as it is.
(() => {
  const PAGE = 100;
  const table = document.getElementById("table");
  const filters = document.getElementById("filters");
  const { columns, titles, rows } = window.saeTable;
  const place = Object.fromEntries(columns.map(([key], i) => [key, i + 4]));
  const LABEL = 0, FILE = 1, KINDS = 2, CATEGORY = 3;

  const state = { q: "", reason: "", category: "", sort: "feature", dir: "up", page: 1 };
  const given = new URLSearchParams(location.search);
  for (const key of Object.keys(state)) if (given.has(key)) state[key] = given.get(key);
  state.page = Number(state.page) || 1;
  if (!(state.sort in place) && state.sort !== "label") state.sort = "feature";

  const number = (value) => value === 0 ? "0" : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6
    ? value.toLocaleString("en", Math.abs(value) >= 1 ? { maximumSignificantDigits: Math.max(3, String(Math.trunc(Math.abs(value))).length), minimumSignificantDigits: 3 } : { minimumFractionDigits: 3, maximumFractionDigits: 3 })
    : value.toExponential(2);
  const FORMATS = {
    plain: String,
    number,
    count: (value) => value.toLocaleString("en"),
    percent: (value) => {
      const p = 100 * value;
      const places = p >= 10 || p === 0 ? 0 : Math.min(5, 1 - Math.floor(Math.log10(p)));
      return `${p.toFixed(places)}\u00a0%`;
    },
  };

  function cell(tag, text, words) {
    const made = document.createElement(tag);
    if (words) made.className = "words";
    made.append(text);
    return made;
  }

  function line(row) {
    const made = document.createElement("tr");
    made.id = `f${row[place.feature]}`;
    const link = Object.assign(document.createElement("a"), { href: row[FILE], textContent: row[place.feature], className: "f" });
    const head = cell("th", link);
    head.scope = "row";
    made.append(head, cell("td", row[LABEL], true));
    for (const [key, format] of columns.slice(1)) {
      const value = row[place[key]];
      made.append(cell("td", value === null ? "–" : FORMATS[format](value)));
    }
    made.append(cell("td", row[KINDS].join(", "), true), cell("td", titles[row[CATEGORY]] ?? "", true));
    return made;
  }

  function chosen() {
    const query = state.q.trim().toLowerCase();
    const found = rows.filter((row) =>
      (!query || String(row[place.feature]) === query || row[LABEL].toLowerCase().includes(query))
      && (!state.reason || row[KINDS].includes(state.reason))
      && (!state.category || row[CATEGORY] === state.category));
    const at = state.sort === "label" ? LABEL : place[state.sort];
    const way = state.dir === "down" ? -1 : 1;
    const compare = state.sort === "label" ? (a, b) => a[at].localeCompare(b[at]) : (a, b) => (a[at] ?? -Infinity) - (b[at] ?? -Infinity);
    return found.sort((a, b) => way * compare(a, b) || a[place.feature] - b[place.feature]);
  }

  function pager(pages) {
    const near = (n) => n === 1 || n === pages || Math.abs(n - state.page) < 3;
    const buttons = [];
    for (let n = 1; n <= pages && pages > 1; n++) {
      if (!near(n)) continue;
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: n });
      if (n === state.page) button.setAttribute("aria-current", "page");
      button.addEventListener("click", () => { state.page = n; show(); });
      buttons.push(button);
    }
    document.getElementById("pager").replaceChildren(...buttons);
  }

  function remember() {
    const kept = Object.entries(state).filter(([key, value]) => value !== { q: "", reason: "", category: "", sort: "feature", dir: "up", page: 1 }[key]);
    const query = new URLSearchParams(kept).toString();
    history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash);
  }

  function show() {
    const found = chosen();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(Math.max(1, state.page), pages);
    const start = (state.page - 1) * PAGE;
    table.tBodies[0].replaceChildren(...found.slice(start, start + PAGE).map(line));
    filters.querySelector(".found").textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} features`;
    for (const head of table.tHead.querySelectorAll("th[data-key]")) {
      if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.dir === "down" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    pager(pages);
    remember();
  }

  for (const head of table.tHead.querySelectorAll("th[data-key]")) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const key = head.dataset.key;
      const first = key === "feature" || key === "label" ? "up" : "down";
      state.dir = state.sort === key ? (state.dir === "up" ? "down" : "up") : first;
      state.sort = key;
      state.page = 1;
      show();
    });
  }
  for (const input of filters.querySelectorAll("input, select")) {
    input.value = state[input.name];
    input.addEventListener("input", () => {
      state[input.name] = input.value;
      state.page = 1;
      show();
    });
  }

  // A link to a row, as from a feature's reasons, may be on another page of the table.
  const wanted = Number(location.hash.replace("#f", ""));
  const at = location.hash.startsWith("#f") ? chosen().findIndex((row) => row[place.feature] === wanted) : -1;
  if (at >= 0) state.page = Math.floor(at / PAGE) + 1;
  show();
  if (at >= 0) document.getElementById(`f${wanted}`).scrollIntoView({ block: "center" });
})();
