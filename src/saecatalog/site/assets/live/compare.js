// Two texts side by side: which tokens answer to each other, and how much each feature differs.
(() => {
  // Pairs of equal tokens of the longest common subsequence of two lists of ids.
  function common(a, b) {
    const width = b.length + 1;
    const lengths = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i -= 1) {
      for (let j = b.length - 1; j >= 0; j -= 1) {
        const [both, one, other] = [(i + 1) * width + j + 1, (i + 1) * width + j, i * width + j + 1];
        lengths[i * width + j] = a[i] === b[j] ? lengths[both] + 1 : Math.max(lengths[one], lengths[other]);
      }
    }
    const pairs = [];
    for (let i = 0, j = 0; i < a.length && j < b.length;) {
      if (a[i] === b[j]) pairs.push([i++, j++]);
      else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i += 1;
      else j += 1;
    }
    return pairs;
  }

  // Every token of two texts in order, as [token of the first, token of the second]. Between tokens that both have, those
  // that differ are paired in order; null stands for what one text has more.
  function align(a, b) {
    const rows = [];
    let [i, j] = [0, 0];
    for (const [x, y] of [...common(a, b), [a.length, b.length]]) {
      while (i < x || j < y) rows.push([i < x ? i++ : null, j < y ? j++ : null]);
      if (x < a.length) rows.push([i++, j++]);
    }
    return rows;
  }

  // What two runs have to do with each other: the pairs of tokens, and the tokens of each that the other does not have.
  window.saeTry.compare = (runs) => {
    const pairs = align(runs[0].ids, runs[1].ids);
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
