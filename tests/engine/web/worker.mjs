// Runs the page's worker in Node.js: `node worker.mjs SITE`, the folder of a site with images.json,
// {width, height, first, second}, the images as RGBA. Writes the flow to flow.bin, x and y by turns.

import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const site = resolve(process.argv[2]);
const worker = pathToFileURL(join(site, "worker.js"));
const read = (url) => readFileSync(fileURLToPath(url));

// What a browser has and Node.js lacks, for the page and for onnxruntime-web.
class FileRequest {
  status = 200;

  open(_, url) {
    this.url = url;
  }

  send() {
    this.response = new Uint8Array(read(this.url)).buffer;
    this.onload?.();
  }
}
const navigator = { hardwareConcurrency: 1 };
Object.assign(globalThis, { self: globalThis, location: { href: worker.href }, onmessage: null });
Object.assign(globalThis, { WorkerGlobalScope: Object, XMLHttpRequest: FileRequest });
Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
globalThis.fetch = async (url) => new Response(read(url));

function asked(name, parameters) {
  return new Promise((done, failed) => {
    globalThis.postMessage = ({ result, fault }) => (result ? done(result) : failed(new Error(fault)));
    globalThis.onmessage({ data: { id: 1, name, parameters } });
  });
}

const { width, height, first, second } = JSON.parse(readFileSync(join(site, "images.json")));
const image = (data) => ({ width, height, data });
await import(worker);
await asked("open", { wanted: "wasm" });
const { flow } = await asked("infer", { first: image(first), second: image(second) });
writeFileSync(join(site, "flow.bin"), flow);
