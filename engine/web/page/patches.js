// Search for patches of the first image in the second one. As engine/refinement/patches.py, which
// says what each part is for.

const SIDE = 8;
const STRIDE = 4;
const STEPS = 3;
const LONGEST_STEP = 2;
const SHORTEST_STEP = 0.2;
const APART = 1;
const NOISE = 1;
const BETTER = 0.7;
const ALIKE = 0.5;
const ROUNDNESS = 0.1;
const AGREE = 1.5;
const SUPPORT = 3;
const MOVED = 0.25;
const PIXELS = SIDE * SIDE;
const MARGIN = SIDE + 1;

const VALUES = [
  ...["x", "y", "squared", "alongX", "alongY"], // of the best match
  ...["givenX", "givenY", "givenSquared"], // of the flow
  ...["sumX", "sumY", "xx", "xy", "yy", "variance"],
  ...["searched", "settled", "fits", "accepted"], // 0 or 1
];

// Returns how much the search changes a flow along x and along y, planes of its [height, width].
// `levels`: of refinement.js, with the two images in grey, the one of the whole resolution first.
// `flow`: x and y by turns.
export function changes(levels, flow) {
  const [{ height, width }] = levels;
  let coarser = null;
  for (let halvings = levels.length - 1; halvings >= 0; halvings--) {
    const search = new Search(levels[halvings]);
    search.begin(flow, height, width, halvings, coarser);
    for (let row = 0; row < search.rows; row++) search.along(row * search.columns, search.columns, 1);
    for (let column = 0; column < search.columns; column++) {
      search.along(column, search.rows, search.columns);
    }
    coarser = search;
  }
  coarser.accept();
  return interpolated(coarser, height, width);
}

// The patches of a pair at one resolution. Patch (row, column) is at row * columns + column.
class Search {
  constructor(level) {
    const { height, width } = level;
    this.pitch = width + 2 * MARGIN;
    this.first = padded(level.first, level);
    this.second = padded(level.second, level);
    this.rows = Math.max(Math.ceil(height / STRIDE), 2) - 1;
    this.columns = Math.max(Math.ceil(width / STRIDE), 2) - 1;
    Object.assign(this, { height, width });
    for (const name of VALUES) this[name] = new Float32Array(this.rows * this.columns);
    // What `match` returns.
    this.found = { x: 0, y: 0, squared: 0, alongX: 0, alongY: 0 };
  }

  begin(flow, height, width, halvings, coarser) {
    const scale = 2 ** -halvings;
    for (let row = 0, i = 0; row < this.rows; row++) {
      const y = Math.min((STRIDE * (row + 1)) << halvings, height - 1);
      for (let column = 0; column < this.columns; column++, i++) {
        const x = Math.min((STRIDE * (column + 1)) << halvings, width - 1);
        const at = 2 * (y * width + x);
        const known = Number.isFinite(flow[at]) && Number.isFinite(flow[at + 1]);
        const motionX = known ? scale * flow[at] : 0;
        const motionY = known ? scale * flow[at + 1] : 0;
        const around = coarser?.around((row + 1) >> 1, (column + 1) >> 1);
        let searched = known && (!around || around.improved);
        if (searched || !around) {
          this.describe(i);
          this.match(i, motionX, motionY);
          this.keep(i);
        } else {
          this.x[i] = motionX;
          this.y[i] = motionY;
          this.squared[i] = around.givenSquared;
        }
        this.givenX[i] = motionX;
        this.givenY[i] = motionY;
        this.givenSquared[i] = this.squared[i];
        if (halvings === 0) searched &&= this.isRound(i) && this.mostSquared(i) > 0;
        this.searched[i] = searched ? 1 : 0;
        if (!searched || !around) continue;
        this.match(i, 2 * around.x, 2 * around.y);
        if (this.found.squared < this.squared[i]) this.keep(i);
      }
    }
  }

  // Sets what does not depend on the motion.
  describe(i) {
    const { first, pitch } = this;
    let sum = 0;
    let squares = 0;
    let sumX = 0;
    let sumY = 0;
    let xx = 0;
    let xy = 0;
    let yy = 0;
    for (let row = 0, from = this.start(i); row < SIDE; row++, from += pitch) {
      for (let at = from; at < from + SIDE; at++) {
        const alongX = first[at + 1] - first[at - 1];
        const alongY = first[at + pitch] - first[at - pitch];
        sum += first[at];
        squares += first[at] * first[at];
        sumX += alongX;
        sumY += alongY;
        xx += alongX * alongX;
        xy += alongX * alongY;
        yy += alongY * alongY;
      }
    }
    this.sumX[i] = sumX;
    this.sumY[i] = sumY;
    this.xx[i] = xx - (sumX * sumX) / PIXELS;
    this.xy[i] = xy - (sumX * sumY) / PIXELS;
    this.yy[i] = yy - (sumY * sumY) / PIXELS;
    this.variance[i] = squares - (sum * sum) / PIXELS;
  }

  // Returns where a patch's first pixel is in the first image.
  start(i) {
    const row = (i / this.columns) | 0;
    const column = i - row * this.columns;
    return (STRIDE * row + MARGIN) * this.pitch + STRIDE * column + MARGIN;
  }

  // Sets `found` to how the images differ where a patch moves by (x, y), which are numbers.
  match(i, x, y) {
    const { first, second, pitch, found } = this;
    const row = (i / this.columns) | 0;
    const column = i - row * this.columns;
    const toX = Math.min(Math.max(STRIDE * column + x, -SIDE), this.width);
    const toY = Math.min(Math.max(STRIDE * row + y, -SIDE), this.height);
    const left = Math.floor(toX);
    const top = Math.floor(toY);
    const right = toX - left;
    const down = toY - top;
    let own = this.start(i);
    let other = (top + MARGIN) * pitch + left + MARGIN;
    const upperLeft = (1 - right) * (1 - down);
    const upperRight = right * (1 - down);
    const lowerLeft = (1 - right) * down;
    const lowerRight = right * down;
    let sum = 0;
    let squares = 0;
    let alongX = 0;
    let alongY = 0;
    for (let line = 0; line < SIDE; line++, own += pitch, other += pitch) {
      for (let at = own, to = other; at < own + SIDE; at++, to++) {
        const upper = upperLeft * second[to] + upperRight * second[to + 1];
        const lower = lowerLeft * second[to + pitch] + lowerRight * second[to + pitch + 1];
        const difference = upper + lower - first[at];
        sum += difference;
        squares += difference * difference;
        alongX += difference * (first[at + 1] - first[at - 1]);
        alongY += difference * (first[at + pitch] - first[at - pitch]);
      }
    }
    const mean = sum / PIXELS;
    found.x = x;
    found.y = y;
    found.squared = Math.max(0, squares - sum * mean);
    found.alongX = alongX - this.sumX[i] * mean;
    found.alongY = alongY - this.sumY[i] * mean;
  }

  // Makes `found` the best match of a patch.
  keep(i) {
    this.x[i] = this.found.x;
    this.y[i] = this.found.y;
    this.squared[i] = this.found.squared;
    this.alongX[i] = this.found.alongX;
    this.alongY[i] = this.found.alongY;
  }

  // Lets matches spread along a row or a column, to its end and back, and improves each.
  along(start, count, step) {
    const last = start + (count - 1) * step;
    for (const [begin, by] of [
      [start, step],
      [last, -step],
    ]) {
      for (let place = 0, i = begin; place < count; place++, i += by) {
        if (!this.searched[i]) continue;
        if (place > 0) this.look(i, i - by);
        this.descend(i);
      }
    }
  }

  look(i, before) {
    const [x, y] = [this.x[before], this.y[before]];
    if (Math.abs(x - this.x[i]) + Math.abs(y - this.y[i]) <= APART) return;
    this.match(i, x, y);
    if (this.found.squared < this.squared[i]) {
      this.keep(i);
      this.settled[i] = 0;
    }
  }

  descend(i) {
    const damping = 4 + 0.001 * (this.xx[i] + this.yy[i]);
    const [xx, xy, yy] = [this.xx[i] + damping, this.xy[i], this.yy[i] + damping];
    const factor = 2 / (xx * yy - xy * xy);
    for (let step = 0; step < STEPS && !this.settled[i]; step++) {
      const x = (yy * this.alongX[i] - xy * this.alongY[i]) * factor;
      const y = (xx * this.alongY[i] - xy * this.alongX[i]) * factor;
      if (Math.abs(x) + Math.abs(y) < SHORTEST_STEP) {
        this.settled[i] = 1;
        return;
      }
      this.match(i, this.x[i] - clamped(x), this.y[i] - clamped(y));
      if (this.found.squared < this.squared[i]) this.keep(i);
      else this.settled[i] = 1;
    }
  }

  isRound(i) {
    const trace = this.xx[i] + this.yy[i];
    const determinant = this.xx[i] * this.yy[i] - this.xy[i] * this.xy[i];
    return 4 * determinant >= ROUNDNESS * trace * trace;
  }

  // Returns what a match must stay below to be accepted.
  mostSquared(i) {
    return BETTER * this.givenSquared[i] - NOISE * PIXELS;
  }

  // Sets `accepted`: of the patches whose match is much better than the flow those with neighbours
  // that move alike.
  accept() {
    const { rows, columns, x, y, fits } = this;
    for (let i = 0; i < fits.length; i++) {
      const most = Math.min(this.mostSquared(i), ALIKE * this.variance[i] + NOISE * PIXELS);
      fits[i] = this.searched[i] && this.squared[i] < most ? 1 : 0;
    }
    for (let row = 0, i = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, i++) {
        let support = -1; // without itself
        for (let above = Math.max(row - 1, 0); above <= Math.min(row + 1, rows - 1); above++) {
          const end = Math.min(column + 1, columns - 1);
          for (let beside = Math.max(column - 1, 0); beside <= end; beside++) {
            const other = above * columns + beside;
            const [byX, byY] = [x[other] - x[i], y[other] - y[i]];
            if (fits[other] && byX * byX + byY * byY < AGREE * AGREE) support++;
          }
        }
        this.accepted[i] = fits[i] && support >= SUPPORT ? 1 : 0;
      }
    }
  }

  // Returns what the up to four patches over 4x4 pixels have found: the mean of their matches,
  // whether one is an improvement, and the least squared difference of the given flow.
  around(row, column) {
    const [x, y] = this.meanAt(row, column, (i) => [weight(this.squared[i]), this.x[i], this.y[i]]);
    const around = { x, y, improved: false, givenSquared: Infinity };
    for (const i of this.over(row, column)) {
      around.improved ||= this.isImproved(i);
      around.givenSquared = Math.min(around.givenSquared, this.givenSquared[i]);
    }
    return around;
  }

  isImproved(i) {
    const moved = Math.abs(this.x[i] - this.givenX[i]) + Math.abs(this.y[i] - this.givenY[i]);
    return this.squared[i] < BETTER * this.givenSquared[i] && moved > MOVED;
  }

  // Returns how much the accepted matches change the flow of 4x4 pixels.
  changeAt(row, column) {
    return this.meanAt(row, column, (i) =>
      this.accepted[i]
        ? [weight(this.squared[i]), this.x[i] - this.givenX[i], this.y[i] - this.givenY[i]]
        : [weight(this.givenSquared[i]), 0, 0],
    );
  }

  // Returns the mean of [weight, x, y] of the patches over 4x4 pixels.
  meanAt(row, column, valuesOf) {
    let x = 0;
    let y = 0;
    let weights = 0;
    for (const i of this.over(row, column)) {
      const [own, ofX, ofY] = valuesOf(i);
      x += own * ofX;
      y += own * ofY;
      weights += own;
    }
    return [x / weights, y / weights];
  }

  // Returns the up to four patches over 4x4 pixels.
  over(row, column) {
    const patches = [];
    for (let i = Math.max(row - 1, 0); i <= Math.min(row, this.rows - 1); i++) {
      for (let j = Math.max(column - 1, 0); j <= Math.min(column, this.columns - 1); j++) {
        patches.push(i * this.columns + j);
      }
    }
    return patches;
  }
}

// Returns a level's plane with a margin that repeats its border.
function padded(plane, { height, width, pitch }) {
  const out = new Float32Array((height + 2 * MARGIN) * (width + 2 * MARGIN));
  for (let row = -MARGIN, to = 0; row < height + MARGIN; row++) {
    const from = (Math.min(Math.max(row, 0), height - 1) + 1) * pitch + 1;
    for (let column = -MARGIN; column < width + MARGIN; column++) {
      out[to++] = plane[from + Math.min(Math.max(column, 0), width - 1)];
    }
  }
  return out;
}

function clamped(step) {
  return Math.min(Math.max(step, -LONGEST_STEP), LONGEST_STEP);
}

function weight(squared) {
  return 1 / Math.max(1, Math.sqrt(squared / PIXELS));
}

// Returns the changes of each pixel along x and along y, bilinear between those of 4x4 pixels.
function interpolated(search, height, width) {
  const [rows, columns] = [search.rows + 1, search.columns + 1];
  const coarse = [new Float32Array(rows * columns), new Float32Array(rows * columns)];
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      [coarse[0][i], coarse[1][i]] = search.changeAt(row, column);
    }
  }
  return coarse.map((values) => {
    const fine = new Float32Array(height * width);
    for (let y = 0, i = 0; y < height; y++) {
      const [above, below, down] = between(y, rows);
      for (let x = 0; x < width; x++, i++) {
        const [left, right, share] = between(x, columns);
        const atLeft = mixed(values[above * columns + left], values[below * columns + left], down);
        const atRight = mixed(values[above * columns + right], values[below * columns + right], down);
        fine[i] = mixed(atLeft, atRight, share);
      }
    }
    return fine;
  });
}

// Returns the two places around a pixel, and how far it is from the first to the second one.
function between(pixel, count) {
  const before = Math.floor((pixel - 2) / STRIDE);
  const share = (2 * (pixel - 2 - before * STRIDE) + 1) / (2 * STRIDE);
  return [Math.max(before, 0), Math.min(before + 1, count - 1), share];
}

function mixed(one, other, share) {
  return one + share * (other - one);
}
