// Runs before the page is drawn: marks that scripts run, and applies the theme the reader chose earlier.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch {
    // Storage may be switched off; the page then follows the system.
  }
})();
