// Files that the page saves.

const TAG = 202021.25; // of a Middlebury .flo file

// Returns a flow as a .flo file: https://vision.middlebury.edu/flow/code/flow-code/README.txt
export function flowFile({ flow, width, height }) {
  const header = new DataView(new ArrayBuffer(12));
  header.setFloat32(0, TAG, true);
  header.setInt32(4, width, true);
  header.setInt32(8, height, true);
  return new Blob([header, flow]); // all processors with browsers are little-endian
}

// Returns what a canvas shows as a .png file, with the legend below.
export function pictureFile(canvas, legend, scale) {
  const margin = 8;
  const { width, height } = canvas;
  const strip = legend.height + 2 * margin;
  const whole = new OffscreenCanvas(Math.max(width, 2 * legend.width), height + strip);
  const context = whole.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, whole.width, whole.height);
  context.drawImage(canvas, 0, 0);
  context.drawImage(legend, margin, height + margin);
  context.fillStyle = "black";
  context.font = "16px sans-serif";
  context.fillText(`rim: ${scale} px`, legend.width + 2 * margin, height + strip / 2);
  return whole.convertToBlob({ type: "image/png" });
}

// Hands a file to the browser's downloads.
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
