// Draws each chart with Plotly when it comes into view; until then, a static picture is shown.
// Small charts are drawn from the attributes of their figure. Heatmaps are drawn by heatmaps.js, which pages that need it
// load first.
// Fonts and colours come from the style sheet, so charts follow the theme.
(() => {
  const root = document.body.dataset.root ?? "";
  const drawn = new Map();

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Plotly interprets tags in every text it shows.
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const numbers = (words) => words.split(" ").map(Number);
  // The names of the rows of the table behind a chart.
  const names = (element) => [...element.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent);
  const made = (tag, words, className = "") => Object.assign(document.createElement(tag), { textContent: words, className });

  // Counts over equal bins, on a log axis.
  function histogram(element) {
    const { x, y, counted, ends, counts } = element.dataset;
    const [low, high] = numbers(ends);
    const heights = numbers(counts);
    const starts = names(element);
    const log = "log" in element.dataset;
    const step = (high - low) / heights.length;
    const trace = {
      type: "bar",
      x0: low + step / 2,
      dx: step,
      y: heights,
      customdata: starts.map((start, i) => (i + 1 < starts.length ? `${start} to ${starts[i + 1]}` : `${start} and more`)),
      hovertemplate: `%{customdata}: %{y:,} ${counted}<extra></extra>`,
      marker: { color: css("--accent") },
    };
    const xaxis = { title: { text: x }, fixedrange: true, range: [log ? low : 0, high] };
    if (log) {
      // A percentage at each power of ten, or at every second one.
      const step = element.clientWidth < 500 ? 2 : 1;
      xaxis.tickvals = Array.from({ length: Math.floor((high - Math.ceil(low)) / step) + 1 }, (_, i) => Math.ceil(low) + i * step);
      xaxis.tickangle = 0;
      xaxis.ticktext = xaxis.tickvals.map((power) => `${(100 * 10 ** power).toPrecision(1) * 1} %`);
    }
    // A count of 1 must be visible.
    const range = [-0.15, Math.max(1, Math.ceil(Math.log10(Math.max(...heights))))];
    const yaxis = { type: "log", title: { text: y }, dtick: 1, separatethousands: true, fixedrange: true, range };
    return { data: [trace], layout: { xaxis, yaxis, bargap: 0.05, height: 280 } };
  }

  // Two bars for each category: the share of its texts on which the feature is active, and strong.
  function shares(element) {
    const rows = names(element);
    const texts = numbers(element.dataset.texts);
    const bars = ["Active", "Strong"].map((name, i) => {
      const counts = numbers(element.dataset[name.toLowerCase()]);
      return {
        type: "bar",
        orientation: "h",
        name,
        x: counts.map((count, row) => (texts[row] ? count / texts[row] : 0)),
        customdata: counts.map((count, row) => `${plain(rows[row])}: ${count}/${texts[row]} ${texts[row] === 1 ? "text" : "texts"}`),
        hovertemplate: "%{customdata}, %{x:.1%}",
        width: i ? 0.4 : 0.8,
        opacity: i ? 1 : 0.55,
        marker: { color: css("--accent") },
      };
    });
    const layout = {
      barmode: "overlay",
      height: 110 + 22 * rows.length,
      xaxis: { title: { text: "Share of the category’s texts" }, tickformat: ".0%", rangemode: "tozero", fixedrange: true },
      yaxis: {
        autorange: "reversed",
        fixedrange: true,
        tickvals: rows.map((_, i) => i),
        ticktext: rows.map((name) => plain(name.length > 28 ? `${name.slice(0, 27)}…` : name)),
      },
    };
    return { data: bars, layout };
  }

  const kinds = { histogram, shares, ...window.saeHeatmaps?.({ root, css, plain, made }) };

  function themed(layout, width) {
    const axis = { gridcolor: css("--line"), linecolor: css("--line-strong"), zerolinecolor: css("--line"), automargin: true, ticklen: 3, tickcolor: css("--line-strong") };
    const made = {
      dragmode: false,
      margin: { l: 8, r: 8, t: 12, b: 8 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      ...layout,
      width,
      font: { family: css("--sans"), size: 12, color: css("--ink-soft") },
      paper_bgcolor: css("--paper"),
      plot_bgcolor: css("--paper"),
      hoverlabel: { bgcolor: css("--ink"), bordercolor: css("--ink"), font: { color: css("--paper"), family: css("--sans"), size: 12 } },
    };
    for (const name of ["xaxis", "yaxis"]) {
      const title = layout[name].title && { ...layout[name].title, font: { size: 12 }, standoff: 8 };
      made[name] = { ...axis, ...layout[name], title };
    }
    return made;
  }

  // The headings of the page and the section, for a file name and a title.
  const headings = (element) => [document.querySelector("h1"), element.closest("section").querySelector("h2")].map((head) => head.textContent.trim());
  const fileName = (element) => headings(element).join(" ").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 80);

  async function save(element, format) {
    const { data, layout, exported } = drawn.get(element);
    const width = Math.max(760, layout.width);
    const title = { text: plain(headings(element).join(": ")), x: 0, xref: "paper", y: 1, yref: "container", yanchor: "top", pad: { t: 14 }, font: { size: 15, color: css("--ink") } };
    const whole = { ...layout, ...exported, width, title };
    whole.margin = { ...whole.margin, t: whole.margin.t + 40, l: Math.max(whole.margin.l, 16), r: Math.max(whole.margin.r, 24), b: Math.max(whole.margin.b, 16) };
    whole.height += 40;
    const shown = data.map((trace) => (trace.type === "heatmap" ? { ...trace, showscale: true } : trace));
    const picture = await window.Plotly.toImage({ data: shown, layout: whole }, { format: "svg", width, height: whole.height });
    const link = made("a", "");
    link.href = format === "svg" ? picture : await png(picture, width, whole.height);
    link.download = `${fileName(element)}.${format}`;
    link.click();
  }

  // Plotly's own PNG export uses a blob, which the pages' policy does not allow.
  async function png(picture, width, height) {
    const image = new Image();
    image.src = picture;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: 2 * width, height: 2 * height });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
  }

  // The element to draw in; a table shown in place of its chart moves into a details element below it.
  function placeFor(element) {
    let plot = element.querySelector(".plot");
    if (!plot) {
      const details = made("details", "");
      details.append(made("summary", "Show as table"), ...element.children);
      plot = made("div", "", "plot");
      element.append(plot, details);
    }
    return plot.appendChild(made("div", "", "drawn"));
  }

  // A drawn chart can be saved.
  function finish(element) {
    const line = made("p", "", "save");
    for (const format of ["svg", "png"]) {
      const button = made("button", format.toUpperCase());
      button.type = "button";
      button.setAttribute("aria-label", `Save as ${format.toUpperCase()}: ${headings(element)[1]}`);
      button.addEventListener("click", () => save(element, format));
      line.append(button);
    }
    element.querySelector(".plot").after(line);
    element.classList.add("live");
  }

  async function draw(element) {
    const figure = await kinds[element.dataset.kind](element);
    await window.saeLoad(`${root}assets/plotly.min.js`);
    const first = !drawn.has(element);
    const place = first ? placeFor(element) : element.querySelector(".drawn");
    const layout = themed(figure.layout, element.clientWidth);
    drawn.set(element, { ...figure, layout });
    if (first) finish(element);
    await window.Plotly.react(place, figure.data, layout, { displayModeBar: false });
    figure.after?.(place, first);
  }

  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "200px" });

  // Plotly takes seconds to start on a slow phone, so the page first shows static pictures. The first move, touch, scroll
  // or key draws the charts in view, and from then on each chart that comes into view.
  const SIGNS = ["pointermove", "pointerdown", "wheel", "scroll", "keydown", "focusin"];
  function begin() {
    for (const sign of SIGNS) removeEventListener(sign, begin);
    for (const element of document.querySelectorAll("figure.chart")) sight.observe(element);
  }
  for (const sign of SIGNS) addEventListener(sign, begin, { passive: true });

  const redraw = () => { for (const element of drawn.keys()) draw(element); };
  document.addEventListener("themechange", redraw);
  let waiting = 0;
  let lastWidth = innerWidth;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (innerWidth !== lastWidth) redraw();
      lastWidth = innerWidth;
    }, 150);
  });
})();
