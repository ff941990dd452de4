// The camera.

import { computeFrames, unlessInterrupted } from "./frames.js";

const element = (id) => document.getElementById(id);

// By the names of getUserMedia's errors:
// https://developer.mozilla.org/docs/Web/API/MediaDevices/getUserMedia#exceptions
const FAULTS = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it for this page, and start again.",
  NotFoundError: "No camera was found. Connect one, and start again.",
  NotReadableError: "The camera cannot be opened: another program may be using it.",
};
const INSECURE =
  "Browsers give the camera to pages from https or localhost only. Open this page so.";

export function setUpCamera(app) {
  const video = element("live");
  let end = () => {};
  let starts = 0; // of which only the last one counts, and none after a stop

  async function start() {
    stop();
    const own = starts;
    if (!navigator.mediaDevices) throw new Error(INSECURE);
    const stream = await openCamera();
    if (own !== starts) {
      endTracks(stream);
      return;
    }
    video.srcObject = stream;
    stream.getVideoTracks()[0].onended = () => {
      stop();
      app.say("The camera was disconnected.");
    };
    element("camera-stop").disabled = false;
    video.hidden = false;
    end = computeFrames(app, video, "camera");
    await video.play().catch(unlessInterrupted);
  }

  function stop() {
    starts++;
    end();
    endTracks(video.srcObject);
    video.srcObject = null;
    video.hidden = true;
    element("camera-stop").disabled = true;
    app.result.clear();
  }

  element("camera-start").onclick = () => app.attempt(start);
  element("camera-stop").onclick = stop;
  return { stop, again: () => {} };
}

async function openCamera() {
  try {
    const wanted = { width: { ideal: 640 }, height: { ideal: 480 } };
    return await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    throw new Error(FAULTS[error.name] ?? `The camera does not start: ${error.message}.`);
  }
}

function endTracks(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
