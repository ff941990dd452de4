// Picture files.

// Returns the file's name, and its picture upright, in its own colours.
export async function readPicture(file) {
  let bitmap;
  try {
    // As OpenCV reads it: no colour profile.
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    const advice = file.type.startsWith("video/")
      ? "It is a video: choose it under Video"
      : "Convert it, for example to .png; it may also be damaged or too large";
    throw new Error(`${file.name} cannot be read as a picture by this browser. ${advice}.`);
  }
  return { name: file.name, bitmap, width: bitmap.width, height: bitmap.height };
}
