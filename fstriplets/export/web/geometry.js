// Points, and the similarities that take faces to crops. As fstriplets/faces/align.py.
// A point is [x, y], pixel centres at integers; a matrix is [a, b, c, d, e, f]: x' = ax + by + c, y' = dx + ey + f.

/** The least-squares similarity from points to points. */
export function similarity(from, to) {
  const a = middle(from), b = middle(to);
  let spread = 0, cos = 0, sin = 0;
  from.forEach(([x, y], i) => {
    const [dx, dy] = [x - a[0], y - a[1]], [ex, ey] = [to[i][0] - b[0], to[i][1] - b[1]];
    spread += dx * dx + dy * dy;
    cos += dx * ex + dy * ey;
    sin += dx * ey - dy * ex;
  });
  cos /= spread;
  sin /= spread;
  return [cos, -sin, b[0] - cos * a[0] + sin * a[1], sin, cos, b[1] - sin * a[0] - cos * a[1]];
}

export function inverse([a, b, c, d, e, f]) {
  const det = a * e - b * d;
  const [p, q, r, s] = [e / det, -b / det, -d / det, a / det];
  return [p, q, -p * c - q * f, r, s, -r * c - s * f];
}

export function moved(points, [a, b, c, d, e, f]) {
  return points.map(([x, y]) => [a * x + b * y + c, d * x + e * y + f]);
}

/** Length a step of one pixel has behind the matrix. */
export function scaleOf(matrix) {
  return Math.hypot(matrix[0], matrix[3]);
}

/** The matrix for a picture of which `matrix` takes pixels, made `sx` and `sy` times smaller. */
export function ofSmaller([a, b, c, d, e, f], sx, sy) {
  // A small pixel's centre u is the picture's (u + 0.5) s - 0.5.
  const [x, y] = [0.5 * sx - 0.5, 0.5 * sy - 0.5];
  return [a * sx, b * sy, c + a * x + b * y, d * sx, e * sy, f + d * x + e * y];
}

/** Left eye, right eye, nose tip, mouth corners of 68 landmarks; five points stay as they are. */
export function fivePoints(points) {
  if (points.length === 5) return points;
  return [middle(points.slice(36, 42)), middle(points.slice(42, 48)), points[30], points[48], points[54]];
}

/** Mean distance of the five points, in distances between the second's eyes. */
export function apart(points, others) {
  const a = fivePoints(points), b = fivePoints(others);
  const mean = a.reduce((sum, [x, y], i) => sum + Math.hypot(x - b[i][0], y - b[i][1]), 0) / 5;
  return mean / Math.max(Math.hypot(b[1][0] - b[0][0], b[1][1] - b[0][1]), 1e-6);
}

/** A template's five points, shares of the side, in a crop of `size` pixels. */
export function templatePoints(shares, size) {
  return shares.map(([x, y]) => [x * size - 0.5, y * size - 0.5]);
}

export function bounds(points) {
  const x = points.map((p) => p[0]), y = points.map((p) => p[1]);
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}

function middle(points) {
  const sum = points.reduce(([x, y], p) => [x + p[0], y + p[1]], [0, 0]);
  return [sum[0] / points.length, sum[1] / points.length];
}
