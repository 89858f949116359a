// Loads the model when the reader asks for it, or at once if the browser has kept it: the button with the size, the
// progress, the button that stops it, and what went wrong.
(() => {
  const { button, element, megabytes } = window.saeTry;

  function sentence(error) {
    if (navigator.onLine === false) return "You are offline, and this needs a file that your browser has not kept.";
    if (error.name === "RangeError" || /memory/i.test(error.message)) {
      return "There is not enough free memory for the model. Close other tabs or programs and try again.";
    }
    return /[.!?]$/.test(error.message) ? error.message : `Something went wrong: ${error.message}.`;
  }
  window.saeTry.sentence = sentence;

  // A failure, with a button that tries again.
  window.saeTry.failure = (error, again) => element(
    "div", { className: "notice", role: "alert" }, element("p", { textContent: sentence(error) }), button("Try again", again),
  );

  window.saeTry.Loader = class {
    // `ready(engine, features)` is called once the model is loaded.
    constructor(ready) {
      this.ready = ready;
      this.node = element("div", { className: "loader" });
    }

    show(...children) {
      const hadFocus = this.node.contains(document.activeElement);
      this.node.replaceChildren(...children);
      // The button that was pressed is gone; the next one takes its place.
      if (hadFocus) this.node.querySelector("button")?.focus();
      return hadFocus;
    }

    async begin() {
      const problem = window.saeClient.problem();
      if (problem) return this.show(element("p", { className: "notice", textContent: problem }));
      try {
        this.engine = await window.saeClient.open();
        if (await this.engine.stored()) await this.load();
        else this.offer();
      } catch (error) {
        this.show(window.saeTry.failure(error, () => this.begin()));
      }
    }

    offer(words = "Your browser keeps it for the next time.") {
      this.show(
        button(`Load the model (${megabytes(window.saeClient.firstBytes(this.engine.manifest))})`, () => this.load(), { className: "load" }),
        element("p", { className: "sub", textContent: words }),
      );
    }

    async load() {
      const stop = new AbortController();
      const bar = element("progress", { max: 1, value: 0, "aria-label": "Loading the model" });
      const done = element("span", { className: "sub" });
      this.show(bar, done, button("Stop", () => stop.abort()));
      const progress = (loaded, total) => {
        bar.value = loaded / total;
        done.textContent = `${megabytes(loaded)} of ${megabytes(total)}`;
      };
      try {
        await this.engine.load({ signal: stop.signal, progress });
        const features = await this.engine.features();
        const hadFocus = this.show();
        window.saeClient.keep();
        this.ready(this.engine, features, hadFocus);
        this.tellOfRoom();
      } catch (error) {
        if (stop.signal.aborted) this.offer("Stopped.");
        else this.show(window.saeTry.failure(error, () => this.load()));
      }
    }

    async tellOfRoom() {
      if (await this.engine.stored()) return;
      this.show(element("p", { className: "sub", textContent: "Your browser has no room to keep the model, so the next visit will load it again." }));
    }
  };
})();
