// Starts the page: opens the engine, and connects sources and result.

import { setUpCamera } from "./camera_panel.js";
import { FlowEngine } from "./engine.js";
import { keepOffline } from "./offline.js";
import { setUpPictures } from "./pictures_panel.js";
import { Result } from "./result.js";
import { readSite } from "./site.js";
import { setUpTabs } from "./tabs.js";
import { setUpVideo } from "./video_panel.js";

const element = (id) => document.getElementById(id);

// What the panels share.
const app = {
  engine: null,
  result: new Result(),
  longest: () => Number(element("longest").value),
  // Runs an action; what it throws becomes the page's message.
  async attempt(action) {
    try {
      element("message").hidden = true;
      return await action();
    } catch (error) {
      app.say(error.message);
      return undefined;
    }
  },
  say(text) {
    element("message").textContent = text;
    element("message").hidden = false;
  },
};

async function openEngine() {
  app.engine?.close();
  app.engine = new FlowEngine();
  element("engine").textContent = "Loading the network…";
  try {
    const opened = await app.engine.open(element("device").value);
    if (!opened) return; // another device was chosen meanwhile
    const notes = [opened.fault, opened.isolated ? "" : NOT_ISOLATED].filter(Boolean);
    const where = [`${opened.network} ${opened.precision} on ${opened.device}`, ...notes];
    element("engine").textContent = where.join("; ");
    document.title = `Optical flow: ${opened.network}`;
  } catch (error) {
    element("engine").textContent = "No network is open.";
    throw error;
  }
}

const NOT_ISOLATED = "the server sends no headers for threads";

async function start() {
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => event.preventDefault());
  const { offline } = await readSite().catch(() => ({ offline: false }));
  if (offline) await keepOffline();
  const panels = [setUpPictures(app), setUpVideo(app), setUpCamera(app)];
  setUpTabs(() => panels.forEach((panel) => panel.stop()));
  element("device").onchange = async () => {
    await app.attempt(openEngine);
    panels.forEach((panel) => panel.again());
  };
  element("longest").onchange = () => panels.forEach((panel) => panel.again());
  await app.attempt(openEngine);
}

start();
