// Resizing and cutting out. A raster is {width, height, channels, data}, row by row; of RGBA the first three count.
// As OpenCV does it, so that faces look to the networks as they did in training.
import { bounds, inverse, moved, ofSmaller, scaleOf } from './geometry.js';

const EDGE = 0.03;  // of the crop's side: from so far outside the photo on, what is mirrored is blurred whole

export function raster(width, height, channels = 3) {
  return { width, height, channels, data: new Float32Array(width * height * channels) };
}

/** RGB of a part of a picture at another size; whole values where the picture has such. */
export function resized(picture, width, height, part = [0, 0, picture.width, picture.height]) {
  const [x0, y0, x1, y1] = part;
  const columns = shares(x1 - x0, width, x0), rows = shares(y1 - y0, height, y0);
  const channels = Math.min(3, picture.channels), step = picture.channels, { data } = picture;
  const band = new Float32Array(picture.width * channels), made = raster(width, height, channels);
  const whole = !(data instanceof Float32Array) || picture.whole;
  for (let y = 0, at = 0; y < height; y++) {
    band.fill(0);
    const { first, weights } = rows[y];
    for (let k = 0; k < weights.length; k++) {
      const weight = weights[k];
      for (let x = x0, from = ((first + k) * picture.width + x0) * step; x < x1; x++, from += step) {
        for (let c = 0; c < channels; c++) band[x * channels + c] += weight * data[from + c];
      }
    }
    for (let x = 0; x < width; x++) {
      const column = columns[x];
      for (let c = 0; c < channels; c++, at++) {
        let sum = 0;
        for (let k = 0; k < column.weights.length; k++) {
          sum += column.weights[k] * band[(column.first + k) * channels + c];
        }
        made.data[at] = whole ? Math.round(sum) : sum;
      }
    }
  }
  made.whole = whole;
  return made;
}

/** Which of `from` pixels make each of `to`: averages of areas where it gets smaller, else linear. */
function shares(from, to, offset) {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    if (scale <= 1) {
      const place = Math.min(Math.max((i + 0.5) * scale - 0.5, 0), from - 1);
      const first = Math.min(Math.floor(place), Math.max(from - 2, 0)), far = place - first;
      return { first: first + offset, weights: from > 1 ? [1 - far, far] : [1] };
    }
    const low = i * scale, high = Math.min(from, low + scale), first = Math.floor(low);
    const weights = [];
    for (let k = first; k < high; k++) weights.push((Math.min(k + 1, high) - Math.max(k, low)) / (high - low));
    return { first: first + offset, weights };
  });
}

/** The crop that a similarity cuts out of a photo; what lies outside the photo is mirrored and blurred. */
export function cutOut(photo, matrix, size) {
  const { width, height } = photo, back = inverse(matrix), scale = scaleOf(matrix);
  const [left, top, right, bottom] = bounds(moved([[0, 0], [size, 0], [size, size], [0, size]], back));
  const margin = 4 + 2 / scale;
  const within = (value, low, high) => Math.trunc(Math.min(Math.max(value, low), high));
  const x0 = within(left - margin, 0, width - 1), y0 = within(top - margin, 0, height - 1);
  const x1 = Math.max(within(right + margin, 1, width), x0 + 1);
  const y1 = Math.max(within(bottom + margin, 1, height), y0 + 1);
  const [w, h] = [x1 - x0, y1 - y0];
  // Finer than the crop, a region is averaged first; cubic interpolation would alias.
  const small = scale < 0.75 ? [Math.max(1, Math.round(w * scale)), Math.max(1, Math.round(h * scale))] : [w, h];
  const region = resized(photo, ...small, [x0, y0, x1, y1]);
  const [a, b, c, d, e, f] = matrix;
  const shifted = [a, b, c + a * x0 + b * y0, d, e, f + d * x0 + e * y0];
  const crop = sampled(region, inverse(ofSmaller(shifted, w / small[0], h / small[1])), size, size, mirror, true);
  return softened(crop, back, scale, width, height);
}

/** A picture of which each pixel is looked up, by cubic interpolation, where `matrix` takes it. */
export function sampled(picture, matrix, width, height, border, whole = false) {
  const [a, b, c, d, e, f] = matrix, { channels, data } = picture, made = raster(width, height, channels);
  const wx = new Float64Array(4), wy = new Float64Array(4), px = new Int32Array(4);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += channels) {
      const u = fine(a * x + b * y + c), v = fine(d * x + e * y + f), i = Math.floor(u), j = Math.floor(v);
      cubic(u - i, wx);
      cubic(v - j, wy);
      for (let k = 0; k < 4; k++) px[k] = border(i - 1 + k, picture.width);
      for (let m = 0; m < 4; m++) {
        const row = border(j - 1 + m, picture.height) * picture.width;
        for (let k = 0; k < 4; k++) {
          const weight = wy[m] * wx[k], from = (row + px[k]) * channels;
          for (let n = 0; n < channels; n++) made.data[at + n] += weight * data[from + n];
        }
      }
      for (let n = 0; n < channels && whole; n++) {
        made.data[at + n] = Math.min(Math.max(Math.round(made.data[at + n]), 0), 255);
      }
    }
  }
  made.whole = whole;
  return made;
}

/** One channel of which each pixel is looked up, linearly, where `matrix` takes it; `beyond` outside. */
export function looked(data, side, matrix, width, height, beyond) {
  const [a, b, c, d, e, f] = matrix, made = new Float32Array(width * height);
  const value = (i, j) => (i < 0 || j < 0 || i >= side || j >= side ? beyond : data[j * side + i]);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const u = a * x + b * y + c, v = d * x + e * y + f;
      if (u <= -1 || v <= -1 || u >= side || v >= side) {
        made[at] = beyond;
        continue;
      }
      const i = Math.floor(u), j = Math.floor(v), s = u - i, t = v - j;
      made[at] = (1 - t) * ((1 - s) * value(i, j) + s * value(i + 1, j))
        + t * ((1 - s) * value(i, j + 1) + s * value(i + 1, j + 1));
    }
  }
  return made;
}

/** Borders: which pixel stands for one outside. */
export const mirror = (i, length) => {
  if (length === 1) return 0;
  const period = 2 * length - 2, k = ((i % period) + period) % period;
  return k < length ? k : period - k;
};
export const nearest = (i, length) => Math.min(Math.max(i, 0), length - 1);

/** Places in steps of 1/32 px, as OpenCV has them. */
const fine = (place) => Math.round(place * 32) / 32;

function cubic(t, weights) {
  const A = -0.75, s = 1 - t;
  weights[0] = ((A * (t + 1) - 5 * A) * (t + 1) + 8 * A) * (t + 1) - 4 * A;
  weights[1] = ((A + 2) * t - (A + 3)) * t * t + 1;
  weights[2] = ((A + 2) * s - (A + 3)) * s * s + 1;
  weights[3] = 1 - weights[0] - weights[1] - weights[2];
}

/** Blur what was mirrored, more with the distance from the photo's edge. */
function softened(crop, back, scale, width, height) {
  const size = crop.width, [a, b, c, d, e, f] = back, soft = new Float32Array(size * size);
  let any = false;
  for (let y = 0, at = 0; y < size; y++) {
    for (let x = 0; x < size; x++, at++) {
      const u = a * x + b * y + c, v = d * x + e * y + f;
      const dx = Math.max(-0.5 - u, 0, u - width + 0.5), dy = Math.max(-0.5 - v, 0, v - height + 0.5);
      soft[at] = Math.min((Math.hypot(dx, dy) * scale) / (EDGE * size), 1);
      any ||= soft[at] > 0;
    }
  }
  if (!any) return crop;
  const quarter = blurred(resized(crop, size >> 2, size >> 2), Math.max(size * 0.005, 0.5));
  const blur = resized(quarter, size, size);
  for (let at = 0; at < crop.data.length; at++) {
    const share = soft[Math.floor(at / 3)];
    crop.data[at] = Math.round(crop.data[at] * (1 - share) + blur.data[at] * share);
  }
  return crop;
}

function blurred(picture, sigma) {
  const reach = Math.ceil(3 * sigma), weights = [];
  for (let k = -reach; k <= reach; k++) weights.push(Math.exp((-k * k) / (2 * sigma * sigma)));
  const sum = weights.reduce((a, b) => a + b), { width, height } = picture;
  const pass = (from, stepX, stepY) => {
    const made = raster(width, height);
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let c = 0; c < 3; c++, at++) {
          for (let k = -reach; k <= reach; k++) {
            const i = mirror(x + k * stepX, width), j = mirror(y + k * stepY, height);
            made.data[at] += (weights[k + reach] / sum) * from.data[(j * width + i) * 3 + c];
          }
        }
      }
    }
    return made;
  };
  return { ...pass(pass(picture, 1, 0), 0, 1), whole: true };
}

/** A raster as a network takes it: [1, 3, H, W], -1..1. */
export function planes(picture) {
  const area = picture.width * picture.height, tensor = new Float32Array(3 * area), { data } = picture;
  for (let c = 0; c < 3; c++) {
    for (let k = 0; k < area; k++) tensor[c * area + k] = data[k * 3 + c] / 127.5 - 1;
  }
  return tensor;
}
