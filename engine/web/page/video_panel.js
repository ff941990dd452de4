// A video file.

import { onDrop } from "./drop.js";
import { computeFrames, unlessInterrupted } from "./frames.js";

const element = (id) => document.getElementById(id);

export function setUpVideo(app) {
  const video = element("clip");
  let [end, name, opens] = [null, "", 0];

  function stop() {
    opens++;
    end?.();
    end = null;
    video.pause();
    app.result.clear();
  }

  async function open([file]) {
    stop();
    const own = opens;
    if (!file.size) throw new Error(`${file.name} is empty. Choose a video.`);
    video.hidden = true;
    URL.revokeObjectURL(video.src);
    await loaded(video, file);
    if (own !== opens) return; // another tab or file was chosen meanwhile
    name = file.name;
    video.hidden = false;
    document.querySelector("#drop-video span").textContent = file.name;
    video.playbackRate = Number(element("speed").value);
    await video.play().catch(unlessInterrupted);
  }

  // Also by the video's own controls, after another tab was shown.
  video.onplay = () => {
    if (!element("video").hidden) end ??= computeFrames(app, video, name);
  };

  const input = element("file-video");
  input.onchange = async () => {
    const files = [...input.files];
    input.value = "";
    if (files.length) await app.attempt(() => open(files));
  };
  onDrop(element("drop-video"), (files) => app.attempt(() => open(files)));
  element("speed").onchange = () => {
    video.playbackRate = Number(element("speed").value);
  };
  return { stop, again: () => {} };
}

// Loads a file into a video element, up to its first frame.
function loaded(video, file) {
  return new Promise((resolve, reject) => {
    video.onloadeddata = () => {
      if (video.videoWidth) resolve();
      else reject(new Error(`${file.name} has no frames: it is sound only. Choose a video.`));
    };
    video.onerror = () => {
      const advice = file.type.startsWith("image/")
        ? "It is a picture: choose it under Two pictures"
        : "It may be damaged, or of a codec that the browser lacks; H.264 and VP9 work in most";
      reject(new Error(`${file.name} cannot be played by this browser. ${advice}.`));
    };
    video.src = URL.createObjectURL(file);
  });
}
