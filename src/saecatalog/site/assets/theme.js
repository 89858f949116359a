// Runs before the page is drawn: marks that JavaScript runs, and applies the theme that the reader chose earlier.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch {
    // If storage is disabled, the page follows the system.
  }
})();
