// The swapped crop in the target's light, and back in the photo. As match_colour and paste of swapping/paste.py.
import { bounds, inverse, moved, ofSmaller, scaleOf } from './geometry.js';
import { looked, nearest, raster, resized, sampled } from './image.js';

const MIN_SHARE = 0.005;  // of the crop: less face than that gives no statistics
const SPREAD = [0.6, 1.7];  // how far the match may change contrast
const WHITE = [0.950456, 1, 1.088754];
const TO_XYZ = [0.412453, 0.35758, 0.180423, 0.212671, 0.71516, 0.072169, 0.019334, 0.119193, 0.950227];
const FROM_XYZ = [3.240479, -1.53715, -0.498535, -0.969256, 1.875991, 0.041556, 0.055648, -0.204043, 1.057311];

/** Brings mean and spread in CIELAB within the mask to the target's (Reinhard et al. 2001). */
export function matchColour(swapped, target, mask) {
  const weight = mask.reduce((sum, value) => sum + value, 0);
  if (weight / mask.length < MIN_SHARE) return swapped;
  const ours = toLab(swapped), theirs = statistics(toLab(target), mask, weight), mine = statistics(ours, mask, weight);
  const gain = [0, 1, 2].map((c) => Math.min(Math.max(theirs.spread[c] / Math.max(mine.spread[c], 1e-3), SPREAD[0]), SPREAD[1]));
  const matched = raster(swapped.width, swapped.height);
  for (let k = 0; k < ours.length; k += 3) {
    const lab = [0, 1, 2].map((c) => (ours[k + c] - mine.mean[c]) * gain[c] + theirs.mean[c]);
    matched.data.set(fromLab(lab), k);
  }
  return matched;
}

function statistics(lab, mask, weight) {
  const mean = [0, 0, 0], spread = [0, 0, 0];
  for (let k = 0; k < lab.length; k++) mean[k % 3] += (mask[Math.floor(k / 3)] / weight) * lab[k];
  for (let k = 0; k < lab.length; k++) spread[k % 3] += (mask[Math.floor(k / 3)] / weight) * (lab[k] - mean[k % 3]) ** 2;
  return { mean, spread: spread.map(Math.sqrt) };
}

function toLab({ data }) {
  const lab = new Float64Array(data.length);
  const f = (t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  for (let k = 0; k < data.length; k += 3) {
    const rgb = [linear(data[k] / 255), linear(data[k + 1] / 255), linear(data[k + 2] / 255)];
    const [x, y, z] = times(TO_XYZ, rgb).map((value, c) => value / WHITE[c]);
    lab[k] = y > 0.008856 ? 116 * Math.cbrt(y) - 16 : 903.3 * y;
    lab[k + 1] = 500 * (f(x) - f(y));
    lab[k + 2] = 200 * (f(y) - f(z));
  }
  return lab;
}

/** RGB 0..255 of a colour. */
function fromLab([l, a, b]) {
  const low = l <= 8, y = low ? l / 903.3 : ((l + 16) / 116) ** 3, fy = low ? 7.787 * y + 16 / 116 : (l + 16) / 116;
  const back = (f) => (f <= 7.787 * 0.008856 + 16 / 116 ? (f - 16 / 116) / 7.787 : f ** 3);
  const xyz = [back(fy + a / 500) * WHITE[0], y, back(fy - b / 200) * WHITE[2]];
  return times(FROM_XYZ, xyz).map((value) => {
    const v = Math.min(Math.max(value, 0), 1);
    return 255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);
  });
}

const times = (m, [x, y, z]) => [0, 3, 6].map((k) => m[k] * x + m[k + 1] * y + m[k + 2] * z);

/**
 * Lays a crop over a photo, whose pixels change in place where the mask reaches.
 * @param photo ImageData @param matrix photo pixels to crop pixels
 */
export function paste(photo, crop, mask, matrix) {
  const size = crop.width, back = inverse(matrix), reach = reachOf(mask, size);
  if (!reach) return;
  const [left, top, right, bottom] = bounds(moved(reach, back));
  const x0 = Math.max(0, Math.floor(left)), x1 = Math.min(photo.width, Math.ceil(right) + 1);
  const y0 = Math.max(0, Math.floor(top)), y1 = Math.min(photo.height, Math.ceil(bottom) + 1);
  if (x0 >= x1 || y0 >= y1) return;
  // A crop larger than its face in the photo is averaged down to that size first.
  const scale = scaleOf(back), small = Math.max(4, Math.round(size * scale));
  const shrink = scale < 0.75 && small < size, side = shrink ? small : size, ratio = size / side;
  const colours = shrink ? resized(crop, side, side) : crop;
  const cover = { width: size, height: size, channels: 1, data: mask };
  const weights = shrink ? resized(cover, side, side).data : mask;
  const [a, b, c, d, e, f] = inverse(ofSmaller(back, ratio, ratio));
  const place = [a, b, c + a * x0 + b * y0, d, e, f + d * x0 + e * y0];
  const [w, h] = [x1 - x0, y1 - y0], weight = looked(weights, side, place, w, h, 0);
  const laid = sampled(colours, place, w, h, nearest), { data } = photo;
  for (let k = 0; k < weight.length; k++) {
    if (!(weight[k] > 0)) continue;
    const to = ((y0 + Math.floor(k / w)) * photo.width + x0 + (k % w)) * 4;
    for (let n = 0; n < 3; n++) {
      const value = Math.min(Math.max(laid.data[3 * k + n], 0), 255);
      data[to + n] = Math.round(data[to + n] + weight[k] * (value - data[to + n]));
    }
  }
}

/** Corners around what a mask holds; null for nothing. */
function reachOf(mask, size) {
  let [x0, y0, x1, y1] = [size, size, -1, -1];
  mask.forEach((value, k) => {
    if (!value) return;
    const x = k % size, y = Math.floor(k / size);
    [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
  });
  return x1 < 0 ? null : [[x0 - 1, y0 - 1], [x1 + 1, y0 - 1], [x1 + 1, y1 + 1], [x0 - 1, y1 + 1]];
}
