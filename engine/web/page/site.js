// What `flow web` wrote about the bundle, and its model.

// Returns the description: the bundle's manifest, the model's name, the size of the pair by which a
// device is checked, and whether the site is kept.
export async function readSite() {
  return (await fetched("site.json")).json();
}

// Returns the manifest, the model's precision and its content, checked, and the size of the pair.
export async function readModel() {
  const { manifest, model, check } = await readSite();
  const file = manifest.files[model];
  const fault = unusable(manifest, file);
  if (fault) throw new Error(`This bundle ${fault}. Build one with --precision fp32 or fp16.`);
  const content = new Uint8Array(await (await fetched(model)).arrayBuffer());
  if (content.length !== file.bytes || !(await hashes(content, file.sha256))) {
    throw new Error(`${model} is not the one of the manifest: load the page again.`);
  }
  return { manifest, precision: file.precision, content, check };
}

function unusable(manifest, file) {
  if (!["fp32", "fp16"].includes(file?.precision)) {
    return `has the network in ${file?.precision}, which this page does not compute`;
  }
  const { color_order: order, value_range: range } = manifest.preprocessing ?? {
    color_order: "RGB",
    value_range: [0, 255],
  };
  if (manifest.layout !== "NHWC" || order !== "RGB" || String(range) !== "0,255") {
    return `takes images as ${manifest.layout}, ${order}, ${range}; this page has NHWC, RGB, 0,255`;
  }
  return null;
}

async function hashes(content, sha256) {
  if (!crypto.subtle) return true; // not on a page without https
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

// Returns the answer to a request for a file of the site.
export async function fetched(name) {
  let answer;
  try {
    answer = await fetch(new URL(name, import.meta.url));
  } catch {
    throw new Error(`${name} cannot be loaded: the server does not answer. Start it again.`);
  }
  if (!answer.ok) throw new Error(`${name} cannot be loaded: the server says ${answer.status}.`);
  return answer;
}
