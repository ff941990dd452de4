// Whether a device computes the network rightly, on a pair whose flow `flow web` computed.

import { fetched } from "./site.js";

const LIMIT = 0.1; // pixels on average; fp16 is at 0.004

// Throws unless the session's flow, before the refinement, of the pair is close to Python's.
// `check`: its [height, width] from site.json; check.bin has both images and the flow.
export async function checkFlow(ort, session, check) {
  const content = await (await fetched("check.bin")).arrayBuffer();
  const shape = [1, ...check, 3];
  const bytes = 3 * check[0] * check[1];
  const image = (start) => new ort.Tensor("uint8", new Uint8Array(content, start, bytes), shape);
  const { flow } = await session.run({ image1: image(0), image2: image(bytes) });
  const expected = new Float32Array(content, 2 * bytes);
  let sum = 0;
  for (let i = 0; i < expected.length; i += 2) {
    sum += Math.hypot(flow.data[i] - expected[i], flow.data[i + 1] - expected[i + 1]);
  }
  const distance = (2 * sum) / expected.length;
  if (distance <= LIMIT) return; // false for NaN
  throw new Error(`its flow of a test pair is ${distance.toFixed(2)} px off`);
}
