// Lets the pages of a catalog work offline once a reader has loaded the model. It is registered by client.js for the
// catalog's folder, and answers only for files in it.
//
// The parts of the model have their checksum in their name, so one that is kept is right: they come from the cache. All
// else comes from the network as long as there is one. The engine keeps parts in the same cache under their address.
const CATALOG = self.registration.scope;
const CACHE = `saecatalog ${CATALOG}`;
const PART = /\/live\/[\w-]+-[0-9a-f]{8}\.js$/;
const KEPT = /(\.html|\.js|\.css|\.svg|\.png|\.wasm|\/|\/[^./]+)$/;

const path = (address) => new URL(address).pathname;
const isOurs = (address) => address.startsWith(CATALOG);

// Which parts belong to the catalog as it is now is in its manifest; those of earlier versions are let go.
async function sweep(cache, manifest) {
  for (const { url } of await cache.keys()) {
    if (PART.test(path(url)) && !manifest.includes(path(url).split("/").at(-1).slice(0, -3))) await cache.delete(url);
  }
}

async function store(request, response) {
  try {
    const cache = await caches.open(CACHE);
    const manifest = path(request.url) === path(`${CATALOG}live/manifest.js`) ? await response.clone().text() : "";
    await cache.put(request.url.split(/[?#]/)[0], response);
    if (manifest) await sweep(cache, manifest);
  } catch {
    // There is no room. What is not kept is asked of the network.
  }
}

async function fromNetwork(event) {
  const response = await fetch(event.request);
  // A redirected answer may not answer a navigation later.
  if (response.ok && !response.redirected && KEPT.test(path(event.request.url))) {
    event.waitUntil(store(event.request, response.clone()));
  }
  return response;
}

const fromCache = async (request) => (await caches.open(CACHE)).match(request, { ignoreSearch: true, ignoreVary: true });

async function answer(event) {
  if (PART.test(path(event.request.url))) return await fromCache(event.request) ?? fromNetwork(event);
  try {
    return await fromNetwork(event);
  } catch (error) {
    const kept = await fromCache(event.request);
    if (kept) return kept;
    throw error;
  }
}

async function keep(addresses) {
  for (const address of new Set(addresses.map((one) => one.split(/[?#]/)[0]))) {
    if (!isOurs(address) || PART.test(path(address)) || !KEPT.test(path(address))) continue;
    const response = await fetch(address).catch(() => null);
    if (response?.ok && !response.redirected) await store(new Request(address), response);
  }
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("message", (event) => event.waitUntil(keep(event.data.keep ?? [])));
self.addEventListener("fetch", (event) => {
  const { method, url, headers } = event.request;
  if (method === "GET" && isOurs(url) && !headers.has("range")) event.respondWith(answer(event));
});
