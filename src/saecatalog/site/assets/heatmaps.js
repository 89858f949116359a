// The heatmaps: each function makes a figure for charts.js from the numbers in its script file and the names in
// charts/names.js. Hovering over a cell describes it, and clicking opens it.
(() => {
  const registered = new Map();
  window.saeFigure = (name, data) => registered.set(name, data);

  window.saeHeatmaps = ({ root, css, plain, made }) => {
    async function numbersOf(element) {
      await Promise.all([window.saeLoad(element.dataset.source), window.saeLoad(`${root}charts/names.js`)]);
      return registered.get(element.dataset.name);
    }

    const scale = () => [0, 1, 2, 3, 4].map((step) => [step / 4, css(`--heat-${step}`)]);

    function heat(element, z, top) {
      const bar = { title: { text: element.dataset.unit }, thickness: 10, outlinewidth: 0, lenmode: "pixels", len: 180, y: 1, yanchor: "top" };
      return { type: "heatmap", z, zmin: 0, zmax: top, colorscale: scale(), showscale: false, hoverinfo: "none", colorbar: bar };
    }

    const label = (number) => window.saeNames.features[number][0];
    const featureText = (number) => `#${number} ${label(number)}`;
    const textPage = (id, number) => `${root}texts/${encodeURIComponent(id)}.html#f${number}`;

    function featureLink(number) {
      const link = made("a", `#${number}`);
      link.href = root + window.saeNames.features[number][1];
      link.append(" ", made("span", label(number), "sub"));
      return link;
    }

    // A box beside the pointer with lines of text, the first in bold.
    function showBox(place, event, lines) {
      const plot = place.parentElement;
      const box = plot.querySelector(".told") ?? plot.appendChild(made("div", "", "told"));
      box.replaceChildren(...lines.map((words, i) => Object.assign(made(i ? "p" : "b", words), { dir: "auto" })));
      box.hidden = false;
      const frame = plot.getBoundingClientRect();
      const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
      box.style.left = `${Math.max(0, Math.min(x + 14, frame.width - box.offsetWidth))}px`;
      box.style.top = `${y + 18 + box.offsetHeight > frame.height ? y - box.offsetHeight - 12 : y + 18}px`;
    }

    function listen(place, words, click) {
      place.on("plotly_hover", ({ points: [{ x, y }], event }) => showBox(place, event, words(y, x)));
      place.on("plotly_unhover", () => { place.parentElement.querySelector(".told").hidden = true; });
      place.on("plotly_click", ({ points: [{ x, y }] }) => click(y, x));
    }

    // Beside each row, a link to its feature, with only the number if space is short. For the keyboard, the table below
    // has the same links in a usable size.
    function nameRows(place, features, { margin }, height, wide) {
      const plot = place.parentElement;
      plot.querySelector(".rows")?.remove();
      const list = made("ol", "", wide ? "rows" : "rows short");
      list.style.cssText = `top: ${margin.t}px; width: ${margin.l - 6}px`;
      for (const number of features) {
        const row = made("li", "");
        const link = featureLink(number);
        link.tabIndex = -1;
        link.title = featureText(number);
        row.style.cssText = `height: ${height}px; line-height: ${height}px`;
        row.append(link);
        list.append(row);
      }
      list.setAttribute("aria-hidden", "true");
      plot.append(list);
    }

    // Features x texts. Rows and margins have fixed heights, so that the names align with their rows.
    async function scores(element) {
      const { features, bands, texts, z, top } = await numbersOf(element);
      const names = texts.map((place) => window.saeNames.texts[place]);
      const wide = element.clientWidth >= 700;
      const height = features.length > 30 ? 14 : 20;
      const ends = bands.map((_, i) => bands.slice(0, i + 1).reduce((sum, [, count]) => sum + count, 0));
      const titles = bands.map(([title]) => (title.length > 24 ? `${title.slice(0, 23)}…` : title));
      const longest = Math.max(...titles.map((title) => title.length));
      const line = { color: css("--line-strong"), width: 1 };
      const layout = {
        dragmode: wide ? "zoom" : false,
        margin: { l: wide ? 210 : 52, r: wide ? 34 : 8, t: Math.round((wide ? 4.6 : 6.6) * longest) + 16, b: 24 },
        xaxis: {
          side: "top",
          automargin: false,
          showgrid: false,
          zeroline: false,
          range: [-0.5, texts.length - 0.5],
          tickvals: ends.map((end, i) => end - bands[i][1] / 2 - 0.5),
          ticktext: titles.map(plain),
          tickangle: wide ? -35 : -90,
          tickfont: { size: wide ? 12 : 11 },
        },
        yaxis: { range: [features.length - 0.5, -0.5], showticklabels: false, ticks: "", fixedrange: true, automargin: false, showgrid: false, zeroline: false },
        annotations: [{ text: "Texts, grouped by category", xref: "paper", yref: "paper", x: 0.5, y: 0, yanchor: "top", showarrow: false }],
        shapes: ends.slice(0, -1).map((end) => ({ type: "line", yref: "paper", x0: end - 0.5, x1: end - 0.5, y0: 0, y1: 1, line })),
      };
      layout.height = layout.margin.t + layout.margin.b + features.length * height;
      const rowNames = features.map((number) => plain(featureText(number)));
      const words = (row, column) => [
        featureText(features[row]),
        `Text score ${z[row][column]}`,
        names[column][1],
        names[column][2],
      ];
      return {
        data: [heat(element, z, top)],
        layout,
        exported: { yaxis: { ...layout.yaxis, showticklabels: true, automargin: true, tickvals: features.map((_, i) => i), ticktext: rowNames, tickfont: { size: 10 } } },
        after(place, first) {
          nameRows(place, features, layout, height, wide);
          if (first) listen(place, words, (row, column) => { location.href = textPage(names[column][0], features[row]); });
        },
      };
    }

    const FIGURES = ["Jaccard overlap", "Tokens with both", "Tokens, first feature", "Tokens, second feature", "φ", "Cosine of the decoder rows"];

    // The figures of a pair, with links to both features and to texts where both fire.
    function showPair({ features, kept }, row, column, pair) {
      const panel = document.getElementById("pair");
      const [a, b] = (pair ?? [row, column]).slice(0, 2).map((place) => features[place]);
      const both = document.createElement("p");
      both.append(featureLink(a), document.createElement("br"), row === column ? "" : featureLink(b));
      panel.replaceChildren(both);
      if (!pair) {
        panel.append(made("p", row === column ? "A feature’s overlap with itself is not shown." : `No overlap recorded: neither is among the ${kept} partners kept for the other.`));
        return;
      }
      const list = document.createElement("dl");
      FIGURES.forEach((name, i) => list.append(made("dt", name), made("dd", pair[i + 2].toLocaleString("en"))));
      panel.append(list, made("p", pair[8].length ? "Texts where both fire most strongly:" : "No text where both fire.", "sub"));
      const texts = document.createElement("ul");
      for (const [id, name, beginning] of pair[8].map((place) => window.saeNames.texts[place])) {
        const item = document.createElement("li");
        item.append(Object.assign(made("a", name), { href: textPage(id, a) }), Object.assign(made("p", beginning, "sub"), { dir: "auto" }));
        texts.append(item);
      }
      panel.append(texts);
    }

    // Features x features, with outlined clusters.
    async function together(element) {
      const numbers = await numbersOf(element);
      const { features, pairs, boxes, top } = numbers;
      const size = features.length;
      const z = features.map(() => new Array(size).fill(0));
      const found = new Map();
      for (const pair of pairs) {
        const [i, j, jaccard] = pair;
        z[i][j] = z[j][i] = jaccard;
        found.set(i * size + j, pair).set(j * size + i, pair);
      }
      const side = Math.min(element.clientWidth, 680);
      const line = { color: css("--ink-soft"), width: 1 };
      const axis = { showticklabels: false, ticks: "", showgrid: false, zeroline: false, fixedrange: true, automargin: false };
      const layout = {
        height: side,
        margin: { l: 30, r: 30, t: 8, b: 30 },
        xaxis: { ...axis, range: [-0.5, size - 0.5], constrain: "domain", title: { text: "Feature" } },
        yaxis: { ...axis, range: [size - 0.5, -0.5], scaleanchor: "x", constrain: "domain", title: { text: "Feature" } },
        shapes: boxes.map(([, a, b]) => ({ type: "rect", x0: a - 0.5, x1: b - 0.5, y0: a - 0.5, y1: b - 0.5, line })),
        annotations: boxes.filter(([, a, b]) => side > 500 || b - a > 2).map(([number, a, b], i) => ({
          text: String(number), x: i % 2 ? a - 0.5 : b - 0.5, y: (a + b - 1) / 2, xanchor: i % 2 ? "right" : "left", xshift: i % 2 ? -2 : 2,
          showarrow: false, captureevents: true, font: { size: 12, color: css("--ink") },
        })),
      };
      const words = (row, column) => {
        const pair = found.get(row * size + column);
        const figures = pair ? [`Jaccard overlap ${pair[2]}`, `Tokens with both ${pair[3].toLocaleString("en")}`] : [row === column ? "Overlap with itself: not shown" : "No overlap recorded"];
        return [featureText(features[row]), ...(row === column ? [] : [featureText(features[column])]), ...figures];
      };
      return {
        data: [heat(element, z, top)],
        layout,
        after(place, first) {
          if (!first) return;
          listen(place, words, (row, column) => showPair(numbers, row, column, found.get(row * size + column)));
          place.on("plotly_clickannotation", ({ annotation }) => { location.hash = `cluster-${annotation.text}`; });
        },
      };
    }

    return { scores, together };
  };
})();
