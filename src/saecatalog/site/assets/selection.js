// Selecting features in the table: quick lists of Neuronpedia, and the code of embeds. The selection stays while the
// table is sorted, filtered and paged. The table's script announces each view with the event "saeshown", whose detail is
// a function that returns the numbers of all matching features in their order.
(() => {
  const QUICK_LIST_MOST = 150; // Neuronpedia shows nothing for longer lists
  const table = document.getElementById("table");
  const { title, neuronpedia, embeds, embedded } = window.saeTable.selection;
  const [model, source] = neuronpedia.split(/\/(.*)/s);
  const withEmbed = embedded === null ? null : new Set(embedded ? embedded.split(",").map(Number) : []);
  // Pages from a web server know the address that a catalog built without `base_url` does not.
  const folder = /^https?:/.test(embeds) || !/^https?:/.test(location.protocol) ? embeds : new URL(".", location.href).href;
  const selected = new Set();
  let matching = () => [];

  const bar = Object.assign(document.createElement("div"), { className: "selection" });
  const count = Object.assign(document.createElement("p"), { className: "selected" });
  const said = document.createElement("p");
  said.setAttribute("role", "status");

  const plural = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;

  // The selected features in the order of the table, then those that the filters hide, by number.
  function chosen() {
    const shown = matching().filter((number) => selected.has(number));
    const seen = new Set(shown);
    return [...shown, ...[...selected].filter((number) => !seen.has(number)).sort((a, b) => a - b)];
  }

  function quickList(numbers) {
    // Neuronpedia compares the index as a string.
    const features = numbers.map((number) => ({ modelId: model, layer: source, index: String(number) }));
    return `https://www.neuronpedia.org/quick-list/?name=${encodeURIComponent(title)}&features=${encodeURIComponent(JSON.stringify(features))}`;
  }

  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const frame = (address, words) => `<iframe src="${escaped(address)}" title="${words}" width="640" height="600"></iframe>`;
  const theirFrame = (number) => frame(`https://www.neuronpedia.org/${neuronpedia.split("/").map(encodeURIComponent).join("/")}/${number}?embed=true&embedexplanation=true&embedplots=true`, `Feature ${number} on Neuronpedia`);
  const ourFrame = (number) => frame(`${folder}${number}.embed.html`, `Feature ${number}`);

  // Does something with the selected features, and says what was done, or why not.
  async function act(work) {
    said.textContent = "";
    const numbers = chosen();
    said.textContent = numbers.length ? await work(numbers) : "Select a feature first.";
  }

  async function copy(text, done) {
    try {
      await navigator.clipboard.writeText(text);
      return done;
    } catch {
      return "Not copied: the browser does not let this page use the clipboard.";
    }
  }

  const tooMany = (numbers) => numbers.length > QUICK_LIST_MOST
    && `A quick list holds at most ${QUICK_LIST_MOST} features, and ${numbers.length.toLocaleString("en")} are selected. Nothing was done: select fewer.`;

  function open(numbers) {
    window.open(quickList(numbers), "_blank", "noopener");
    return `Opened a quick list of ${plural(numbers.length, "feature")}.`;
  }

  function copyOurs(numbers) {
    const there = numbers.filter((number) => !withEmbed || withEmbed.has(number));
    const without = numbers.length - there.length;
    const rest = without ? ` ${plural(without, "feature")} without an embed left out.` : "";
    return there.length ? copy(there.map(ourFrame).join("\n"), `Copied ${plural(there.length, "embed")}.${rest}`) : `Nothing to copy.${rest}`;
  }

  function button(words, work) {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: words });
    made.addEventListener("click", work);
    return made;
  }

  const all = button("", () => {
    for (const number of matching()) selected.add(number);
    show();
  });
  const none = button("Clear selection", () => {
    selected.clear();
    show();
  });
  const ours = button("Copy embed code", () => act(copyOurs));
  const theirs = neuronpedia ? [
    button("Copy Neuronpedia quick list", () => act((numbers) => tooMany(numbers) || copy(quickList(numbers), `Copied a quick list of ${plural(numbers.length, "feature")}.`))),
    button("Open quick list", () => act((numbers) => tooMany(numbers) || open(numbers))),
    button("Copy Neuronpedia embed code", () => act((numbers) => copy(numbers.map(theirFrame).join("\n"), `Copied ${plural(numbers.length, "embed")} of Neuronpedia.`))),
  ] : [];

  // A box in each row that is shown, and the count.
  function show() {
    said.textContent = "";
    const numbers = matching();
    all.textContent = `Select all ${numbers.length.toLocaleString("en")}`;
    all.disabled = numbers.every((number) => selected.has(number));
    count.textContent = `${plural(selected.size, "feature")} selected`;
    for (const control of [none, ours, ...theirs]) control.disabled = !selected.size;
    for (const head of table.querySelectorAll("tbody th")) {
      const number = Number(head.parentElement.id.slice(1));
      const box = head.querySelector("input") ?? Object.assign(document.createElement("input"), { type: "checkbox" });
      box.setAttribute("aria-label", `Select feature ${number}`);
      box.checked = selected.has(number);
      box.onchange = () => {
        selected[box.checked ? "add" : "delete"](number);
        show();
      };
      if (!box.isConnected) head.prepend(box);
    }
  }

  bar.append(count, all, none, ours, ...theirs, said);
  document.getElementById("filters").after(bar);
  table.addEventListener("saeshown", (event) => {
    matching = event.detail;
    show();
  });
})();
