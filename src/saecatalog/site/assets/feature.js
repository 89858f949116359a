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
  async function dataRow() {
    await window.saeLoad(`${root}assets/row.js`);
    return JSON.stringify(await window.saeRow(root, Number(/\d+/.exec(document.querySelector("h1").textContent)[0])), null, 1);
  }
  document.querySelector("#cite > p:last-child").append(" · ", window.saeCopyButton("Copy data row", "Copy data row as JSON", dataRow));
})();
