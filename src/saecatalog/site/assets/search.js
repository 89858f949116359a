// Full-text search over the features. Every term of a query must occur in some field of a feature, in any order, or the
// feature must respond to a category or concept that the query names. search-index.js calls saeSearchData. saeFind
// returns the numbers of the features found, best first; the features table uses it too. saeSearch shows results under
// the search box as the reader types. In a catalog of a wide dictionary, the index has only features with a page and those
// that stand for a category or concept; the others are added as soon as search_parts.js has found them.
(() => {
  const MOST = 12;
  const GROUPS = 4;
  const PAUSE = 120; // milliseconds after a letter before parts are loaded for it
  // What a match is worth by field, times 1 for a whole word, BEGINS if it begins one, INSIDE if it is inside one.
  const WORTH = { label: 8, tokens: 4, names: 4, subjects: 1.5, note: 4, explanation: 3, examples: 1 };
  const BEGINS = 0.45;
  const INSIDE = 0.2;
  const ORDERED = new Set(["label", "tokens", "names"]); // a match at the end is worth three quarters of one at the beginning
  const NUMBER = 2; // the first digits of a feature's number
  const TOGETHER = 0.5; // words that occur together as typed, relative to the best of them
  const RESPONDS = 8; // the feature that tells most of a category or concept with the name
  const BITS = 8; // a match counts in full if the feature is active on one of 256 tokens, or fewer
  let data = null;

  // Texts are joined by line breaks, which is far faster to read than a list of strings.
  window.saeSearchData = (given) => {
    const fields = Object.entries(given.fields).map(([name, text]) => {
      const lowerText = text.toLowerCase();
      return { shown: text.split("\n"), lowerText, lower: lowerText.split("\n"), worth: WORTH[name], ordered: ORDERED.has(name) };
    });
    const groups = given.groups.map(([title, page, kind, words, strengths]) => (
      { title, page, kind, names: wordsOf(title), words: wordsOf(words), strengths: new Map(strengths) }
    ));
    const rows = new Set(given.rows);
    data = { ...given, fields, groups, rows, figures: given.figures.split("\n"), words: given.words.split(" ") };
  };

  const wordsOf = (text) => text.toLowerCase().match(/[\p{L}\p{N}\p{M}_]+/gu) ?? [];
  const isWord = (sign) => sign !== undefined && /[\p{L}\p{N}_]/u.test(sign);

  function grade({ ordered }, text, term, first) {
    let [best, place] = [INSIDE, first];
    for (let at = first; at >= 0 && best < 1; at = text.indexOf(term, at + 1)) {
      if (isWord(text[at]) && isWord(text[at - 1])) continue;
      const found = isWord(text[at + term.length]) && isWord(term.at(-1)) ? BEGINS : 1;
      if (found > best) [best, place] = [found, at];
    }
    return ordered ? best * (1 - place / text.length / 4) : best;
  }

  // The best match of a term in the fields of a feature; 0 is no match.
  function worth(place, term) {
    let best = 0;
    for (const field of data.fields) {
      if (field.worth <= best) continue;
      const text = field.lower[place];
      const at = text.indexOf(term);
      if (at >= 0) best = Math.max(best, field.worth * grade(field, text, term, at));
    }
    return best;
  }

  // What the fields of a feature say to all terms; 0 if they lack one.
  function matched(place, terms, whole) {
    const number = String(data.numbers[place]);
    if (number === whole) return Number.MAX_VALUE;
    let sum = 0;
    for (const term of terms) {
      const found = Math.max(worth(place, term), number.startsWith(term) ? NUMBER : 0);
      if (!found) return 0;
      sum += found;
    }
    if (terms.length > 1) sum += TOGETHER * terms.length * worth(place, whole);
    return sum / terms.length;
  }

  // Whether two words begin alike for three quarters of their length, as "negative" and "negation" do.
  function isKin(a, b) {
    const most = Math.max(a.length, b.length);
    const same = a.slice(0, Math.ceil(most * 0.75));
    return Math.min(a.length, b.length) > 4 && b.startsWith(same) && a.startsWith(same);
  }

  // How well a term names a group: 1 for a word of its title, less for part of one, or for a word that its texts share.
  function names(group, term) {
    if (group.names.includes(term)) return 1;
    if (term.length > 2 && group.names.some((name) => name.startsWith(term) || isKin(name, term))) return 0.8;
    if (group.words.includes(term)) return 0.5;
    return term.length > 3 && group.words.some((word) => word.startsWith(term) || isKin(word, term)) ? 0.3 : 0;
  }

  // The groups that all terms name, best first, and how well.
  function named(query) {
    const terms = wordsOf(query);
    const graded = data.groups.map((group) => ({ group, worth: Math.min(...terms.map((term) => names(group, term))) }));
    return terms.length ? graded.filter(({ worth }) => worth > 0).sort((a, b) => b.worth - a.worth) : [];
  }

  const termsOf = (query) => query.split(/\s+/).filter(Boolean);
  const plain = (query) => query.trim().toLowerCase().replace(/^#(?=\d+$)/, "");

  // One search through a whole field is far faster than one in each feature's text.
  const isKnown = (term) => /^\d+$/.test(term) || data.fields.some(({ lowerText }) => lowerText.includes(term));

  const bestFirst = (found) => found.sort((a, b) => (a.score === b.score ? a.number - b.number : b.score - a.score));

  // All features that match a query, best first, with their places in the index; equal scores are ordered by number.
  function matches(query, groups) {
    const terms = termsOf(query);
    const whole = terms.join(" ");
    const isWritten = terms.every(isKnown);
    const found = [];
    for (let place = 0; place < data.numbers.length; place++) {
      const number = data.numbers[place];
      const told = groups.map(({ group, worth }) => worth * (group.strengths.get(number) ?? 0));
      // Features that are active everywhere match most words and say least, so their matches count less.
      const score = ((isWritten ? matched(place, terms, whole) : 0) + RESPONDS * Math.max(0, ...told)) * (0.1 + data.bits[place] / BITS);
      if (score) found.push({ score, number, place });
    }
    return bestFirst(found);
  }

  // One letter added, missing or different, or two adjacent letters swapped.
  function oneSlip(a, b) {
    let i = 0;
    while (i < a.length && a[i] === b[i]) i++;
    const rest = (text, from) => text.slice(i + from);
    return rest(a, 1) === rest(b, 1) || rest(a, 0) === rest(b, 1) || rest(a, 1) === rest(b, 0)
      || (a[i] === b[i + 1] && a[i + 1] === b[i] && rest(a, 2) === rest(b, 2));
  }

  // An unknown word without its ending, as far as it is then known: "polite" for "politeness".
  function shortened(term) {
    for (let length = term.length - 1; length >= Math.max(5, term.length * 0.6); length--) {
      if (isKnown(term.slice(0, length))) return term.slice(0, length);
    }
    return "";
  }

  // A query with each unknown word replaced by the most frequent word that is one slip away, or by its beginning.
  function mended(query) {
    const near = (term) => /^\p{L}{4,}$/u.test(term) && !isKnown(term) && !data.words.includes(term)
      && (data.words.find((word) => oneSlip(term, word)) || shortened(term));
    return termsOf(query).map((term) => near(term) || term).join(" ");
  }

  // { query, groups, found }: what the index itself has for a query.
  function look(query) {
    const groups = named(query);
    return { query, groups, found: matches(query, groups) };
  }

  const isEmpty = ({ groups, found }) => !found.length && !groups.length;

  // The same for the query that was used: corrected if the original found nothing.
  function find(query) {
    const found = look(query);
    const other = isEmpty(found) && data.numbers.length ? mended(query) : query;
    return other === query ? found : find(other);
  }
  window.saeFind = (query) => find(plain(query)).found.map(({ number }) => number);

  // The same with the features in the parts: the first of these with what is shown of them, and the words cut `short`.
  async function findAll(query, parts) {
    const here = look(query);
    const listed = new Set(data.numbers);
    const more = await parts.find(termsOf(query), listed, data.size);
    const found = bestFirst([...here.found, ...more.found]);
    const other = isEmpty({ ...here, found }) ? mended(query) : query;
    if (other !== query) return findAll(other, parts);
    const first = found.slice(0, MOST);
    const shown = await parts.describe(first.filter(({ place }) => place === undefined).map(({ number }) => number));
    for (const one of first) Object.assign(one, shown.get(one.number));
    return { ...here, found, short: more.short };
  }

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

  // If the label does not show why a feature was found: the text around the match in the first field that does, or the
  // group that it responds to.
  function because(place, terms, groups) {
    const [label, ...others] = data.fields;
    for (const words of [terms.join(" "), ...terms]) {
      if (label.lower[place].includes(words)) return "";
      const field = others.find(({ lower }) => lower[place].includes(words));
      if (!field) continue;
      const text = field.shown[place];
      const start = text.lastIndexOf(" ", field.lower[place].indexOf(words) - 30) + 1;
      const end = text.indexOf(" ", start + 90);
      return `${start ? "…" : ""}${text.slice(start, end < 0 ? undefined : end)}${end < 0 ? "" : "…"}`;
    }
    const responds = groups.find(({ group }) => group.strengths.has(data.numbers[place]));
    return responds ? `${responds.group.kind}: ${responds.group.title}` : "";
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

  function feature({ number, place, label, figures }, terms, groups, root) {
    const words = make("span", "", marked(label ?? data.fields[0].shown[place], terms));
    const why = place === undefined ? "" : because(place, terms, groups);
    if (why) words.append(make("small", "", marked(why, terms)));
    words.append(make("small", "", figures ?? data.figures[place]));
    const page = hasPage({ number, place }) ? `features/${number}.html` : `row.html?feature=${number}`;
    return option(root + page, make("b", "", marked(String(number), terms)), words);
  }

  const hasPage = ({ number, place }) => place !== undefined && !data.rows.has(number);

  // A number that is not in the index is that of a silent feature without a page, or of none.
  function unlisted(query, root) {
    if (Number(query) >= data.size) return { said: `This SAE has ${data.size.toLocaleString("en")} features.`, options: [] };
    const words = make("span", "", "never active on these texts");
    return { said: "", options: [option(`${root}row.html?feature=${Number(query)}`, make("b", "", query), words)] };
  }

  // The response to a query: a line about it, and the options. `isWhole` says that no part is left to search.
  function answer(given, { query, groups, found, short = [] }, isWhole, root) {
    const terms = termsOf(query);
    const exact = found.length && String(found[0].number) === query;
    const other = isWhole && !exact && /^(0|[1-9]\d*)$/.test(given) ? unlisted(given, root) : { said: "", options: [] };
    const features = found.slice(0, MOST).map((one) => feature(one, terms, groups, root));
    const subjects = groups.slice(0, GROUPS)
      .map(({ group }) => option(root + group.page, make("b", "", marked(group.title, terms)), make("span", "", group.kind)));
    const options = [...other.options, ...(exact ? [...features, ...subjects] : [...subjects, ...features])];
    const inTable = found.filter(hasPage).length;
    const inside = `${root}features/index.html?q=${encodeURIComponent(query)}`;
    const many = inTable.toLocaleString("en");
    if (data.parts && inTable && found.length > MOST) options.push(option(inside, `Show those with a page in the table: ${many}`));
    else if (inTable > MOST) options.push(option(inside, `Show all ${many} in the table`));
    const count = found.length === 1 ? "1 feature" : `${found.length.toLocaleString("en")} features, best first`;
    const said = [
      other.said,
      query !== given && `No results for “${given}”. Showing results for “${query}”.`,
      short.length && `Only whole words “${short.join("”, “")}”; type more letters for longer words.`,
      found.length && (isWhole ? count : `${count}; searching further …`),
      !found.length && !isWhole && "Searching further …",
      !found.length && isWhole && !options.length && !other.said && "No results.",
    ];
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

    function put({ line: words, options }) {
      line.textContent = words;
      list.replaceChildren(...options);
    }

    function show() {
      const query = plain(box.value);
      asked += 1;
      open(!!query);
      if (!query) return;
      put(answer(query, data.parts ? look(query) : find(query), !data.parts, root));
      choose(0);
      if (data.parts) showParts(query, asked);
    }

    // What the parts add, unless the reader has typed on since.
    let asked = 0;
    let parts = null;
    async function showParts(query, mine) {
      await new Promise((done) => setTimeout(done, PAUSE));
      if (mine !== asked) return;
      try {
        await window.saeLoad(`${root}assets/search_parts.js`);
        if (!parts) {
          parts = await window.saeOpenParts(root);
          data.words = [...new Set([...data.words, ...parts.frequent])];
        }
        const found = await findAll(query, parts);
        if (mine === asked) put(answer(query, found, true, root));
      } catch (error) {
        if (mine === asked) line.textContent = `Only features with a page were searched: ${error.message}.`;
      }
      if (mine === asked) choose(chosen);
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
