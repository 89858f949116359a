// A text whose tokens can be chosen, coloured by a feature.
//
// Each piece is an element whose class alone changes, so that the focus and the selection are kept. All pieces are one
// stop of the Tab key; the arrow keys move between them.
(() => {
  const { element, number } = window.saeTry;
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
      this.run = run;
      this.makePieces();
      this.node.hidden = !this.pieces.length;
      this.frame();
      if (this.pieces.length) this.pieces[0].tabIndex = 0;
      const again = kept && this.pieces[kept.place];
      this.select(again?.textContent === kept?.words ? again : null);
    }

    // A piece is a token, or several that share a character. Every token is marked with its number, so the value of each
    // piece says which token is its last.
    makePieces() {
      const { text, ends } = this.run;
      window.saeMarks.highlight(this.node, text, ends, Array.from(ends, (_, token) => [token, token + 1]), ends.length);
      this.pieces = [...this.node.querySelectorAll("b")];
      let first = 0;
      this.tokens = this.pieces.map((piece) => {
        const own = Array.from({ length: Number(piece.title) - first }, (_, place) => first + place);
        first = Number(piece.title);
        return own;
      });
      this.pieceOf = this.tokens.flatMap((own, place) => own.map(() => place));
      this.pieces.forEach((piece) => this.makeOption(piece));
    }

    makeOption(piece) {
      const words = piece.textContent;
      piece.className = "";
      piece.removeAttribute("title");
      piece.tabIndex = -1;
      piece.setAttribute("role", "option");
      piece.setAttribute("aria-selected", "false");
      if (!words.trim()) piece.setAttribute("aria-label", BLANK.filter(([sign]) => words.includes(sign)).map(([, name]) => name).join(", ") || "blank");
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
      const values = new Map();
      for (const [token, value] of active) {
        const place = this.pieceOf[token];
        values.set(place, Math.max(value, values.get(place) ?? 0));
      }
      for (const [place, value] of values) {
        this.pieces[place].classList.add(`a${window.saeMarks.level(value, largest)}`);
        this.pieces[place].title = number(value);
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
