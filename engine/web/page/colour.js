// Colours of flow: the Middlebury wheel, to one level those of engine/flow/colour.py.

// Hues between neighbouring corners, chosen by perceptual similarity in the original.
const CORNERS = [
  [[255, 0, 0], 15],
  [[255, 255, 0], 6],
  [[0, 255, 0], 4],
  [[0, 255, 255], 11],
  [[0, 0, 255], 13],
  [[255, 0, 255], 6],
];
const WHEEL = CORNERS.flatMap(([start, steps], index) => {
  const [end] = CORNERS[(index + 1) % CORNERS.length];
  return Array.from({ length: steps }, (_, step) =>
    start.map((value, i) => value + Math.floor((255 * step) / steps) * Math.sign(end[i] - value)),
  );
});
const UNKNOWN = 1e9; // a component beyond it

// Returns RGBA. `flow`: x and y by turns, in pixels; unknown flow is black.
// `scale`: magnitude of full saturation in pixels; larger flow is darkened.
export function flowColours(flow, scale) {
  const out = new Uint8ClampedArray(2 * flow.length);
  for (let i = 0; i < flow.length; i += 2) {
    const [x, y, to] = [flow[i], flow[i + 1], 2 * i];
    out[to + 3] = 255;
    if (!(Math.abs(x) <= UNKNOWN && Math.abs(y) <= UNKNOWN)) continue;
    // + 0 turns -0 into 0, which are at different ends of the wheel.
    const turns = Math.atan2(-(y + 0), -(x + 0)) / (2 * Math.PI) + 0.5;
    const position = turns * (WHEEL.length - 1);
    const first = Math.floor(position);
    const [low, high] = [WHEEL[first], WHEEL[(first + 1) % WHEEL.length]];
    const radius = Math.sqrt(x * x + y * y) / scale;
    for (let channel = 0; channel < 3; channel++) {
      const hue = low[channel] + (position - first) * (high[channel] - low[channel]);
      out[to + channel] = Math.floor(radius <= 1 ? 255 - radius * (255 - hue) : 0.75 * hue);
    }
  }
  return out;
}

// Returns the legend as ImageData: each pixel of a disc has the colour of the flow to it from the
// centre; the rim is at the scale, and around it is nothing.
export function wheelLegend(size) {
  const flow = new Float32Array(2 * size * size);
  for (let i = 0; i < size * size; i++) {
    flow[2 * i] = (((i % size) + 0.5) * 2) / size - 1;
    flow[2 * i + 1] = ((Math.floor(i / size) + 0.5) * 2) / size - 1;
  }
  const colours = flowColours(flow, 1);
  for (let i = 0; i < size * size; i++) {
    if (Math.hypot(flow[2 * i], flow[2 * i + 1]) > 1) colours[4 * i + 3] = 0;
  }
  return new ImageData(colours, size, size);
}
