// Runs the texts that a reader types: a moment after the last key, and only the latest counts.
(() => {
  const { debounce } = window.saeTry;
  const WAIT = 200;
  const KEPT = 8;

  window.saeTry.Runner = class {
    // `texts()` gives the texts to run; `show(runs)` gets a run for each, null for an empty text; `fail(error)` an error.
    // `box` is what shows them; it is busy while what it shows is not yet that of the texts.
    constructor(box, texts, show, fail) {
      Object.assign(this, { box, texts, show, fail });
      this.kept = new Map();
      this.later = debounce(WAIT, () => this.now());
    }

    soon() {
      if (this.engine) this.box.setAttribute("aria-busy", "true");
      this.later();
    }

    done(act) {
      this.box.setAttribute("aria-busy", "false");
      act();
    }

    async now() {
      this.stop?.abort();
      if (!this.engine) return;
      const stop = this.stop = new AbortController();
      this.box.setAttribute("aria-busy", "true");
      try {
        const runs = [];
        for (const text of this.texts()) runs.push(text === "" ? null : await this.run(text, stop.signal));
        if (!stop.signal.aborted) this.done(() => this.show(runs));
      } catch (error) {
        if (!stop.signal.aborted) this.done(() => this.fail(error));
      }
    }

    // The last runs are kept, because of two texts only one changes at a time.
    async run(text, signal) {
      const run = this.kept.get(text) ?? await this.engine.run(text, { signal });
      this.kept.delete(text);
      this.kept.set(text, run);
      if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
      return run;
    }
  };
})();
