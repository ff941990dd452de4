// The flow as it is shown: colours, overlay or arrows, with its legend and in words.

import { drawArrows } from "./arrows.js";
import { flowColours, wheelLegend } from "./colour.js";
import { flowFile, pictureFile, save } from "./files.js";
import { ColourScale } from "./scale.js";

const element = (id) => document.getElementById(id);
const checkedView = () => document.querySelector("input[name=view]:checked").value;

export class Result {
  #step = null; // flow, its size and its first image
  #words = null;
  #scale = new ColourScale();
  #isSequence = false;

  constructor() {
    element("legend").getContext("2d").putImageData(wheelLegend(element("legend").width), 0, 0);
    for (const input of document.querySelectorAll("input[name=view], #scale")) {
      input.oninput = () => this.#draw();
    }
    element("flow").onpointermove = (event) => this.#point(event);
    element("flow").onpointerleave = () => this.#say("pointed", "\u00a0");
    element("save-flow").onclick = () => save(flowFile(this.#step), this.#name("flo"));
    element("save-picture").onclick = async () =>
      save(await pictureFile(element("flow"), element("legend"), this.#scaleInPixels()), this.#name("png"));
  }

  // Says that a flow is being computed.
  wait() {
    this.#say("summary", "Computing…");
  }

  // Shows nothing.
  clear() {
    this.#step = null;
    this.#isSequence = false;
    element("shown").hidden = element("saves").hidden = true;
    this.#say("summary", "");
  }

  // All flows until `clear` share one colour scale.
  startSequence() {
    this.clear();
    this.#scale = new ColourScale();
    this.#isSequence = true;
  }

  // Shows a flow of `FlowEngine.infer` with its first image, and words about them.
  show(step, words) {
    [this.#step, this.#words] = [step, words];
    if (!this.#isSequence) this.#scale = new ColourScale();
    this.#scale.add(step.flow);
    element("shown").hidden = element("saves").hidden = false;
    this.#draw();
  }

  #scaleInPixels() {
    const given = Number(element("scale").value);
    return given > 0 ? given : this.#scale.value();
  }

  #draw() {
    if (!this.#step) return;
    const { flow, width, height, image } = this.#step;
    const scale = this.#scaleInPixels();
    const colours = flowColours(flow, scale);
    const canvas = element("flow");
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const view = checkedView();
    const shown = { colours, overlay: overlay(image.data, colours), arrows: image.data }[view];
    context.putImageData(new ImageData(shown, width, height), 0, 0);
    if (view === "arrows") drawArrows(context, this.#step, colours, scale);
    this.#say("legend-text", `rim: ${scale} px`);
    this.#say("summary", this.#summary());
  }

  #summary() {
    const { flow, width, height, milliseconds, isFirst } = this.#step;
    let [sum, largest] = [0, 0];
    for (let i = 0; i < flow.length; i += 2) {
      const length = Math.sqrt(flow[i] ** 2 + flow[i + 1] ** 2);
      sum += length;
      largest = Math.max(largest, length);
    }
    const mean = ((2 * sum) / flow.length).toFixed(2);
    const first = isFirst ? ", the first of this size" : "";
    const time = `computed in ${milliseconds.toFixed(1)} ms${first}`;
    return `${width}x${height}${this.#words.full}: mean ${mean} px, largest ${largest.toFixed(2)} px; ${time}`;
  }

  #point({ offsetX, offsetY, target }) {
    if (!this.#step) return;
    const { flow, width, height } = this.#step;
    const at = (offset, shown, size) =>
      Math.min(size - 1, Math.max(0, Math.floor((offset * size) / shown)));
    const x = at(offsetX, target.clientWidth, width);
    const y = at(offsetY, target.clientHeight, height);
    const [dx, dy] = flow.subarray(2 * (y * width + x), 2 * (y * width + x) + 2);
    const length = Math.hypot(dx, dy).toFixed(2);
    this.#say("pointed", `at (${x}, ${y}): ${dx.toFixed(2)} right, ${dy.toFixed(2)} down, ${length} px`);
  }

  #name(suffix) {
    return `${this.#words.name.replace(/\.\w+$/, "")}-flow.${suffix}`;
  }

  #say(id, text) {
    element(id).textContent = text;
  }
}

// Returns the image in light grey, tinted where something moves. As engine/video/views.py.
function overlay(image, colours) {
  const out = new Uint8ClampedArray(image.length);
  for (let i = 0; i < image.length; i += 4) {
    const grey = 0.299 * image[i] + 0.587 * image[i + 1] + 0.114 * image[i + 2];
    const light = (0.7 * grey + 0.3 * 255) / 255;
    for (let channel = 0; channel < 3; channel++) out[i + channel] = light * colours[i + channel];
    out[i + 3] = 255;
  }
  return out;
}
