// Lets the pages of a catalog work offline once a reader has loaded the model. It is registered by client.js for the
// catalog's folder, and answers only for files in it.
//
// Pages and their files come from the network as long as there is one, and else from the cache. The parts of the model
// are kept by the engine, in a cache of its own (see parts.js). They have their checksum in their name, so one that is kept
// is right; here, those that the catalog no longer has are let go.
const CATALOG = self.registration.scope;
const CACHE = `saecatalog ${CATALOG}`;
const PARTS = "saecatalog-live";
const PART = /\/live\/[\w-]+-[0-9a-f]{8}\.js$/;
const KEPT = /(\.html|\.js|\.css|\.svg|\.png|\.wasm|\/|\/[^./]+)$/;

const path = (address) => new URL(address).pathname;
const isOurs = (address) => address.startsWith(CATALOG);

// Which parts belong to the catalog as it is now is in its manifest; those of earlier versions are let go.
async function sweep(manifest) {
  const listed = JSON.parse(manifest.replace(/^saeLive\(|\)\s*$/g, "")).parts;
  const hex = (sum) => sum.toString(16).padStart(8, "0");
  const present = new Set(Object.entries(listed).map(([name, [, sum]]) => `${CATALOG}live/${name}-${hex(sum)}.js`));
  const cache = await caches.open(PARTS);
  for (const { url } of await cache.keys()) {
    if (url.startsWith(`${CATALOG}live/`) && !present.has(url)) await cache.delete(url);
  }
}

async function store(request, response) {
  try {
    const cache = await caches.open(CACHE);
    // What cannot be read is no manifest, and must not take the place of one.
    if (path(request.url) === path(`${CATALOG}live/manifest.js`)) await sweep(await response.clone().text());
    await cache.put(request.url.split(/[?#]/)[0], response);
  } catch {
    // There is no room, perhaps. What is not kept is asked of the network.
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
  if (method === "GET" && isOurs(url) && !PART.test(path(url)) && !headers.has("range")) event.respondWith(answer(event));
});
