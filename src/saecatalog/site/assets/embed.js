// The page about embeds: shows the card of the feature in the address, at a width that the reader chooses.
(() => {
  const frame = document.querySelector("iframe");
  if (!frame) return;
  const code = document.querySelector("#code pre");
  const link = document.getElementById("shown");
  const width = document.getElementById("width");
  const first = /\d+/.exec(link.textContent)[0];
  const wanted = new URLSearchParams(location.search).get("feature") ?? "";
  // If not every feature has a card, the page lists those that do.
  const offered = document.getElementById("preview").dataset.embedded?.split(" ");
  const number = /^\d+$/.test(wanted) && (offered?.includes(wanted) ?? true) ? wanted : first;
  const pattern = code.textContent;

  function write(height) {
    frame.width = width.value;
    frame.height = height;
    document.querySelector("output").textContent = `${width.value} × ${height} pixels`;
    code.textContent = pattern
      .replace(`features/${first}.embed`, `features/${number}.embed`)
      .replace(`Feature ${first}"`, `Feature ${number}"`)
      .replace('width="640" height="600"', `width="${width.value}" height="${height}"`);
  }

  // On a server, the frame is fitted to the card's height; in a folder, browsers do not let the page read it.
  function fit() {
    write(600);
    const card = frame.contentDocument?.querySelector("main");
    if (card) write(Math.ceil(card.getBoundingClientRect().height) + 2);
  }

  if (number !== first) {
    link.href = `features/${number}.html`;
    link.textContent = `feature ${number}`;
    frame.title = `Feature ${number}`;
    frame.src = `features/${number}.embed.html`;
  }
  width.addEventListener("input", fit);
  frame.addEventListener("load", fit);
  fit();
})();
