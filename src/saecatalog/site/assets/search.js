// Search over the features: by number, label, token and category; the index is a script that calls saeSearchData.
(() => {
  let data = null;
  const MOST = 12;

  window.saeSearchData = (given) => { data = given; };

  // How well an entry answers: the number itself, then the label, then tokens and categories; 0 is no match.
  function rank([number, , label, words], terms, query) {
    if (String(number) === query) return 1000;
    const text = label.toLowerCase();
    let sum = String(number).startsWith(query) ? 50 : 0;
    for (const term of terms) {
      const inLabel = text.indexOf(term);
      const score = inLabel === 0 ? 20 : inLabel > 0 ? 12 : words.includes(term) ? 6 : 0;
      if (!score && !sum) return 0;
      sum += score;
    }
    return sum;
  }

  function find(query) {
    const terms = query.split(/\s+/).filter(Boolean);
    const found = [];
    for (const entry of data.features) {
      const score = rank(entry, terms, query);
      if (score) found.push([score, entry]);
    }
    found.sort((a, b) => b[0] - a[0] || a[1][0] - b[1][0]);
    const features = found.slice(0, MOST).map(([, [number, page, label]]) => ({ name: number, words: label, page }));
    const groups = data.groups.filter(([title]) => terms.every((term) => title.toLowerCase().includes(term)));
    const named = groups.slice(0, 4).map(([title, page, kind]) => ({ name: title, words: kind, page }));
    return features.length && features[0].name === Number(query) ? [...features, ...named] : [...named, ...features];
  }

  // A number in the dictionary without a page here is worth an answer too.
  function elsewhere(query) {
    if (!/^\d+$/.test(query)) return "Nothing found.";
    return Number(query) < data.size ? `Feature ${query} has no page here.` : `This SAE has ${data.size} features.`;
  }

  function item({ name, words, page }, root) {
    const entry = document.createElement("li");
    entry.setAttribute("role", "option");
    const link = document.createElement("a");
    link.href = /^https:/.test(page) ? page : root + page;
    link.tabIndex = -1;
    link.append(Object.assign(document.createElement("b"), { textContent: name }),
      Object.assign(document.createElement("span"), { textContent: words }));
    entry.append(link);
    return entry;
  }

  window.saeSearch = (box, root) => {
    const list = document.createElement("ul");
    list.className = "results";
    list.id = "results";
    list.hidden = true;
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Search results");
    for (const [name, value] of [["role", "combobox"], ["aria-controls", "results"], ["aria-expanded", "false"], ["aria-autocomplete", "list"], ["autocomplete", "off"], ["spellcheck", "false"]]) {
      box.setAttribute(name, value);
    }
    box.parentElement.append(list);
    let chosen = 0;

    function choose(place) {
      chosen = Math.max(0, Math.min(list.children.length - 1, place));
      [...list.children].forEach((entry, i) => {
        entry.setAttribute("aria-selected", String(i === chosen));
        entry.id = `result-${i}`;
      });
      list.children[chosen]?.scrollIntoView({ block: "nearest" });
      box.setAttribute("aria-activedescendant", `result-${chosen}`);
    }

    function show() {
      const query = box.value.trim().toLowerCase().replace(/^#/, "");
      list.hidden = !query;
      box.setAttribute("aria-expanded", String(!!query));
      if (!query) return;
      const found = find(query);
      const exact = found.some(({ name }) => String(name) === query);
      if (!exact && data.outside && /^\d+$/.test(query) && Number(query) < data.size) {
        found.unshift({ name: query, words: "no page here; on Neuronpedia", page: data.outside + query });
      }
      const nothing = Object.assign(document.createElement("li"), { textContent: elsewhere(query) });
      list.replaceChildren(...(found.length ? found.map((entry) => item(entry, root)) : [nothing]));
      choose(0);
    }

    box.addEventListener("input", show);
    box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
      } else if (event.key === "Enter") {
        list.children[chosen]?.querySelector("a")?.click();
      } else if (event.key === "Escape") {
        box.value = "";
        show();
        box.blur();
      }
    });
    box.addEventListener("blur", () => setTimeout(() => { list.hidden = true; }, 200));
    box.addEventListener("focus", show);
    show();
  };
})();
