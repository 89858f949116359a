// Full-text search over the features: every term of a query must occur in some field of a feature, in any order.
// search-index.js calls saeSearchData. saeFind returns the indices of the results among the features with a page, best
// first; the features table uses it too. saeSearch shows results under the search box as the reader types.
(() => {
  const MOST = 12;
  const TIER = 3; // a field weighs this much more than the next, so that a whole word in it never beats a match in an earlier one
  let data = null;

  // Texts are joined by line breaks, which is far faster to read than a list of strings.
  window.saeSearchData = (given) => {
    const fields = Object.values(given.fields).map((text, i, all) => {
      const lowerText = text.toLowerCase();
      return { shown: text.split("\n"), lowerText, lower: lowerText.split("\n"), worth: TIER ** (all.length - 1 - i), long: i === all.length - 1 };
    });
    data = { ...given, fields, words: given.words.split(" ") };
  };

  const isWord = (sign) => sign !== undefined && /[\p{L}\p{N}_]/u.test(sign);

  // 2 if the term is a whole word, 1.5 if it begins one, 1 if it is inside one.
  function grade(text, term, at) {
    let best = 1;
    for (; at >= 0 && best < 2; at = text.indexOf(term, at + 1)) {
      if (isWord(text[at]) && isWord(text[at - 1])) continue;
      best = isWord(text[at + term.length]) && isWord(term.at(-1)) ? 1.5 : 2;
    }
    return best;
  }

  // The weight of a term for a feature, by the first field that contains it; 0 is no match.
  function worth(place, term) {
    for (const field of data.fields) {
      const text = field.lower[place];
      const at = text.indexOf(term);
      if (at >= 0) return field.worth * (field.long ? 1 : grade(text, term, at));
    }
    return 0;
  }

  function score(place, terms, whole) {
    const number = String(data.numbers[place]);
    if (number === whole) return Infinity;
    let sum = 0;
    for (const term of terms) {
      const found = Math.max(worth(place, term), number.startsWith(term) ? data.fields[0].worth : 0);
      if (!found) return 0;
      sum += found;
    }
    // Words that occur together as typed beat the same words apart.
    return terms.length > 1 ? sum + worth(place, whole) * data.fields[0].worth * TIER : sum;
  }

  const termsOf = (query) => query.split(/\s+/).filter(Boolean);
  const plain = (query) => query.trim().toLowerCase().replace(/^#(?=\d+$)/, "");

  // One search through a whole field is far faster than one in each feature's text.
  const isKnown = (term) => /^\d+$/.test(term) || data.fields.some(({ lowerText }) => lowerText.includes(term));

  // The indices of all features that match a query, best first; equal scores are ordered by number.
  function places(query) {
    const terms = termsOf(query);
    if (!terms.every(isKnown)) return [];
    const whole = terms.join(" ");
    const byScore = new Map();
    for (let place = 0; place < data.numbers.length; place++) {
      const found = score(place, terms, whole);
      if (found) byScore.has(found) ? byScore.get(found).push(place) : byScore.set(found, [place]);
    }
    return [...byScore.keys()].sort((a, b) => b - a).flatMap((found) => byScore.get(found));
  }

  // One letter added, missing or different, or two adjacent letters swapped.
  function oneSlip(a, b) {
    let i = 0;
    while (i < a.length && a[i] === b[i]) i++;
    const rest = (text, from) => text.slice(i + from);
    return rest(a, 1) === rest(b, 1) || rest(a, 0) === rest(b, 1) || rest(a, 1) === rest(b, 0)
      || (a[i] === b[i + 1] && a[i + 1] === b[i] && rest(a, 2) === rest(b, 2));
  }

  // A query with each unknown word replaced by the most frequent word that is one slip away.
  function mended(query) {
    const near = (term) => /^\p{L}{4,}$/u.test(term) && !isKnown(term) && data.words.find((word) => oneSlip(term, word));
    return termsOf(query).map((term) => near(term) || term).join(" ");
  }

  // { query, places }: the query that was used (corrected if the original found nothing) and its results.
  function find(query) {
    const found = places(query);
    if (found.length || !data.numbers.length) return { query, places: found };
    const other = mended(query);
    return other === query ? { query, places: found } : { query: other, places: places(other) };
  }
  window.saeFind = (query) => find(plain(query)).places;

  // A text with the terms marked, as nodes; markup in the text stays text.
  function marked(text, terms) {
    const parts = document.createDocumentFragment();
    const lower = text.toLowerCase();
    let at = 0;
    while (at < text.length && lower.length === text.length) {
      const hits = terms.map((term) => [lower.indexOf(term, at), term.length]).filter(([start]) => start >= 0);
      if (!hits.length) break;
      const [start, length] = hits.sort((a, b) => a[0] - b[0] || b[1] - a[1])[0];
      parts.append(text.slice(at, start), Object.assign(document.createElement("mark"), { textContent: text.slice(start, start + length) }));
      at = start + length;
    }
    parts.append(text.slice(at));
    return parts;
  }

  // If the label does not show why a feature was found: the text around the match in the first field that does.
  function because(place, terms) {
    const [label, ...others] = data.fields;
    for (const words of [terms.join(" "), ...terms]) {
      const field = !label.lower[place].includes(words) && others.find(({ lower }) => lower[place].includes(words));
      if (!field) continue;
      const text = field.shown[place];
      const start = text.lastIndexOf(" ", field.lower[place].indexOf(words) - 30) + 1;
      const end = text.indexOf(" ", start + 90);
      return `${start ? "…" : ""}${text.slice(start, end < 0 ? undefined : end)}${end < 0 ? "" : "…"}`;
    }
    return "";
  }

  function make(tag, className, ...content) {
    const made = Object.assign(document.createElement(tag), { className });
    made.append(...content);
    return made;
  }

  function option(href, ...content) {
    const made = make("a", "", ...content);
    made.href = href;
    made.tabIndex = -1;
    made.setAttribute("role", "option");
    return made;
  }

  function feature(place, terms, root) {
    const number = data.numbers[place];
    const words = make("span", "", marked(data.fields[0].shown[place], terms));
    const why = because(place, terms);
    if (why) words.append(make("small", "", marked(why, terms)));
    return option(`${root}features/${number}.html`, make("b", "", marked(String(number), terms)), words);
  }

  // A number without a page here also gets an answer.
  function elsewhere(query) {
    if (!/^\d+$/.test(query)) return "";
    return Number(query) < data.size ? `Feature ${query} has no page here.` : `This SAE has ${data.size.toLocaleString("en")} features.`;
  }

  // The response to a query: a line about it, and the options.
  function answer(given, root) {
    const { query, places: found } = find(given);
    const terms = termsOf(query);
    const exact = found.length && String(data.numbers[found[0]]) === query;
    const features = found.slice(0, MOST).map((place) => feature(place, terms, root));
    const groups = data.groups.filter(([title]) => terms.every((term) => title.toLowerCase().includes(term))).slice(0, 4)
      .map(([title, page, kind]) => option(root + page, make("b", "", marked(title, terms)), make("span", "", kind)));
    const options = exact ? [...features, ...groups] : [...groups, ...features];
    const missing = exact ? "" : elsewhere(given);
    if (missing && data.outside && Number(given) < data.size) {
      const link = option(data.outside + given, make("b", "", given), make("span", "", "no page here; on Neuronpedia"));
      link.rel = "external";
      options.unshift(link);
    }
    if (found.length > MOST) options.push(option(`${root}features/index.html?q=${encodeURIComponent(query)}`, `Show all ${found.length.toLocaleString("en")} in the table`));
    const count = found.length === 1 ? "1 feature" : `${found.length.toLocaleString("en")} features, best first`;
    const said = [missing, query !== given && `No results for “${given}”. Showing results for “${query}”.`, found.length ? count : !options.length && !missing && "No results."];
    return { line: said.filter(Boolean).join(" "), options };
  }

  window.saeSearch = (box, root) => {
    const list = make("div", "");
    list.id = "results";
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Search results");
    const line = make("p", "");
    line.setAttribute("role", "status");
    const panel = make("div", "results", line, list);
    panel.hidden = true;
    const widget = { role: "combobox", "aria-controls": "results", "aria-expanded": "false", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false" };
    for (const [name, value] of Object.entries(widget)) box.setAttribute(name, value);
    box.parentElement.append(panel);
    let chosen = 0;

    function choose(place) {
      chosen = Math.max(0, Math.min(list.children.length - 1, place));
      [...list.children].forEach((entry, i) => {
        entry.setAttribute("aria-selected", String(i === chosen));
        entry.id = `result-${i}`;
      });
      list.children[chosen]?.scrollIntoView({ block: "nearest" });
      if (list.children.length) box.setAttribute("aria-activedescendant", `result-${chosen}`);
      else box.removeAttribute("aria-activedescendant");
    }

    function open(wanted) {
      panel.hidden = !wanted;
      box.setAttribute("aria-expanded", String(wanted));
      if (!wanted) box.removeAttribute("aria-activedescendant");
    }

    function show() {
      const query = plain(box.value);
      open(!!query);
      if (!query) return;
      const { line: words, options } = answer(query, root);
      line.textContent = words;
      list.replaceChildren(...options);
      choose(0);
    }

    const steps = { ArrowDown: () => chosen + 1, ArrowUp: () => chosen - 1, Home: () => 0, End: () => list.children.length - 1 };
    box.addEventListener("input", show);
    box.addEventListener("focus", show);
    box.addEventListener("keydown", (event) => {
      if (event.key in steps && !panel.hidden) {
        event.preventDefault();
        choose(steps[event.key]());
      } else if (event.key === "Enter" && !panel.hidden) {
        list.children[chosen]?.click();
      } else if (event.key === "Escape") {
        box.value = "";
        open(false);
        box.blur();
      }
    });
    box.addEventListener("blur", () => open(false));
    // The box keeps the focus while a result is clicked, so that the list stays open.
    panel.addEventListener("mousedown", (event) => event.preventDefault());
    show();
  };
})();
