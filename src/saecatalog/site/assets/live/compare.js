// Two texts side by side: which tokens answer to each other, and how much each feature differs.
(() => {
  const SAME = 3;
  const ALIKE = 2;

  // How well two tokens answer to each other: the same, or the same word with another case or without the space before it.
  function likeness(runs) {
    const words = runs.map((run) => Array.from(run.ends, (end, token) => run.text.slice(token ? run.ends[token - 1] : 0, end).trim().toLowerCase()));
    return (a, b) => runs[0].ids[a] === runs[1].ids[b] ? SAME : words[0][a] && words[0][a] === words[1][b] ? ALIKE : 0;
  }

  // The pairs of tokens, in the order of both texts, that are alike and together most alike.
  function common(count, other, alike) {
    const width = other + 1;
    const best = new Uint32Array((count + 1) * width);
    for (let a = count - 1; a >= 0; a -= 1) {
      for (let b = other - 1; b >= 0; b -= 1) {
        const score = alike(a, b);
        best[a * width + b] = Math.max(best[(a + 1) * width + b], best[a * width + b + 1], score && score + best[(a + 1) * width + b + 1]);
      }
    }
    const pairs = [];
    for (let a = 0, b = 0; a < count && b < other;) {
      const score = alike(a, b);
      const left = best[a * width + b];
      if (score && left === score + best[(a + 1) * width + b + 1]) pairs.push([a++, b++]);
      else if (left === best[(a + 1) * width + b]) a += 1;
      else b += 1;
    }
    return pairs;
  }

  // Every token of two texts in order, as [token of the first, token of the second]. Between tokens that both have, those
  // that differ are paired in order; null stands for what one text has more.
  function align(runs) {
    const [count, other] = runs.map((run) => run.ids.length);
    const rows = [];
    let [a, b] = [0, 0];
    for (const [x, y] of [...common(count, other, likeness(runs)), [count, other]]) {
      while (a < x || b < y) rows.push([a < x ? a++ : null, b < y ? b++ : null]);
      if (x < count) rows.push([a++, b++]);
    }
    return rows;
  }

  // What two runs have to do with each other: the pairs of tokens, and the tokens of each that the other does not have.
  window.saeTry.compare = (runs) => {
    const pairs = align(runs);
    const differs = ([a, b]) => a === null || b === null || runs[0].ids[a] !== runs[1].ids[b];
    const other = [0, 1].map((side) => new Set(pairs.filter(differs).map((pair) => pair[side]).filter((token) => token !== null)));
    return { pairs, differs, other };
  };

  // The pairs on which a feature fires, and those that differ, with its activations.
  window.saeTry.differences = ({ pairs, differs }, entries) => {
    const [first, second] = entries.map((entry) => new Map(entry?.active ?? []));
    const rows = pairs.map((pair) => ({ pair, values: [first.get(pair[0]) ?? 0, second.get(pair[1]) ?? 0], differs: differs(pair) }));
    return rows.filter(({ values, differs: changed }) => changed || values[0] || values[1]);
  };

  // How much the maximum of each feature changes from one text to the other, the largest change first.
  window.saeTry.changes = ([first, second]) => {
    const features = new Set([...first.keys(), ...second.keys()]);
    const found = [...features].map((feature) => ({ feature, first: first.get(feature)?.max ?? 0, second: second.get(feature)?.max ?? 0 }));
    const size = (change) => Math.abs(change.second - change.first);
    return found.filter((change) => size(change) > 0).sort((a, b) => size(b) - size(a) || a.feature - b.feature);
  };
})();
