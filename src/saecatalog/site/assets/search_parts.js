// The search of a catalog of a wide dictionary, for the features that search-index.js leaves out: search/parts.js says
// which scripts of search/words/ have the words of a query, and search/features/ has what is shown of a feature.
//
// saeOpenParts(root): a promise of { find, describe, frequent }
//
//   find(terms, listed, size)  a promise of { found: [{ score, number }], short }: the features in which every word and
//                              sign of the terms occurs, scored as in search.js. `listed` are the numbers in
//                              search-index.js, `size` is that of the dictionary. Too many words begin like those in
//                              `short`, so they were looked up as whole words only.
//   describe(numbers)          a promise of a Map from number to { label, figures }; a silent feature has no figures
//   frequent                   words to compare a mistyped one with
(() => {
  const BEGINS = 0.45; // as in search.js
  const MOST = 4; // parts with words that begin like a term
  let known = null;
  const words = new Map();
  const features = new Map();
  window.saeSearchParts = (given) => { known = { ...given, first: given.first.split(" ") }; };
  window.saeSearchWords = (place, given) => words.set(place, { words: given.words.split(" "), postings: given.postings.split(" ") });
  window.saeSearchFeatures = (place, given) => features.set(place, { labels: given.labels.split("\n"), figures: given.figures.split("\n") });

  // The first place in a sorted list at which `isAfter` holds.
  function bisect(list, isAfter) {
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isAfter(list[middle])) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // Calls `each(number, worth)` for the features of a word: runs of a level, a count, and steps between numbers.
  function unpack(packed, each) {
    const bytes = atob(packed);
    let at = 0;
    const next = () => {
      let [value, shift] = [0, 0];
      for (;;) {
        const byte = bytes.charCodeAt(at++);
        value |= (byte & 127) << shift;
        if (byte < 128) return value;
        shift += 7;
      }
    };
    while (at < bytes.length) {
      const worth = 2 ** ((next() - 3) / 4);
      let number = 0;
      for (let left = next(); left > 0; left--) each(number += next(), worth);
    }
  }

  const partOf = (word) => Math.max(0, bisect(known.first, (first) => first > word) - 1);

  // What a word, or the words that begin like it, are worth for each feature.
  async function worths(root, word) {
    const [from, to] = [partOf(word), partOf(`${word}\uffff`)];
    const isShort = to - from >= MOST;
    const places = isShort ? [from] : Array.from({ length: to - from + 1 }, (_, i) => from + i);
    await Promise.all(places.map((place) => window.saeLoad(`${root}search/words/${place}.js`)));
    const best = new Map();
    for (const part of places.map((place) => words.get(place))) {
      for (let i = bisect(part.words, (other) => other >= word); part.words[i]?.startsWith(word); i++) {
        if (isShort && part.words[i] !== word) break;
        const share = part.words[i] === word ? 1 : BEGINS;
        unpack(part.postings[i], (number, worth) => best.set(number, Math.max(best.get(number) ?? 0, share * worth)));
      }
    }
    return { word, isShort, best };
  }

  async function describe(root, numbers) {
    const places = [...new Set(numbers.map((number) => Math.floor(number / known.inPart)))];
    await Promise.all(places.map((place) => window.saeLoad(`${root}search/features/${place}.js`)));
    return new Map(numbers.map((number) => {
      const [part, at] = [features.get(Math.floor(number / known.inPart)), number % known.inPart];
      return [number, { label: part.labels[at], figures: part.figures[at] && `density ${part.figures[at]}` }];
    }));
  }

  // The feature whose number is the query comes first.
  async function named(root, terms, listed, size) {
    const number = terms.length === 1 && /^(0|[1-9]\d*)$/.test(terms[0]) ? Number(terms[0]) : size;
    if (number >= size || listed.has(number)) return [];
    return (await describe(root, [number])).get(number).figures ? [{ score: Number.MAX_VALUE, number }] : [];
  }

  async function find(root, terms, listed, size) {
    const asked = [...new Set(terms.flatMap((term) => term.match(new RegExp(known.key, "gu")) ?? []))];
    const [first, ...looked] = await Promise.all([named(root, terms, listed, size), ...asked.map((word) => worths(root, word))]);
    const [least, ...others] = looked.sort((a, b) => a.best.size - b.best.size).map(({ best }) => best);
    const found = first;
    for (const [number, worth] of least ?? []) {
      if (number === first[0]?.number || !others.every((best) => best.has(number))) continue;
      found.push({ number, score: others.reduce((sum, best) => sum + best.get(number), worth) / asked.length });
    }
    // The end of a term such as “don't” is rarely the beginning of a longer word.
    return { found, short: looked.filter(({ word, isShort }) => isShort && terms.includes(word)).map(({ word }) => word) };
  }

  window.saeOpenParts = async (root) => {
    await window.saeLoad(`${root}search/parts.js`);
    return {
      frequent: known.frequent.split(" "),
      find: (terms, listed, size) => find(root, terms, listed, size),
      describe: (numbers) => describe(root, numbers),
    };
  };
})();
