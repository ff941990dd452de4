// Refinement of the flow by its images, at first by a search for patches. As
// engine/refinement/plain.py, which says what each part is for. No array is destructured in the
// loops over pixels: that is slow.

import { changes } from "./patches.js";

const SMOOTHNESS = 1.7;
const EDGE = 20;
const LEAST_EDGE = 0.02;
const NOISE = 0.1;
const LEAST = 0.001;
const STAY = 1e-6;
const RELAXATION = 1.95;
const SWEEPS = 8;
const HALF_ROUNDS = 3;
const ROUNDS = 1;
const RESOLUTIONS = 3;

const PLANES = [
  ...["first", "second", "x", "y"], // the images in grey, and the flow
  ...["mean", "difference", "alongX", "alongY", "weights"],
  ...["beside", "below", "mixed", "scaleX", "scaleY", "rightX", "rightY"], // the equations
];

// Returns a refined flow, or the flow itself where the manifest asks for none: x and y by turns.
// `first`, `second`: RGB bytes of the flow's [height, width].
export function refined(first, second, flow, [height, width], { refine }) {
  if (refine !== "variational") return flow;
  const levels = [new Level(height, width)];
  while (levels.length < RESOLUTIONS) {
    const finer = levels.at(-1);
    levels.push(new Level(Math.ceil(finer.height / 2), Math.ceil(finer.width / 2)));
  }
  const [whole, half] = levels;
  readGrey(whole.first, first, whole);
  readGrey(whole.second, second, whole);
  for (let i = 1; i < RESOLUTIONS; i++) {
    halve(levels[i].first, levels[i], levels[i - 1].first, levels[i - 1], 1);
    halve(levels[i].second, levels[i], levels[i - 1].second, levels[i - 1], 1);
  }
  readFlow(whole, flow, changes(levels, flow));
  // A pixel has half as many of the halved image.
  halve(half.x, half, whole.x, whole, 0.5);
  halve(half.y, half, whole.y, whole, 0.5);
  const [beforeX, beforeY] = [half.x.slice(), half.y.slice()];
  for (let i = 0; i < HALF_ROUNDS; i++) round(half);
  addDoubled(whole.x, whole, change(half.x, beforeX), half);
  addDoubled(whole.y, whole, change(half.y, beforeY), half);
  for (let i = 0; i < ROUNDS; i++) round(whole);
  return writtenFlow(whole);
}

// The planes of one resolution. Each has a border of one pixel, so that no pixel inside lacks a
// neighbour: `extend` repeats the plane's own pixels there; weights stay zero. Pixel (x, y) is at
// (y + 1) * pitch + x + 1.
class Level {
  constructor(height, width) {
    const pitch = width + 2;
    Object.assign(this, { height, width, pitch });
    for (const name of PLANES) this[name] = new Float32Array((height + 2) * pitch);
  }
}

// Repeats the outermost pixels of a plane on its border.
function extend(plane, { height, width, pitch }) {
  for (let at = pitch; at <= height * pitch; at += pitch) {
    plane[at] = plane[at + 1];
    plane[at + width + 1] = plane[at + width];
  }
  plane.copyWithin(0, pitch, 2 * pitch);
  plane.copyWithin((height + 1) * pitch, height * pitch, (height + 1) * pitch);
}

// Moves a level's flow to that of less energy after warping once.
function round(level) {
  extend(level.x, level);
  extend(level.y, level);
  setEquations(level);
  // A half sweep may follow one row behind the half sweep before it. So all go down the image
  // together, and their rows stay in the processor's cache.
  for (let last = 0; last < level.height + 2 * SWEEPS - 1; last++) {
    for (let half = 0; half < 2 * SWEEPS; half++) {
      const row = last - half;
      if (row >= 0 && row < level.height) relax(level, row, half % 2);
    }
  }
}

// Updates the pixels of one colour of a checkerboard in a row of the flow, x first.
function relax(level, row, colour) {
  const { width, pitch, x, y, beside, below, mixed, scaleX, scaleY, rightX, rightY } = level;
  const start = (row + 1) * pitch + 1;
  for (let i = start + ((row + colour) % 2); i < start + width; i += 2) {
    const left = beside[i - 1];
    const right = beside[i];
    const up = below[i - pitch];
    const down = below[i];
    const sumX = left * x[i - 1] + right * x[i + 1] + up * x[i - pitch] + down * x[i + pitch];
    const sumY = left * y[i - 1] + right * y[i + 1] + up * y[i - pitch] + down * y[i + pitch];
    const newX = x[i] + RELAXATION * ((rightX[i] + sumX - mixed[i] * y[i]) * scaleX[i] - x[i]);
    x[i] = newX;
    y[i] += RELAXATION * ((rightY[i] + sumY - mixed[i] * newX) * scaleY[i] - y[i]);
  }
}

function setEquations(level) {
  const { height, width, pitch, x, y, mean, difference, alongX, alongY, beside, below } = level;
  const { mixed, scaleX, scaleY, rightX, rightY } = level;
  warp(level);
  derive(level);
  smooth(level);
  for (let row = 1; row <= height; row++) {
    const end = row * pitch + width;
    for (let i = row * pitch + 1; i <= end; i++) {
      const changeX = (difference[i + 1] - difference[i - 1]) / 2;
      const changeY = (difference[i + pitch] - difference[i - pitch]) / 2;
      const xx = (alongX[i + 1] - alongX[i - 1]) / 2;
      const xy = (alongX[i + pitch] - alongX[i - pitch]) / 2;
      const yy = (alongY[i + pitch] - alongY[i - pitch]) / 2;
      let shareX = 1 / (xx * xx + xy * xy + NOISE * NOISE);
      let shareY = 1 / (xy * xy + yy * yy + NOISE * NOISE);
      const penalty = changeX * changeX * shareX + changeY * changeY * shareY;
      const weight = 1 / Math.sqrt(penalty + LEAST * LEAST);
      shareX *= weight;
      shareY *= weight;
      const a = shareX * xx * xx + shareY * xy * xy + STAY;
      const b = shareX * xx * xy + shareY * xy * yy;
      const c = shareX * xy * xy + shareY * yy * yy + STAY;
      const total = beside[i - 1] + beside[i] + below[i - pitch] + below[i];
      mixed[i] = b;
      scaleX[i] = 1 / (a + total);
      scaleY[i] = 1 / (c + total);
      rightX[i] = a * x[i] + b * y[i] - (shareX * xx * changeX + shareY * xy * changeY);
      rightY[i] = b * x[i] + c * y[i] - (shareX * xy * changeX + shareY * yy * changeY);
    }
  }
}

// Sets `mean` and `difference` of the first image and the second one at where the flow leads,
// bilinear; beyond the border it is repeated.
function warp(level) {
  const { height, width, pitch, first, second, x, y, mean, difference } = level;
  for (let row = 0; row < height; row++) {
    for (let column = 0, i = (row + 1) * pitch + 1; column < width; column++, i++) {
      const toX = within(column + x[i], width - 1);
      const toY = within(row + y[i], height - 1);
      const left = toX | 0;
      const top = toY | 0;
      const share = toX - left;
      const down = toY - top;
      const at = (top + 1) * pitch + left + 1;
      const upper = second[at] + share * (second[at + 1] - second[at]);
      const under = at + pitch;
      const lower = second[under] + share * (second[under + 1] - second[under]);
      const moved = upper + down * (lower - upper);
      mean[i] = (first[i] + moved) / 2;
      difference[i] = moved - first[i];
    }
  }
  extend(mean, level);
  extend(difference, level);
}

function within(value, last) {
  const low = value > 0 ? value : 0; // 0 for NaN
  return low < last ? low : last;
}

// Sets `alongX` and `alongY`, central differences of `mean`.
function derive(level) {
  const { height, width, pitch, mean, alongX, alongY } = level;
  for (let row = 1; row <= height; row++) {
    const end = row * pitch + width;
    for (let i = row * pitch + 1; i <= end; i++) {
      alongX[i] = (mean[i + 1] - mean[i - 1]) / 2;
      alongY[i] = (mean[i + pitch] - mean[i - pitch]) / 2;
    }
  }
  extend(alongX, level);
  extend(alongY, level);
}

// Sets `beside` and `below`, the weights between each pixel and its neighbours to the right and
// below.
function smooth({ height, width, pitch, first, x, y, weights, beside, below }) {
  for (let row = 1; row <= height; row++) {
    const end = row * pitch + width;
    for (let i = row * pitch + 1; i <= end; i++) {
      const xx = x[i + 1] - x[i - 1];
      const xy = x[i + pitch] - x[i - pitch];
      const yx = y[i + 1] - y[i - 1];
      const yy = y[i + pitch] - y[i - pitch];
      const squares = (xx * xx + xy * xy + yx * yx + yy * yy) / 4;
      weights[i] = SMOOTHNESS / Math.sqrt(squares + LEAST * LEAST);
    }
  }
  for (let row = 1; row <= height; row++) {
    const end = row * pitch + width;
    for (let i = row * pitch + 1; i < end; i++) {
      beside[i] = ((weights[i] + weights[i + 1]) / 2) * across(first[i + 1] - first[i]);
    }
    if (row === height) break;
    for (let i = row * pitch + 1; i <= end; i++) {
      below[i] = ((weights[i] + weights[i + pitch]) / 2) * across(first[i + pitch] - first[i]);
    }
  }
}

function across(difference) {
  const edge = difference / EDGE;
  return 1 / (1 + edge * edge) + LEAST_EDGE;
}

// Sets a plane to an image in grey, of ITU-R BT.601.
function readGrey(plane, image, level) {
  const { height, width, pitch } = level;
  for (let row = 0, from = 0; row < height; row++) {
    for (let column = 0, to = (row + 1) * pitch + 1; column < width; column++, from += 3) {
      plane[to++] = 0.299 * image[from] + 0.587 * image[from + 1] + 0.114 * image[from + 2];
    }
  }
  extend(plane, level);
}

// Sets `x` and `y` to a flow and what it is changed by.
function readFlow(level, flow, [changeX, changeY]) {
  const { height, width, pitch, x, y } = level;
  for (let row = 0, from = 0; row < height; row++) {
    for (let column = 0, to = (row + 1) * pitch + 1; column < width; column++, to++, from++) {
      x[to] = flow[2 * from] + changeX[from];
      y[to] = flow[2 * from + 1] + changeY[from];
    }
  }
  extend(x, level);
  extend(y, level);
}

function writtenFlow({ height, width, pitch, x, y }) {
  const out = new Float32Array(2 * height * width);
  for (let row = 0, to = 0; row < height; row++) {
    for (let column = 0, from = (row + 1) * pitch + 1; column < width; column++, from++) {
      out[to++] = x[from];
      out[to++] = y[from];
    }
  }
  return out;
}

// Sets a plane of half the size to the means of 2x2 pixels, times a factor; where a side is odd, its
// last row or column counts twice.
function halve(half, { height, width, pitch }, plane, whole, factor) {
  for (let row = 0; row < height; row++) {
    let from = (2 * row + 1) * whole.pitch + 1;
    for (let column = 0, to = (row + 1) * pitch + 1; column < width; column++, from += 2) {
      const under = from + whole.pitch;
      const sum = plane[from] + plane[from + 1] + plane[under] + plane[under + 1];
      half[to++] = (sum / 4) * factor;
    }
  }
  extend(half, { height, width, pitch });
}

// Returns how much a plane of half the size changed, in pixels of the whole size.
function change(after, before) {
  return after.map((value, i) => 2 * (value - before[i]));
}

// Adds a plane of half the size to a plane, bilinear.
function addDoubled(plane, { height, width, pitch }, half, level) {
  extend(half, level);
  for (let row = 0; row < height; row++) {
    const near = ((row >> 1) + 1) * level.pitch + 1;
    const far = near + (row % 2 ? level.pitch : -level.pitch);
    for (let column = 0, to = (row + 1) * pitch + 1; column < width; column++) {
      const own = column >> 1;
      const other = own + (column % 2 ? 1 : -1);
      const nearRow = 3 * half[near + own] + half[near + other];
      const farRow = 3 * half[far + own] + half[far + other];
      plane[to++] += (3 * nearRow + farRow) / 16;
    }
  }
}
