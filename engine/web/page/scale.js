// The magnitude of full colour: the 99th percentile of all flow so far, at least 1 pixel. As
// engine/flow/histogram.py and scale.py, with the same bins.

const [BINS_PER_OCTAVE, LOWEST, OCTAVES] = [32, -8, 22];
const [SHARE, LEAST] = [0.99, 1];

export class ColourScale {
  #counts = new Float64Array(OCTAVES * BINS_PER_OCTAVE + 1);
  #total = 0;

  // Counts the magnitudes of a flow, x and y by turns; those that are not finite do not count.
  add(flow) {
    for (let i = 0; i < flow.length; i += 2) {
      const magnitude = Math.sqrt(flow[i] ** 2 + flow[i + 1] ** 2);
      if (!Number.isFinite(magnitude)) continue;
      const bin = Math.floor((Math.log2(Math.max(magnitude, 2 ** LOWEST)) - LOWEST) * BINS_PER_OCTAVE);
      this.#counts[Math.min(bin, this.#counts.length - 1)]++;
      this.#total++;
    }
  }

  // Returns the scale in pixels, as legends print it.
  value() {
    let [covered, bin] = [0, 0];
    while (bin < this.#counts.length - 1 && covered + this.#counts[bin] < SHARE * this.#total) {
      covered += this.#counts[bin++];
    }
    const high = 2 ** ((bin + 1) / BINS_PER_OCTAVE + LOWEST);
    return Number(Math.max(LEAST, high).toPrecision(3));
  }
}
