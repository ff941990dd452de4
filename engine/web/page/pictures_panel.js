// Two pictures: chosen, dropped, swapped.

import { onDrop } from "./drop.js";
import { imageData } from "./images.js";
import { readPicture } from "./pictures.js";
import { fetched } from "./site.js";

const element = (id) => document.getElementById(id);

export function setUpPictures(app) {
  const pictures = [null, null];
  const chosen = [null, null]; // the files of each picture that were chosen last
  let computed = 0; // number of the last computation, which alone is shown

  async function add(files, slot) {
    const names = [...files].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    if (names.length > 2) throw new Error(`${names.length} files; expected one or two pictures.`);
    const slots = names.length === 2 ? [0, 1] : [slot];
    for (const each of slots) chosen[each] = names;
    const found = await Promise.all(names.map(readPicture));
    found.forEach((picture, index) => {
      if (chosen[slots[index]] === names) place(picture, slots[index]);
    });
    await compute();
  }

  function place(picture, slot) {
    pictures[slot] = picture;
    const drop = element(`drop${slot + 1}`);
    drop.querySelector("span").textContent = `${picture.name}, ${picture.width}x${picture.height}`;
    const preview = drop.querySelector("canvas");
    const image = imageData(picture.bitmap, picture.width, picture.height, 320);
    [preview.width, preview.height, preview.hidden] = [image.width, image.height, false];
    preview.getContext("2d").putImageData(image, 0, 0);
  }

  async function compute() {
    const both = pictures.every(Boolean);
    element("swap").disabled = element("again").disabled = !both;
    if (!both || element("pictures").hidden) return;
    const own = ++computed;
    const [first, second] = pictures;
    if (first.width !== second.width || first.height !== second.height) {
      app.result.clear();
      throw new Error(
        `${first.name} has ${first.width}x${first.height} pixels and ${second.name} ` +
          `${second.width}x${second.height}; expected the same size. Crop or resize one of them.`,
      );
    }
    const longest = app.longest();
    const images = pictures.map(({ bitmap, width, height }) =>
      imageData(bitmap, width, height, longest),
    );
    app.result.wait();
    try {
      const flow = await app.engine.infer(...images);
      if (!flow || own !== computed) return;
      const full = flow.width === first.width ? "" : `, of ${first.width}x${first.height}`;
      app.result.show({ ...flow, image: images[0] }, { full, name: first.name });
    } catch (error) {
      if (own === computed) app.result.clear(); // no longer "Computing…"
      throw error;
    }
  }

  function stop() {
    computed++;
    app.result.clear();
  }

  [0, 1].forEach((slot) => {
    const input = element(`file${slot + 1}`);
    const drop = element(`drop${slot + 1}`);
    input.onchange = async () => {
      const files = [...input.files];
      input.value = ""; // the same file can be chosen again
      if (files.length) await app.attempt(() => add(files, slot));
    };
    onDrop(drop, (files) => app.attempt(() => add(files, slot)));
  });
  element("again").onclick = () => app.attempt(compute);
  element("swap").onclick = () => {
    const [first, second] = pictures;
    place(second, 0);
    place(first, 1);
    return app.attempt(compute);
  };
  element("example").onclick = () =>
    app.attempt(async () => {
      const names = ["example1.jpg", "example2.jpg"];
      const files = names.map(async (name) => {
        return new File([await (await fetched(name)).blob()], name);
      });
      await add(await Promise.all(files), 0);
    });

  const again = () => (element("pictures").hidden ? undefined : app.attempt(compute));
  return { stop, again };
}
