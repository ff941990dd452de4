// The frames of a video element, pair by pair.

import { imageData } from "./images.js";

// For `catch` of a video's play(), which fails with this where a stop or another file comes first.
export function unlessInterrupted(error) {
  if (error.name !== "AbortError") throw error;
}

// Computes the flow from each shown frame to the next; pairs that come while one is computed are
// left out. Returns a function that ends it. `app`: of app.js; `name`: of the video.
export function computeFrames(app, video, name) {
  let [previous, busy, ended, updated] = [null, false, false, 0];
  app.result.startSequence();

  async function compute(first, second, seconds) {
    busy = true;
    const flow = await app.attempt(() => app.engine.infer(first, second));
    busy = false;
    if (!flow || ended) return;
    const now = performance.now();
    const rate = updated ? `, ${(1000 / (now - updated)).toFixed(1)} flows/s` : "";
    updated = now;
    const full = `, frames ${(1000 * seconds).toFixed(0)} ms apart${rate}`;
    app.result.show({ ...flow, image: first }, { full, name });
  }

  function next(_, { mediaTime, width, height }) {
    if (ended) return;
    video.requestVideoFrameCallback(next);
    const longest = app.longest();
    const frame = { image: imageData(video, width, height, longest), time: mediaTime };
    const seconds = previous ? frame.time - previous.time : 0;
    const [first, second] = [previous?.image, frame.image];
    previous = frame;
    // Not across a jump, or a change of the size.
    const follows = seconds > 0 && seconds < 1 && first.width === second.width;
    if (!busy && follows && first.height === second.height) compute(first, second, seconds);
  }

  video.requestVideoFrameCallback(next);
  return () => {
    ended = true;
  };
}
