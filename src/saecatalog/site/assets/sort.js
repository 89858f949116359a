// Tables marked with data-sort: pressing a heading sorts the rows by that column, pressing it again turns the order.
// Words are sorted as words; a cell whose text begins with a number is sorted by that number.
(() => {
  const numberIn = (text) => {
    const found = /^[−-]?[\d.,]+/.exec(text);
    return found ? Number(found[0].replace("−", "-").replaceAll(",", "")) : null;
  };

  // The values of a column: numbers if every cell has one or is empty, otherwise words.
  function values(rows, at) {
    const texts = rows.map((row) => row.cells[at].textContent.trim());
    const numbers = texts.map(numberIn);
    const isNumeric = texts.every((text, i) => numbers[i] !== null || text === "" || text.startsWith("–"));
    return isNumeric ? numbers : texts.map((text) => text.toLowerCase());
  }

  // Missing values come last in both directions, and ties stay in the order of the page.
  function sort(table, rows, at, isDown) {
    const column = values(rows, at);
    const way = isDown ? -1 : 1;
    const compare = (x, y) => x === y ? 0 : x === null ? 1 : y === null ? -1 : x < y ? -way : way;
    const order = [...rows.keys()].sort((a, b) => compare(column[a], column[b]) || a - b);
    table.tBodies[0].append(...order.map((place) => rows[place]));
  }

  for (const table of document.querySelectorAll("table[data-sort]")) {
    const rows = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const begin = head.matches(".words, :first-child") ? "ascending" : "descending";
        const turned = { ascending: "descending", descending: "ascending" }[head.getAttribute("aria-sort")];
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", turned ?? begin);
        sort(table, rows, at, (turned ?? begin) === "descending");
      });
    });
  }
})();
