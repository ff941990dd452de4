// Computes flow beside the page, which stays responsive.

import { openModel } from "./device.js";
import { cropped, networkInput, paddedSize } from "./images.js";
import { refined } from "./refinement.js";
import { readModel } from "./site.js";

let opened;
let last = Promise.resolve(); // requests are answered in their order

const requests = {
  async open({ wanted }) {
    const model = await readModel();
    const { manifest, precision } = model;
    const { ort, session, device, fault } = await openModel(model, wanted);
    opened = { ort, session, manifest, sizes: new Set() };
    const isolated = self.crossOriginIsolated;
    return { network: manifest.network, precision, device, fault, isolated };
  },

  // Images of one size -> their flow, x and y by turns, how long network and refinement took, and
  // whether that includes preparing for a new size.
  async infer({ first, second }) {
    if (!opened) throw new Error("No network is open: choose where to compute, or load the page again.");
    const { ort, session, manifest, sizes } = opened;
    const { width, height } = first;
    const size = paddedSize(height, width, manifest);
    const images = [first, second].map((image) => networkInput(image, size));
    const [image1, image2] = images.map((image) => new ort.Tensor("uint8", image, [1, ...size, 3]));
    const start = performance.now();
    const { flow } = await session.run({ image1, image2 });
    const whole = refined(...images, flow.data, size, manifest);
    const milliseconds = performance.now() - start;
    const isFirst = sizes.size < sizes.add(String(size)).size;
    const inside = cropped(whole, size[1], height, width);
    return { flow: inside, width, height, milliseconds, isFirst };
  },
};

onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};

async function answer({ id, name, parameters }) {
  try {
    const result = await requests[name](parameters);
    postMessage({ id, result }, result.flow ? [result.flow.buffer] : []);
  } catch (error) {
    postMessage({ id, fault: name === "infer" ? inWords(error) : textOf(error) });
  }
}

function textOf(error) {
  return String(error?.message ?? error);
}

function inWords(error) {
  const text = textOf(error);
  // Of WebAssembly, ONNX Runtime (std::bad_alloc is a number there) and WebGPU.
  if (/memory|alloc|^\d+$|out of bounds|device.*lost/i.test(text)) {
    return `The image needs more memory than the browser has (${text}). Choose a smaller size.`;
  }
  return text;
}
