// Photos from files, and back: upright 8-bit sRGB, as the browser decodes it.
import { marked } from './mark.js';

const MOST = 40e6;  // pixels: larger photos are made smaller, or phones would run out of memory

/**
 * A photo: {name, image: ImageData, seen: what networks see, on white where it is transparent, smaller}.
 * @throws {Error} the file is no picture this browser can read; its message is for people.
 */
export async function readPhoto(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' });
  } catch {
    throw new Error(`This browser cannot read ${file.name} as a photo. JPEG, PNG and WebP work everywhere.`);
  }
  const scale = Math.min(1, Math.sqrt(MOST / (bitmap.width * bitmap.height)));
  const width = Math.max(1, Math.floor(bitmap.width * scale)), height = Math.max(1, Math.floor(bitmap.height * scale));
  const context = blank(width, height).getContext('2d', { willReadFrequently: true });
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const image = context.getImageData(0, 0, width, height);
  return { name: file.name, image, seen: onWhite(image), smaller: scale < 1 };
}

function onWhite({ width, height, data }) {
  let seen = data;
  for (let k = 0; k < data.length; k += 4) {
    const alpha = data[k + 3];
    if (alpha === 255) continue;
    if (seen === data) seen = data.slice();
    for (let c = 0; c < 3; c++) seen[k + c] = Math.round((data[k + c] * alpha + 255 * (255 - alpha)) / 255);
  }
  return { width, height, channels: 4, data: seen };
}

export function copyOf(image) {
  return new ImageData(image.data.slice(), image.width, image.height);
}

/** Shows an image on a canvas. */
export function show(canvas, image) {
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext('2d').putImageData(image, 0, 0);
}

/** The file of an image, marked as synthetic: `image/png` or `image/jpeg`. */
export async function fileOf(image, type, packet) {
  const canvas = blank(image.width, image.height), context = canvas.getContext('2d');
  context.putImageData(image, 0, 0);
  if (type === 'image/jpeg') {
    context.globalCompositeOperation = 'destination-over';
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  const blob = await new Promise((done) => canvas.toBlob(done, type, 0.95));
  if (blob?.type !== type) throw new Error('This browser cannot write the picture: it may be too large for it.');
  return new Blob([marked(new Uint8Array(await blob.arrayBuffer()), packet)], { type });
}

function blank(width, height) {
  return Object.assign(document.createElement('canvas'), { width, height });
}
