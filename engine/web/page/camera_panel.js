// The camera.

import { computeFrames } from "./frames.js";

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

  async function start() {
    stop();
    if (!navigator.mediaDevices) throw new Error(INSECURE);
    try {
      const wanted = { width: { ideal: 640 }, height: { ideal: 480 } };
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
    } catch (error) {
      throw new Error(FAULTS[error.name] ?? `The camera does not start: ${error.message}.`);
    }
    video.srcObject.getVideoTracks()[0].onended = () => {
      stop();
      app.say("The camera was disconnected.");
    };
    element("camera-stop").disabled = false;
    video.hidden = false;
    await video.play();
    end = computeFrames(app, video, "camera");
  }

  function stop() {
    end();
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    video.hidden = true;
    element("camera-stop").disabled = true;
    app.result.clear();
  }

  element("camera-start").onclick = () => app.attempt(start);
  element("camera-stop").onclick = stop;
  return { stop, again: () => {} };
}
