// Service worker of a site on a static host. It keeps the site for when the host cannot be reached,
// and adds the headers that threads need, which many hosts cannot send.

const CACHE = `flownet-engine ${self.registration.scope}`;

// What the page loads only when it is asked to.
const LATER = ["example1.jpg", "example2.jpg"];

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(LATER)));
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) {
    event.respondWith(answer(event.request));
  }
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const found = await fetch(request);
    if (found.ok) await cache.put(request.url, found.clone()).catch(() => {}); // no space is left
    return isolated(found);
  } catch (error) {
    const kept = await cache.match(request.url);
    if (!kept) throw error;
    return isolated(kept);
  }
}

function isolated(response) {
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}
