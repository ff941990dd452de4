// Images as a network takes them, and its flow at their size. As engine/images/layout.py.

// Returns [height, width], each rounded up to a multiple of the manifest's divisor.
export function paddedSize(height, width, { divisor, smallest }) {
  const up = (side) => Math.ceil(Math.max(side, smallest) / divisor) * divisor;
  return [up(height), up(width)];
}

// Returns an image as RGB bytes; rows are added at the bottom and columns on the right, copies of
// the last ones. `image`: ImageData, RGBA.
export function networkInput(image, [rows, columns]) {
  const { data, width, height } = image;
  const out = new Uint8Array(rows * columns * 3);
  for (let row = 0, to = 0; row < rows; row++) {
    const start = Math.min(row, height - 1) * width;
    for (let column = 0; column < columns; column++) {
      const from = 4 * (start + Math.min(column, width - 1));
      out[to++] = data[from];
      out[to++] = data[from + 1];
      out[to++] = data[from + 2];
    }
  }
  return out;
}

// Returns the flow of the image's own pixels: x and y by turns. `columns`: width of the padded flow.
export function cropped(flow, columns, height, width) {
  const out = new Float32Array(2 * height * width);
  for (let row = 0; row < height; row++) {
    const start = 2 * row * columns;
    out.set(flow.subarray(start, start + 2 * width), 2 * row * width);
  }
  return out;
}

// Returns a picture or a video's frame as ImageData, its longer side at most `longest` pixels.
export function imageData(source, width, height, longest) {
  const scale = Math.min(1, longest / Math.max(width, height));
  const size = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const context = new OffscreenCanvas(...size).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, ...size);
  return context.getImageData(0, 0, ...size);
}
