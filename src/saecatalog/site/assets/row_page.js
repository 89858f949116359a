// The page of the features without a page of their own: shows the row of the feature named in the address. The data is in
// parts by number, features/rows/, so that a reader loads only the one with the feature.
(async () => {
  const root = document.body.dataset.root;
  const section = document.getElementById("row");
  const { size, rows, neuronpedia } = section.dataset;
  const given = new URLSearchParams(location.search).get("feature") ?? "";

  function made(tag, content, settings = {}) {
    const element = Object.assign(document.createElement(tag), settings);
    element.append(content);
    return element;
  }

  function say(words) {
    Object.assign(document.getElementById("problem"), { textContent: words, hidden: false });
  }

  if (!/^\d+$/.test(given) || Number(given) >= Number(size)) {
    say(`The address names no feature of this SAE. Its features are 0 to ${Number(size) - 1}, such as row.html?feature=0.`);
    return;
  }
  const number = Number(given);
  try {
    await window.saeLoad(`${root}features/rows/${Math.floor(number / Number(rows))}.js`);
  } catch (error) {
    say(`The data of feature ${number} cannot be loaded: ${error.message}.`);
    return;
  }
  const row = await window.saeRow(root, number);
  if (!row) {
    location.replace(`${root}features/${number}.html`);
    return;
  }

  const { statistics, titles } = window.saeTable;
  const category = titles[window.saeColumn("category")[window.saeColumn("feature").indexOf(number)]];
  document.title = document.title.replace(/^Feature/, `Feature ${number}`);
  document.getElementById("number").textContent = `Feature ${number}`;
  document.getElementById("label").textContent = row.label;
  const body = section.querySelector("tbody");
  for (const [name, heading, format, meaning] of statistics.slice(1)) {
    if (row[name] === null) continue;
    const line = body.insertRow();
    line.append(made("th", heading, { scope: "row", title: meaning }), made("td", window.saeFormats[format](row[name])));
  }
  const links = [];
  if (row.top_text) links.push(made("a", `Strongest text, in ${category}`, { href: `${root}texts/${encodeURIComponent(row.top_text)}.html` }));
  if (neuronpedia) links.push(made("a", "Neuronpedia ↗", { href: neuronpedia + number, rel: "external" }));
  document.getElementById("links").append(...links.flatMap((link, i) => (i ? [" · ", link] : [link])));
  section.hidden = false;
})();
