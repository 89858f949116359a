// Draws each chart with Plotly when it comes into view; the still picture stands until then, and without script.
// Figures carry data and axis titles only: fonts and colours come from the style sheet, so charts follow the theme.
(() => {
  const root = document.body.dataset.root ?? "";
  const registered = new Map();
  const drawn = new Set();

  // Large figures lie in script files of their own, which call this.
  window.saeFigure = (name, figure) => registered.set(name, figure);

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  async function figureOf(element) {
    if (!element.dataset.source) return JSON.parse(element.querySelector(".figure-data").textContent);
    await window.saeLoad(element.dataset.source);
    return structuredClone(registered.get(element.dataset.name));
  }

  function themedTrace(trace) {
    const role = trace.meta?.role;
    if (role === "accent" || role === "soft") trace.marker = { color: css(role === "soft" ? "--accent-soft" : "--accent") };
    if (trace.orientation === "h") {
      trace.width = role === "soft" ? 0.8 : 0.44;
      trace.hovertemplate = "%{y}: %{x:.1%}";
    }
    if (role === "heat") {
      trace.colorscale = [0, 1, 2, 3, 4].map((step) => [step / 4, css(`--heat-${step}`)]);
      trace.colorbar = { ...trace.colorbar, thickness: 8, outlinewidth: 0, lenmode: "pixels", len: 180, y: 1, yanchor: "top", xpad: 4, tickfont: { size: 11 } };
    }
    return trace;
  }

  function themedLayout(layout, width) {
    const axis = { gridcolor: css("--line"), linecolor: css("--line-strong"), zerolinecolor: css("--line"), automargin: true, ticklen: 3, tickcolor: css("--line-strong") };
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const small = { font: { size: 12, color: css("--ink-soft") }, standoff: 8 };
    const made = {
      height: 280,
      bargap: 0.05,
      ...layout,
      font: { family: css("--sans"), size: 11.5, color: css("--ink-soft") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 8, t: 12, b: 8 },
      hoverlabel: { bgcolor: css("--ink"), bordercolor: css("--ink"), font: { color: css("--paper"), family: css("--sans"), size: 12 } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      transition: { duration: still ? 0 : 150 },
      width,
    };
    for (const name of ["xaxis", "yaxis"]) {
      made[name] = { ...axis, ...layout[name], title: { ...layout[name]?.title, ...small } };
    }
    if (width < 600 && layout.xaxis?.ticktext) {
      made.xaxis.tickangle = -90;
      made.xaxis.title = made.yaxis.title = undefined;
      made.xaxis.tickfont = { size: 9 };
    }
    if (made.shapes) made.shapes = made.shapes.map((shape) => ({ ...shape, line: { color: css("--line-strong"), width: 1 } }));
    return made;
  }

  // A chart whose names stand in a table takes them from there, made safe for Plotly, which reads tags in labels.
  function nameTicks(element, layout) {
    if (!layout.yaxis?.tickvals || layout.yaxis.ticktext) return;
    const heads = element.querySelectorAll("table tbody th");
    const safe = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
    layout.yaxis.ticktext = [...heads].map((head) => safe(head.textContent));
  }

  // The numbers behind a drawn chart: the table that stood in its place, or one made from the bars.
  function numbers(element, figure) {
    const table = element.querySelector(".plot > table") ?? tableOf(figure);
    if (!table) return;
    const details = document.createElement("details");
    details.className = "numbers";
    details.append(Object.assign(document.createElement("summary"), { textContent: "Numbers" }), table);
    element.append(details);
  }

  function tableOf({ data: [trace], layout }) {
    if (trace.type !== "bar") return null;
    const table = document.createElement("table");
    const heads = [`${layout.xaxis.title.text}, from`, "to", layout.yaxis.title.text.replace(" (log)", "")];
    const start = trace.x0 - trace.dx / 2;
    const short = (value) => String(Number(value.toPrecision(4)));
    table.createTHead().insertRow().append(...heads.map((text) => Object.assign(document.createElement("th"), { textContent: text, scope: "col" })));
    const body = table.createTBody();
    trace.y.forEach((count, i) => {
      const row = body.insertRow();
      for (const text of [short(start + i * trace.dx), short(start + (i + 1) * trace.dx), count.toLocaleString("en")]) row.insertCell().textContent = text;
    });
    return table;
  }

  function onClick(meta) {
    return (event) => {
      const point = event.points[0];
      const row = point.pointIndex?.[0];
      const column = point.pointIndex?.[1];
      if (meta.texts) location.href = `${root}texts/${encodeURIComponent(meta.texts[column])}.html`;
      else if (meta.features) location.href = `${root}features/index.html?q=${meta.features[row]}`;
    };
  }

  async function draw(element) {
    const figure = await figureOf(element);
    await window.saeLoad(`${root}assets/plotly.min.js`);
    nameTicks(element, figure.layout);
    const plot = element.querySelector(".plot");
    let place = plot.querySelector(".drawn");
    if (!place) {
      place = Object.assign(document.createElement("div"), { className: "drawn" });
      plot.append(place);
    }
    const config = {
      displaylogo: false,
      displayModeBar: "hover",
      modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
      modeBarButtonsToAdd: ["svg", "png"].map((format) => ({
        name: `Download as ${format.toUpperCase()}`,
        icon: window.Plotly.Icons[format === "svg" ? "disk" : "camera"],
        click: (graph) => window.Plotly.downloadImage(graph, { format, filename: document.title, scale: 2 }),
      })),
    };
    const data = figure.data.map(themedTrace);
    await window.Plotly.react(place, data, themedLayout(figure.layout, plot.clientWidth), config);
    if (!drawn.has(element)) numbers(element, figure);
    if (figure.layout.meta && !drawn.has(element)) place.on("plotly_click", onClick(figure.layout.meta));
    drawn.add(element);
    element.classList.add("live");
  }

  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "200px" });
  for (const element of document.querySelectorAll("figure.chart")) sight.observe(element);

  const redraw = () => { for (const element of drawn) draw(element); };
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
