// Arrows of a flow, in its colours. As `Arrows` in engine/video/views.py.

// Their number along the longer side, at most and at least, and the least number of pixels from one
// to the next between the two.
const [MOST_SPACES, LEAST_SPACES, LEAST_SPACE] = [40, 4, 24];
const REACH = 1.5; // spaces; length of an arrow of the magnitude of full colour
const [SHORTEST, LONGEST] = [0.02, 2]; // of that magnitude; longer vectors get an arrow of this
const [TIP, TIP_ANGLE] = [0.3, Math.PI / 4];

// Draws arrows, each from its pixel to where that moves; lengths are relative to the scale.
export function drawArrows(context, { flow, width, height }, colours, scale) {
  const side = Math.max(width, height);
  const least = Math.min(LEAST_SPACE, Math.floor(side / LEAST_SPACES));
  const space = Math.max(1, Math.floor(side / MOST_SPACES), least);
  const thickness = Math.max(1, Math.floor(space / 12));
  context.lineCap = context.lineJoin = "round";
  for (let y = Math.floor(space / 2); y < height; y += space) {
    for (let x = Math.floor(space / 2); x < width; x += space) {
      const at = y * width + x;
      const vector = [flow[2 * at] / scale, flow[2 * at + 1] / scale];
      const length = Math.hypot(...vector);
      if (!(length >= SHORTEST && length < Infinity)) continue;
      const factor = REACH * space * Math.min(1, LONGEST / length);
      const path = arrow(x + 0.5, y + 0.5, vector[0] * factor, vector[1] * factor);
      const colour = `rgb(${colours.subarray(4 * at, 4 * at + 3).join()})`;
      // Its outline in black first.
      for (const [tone, extra] of [["black", 2], [colour, 0]]) {
        context.strokeStyle = tone;
        context.lineWidth = thickness + extra;
        context.stroke(path);
      }
    }
  }
}

function arrow(x, y, dx, dy) {
  const path = new Path2D();
  path.moveTo(x, y);
  path.lineTo(x + dx, y + dy);
  for (const turn of [TIP_ANGLE, -TIP_ANGLE]) {
    const [cos, sin] = [TIP * Math.cos(turn), TIP * Math.sin(turn)];
    path.moveTo(x + dx, y + dy);
    path.lineTo(x + dx - (dx * cos - dy * sin), y + dy - (dx * sin + dy * cos));
  }
  return path;
}
