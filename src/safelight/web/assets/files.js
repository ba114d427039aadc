// Pictures on their way into the page and out of it: dropped files and folders, names, zips.

import { made } from "./api.js";

const SUFFIXES = {
  "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/tiff": "tif", "image/avif": "avif",
};
const LOOKS_LIKE = /\.(jpe?g|png|webp|tiff?|avif|gif|heic|heif|jxl)$/i;

/** Every file of what was dropped, in folders too. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (entry.isFile) {
    found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    return;
  }
  const reader = entry.createReader();
  for (;;) { // a reader gives a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
}

/** Of a folder's files, those that are pictures by their names. */
export function pictures(files) {
  return files.filter((file) => file.type.startsWith("image/") || LOOKS_LIKE.test(file.name));
}

let converter = null;

/** Choose what converts a file that browsers can't show: the first formula that can be told to enlarge by one. */
export function convertBy(tasks) {
  const task = tasks.find((each) => each.methods.some((method) => method.fields.some((field) => field.name === "scale")));
  const method = task?.methods.find((each) => !each.learned && !each.iterates);
  converter = method ? { task: task.task, method: method.name } : null;
}

/** Load a file as an image element; of a format that browsers can't show, let the server make a PNG of it. */
export async function load(blob) {
  try {
    return await element(blob);
  } catch (error) {
    if (converter === null) throw error;
    const form = new FormData();
    for (const [name, value] of Object.entries({ method: converter.method, scale: "1", format: "png" })) form.append(name, value);
    form.append("picture", blob, "picture");
    return element(await made(converter.task, form));
  }
}

async function element(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  image.draggable = false;
  try {
    await image.decode();
  } catch (error) {
    URL.revokeObjectURL(image.src);
    throw error;
  }
  return image;
}

/** A smaller copy, for what has to be quick: a PNG whose longer side has at most so many pixels. */
export function smaller(image, side) {
  const scale = Math.min(1, side / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** What a result is called: the picture's own name, what was done to it, and the suffix of what it is now. */
export function nameOf(original, verb, blob) {
  const stem = original.replace(/\.[^.]*$/, "") || "picture";
  return `${stem}-${verb}.${SUFFIXES[blob.type] ?? "png"}`;
}

// --- zip: stored, not compressed, for pictures are ---

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Put files into one archive (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16). */
export async function zip(files) {
  const parts = [], directory = [], taken = new Set();
  let offset = 0;
  for (const { name, blob } of files) {
    const title = new TextEncoder().encode(unused(name, taken));
    const bytes = new Uint8Array(await blob.arrayBuffer());
    // version 2.0, names in UTF-8, stored, 1 January 1980
    const facts = [[2, 20], [2, 0x0800], [2, 0], [2, 0], [2, 0x21], [4, crc32(bytes)], [4, bytes.length],
      [4, bytes.length], [2, title.length], [2, 0]];
    const head = record([[4, 0x04034b50], ...facts]);
    directory.push(record([[4, 0x02014b50], [2, 20], ...facts, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), title);
    parts.push(head, title, bytes);
    offset += head.length + title.length + bytes.length;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record([[4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, length], [4, offset], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

function record(numbers) {
  const bytes = new Uint8Array(numbers.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of numbers) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}

function unused(name, taken) {
  const [, stem, suffix] = /^(.*?)(\.[^.]*)?$/.exec(name);
  let found = name;
  for (let n = 2; taken.has(found.toLowerCase()); n++) found = `${stem}-${n}${suffix ?? ""}`;
  taken.add(found.toLowerCase());
  return found;
}

/** Let the browser save a file. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
