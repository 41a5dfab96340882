// Finding faces: the looks of fstriplets/faces/detect_bundled.py, by the same network.
import { planes, raster, resized } from './image.js';

const SMALL = 224, LARGE = 1024;  // px of the longer side: of the first look, at most
const FACE = 20;  // px at which the network finds faces safely: the smallest face that is swapped
const MOST = 150;  // px: larger faces are left to a smaller look
const STEP = 1.5;  // a second look must be so much larger to be worth it
const MARGIN = 0.25, OVERLAP = 0.3, STRIDE = 32, DOUBTFUL = 0.3, SURE = 0.5;

/**
 * Faces of a picture, the largest first: {box: [x0, y0, x1, y1], points: five, score}.
 * @param look a function that runs the detector: (tensor, height, width) -> {scores, boxes, points}
 */
export async function detect(look, picture) {
  const longest = Math.max(picture.width, picture.height);
  const side = Math.min(LARGE, Math.max(longest, SMALL), 2 * longest), first = Math.min(SMALL, 2 * longest);
  let found = await see(look, picture, first, 0);
  if (side > STEP * first) found.push(...(await see(look, picture, side, 0)));
  found = best(found);
  for (const [wanted, margin] of [[Math.min(2 * side, 2 * longest, LARGE), 0], [first, MARGIN]]) {
    if (found.some((face) => face.score >= SURE)) break;
    found = best(found.concat(await see(look, picture, wanted, margin)));
  }
  const large = ({ box: [x0, y0, x1, y1] }) => Math.min(x1 - x0, y1 - y0) >= FACE;
  return found.filter((face) => face.score >= SURE && large(face)).sort((a, b) => area(b.box) - area(a.box));
}

/** Answers of one look: the longer side `side` px, with a margin as a share of it. */
async function see(look, picture, side, margin) {
  const scale = side / Math.max(picture.width, picture.height), edge = Math.round(margin * side);
  const width = Math.max(1, Math.round(picture.width * scale));
  const height = Math.max(1, Math.round(picture.height * scale));
  const full = (n) => Math.ceil((n + 2 * edge) / STRIDE) * STRIDE;
  const small = resized(picture, width, height), padded = raster(full(width), full(height));
  padded.data.fill(127);
  for (let y = 0; y < height; y++) {
    const row = small.data.subarray(y * width * 3, (y + 1) * width * 3);
    padded.data.set(row, ((y + edge) * padded.width + edge) * 3);
  }
  const { scores, boxes, points } = await look(planes(padded), padded.height, padded.width);
  const ratio = [picture.width / width, picture.height / height], found = [];
  const place = (values, at) => [0, 1].map((k) => (values[at + k] - edge + 0.5) * ratio[k] - 0.5);
  scores.forEach((score, k) => {
    const faceSide = Math.sqrt(area(boxes.subarray(4 * k, 4 * k + 4)));
    if (score < DOUBTFUL || (side > SMALL && faceSide > MOST)) return;
    const box = [...place(boxes, 4 * k), ...place(boxes, 4 * k + 2)];
    found.push({ box, score, points: [0, 2, 4, 6, 8].map((n) => place(points, 10 * k + n)) });
  });
  return found;
}

/** Of answers that overlap, the surest. */
function best(found) {
  const kept = [];
  for (const face of [...found].sort((a, b) => b.score - a.score)) {
    if (kept.every((other) => overlap(face.box, other.box) <= OVERLAP)) kept.push(face);
  }
  return kept;
}

function overlap(a, b) {
  const inner = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  return inner / Math.max(area(a) + area(b) - inner, 1e-9);
}

function area([x0, y0, x1, y1]) {
  return Math.max(x1 - x0, 0) * Math.max(y1 - y0, 0);
}
