// How much of the swapped face each pixel of a crop takes. As face_mask of fstriplets/swapping/paste.py.
// Shapes are Uint8Array [size * size], 0 or 1.
import { bounds } from './geometry.js';

const FACE = ['skin', 'brows', 'eyes', 'nose', 'mouth', 'lips', 'beard'];
// Shares of the crop's side.
const BEYOND = 0.05;  // how far from the landmarks' outline the parts are believed
const FADE = 0.06, FADE_EDGE = 0.04;  // towards the face's outline, and towards the crop's
const FADE_IN_FRONT = 0.012;  // towards what is in front of the face
const ROUND = 0.016;  // gaps and thorns of the outline
const LENS = 0.025;  // half the width from which a part of glasses is a lens
const MOSTLY_LENS = 0.15;  // of the glasses' area
const DARK = 0.55;  // of the face's brightness: a darker lens hides what is behind it
const SPECK = 0.003;  // of the crop's area
const FOREHEAD = 0.55;  // of the height from brows to chin

/** Float32Array [size * size] in 0..1; exactly 0 outside the face. */
export function faceMask(crop, labels, landmarks, parts) {
  const size = crop.width, isFace = parts.map((name) => FACE.includes(name)), glasses = parts.indexOf('glasses');
  const near = dilated(outlined(landmarks, size), size, Math.max(1, Math.round(BEYOND * size)));
  const believed = labels.map((label, k) => (near[k] && isFace[label] ? 1 : 0));
  const worn = labels.map((label, k) => (near[k] && label === glasses ? 1 : 0));
  const kept = keptGlasses(crop, believed, worn);
  const face = withoutSpecks(union(believed, worn), size).map((on, k) => (on && !kept[k] ? 1 : 0));
  const solid = rounded(union(face, worn), size, Math.max(1, Math.round(ROUND * size)));
  const outline = rise(solid, size, FADE * size), inner = rise(face, size, Math.max(1.5, FADE_IN_FRONT * size));
  const edge = (i) => smooth(Math.min(i, size - 1 - i) / (FADE_EDGE * size));
  return outline.map((value, k) => Math.min(value, inner[k], edge(k % size), edge(Math.floor(k / size))));
}

/** Frames and sunglasses stay the target's; where clear lenses are called glasses too, nothing does. */
function keptGlasses(crop, face, worn) {
  const size = crop.width, area = total(worn);
  if (area < SPECK * worn.length || !total(face)) return new Uint8Array(worn.length);
  const reach = Math.round(LENS * size), wide = dilated(eroded(worn, size, reach), size, reach);
  if (total(wide) < MOSTLY_LENS * area) return worn;
  const dark = median(luma(crop, wide)) < DARK * median(luma(crop, face));
  return dark ? worn : new Uint8Array(worn.length);
}

/** The face with its small holes filled: a parser's doubt, not something in front of it. */
function withoutSpecks(face, size) {
  const filled = face.slice(), seen = face.slice();
  for (let start = 0; start < seen.length; start++) {
    if (seen[start]) continue;
    const hole = [start];
    seen[start] = 1;
    for (let at = 0; at < hole.length; at++) {
      const x = hole[at] % size, y = Math.floor(hole[at] / size);
      for (let j = Math.max(y - 1, 0); j <= Math.min(y + 1, size - 1); j++) {
        for (let i = Math.max(x - 1, 0); i <= Math.min(x + 1, size - 1); i++) {
          if (seen[j * size + i]) continue;
          seen[j * size + i] = 1;
          hole.push(j * size + i);
        }
      }
    }
    if (hole.length < SPECK * face.length) hole.forEach((k) => (filled[k] = 1));
  }
  return filled;
}

function rounded(shape, size, reach) {
  const closed = eroded(dilated(shape, size, reach), size, reach);
  return dilated(eroded(closed, size, 2 * reach), size, 2 * reach);
}

/** Of each row of an ellipse's element: how far it reaches to either side. */
function element(reach) {
  const widths = [];
  for (let dy = -reach; dy <= reach; dy++) widths.push(Math.round(Math.sqrt(reach * reach - dy * dy)));
  return widths;
}

function dilated(shape, size, reach) {
  const made = new Uint8Array(shape.length), widths = element(reach);
  for (let k = 0; k < shape.length; k++) {
    if (!shape[k]) continue;
    const x = k % size, y = Math.floor(k / size);
    for (let dy = Math.max(-reach, -y); dy <= Math.min(reach, size - 1 - y); dy++) {
      const row = (y + dy) * size, width = widths[dy + reach];
      made.fill(1, row + Math.max(x - width, 0), row + Math.min(x + width, size - 1) + 1);
    }
  }
  return made;
}

function eroded(shape, size, reach) {
  return dilated(shape.map((on) => 1 - on), size, reach).map((on) => 1 - on);
}

/** 0 outside a shape, rising to 1 over `width` pixels inside it. */
function rise(shape, size, width) {
  const squares = new Float64Array(size * size).map((_, k) => (shape[k] ? 1e9 : 0));
  const line = new Float64Array(size);
  const pass = (start, step) => {
    for (let k = 0; k < size; k++) line[k] = squares[start + k * step];
    envelope(line, (k, value) => (squares[start + k * step] = value));
  };
  for (let k = 0; k < size; k++) pass(k, size);
  for (let k = 0; k < size; k++) pass(k * size, 1);
  return Float32Array.from(squares, (square) => smooth(Math.sqrt(square) / width));
}

/** Squared distances along a line (Felzenszwalb and Huttenlocher 2012). */
function envelope(line, put) {
  const count = line.length, places = [0], from = [-Infinity];
  const meet = (a, b) => (line[a] + a * a - line[b] - b * b) / (2 * (a - b));
  for (let k = 1; k < count; k++) {
    let start = meet(k, places.at(-1));
    while (start <= from.at(-1)) {
      places.pop();
      from.pop();
      start = meet(k, places.at(-1));
    }
    places.push(k);
    from.push(start);
  }
  for (let k = 0, n = 0; k < count; k++) {
    while (n + 1 < places.length && from[n + 1] < k) n++;
    put(k, (k - places[n]) ** 2 + line[places[n]]);
  }
}

/** What lies within the outline of 68 landmarks; the forehead is half an ellipse on the brows. */
function outlined(points, size) {
  const brow = (from) => {
    const line = points.slice(from, from + 5), dx = 0.12 * (points[41][0] - points[19][0]);
    const dy = 0.12 * (points[41][1] - points[19][1]);
    const upper = line.map(([x, y]) => [x - dx / 2, y - dy / 2]);
    return upper.concat(upper.map(([x, y]) => [x + 1.5 * dx, y + 1.5 * dy]).reverse());
  };
  const outlines = [
    points.slice(0, 17).concat(forehead(points)), brow(17), brow(22), points.slice(36, 42), points.slice(42, 48),
    [27, 31, 32, 33, 34, 35].map((k) => points[k]), points.slice(48, 60), points.slice(60, 68),
  ];
  const shape = new Uint8Array(size * size);
  for (const outline of outlines) {
    const [x0, y0, x1, y1] = bounds(outline);
    for (let y = Math.max(Math.floor(y0), 0); y <= Math.min(Math.ceil(y1), size - 1); y++) {
      for (let x = Math.max(Math.floor(x0), 0); x <= Math.min(Math.ceil(x1), size - 1); x++) {
        if (!shape[y * size + x] && holds(outline, x, y)) shape[y * size + x] = 1;
      }
    }
  }
  return shape;
}

function forehead(points) {
  const [left, right] = [points[0], points[16]], chin = points[8], brows = points.slice(17, 27);
  const mean = [0, 1].map((n) => brows.reduce((sum, p) => sum + p[n], 0) / brows.length);
  return Array.from({ length: 15 }, (_, k) => {
    const angle = 0.1 + (k * (Math.PI - 0.2)) / 14;
    return [0, 1].map((n) => (right[n] + left[n]) / 2 + ((right[n] - left[n]) / 2) * Math.cos(angle)
      + (mean[n] - chin[n]) * FOREHEAD * Math.sin(angle));
  });
}

/** Whether a polygon holds a pixel, half a pixel beyond its line included. */
function holds(outline, x, y) {
  let inside = false;
  for (let k = 0, last = outline.length - 1; k < outline.length; last = k++) {
    const x0 = outline[last][0], y0 = outline[last][1], x1 = outline[k][0], y1 = outline[k][1];
    const dx = x1 - x0, dy = y1 - y0;
    const along = Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1), 0), 1);
    if ((x0 + along * dx - x) ** 2 + (y0 + along * dy - y) ** 2 <= 0.25) return true;
    if (y0 > y !== y1 > y && x < x0 + ((y - y0) * dx) / dy) inside = !inside;
  }
  return inside;
}

function luma(crop, shape) {
  const values = [];
  shape.forEach((on, k) => {
    if (on) values.push(0.299 * crop.data[3 * k] + 0.587 * crop.data[3 * k + 1] + 0.114 * crop.data[3 * k + 2]);
  });
  return values;
}

function median(values) {
  const sorted = values.sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function smooth(x) {
  const t = Math.min(Math.max(x, 0), 1);
  return t * t * (3 - 2 * t);
}

const union = (a, b) => a.map((on, k) => on | b[k]);
const total = (shape) => shape.reduce((sum, on) => sum + on, 0);
