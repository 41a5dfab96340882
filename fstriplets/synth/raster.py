"""Rasterising: triangles to a z-buffer, strands to anti-aliased lines, attributes to pixels.

Plain compiled loops: one core, no state, the same bits in every process.
"""

from __future__ import annotations

import numpy as np

from fstriplets.synth.jit import compiled

__all__ = ["draw_strands", "interpolate", "raster", "sample", "vertex_normals"]

FAR = np.float32(1e9)


@compiled
def raster(points: np.ndarray, faces: np.ndarray, height: int, width: int):  # type: ignore[no-untyped-def]
    """Z-buffer of triangles.

    Args:
        points: [V, 3] float32 (x, y) pixels, z distance; pixel centres lie at integers + 0.5.
        faces: [F, 3] int32.

    Returns:
        depth [H, W] float32 (1e9 where empty), triangle [H, W] int32 (-1 where empty) and
        barycentric weights of the first two corners [H, W, 2] float32.
    """
    depth = np.full((height, width), np.float32(1e9), np.float32)
    triangle = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    for f in range(faces.shape[0]):
        ia, ib, ic = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[ia, 0], points[ia, 1], points[ia, 2]
        bx, by, bz = points[ib, 0], points[ib, 1], points[ib, 2]
        cx, cy, cz = points[ic, 0], points[ic, 1], points[ic, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9 or az < 1.0 or bz < 1.0 or cz < 1.0:
            continue
        x0 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        x1 = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        y0 = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        y1 = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        inv = np.float32(1.0) / area
        for y in range(y0, y1 + 1):
            py = np.float32(y + 0.5)
            for x in range(x0, x1 + 1):
                px = np.float32(x + 0.5)
                w0 = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * inv
                w1 = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * inv
                w2 = 1 - w0 - w1
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                z = w0 * az + w1 * bz + w2 * cz
                if z < depth[y, x]:
                    depth[y, x] = z
                    triangle[y, x] = f
                    weights[y, x, 0] = w0
                    weights[y, x, 1] = w1
    return depth, triangle, weights


@compiled
def interpolate(triangle: np.ndarray, weights: np.ndarray, faces: np.ndarray, values: np.ndarray):  # type: ignore[no-untyped-def]
    """Vertex values [V, C] float32 at every covered pixel: [H, W, C] float32, 0 where empty."""
    height, width = triangle.shape
    channels = values.shape[1]
    out = np.zeros((height, width, channels), np.float32)
    for y in range(height):
        for x in range(width):
            f = triangle[y, x]
            if f < 0:
                continue
            w0, w1 = weights[y, x, 0], weights[y, x, 1]
            w2 = 1 - w0 - w1
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            for k in range(channels):
                out[y, x, k] = w0 * values[a, k] + w1 * values[b, k] + w2 * values[c, k]
    return out


@compiled
def vertex_normals(vertices: np.ndarray, faces: np.ndarray):  # type: ignore[no-untyped-def]
    """Area-weighted unit normals [V, 3] float32."""
    out = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in range(3):
            v = faces[f, k]
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        n = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2) + np.float32(1e-9)
        out[v, 0] /= n
        out[v, 1] /= n
        out[v, 2] /= n
    return out


@compiled
def sample(image: np.ndarray, x: float, y: float, out: np.ndarray):  # type: ignore[no-untyped-def]
    """Bilinear look-up of image [H, W, C] at pixel (x, y) into out [C], clamped at the edges."""
    height, width, channels = image.shape
    x = min(max(x, 0.0), width - 1.001)
    y = min(max(y, 0.0), height - 1.001)
    xi, yi = int(x), int(y)
    fx, fy = np.float32(x - xi), np.float32(y - yi)
    for k in range(channels):
        top = image[yi, xi, k] * (1 - fx) + image[yi, xi + 1, k] * fx
        bottom = image[yi + 1, xi, k] * (1 - fx) + image[yi + 1, xi + 1, k] * fx
        out[k] = top * (1 - fy) + bottom * fy


@compiled
def draw_strands(  # type: ignore[no-untyped-def]
    points: np.ndarray,
    colours: np.ndarray,
    widths: np.ndarray,
    depth: np.ndarray,
    image: np.ndarray,
    cover: np.ndarray,
    bias: float,
    solid: float,
):
    """Thin anti-aliased lines over a picture, hidden where the z-buffer is nearer.

    Args:
        points: [S, K, 3] float32 pixels and distance, furthest strand first.
        colours: [S, K, 3] float32 linear RGB.
        widths: [S, K] float32, in pixels; below one pixel a strand is drawn as partial coverage.
        depth: [H, W] float32, changed: a strand that covers more than `solid` hides what comes
            behind it.
        image: [H, W, 3] float32, changed.
        cover: [H, W] float32 coverage by strands, changed.
        bias: how far behind the z-buffer a strand may lie and still be seen.
    """
    height, width = depth.shape
    strands, knots = points.shape[0], points.shape[1]
    for s in range(strands):
        for k in range(knots - 1):
            ax, ay, az = points[s, k, 0] - 0.5, points[s, k, 1] - 0.5, points[s, k, 2]
            dx = points[s, k + 1, 0] - 0.5 - ax
            dy = points[s, k + 1, 1] - 0.5 - ay
            dz = points[s, k + 1, 2] - az
            steep = abs(dy) > abs(dx)
            major = abs(dy) if steep else abs(dx)
            # one sample for each row or column the segment crosses: no gaps and no double ink
            start = ay if steep else ax
            delta = dy if steep else dx
            if major < 1e-6:
                continue
            lo, hi = (start, start + delta) if delta > 0 else (start + delta, start)
            i0, i1 = int(np.ceil(lo)), int(np.ceil(hi))
            length = np.sqrt(dx * dx + dy * dy)
            stretch = length / major
            for i in range(i0, i1):
                t = np.float32((i - start) / delta)
                z = az + dz * t
                w = (widths[s, k] * (1 - t) + widths[s, k + 1] * t) * stretch
                centre = (ax + dx * t) if steep else (ay + dy * t)
                reach = max(w, 1.0) * 0.5
                strength = min(w, 1.0)
                j0, j1 = int(np.floor(centre - reach + 0.5)), int(np.floor(centre + reach + 0.5))
                for j in range(j0, j1 + 1):
                    overlap = min(centre + reach, j + 0.5) - max(centre - reach, j - 0.5)
                    if overlap <= 0:
                        continue
                    x, y = (j, i) if steep else (i, j)
                    if x < 0 or y < 0 or x >= width or y >= height or z > depth[y, x] + bias:
                        continue
                    c = np.float32(min(overlap, 1.0) * strength)
                    for q in range(3):
                        v = colours[s, k, q] * (1 - t) + colours[s, k + 1, q] * t
                        image[y, x, q] = image[y, x, q] * (1 - c) + v * c
                    cover[y, x] = 1 - (1 - cover[y, x]) * (1 - c)
                    if c > solid and z < depth[y, x]:
                        depth[y, x] = z
