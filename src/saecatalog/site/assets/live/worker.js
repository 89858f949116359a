// The engine's side of client.js, in a worker: runs the calls that a page sends, and sends back answers and progress.
(() => {
  let live = null;
  const running = new Map();

  async function answer(method, args, options) {
    if (method !== "open") return live[method](...args, options);
    live = await SaeLive.open(...args);
    return live.manifest;
  }

  async function call({ id, method, args }) {
    const stop = new AbortController();
    running.set(id, stop);
    const progress = (...values) => postMessage({ id, progress: values });
    try {
      const result = await answer(method, args, { signal: stop.signal, progress });
      postMessage({ id, result });
    } catch (error) {
      postMessage({ id, error: { name: error.name, message: error.message } });
    } finally {
      running.delete(id);
    }
  }

  onmessage = ({ data }) => {
    if (data.abort) running.get(data.id)?.abort();
    else call(data);
  };
})();
