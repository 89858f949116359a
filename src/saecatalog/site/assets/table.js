// The features table: sorting, filtering, columns, paging and download of the data in features/table-data.js.
// The state is in the address, so that a view can be linked. Without JavaScript, the page shows a static table.
(() => {
  const PAGE = 50; // twice as many would take twice as long to lay out, and sorting must feel immediate
  const KINDS_AND_CATEGORY = ["Notable as", "Strongest text in"];
  const table = document.getElementById("table");
  const filters = document.getElementById("filters");
  const pager = document.getElementById("pager");
  const root = document.body.dataset.root;
  const { shown, reasons, titles } = window.saeTable;
  const statistics = new Map(window.saeTable.statistics.map(([name, heading, format, meaning]) => [name, { heading, format, meaning }]));
  const [numbers, labels, notable, category, density] = ["feature", "label", "notable", "category", "density"].map(window.saeColumn);
  const group = window.saeColumn("label_group");
  // What a reader sees first: the clearest features, then the other notable ones. There is no column if that is the order
  // of the numbers.
  const first = window.saeTable.first ? window.saeColumn("first") : numbers;
  const begin = first === numbers ? "feature" : "first";
  const placeOf = new Map(numbers.map((number, place) => [number, place]));
  const lowerLabels = labels.map((label) => label.toLowerCase());

  function make(tag, className, ...content) {
    const made = Object.assign(document.createElement(tag), { className });
    made.append(...content);
    return made;
  }

  // The state. The address has only what differs from the defaults.
  const BEGIN = { q: "", reason: "", kind: "", category: "", density: "", sort: "", dir: "up", columns: shown.join(), page: 1 };
  let state;
  const sort = () => state.sort || (state.q ? "match" : begin);
  // The columns shown: the number, the chosen ones, and the one that is sorted by.
  const columns = () => [...new Set(["feature", ...state.columns.split(","), sort()])].filter((name) => statistics.has(name));
  const upFirst = (name) => !statistics.has(name) || name === "feature";

  function readState() {
    const given = new URLSearchParams(location.search);
    state = Object.fromEntries(Object.entries(BEGIN).map(([key, begin]) => [key, given.get(key) ?? begin]));
    state.page = Number(state.page) || 1;
    if (!statistics.has(state.sort) && !["first", "label", "match"].includes(state.sort)) state.sort = "";
  }

  // A change by the reader returns to the first page, and the browser's back button undoes it.
  function change(given, typing = false) {
    state = { ...state, page: 1, ...given };
    state.columns = columns().join();
    const query = new URLSearchParams(Object.entries(state).filter(([key, value]) => value !== BEGIN[key])).toString();
    history[typing ? "replaceState" : "pushState"](null, "", query ? `?${query}` : location.pathname);
    return show();
  }

  // All indices in the order of one column; each order is made once. Missing values come last in both directions.
  const orders = new Map();
  function order(key, dir) {
    const name = `${key} ${dir}`;
    if (!orders.has(name)) {
      const column = { first, label: lowerLabels }[key] ?? window.saeColumn(key);
      const way = dir === "down" ? -1 : 1;
      const compare = (x, y) => x === null ? 1 : y === null ? -1 : x < y ? -way : way;
      orders.set(name, [...numbers.keys()].sort((a, b) => column[a] === column[b] ? a - b : compare(column[a], column[b])));
    }
    return orders.get(name);
  }

  // The indices of the rows that match every filter, in the chosen order.
  function select() {
    // A feature without a page is not in the table.
    const best = state.q.trim() ? window.saeFind(state.q).map((number) => placeOf.get(number)).filter((place) => place !== undefined) : null;
    const answers = new Set(best);
    const isWanted = (reason) => state.reason === "any" || reason === state.reason || reason.startsWith(`${state.reason}:`);
    const wanted = new Set(Object.keys(reasons).filter((name) => reasons[name].some(isWanted)));
    const [from, to] = state.density.split("-").map(Number);
    const all = sort() !== "match" ? order(sort(), state.dir) : best ?? order(begin, "up");
    return all.filter((place) => (!best || answers.has(place))
      && (!state.reason || wanted.has(notable[place]))
      && (!state.kind || group[place] === state.kind)
      && (!state.category || category[place] === state.category)
      && (!state.density || (density[place] >= from && (!to || density[place] < to))));
  }

  function line(place) {
    const number = numbers[place];
    const link = Object.assign(make("a", "f", number), { href: `${number}.html` });
    const row = make("tr", "", Object.assign(make("th", "", link), { scope: "row" }), make("td", "words", labels[place]));
    row.id = `f${number}`;
    if (location.hash === `#${row.id}`) row.className = "here";
    for (const name of columns().slice(1)) {
      row.append(make("td", "", window.saeFormats[statistics.get(name).format](window.saeColumn(name)[place])));
    }
    const kinds = new Set(reasons[notable[place]].map((reason) => reason.split(":")[0]));
    row.append(make("td", "words", [...kinds].join(", ")), make("td", "words", titles[category[place]] ?? ""));
    return row;
  }

  function heading(name, words, meaning) {
    const button = Object.assign(make("button", "", words), { type: "button", title: meaning });
    button.addEventListener("click", () => {
      const turned = state.dir === "up" ? "down" : "up";
      change({ sort: name, dir: sort() === name ? turned : upFirst(name) ? "up" : "down" });
    });
    const head = Object.assign(make("th", name === "label" ? "words" : "", button), { scope: "col" });
    head.dataset.key = name;
    return head;
  }

  function showHead() {
    const row = table.tHead.rows[0];
    // Only if the columns have changed, so that a pressed heading keeps the focus.
    if (row.dataset.columns !== columns().join()) {
      const heads = columns().map((name) => heading(name, statistics.get(name).heading, statistics.get(name).meaning));
      heads.splice(1, 0, heading("label", "Label", "Automatic label, made from the data alone."));
      const last = KINDS_AND_CATEGORY.map((words) => Object.assign(make("th", "words", words), { scope: "col" }));
      row.replaceChildren(...heads, ...last);
      row.dataset.columns = columns().join();
    }
    for (const head of row.querySelectorAll("[data-key]")) {
      if (head.dataset.key === sort()) head.setAttribute("aria-sort", state.dir === "down" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  // Scrolls the sorted column into view if the table is wider than the screen; the first column stays in place.
  function showSorted() {
    const head = table.tHead.querySelector("[aria-sort]");
    if (!head || head.cellIndex === 0) return;
    const box = table.parentElement;
    const [at, frame, first] = [head, box, table.tHead.rows[0].cells[0]].map((element) => element.getBoundingClientRect());
    box.scrollLeft += Math.max(0, at.right - frame.right) - Math.max(0, first.right - at.left);
  }

  function showPager(pages) {
    const pressed = pager.contains(document.activeElement) ? document.activeElement.textContent : "";
    const step = (words, page) => {
      const button = Object.assign(make("button", "", words), { type: "button", disabled: page < 1 || page > pages });
      if (words === page && page === state.page) button.setAttribute("aria-current", "page");
      button.addEventListener("click", () => change({ page }).then(() => table.scrollIntoView()));
      return button;
    };
    const near = Array.from({ length: pages }, (_, i) => i + 1).filter((n) => n === 1 || n === pages || Math.abs(n - state.page) < 3);
    const steps = near.flatMap((n, i) => i && n - near[i - 1] > 1 ? [make("span", "", "…"), step(n, n)] : [step(n, n)]);
    pager.replaceChildren(...(pages > 1 ? [step("Previous", state.page - 1), ...steps, step("Next", state.page + 1)] : []));
    [...pager.children].find((button) => button.textContent === pressed)?.focus({ preventScroll: true });
  }

  function showFilters() {
    for (const input of filters.querySelectorAll("[name]")) input.value = input.name === "sort" ? sort() : state[input.name];
    for (const box of filters.querySelectorAll("[type=checkbox]")) box.checked = columns().includes(box.value);
    filters.querySelector(".found").textContent = `${rows.length.toLocaleString("en")} of ${numbers.length.toLocaleString("en")} ${numbers.length === 1 ? "feature" : "features"}`;
  }

  function nothing() {
    const cell = make("td", "words", "No feature matches all filters. Remove a filter, use fewer words, or press Clear.");
    cell.colSpan = table.tHead.rows[0].cells.length;
    return make("tr", "", cell);
  }

  // The search index is large, so it is loaded when the first word is typed.
  const loadIndex = () => window.saeLoad(`${root}assets/search.js`).then(() => window.saeLoad(`${root}search-index.js`));

  let rows = [];
  async function show() {
    if (state.q.trim()) await loadIndex();
    rows = select();
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    state.page = Math.min(Math.max(1, state.page), pages);
    showHead();
    const page = rows.slice((state.page - 1) * PAGE, state.page * PAGE);
    table.tBodies[0].replaceChildren(...(page.length ? page.map(line) : [nothing()]));
    showFilters();
    showPager(pages);
    table.dispatchEvent(new CustomEvent("saeshown", { detail: () => rows.map((place) => numbers[place]) }));
    // Last, because what others add to the rows makes columns wider.
    showSorted();
  }

  // What a spreadsheet would run as a formula gets an apostrophe in front, as in the data files.
  const RUNS = /^(?:['\t\r\n]|[^\p{L}\p{N}]*?[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212])/u;
  const guarded = (cell) => (typeof cell === "string" && RUNS.test(cell) ? `'${cell}` : String(cell ?? ""));

  // All columns of the matching rows, in their order, as a CSV file.
  function download() {
    const names = Object.keys(window.saeTable.values);
    const all = names.map(window.saeColumn);
    const quoted = (text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    const lines = [names, ...rows.map((place) => all.map((column) => quoted(guarded(column[place]))))];
    const url = URL.createObjectURL(new Blob([`${lines.map((cells) => cells.join(",")).join("\n")}\n`], { type: "text/csv" }));
    Object.assign(document.createElement("a"), { href: url, download: "features.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // Parts of the page that the script fills in: every statistic to sort by, and to show as a column.
  function offer() {
    // Lists that are too long for each page of the static table.
    for (const [name, values] of Object.entries(window.saeTable.options ?? {})) {
      filters.querySelector(`[name=${name}]`).append(...values.map(([value, words]) => new Option(words, value)));
    }
    const sorts = filters.querySelector("[name=sort]");
    if (begin === "first") sorts.append(new Option("Clearest first", "first"));
    sorts.append(new Option("Best match", "match"), new Option("Label", "label"));
    for (const [name, { heading: words, meaning }] of statistics) {
      sorts.append(new Option(words, name));
      if (name === "feature") continue;
      const box = Object.assign(make("input", ""), { type: "checkbox", value: name });
      box.addEventListener("change", () => {
        const others = columns().filter((other) => other !== name);
        change({ columns: (box.checked ? [...others, name] : others).join() });
      });
      filters.querySelector(".offered").append(make("label", "", box, make("span", "", make("b", "", words), " ", meaning)));
    }
  }

  // A link to a row, such as from a feature's reasons, may be to another page of the table.
  async function goToLinkedRow() {
    const place = numbers.indexOf(Number(location.hash.replace("#f", "")));
    const at = location.hash.startsWith("#f") ? rows.indexOf(place) : -1;
    if (at < 0) return;
    state.page = Math.floor(at / PAGE) + 1;
    await show();
    document.getElementById(location.hash.slice(1)).scrollIntoView({ block: "center" });
  }

  offer();
  for (const input of filters.querySelectorAll("[name]")) {
    input.addEventListener("input", () => {
      const order = input.name === "sort" ? { dir: upFirst(input.value) ? "up" : "down" } : {};
      change({ [input.name]: input.value, ...order }, input.name === "q");
    });
  }
  filters.querySelector(".clear").addEventListener("click", () => change({ ...BEGIN }));
  filters.querySelector(".download").addEventListener("click", download);
  const arrive = () => {
    readState();
    return show();
  };
  window.addEventListener("popstate", arrive);
  arrive().then(goToLinkedRow);
})();
