// On every page: the theme, the keyboard, copying, exact values on tap, and loading the search when it is first used.
(() => {
  const rootPath = document.body.dataset.root ?? "";
  const root = document.documentElement;

  // Adds a classic script once; pages opened from a folder cannot load modules. Scripts asked for together load together,
  // and run in the order in which they were asked for.
  const loaded = new Map();
  window.saeLoad = (path) => {
    if (!loaded.has(path)) {
      loaded.set(path, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = path;
        script.async = false;
        script.onload = done;
        script.onerror = () => {
          // The next call tries again.
          loaded.delete(path);
          failed(new Error(`cannot load ${path}`));
        };
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
      // The choice then applies only to this page.
    }
    document.dispatchEvent(new Event("themechange"));
  }
  document.querySelector(".theme")?.addEventListener("click", switchTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

  // Search: its code and index are loaded on the first focus.
  const box = document.getElementById("search");
  box?.addEventListener("focus", async () => {
    await window.saeLoad(`${rootPath}assets/search.js`);
    await window.saeLoad(`${rootPath}search-index.js`);
    window.saeSearch(box, rootPath);
  }, { once: true });

  // Help, created on first use.
  const KEYS = [["/", "search"], ["g", "go to a feature by its number"], ["j or →", "next feature or text"], ["k or ←", "previous feature or text"], ["t", "light or dark"], ["?", "this help"]];
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
    const link = document.querySelector(`a[rel="${relation}"]`);
    if (link) location.href = link.href;
  }

  // Search accepts a number after `#`, and says if that feature has no page.
  function askNumber() {
    if (!box) return;
    box.value = "#";
    box.focus();
  }

  const next = () => follow("next");
  const previous = () => follow("prev");
  const actions = { "/": () => box?.focus(), g: askNumber, j: next, ArrowRight: next, k: previous, ArrowLeft: previous, t: switchTheme, "?": showHelp };
  document.addEventListener("keydown", (event) => {
    // Arrows scroll wide tables and belong to the control that has the focus.
    const busy = event.key.startsWith("Arrow") ? event.target !== document.body : event.target.closest?.("input, select, textarea, dialog[open]");
    if (busy || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey && event.key !== "?" || !(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  });

  // A button that copies what `content` returns. If the page may not use the clipboard, `source` is selected instead.
  window.saeCopyButton = (words, label, content, source) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: words, className: "copier" });
    button.setAttribute("aria-label", label);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(await content());
        button.textContent = "Copied";
      } catch {
        if (source) getSelection().selectAllChildren(source);
        button.textContent = source ? "Selected" : "Not copied";
      }
      setTimeout(() => { button.textContent = words; }, 1500);
    });
    return button;
  };

  // A catalog built without its public address cites paths; a page from a web server can complete them.
  const known = document.querySelector('link[rel="canonical"]') || !/^https?:/.test(location.protocol);
  for (const block of document.querySelectorAll(".copy")) {
    const source = block.querySelector("pre");
    if (!known) source.textContent = source.textContent.replaceAll(block.parentElement.dataset.path, new URL(`${rootPath}.`, location.href).href);
    block.append(window.saeCopyButton("Copy", `Copy: ${block.querySelector("h3").textContent}`, () => source.textContent, source));
  }

  // The exact activation on tap and on keyboard focus; a hovering pointer shows the title.
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
