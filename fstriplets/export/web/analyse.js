// Landmarks and parts of a face: fstriplets/faces/analyser.py, and the refinement of faces/stage.py.
import { apart, fivePoints, inverse, moved, similarity, templatePoints } from './geometry.js';
import { cutOut, looked, planes } from './image.js';

const SIDE = 128, MAP = 64;  // px of what the network sees, and of its parts
const LOOK = 256;  // px of the crop in which landmarks are looked for
const LOST = 0.6;  // eye distances: landmarks that far from where the network looked are of something else
const ASTRAY = 0.4;  // the same, from the detector's points

/**
 * One look: {landmarks, in pixels of the picture; parts, logits over what it saw; matrix, picture to that}.
 * @param read a function that runs the analyser: tensor -> {landmarks, parts}
 * @param facts template: five points of `ffhq`, mean68: its mean landmarks; shares of the side
 */
export async function analyse(read, facts, picture, points) {
  const matrix = similarity(fivePoints(points), templatePoints(facts.template, SIDE));
  const { landmarks, parts } = await read(planes(cutOut(picture, matrix, SIDE)));
  const pairs = Array.from({ length: 68 }, (_, k) => [landmarks[2 * k], landmarks[2 * k + 1]]);
  return { landmarks: moved(pairs, inverse(matrix)), parts, matrix };
}

/** Better points than a detector's: 68 landmarks in the photo; its own five where they lead elsewhere. */
export async function refined(read, facts, photo, points) {
  const ideal = templatePoints(facts.template, LOOK), rough = similarity(points, ideal);
  const found = await landmarks(read, facts, cutOut(photo, rough, LOOK), ideal);
  return apart(found, ideal) > ASTRAY ? points : moved(found, inverse(rough));
}

/** 68 landmarks, in two looks: by the points given, then by its own. */
export async function landmarks(read, facts, crop, points) {
  let found = points;
  for (let look = 0; look < 2; look++) {
    found = (await analyse(read, facts, crop, found)).landmarks;
    if (apart(found, points) > LOST) return meanFace(facts, points);
  }
  return found;
}

/** The mean face, laid on the five points; fstriplets bends it through them too. */
function meanFace(facts, points) {
  return moved(facts.mean68, similarity(fivePoints(facts.mean68), fivePoints(points)));
}

/** Part labels of a crop: Uint8Array [size * size], indices of facts.parts. */
export function labelsOf(reading, size) {
  const count = reading.parts.length / (MAP * MAP), labels = new Uint8Array(size * size);
  const best = new Float32Array(size * size).fill(-Infinity);
  // The 64 px map lies over the 128 px: u128 = 2 u64 + 0.5.
  const [a, b, c, d, e, f] = reading.matrix;
  const matrix = [a / 2, b / 2, (c - 0.5) / 2, d / 2, e / 2, (f - 0.5) / 2];
  for (let part = 0; part < count; part++) {
    const map = reading.parts.subarray(part * MAP * MAP, (part + 1) * MAP * MAP);
    const sure = looked(map, MAP, matrix, size, size, part === 0 ? 0 : -1e4);
    for (let k = 0; k < sure.length; k++) {
      if (sure[k] <= best[k]) continue;
      best[k] = sure[k];
      labels[k] = part;
    }
  }
  return labels;
}
