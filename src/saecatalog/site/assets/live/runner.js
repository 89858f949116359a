// Runs the texts that a reader types: a moment after the last key, and only the latest counts.
(() => {
  const { debounce } = window.saeTry;
  const WAIT = 200;
  const KEPT = 8;

  window.saeTry.Runner = class {
    // `texts()` gives the texts to run; `show(runs)` gets a run for each, null for an empty text; `fail(error)` an error.
    constructor(texts, show, fail) {
      Object.assign(this, { texts, show, fail });
      this.kept = new Map();
      this.soon = debounce(WAIT, () => this.now());
    }

    async now() {
      this.stop?.abort();
      if (!this.engine) return;
      const stop = this.stop = new AbortController();
      try {
        const runs = [];
        for (const text of this.texts()) runs.push(text === "" ? null : await this.run(text, stop.signal));
        if (!stop.signal.aborted) this.show(runs);
      } catch (error) {
        if (!stop.signal.aborted) this.fail(error);
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
