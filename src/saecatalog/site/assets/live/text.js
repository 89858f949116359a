// A text whose tokens can be chosen, coloured by a feature.
//
// Each piece is an element whose class alone changes, so that the focus and the selection are kept. All pieces are one
// stop of the Tab key; the arrow keys move between them.
(() => {
  const { element, parsed, unit } = window.saeTry;
  const BLANK = [["\n", "line break"], ["\t", "tab"], [" ", "space"]];

  window.saeTry.MarkedText = class {
    // `chosen(tokens)` is called with the tokens that the reader chooses; with null if none is chosen any longer.
    constructor(label, chosen) {
      this.chosen = chosen;
      this.node = element("div", { className: "text tokens", role: "listbox", "aria-label": label, "aria-orientation": "horizontal", dir: "auto" });
      this.node.addEventListener("click", (event) => this.press(event.target.closest("[role=option]")));
      this.node.addEventListener("keydown", (event) => this.key(event));
      this.pieces = [];
    }

    show(run) {
      const kept = this.selected && { words: this.selected.textContent, place: this.pieces.indexOf(this.selected) };
      const cuts = window.saeMarks.cuts(run.text, run.ends);
      this.run = run;
      this.starts = new Map(cuts.map((cut, place) => [cut, place]));
      this.pieces = cuts.slice(1).map((end, place) => this.piece(cuts[place], end));
      this.node.replaceChildren(...this.pieces);
      this.node.hidden = !this.pieces.length;
      this.tokens = this.pieces.map((_, place) => this.tokensIn(cuts[place], cuts[place + 1]));
      this.frame();
      if (this.pieces.length) this.pieces[0].tabIndex = 0;
      const again = kept && this.pieces[kept.place];
      this.select(again?.textContent === kept?.words ? again : null);
    }

    piece(start, end) {
      const words = this.run.text.slice(start, end);
      const made = element("b", { role: "option", tabIndex: -1, "aria-selected": "false" });
      made.append(parsed(window.saeMarks.visible(words)));
      if (!words.trim()) made.setAttribute("aria-label", BLANK.filter(([sign]) => words.includes(sign)).map(([, name]) => name).join(", ") || "blank");
      return made;
    }

    // The tokens whose characters are, at least in part, in a piece.
    tokensIn(start, end) {
      const found = [];
      for (let token = 0; token < this.run.ends.length; token += 1) {
        const [first, last] = unit(this.run.ends, token);
        if (first < end && last > start) found.push(token);
        if (first >= end) break;
      }
      return found;
    }

    // Tokens that were not counted are framed.
    frame() {
      this.pieces.forEach((piece, place) => {
        piece.classList.toggle("massive", this.tokens[place].some((token) => this.run.left_out[token]));
      });
    }

    // `active` has a feature's activations as [token, value]; `largest` is the maximum that colours are relative to.
    paint(active, largest) {
      for (const piece of this.node.querySelectorAll("b[title]")) {
        piece.removeAttribute("title");
        piece.className = piece.className.replace(/\ba\d\b/, "").trim();
      }
      for (const { start, end, level, value } of window.saeMarks.marks(this.run.text, this.run.ends, active, largest)) {
        for (const piece of this.pieces.slice(this.starts.get(start), this.starts.get(end))) {
          piece.classList.add(`a${level}`);
          piece.title = value;
        }
      }
    }

    // Pieces, by their tokens, that another text does not have.
    mark(tokens) {
      this.pieces.forEach((piece, place) => piece.classList.toggle("other", this.tokens[place].some((token) => tokens.has(token))));
    }

    press(piece) {
      if (!piece) return;
      this.move(piece);
      this.select(piece === this.selected ? null : piece);
      this.chosen(this.selected ? this.tokens[this.pieces.indexOf(piece)] : null);
    }

    select(piece) {
      this.selected?.setAttribute("aria-selected", "false");
      this.selected = piece;
      piece?.setAttribute("aria-selected", "true");
    }

    // The tokens of the piece that is chosen; null if none is.
    get selection() {
      return this.selected ? this.tokens[this.pieces.indexOf(this.selected)] : null;
    }

    move(piece) {
      for (const other of this.node.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
      piece.tabIndex = 0;
      piece.focus();
    }

    key(event) {
      const place = this.pieces.indexOf(event.target);
      const isRight = getComputedStyle(this.node).direction === "rtl" ? -1 : 1;
      const next = { ArrowRight: place + isRight, ArrowLeft: place - isRight, ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: this.pieces.length - 1 }[event.key];
      if (event.key === "Enter" || event.key === " ") this.press(event.target);
      else if (event.key === "Escape" && this.selected) this.press(this.selected);
      else if (next === undefined || !this.pieces[next]) return;
      else this.move(this.pieces[next]);
      event.preventDefault();
    }
  };
})();
