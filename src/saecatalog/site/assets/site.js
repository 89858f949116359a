// What every page can do: the theme, the keyboard, copying, exact values on tap, and loading the search when it is used.
(() => {
  const rootPath = document.body.dataset.root ?? "";
  const root = document.documentElement;

  // Adds a classic script once; pages opened from a folder can load no modules.
  const loaded = new Map();
  window.saeLoad = (path) => {
    if (!loaded.has(path)) {
      loaded.set(path, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = path;
        script.onload = done;
        script.onerror = () => failed(new Error(`cannot load ${path}`));
        document.head.append(script);
      }));
    }
    return loaded.get(path);
  };

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function switchTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // The choice then holds for this page only.
    }
    document.dispatchEvent(new Event("themechange"));
  }
  document.querySelector(".theme")?.addEventListener("click", switchTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

  // Search: its code and index come on the first focus.
  const box = document.getElementById("search");
  box?.addEventListener("focus", async () => {
    await window.saeLoad(`${rootPath}assets/search.js`);
    await window.saeLoad(`${rootPath}search-index.js`);
    window.saeSearch(box, rootPath);
  }, { once: true });

  // Help, made on first use.
  const KEYS = [["/", "search"], ["j", "next feature or text"], ["k", "previous feature or text"], ["t", "light or dark"], ["?", "this help"]];
  let help = null;
  function showHelp() {
    if (!help) {
      help = document.createElement("dialog");
      help.setAttribute("aria-label", "Keyboard");
      const list = document.createElement("dl");
      for (const [key, words] of KEYS) {
        const term = document.createElement("dt");
        term.append(Object.assign(document.createElement("kbd"), { textContent: key }));
        list.append(term, Object.assign(document.createElement("dd"), { textContent: words }));
      }
      const close = Object.assign(document.createElement("button"), { textContent: "Close", type: "button" });
      close.addEventListener("click", () => help.close());
      help.append(Object.assign(document.createElement("h2"), { textContent: "Keyboard" }), list, close);
      document.body.append(help);
    }
    help.showModal();
  }

  function follow(relation) {
    const link = document.querySelector(`link[rel="${relation}"]`);
    if (link) location.href = link.href;
  }

  const actions = { "/": () => box?.focus(), j: () => follow("next"), k: () => follow("prev"), t: switchTheme, "?": showHelp };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog[open]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  });

  // Copy buttons. Where the clipboard is not open to the page, the text is selected instead.
  for (const block of document.querySelectorAll(".copy")) {
    const source = block.querySelector("pre");
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy: ${block.querySelector("h3").textContent}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.append(button);
  }

  // The exact activation on tap and on keyboard focus; a pointer that hovers has the title.
  const tip = Object.assign(document.createElement("div"), { className: "tip" });
  tip.setAttribute("role", "status");
  function showTip(event) {
    const mark = event.target.closest?.("b[title]");
    if (!mark) return tip.remove();
    const place = mark.getBoundingClientRect();
    tip.textContent = mark.title;
    tip.style.left = `${Math.min(innerWidth - 40, Math.max(40, place.left + place.width / 2)) + scrollX}px`;
    tip.style.top = `${place.top + scrollY}px`;
    document.body.append(tip);
  }
  for (const peak of document.querySelectorAll("b.p")) peak.tabIndex = 0;
  document.addEventListener("click", showTip);
  document.addEventListener("focusin", showTip);
})();
