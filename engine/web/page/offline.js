// Keeps the site in the browser; see offline_worker.js.

const RELOADED = "reloaded for the service worker";

// Returns once the service worker answers for the page; on the first visit that takes a reload.
export async function keepOffline() {
  const workers = navigator.serviceWorker;
  if (!workers) return; // not on a page without https
  try {
    await workers.register(new URL("offline_worker.js", import.meta.url));
    await workers.ready;
  } catch {
    return; // the browser or its user forbids it: the page works without
  }
  if (workers.controller && crossOriginIsolated) return;
  if (sessionStorage.getItem(RELOADED)) return;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  await new Promise(() => {});
}
