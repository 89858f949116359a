// A feature's page: colours relative to the feature or to each example, links to examples, and the feature's data row.
(() => {
  const LEVELS = 9;
  const root = document.body.dataset.root;
  const items = [...document.querySelectorAll(".examples > li")];
  const own = new WeakMap();
  let perExample = false;

  const value = (mark) => Number(mark.title);
  const marks = (item) => [...item.querySelectorAll("b[title]")];

  // The page's HTML has colours relative to the feature's maximum, which are kept so that they can be restored.
  function colour(item) {
    const largest = Math.max(...marks(item).map(value));
    for (const mark of marks(item)) {
      if (!own.has(mark)) own.set(mark, mark.className);
      const level = Math.max(1, Math.min(LEVELS, Math.ceil((LEVELS * value(mark)) / largest)));
      mark.className = perExample ? own.get(mark).replace(/^a\d/, `a${level}`) : own.get(mark);
    }
  }
  document.addEventListener("marked", (event) => colour(event.target));

  function scaleSwitch() {
    const group = document.createElement("span");
    group.className = "switch";
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "Colours relative to");
    group.append("relative to ");
    for (const [words, wanted] of [["the feature", false], ["each example", true]]) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: words });
      button.setAttribute("aria-pressed", String(wanted === perExample));
      button.addEventListener("click", () => {
        perExample = wanted;
        for (const other of group.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
        items.forEach(colour);
      });
      group.append(button);
    }
    return group;
  }
  document.querySelector("#examples .legend")?.append(scaleSwitch());

  const address = document.querySelector('link[rel="canonical"]')?.href ?? location.href.replace(/#.*/, "");
  for (const item of items) {
    const words = item.querySelector("small a").textContent;
    item.querySelector("small").append(window.saeCopyButton("Copy link", `Copy link to the example ${words}`, () => `${address}#${item.id}`));
  }

  // In a catalog with a live part, the link to it opens a panel in place, and so does the text of each example.
  const tryLink = document.querySelector("a.try");
  const panel = () => window.saeLoad(`${root}assets/live/panel.js`).then(() => window.saePanel);
  const openLive = () => location.assign(tryLink.href);
  function openFromAddress() {
    if (!location.hash.startsWith("#try=")) return;
    panel().then((made) => made.open(true), openLive);
  }
  function addPanel() {
    tryLink.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      panel().then((made) => made.open(), openLive);
    });
    for (const item of items) {
      const words = item.querySelector("small a").textContent;
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Edit this text" });
      button.setAttribute("aria-label", `Edit the text of the example ${words}`);
      button.addEventListener("click", () => panel().then((made) => made.edit(item), openLive));
      item.querySelector("small").append(button);
    }
    addEventListener("hashchange", openFromAddress);
    openFromAddress();
  }
  if (tryLink) addPanel();

  // A link beside each feature that fires on the same tokens or writes alike, to both side by side.
  if (document.querySelector("a.compare")) {
    for (const other of document.querySelectorAll("#partners tbody a.f, #neighbours tbody a.f")) {
      const beside = Object.assign(document.createElement("a"), { textContent: "compare", className: "beside-link" });
      beside.href = `${document.querySelector("a.compare").href}&b=${other.textContent}`;
      beside.setAttribute("aria-label", `Compare with feature ${other.textContent}`);
      other.parentElement.append(" ", beside);
    }
  }

  async function dataRow() {
    await window.saeLoad(`${root}assets/row.js`);
    return JSON.stringify(await window.saeRow(root, Number(/\d+/.exec(document.querySelector("h1").textContent)[0])), null, 1);
  }
  document.querySelector("#cite > p:last-child").append(" · ", window.saeCopyButton("Copy data row", "Copy data row as JSON", dataRow));
})();
