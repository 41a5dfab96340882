"""Rasterising: triangles to a z-buffer, strands to anti-aliased lines, attributes to pixels.

Plain compiled loops: one core, no state, the same bits in every process.
"""

from __future__ import annotations

import numpy as np

from fstriplets.synth.jit import compiled, inlined

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
    depth = np.full((height, width), FAR, np.float32)
    triangle = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    half, one, edge = np.float32(0.5), np.float32(1.0), np.float32(-1e-6)
    for f in range(faces.shape[0]):
        ia, ib, ic = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, bx, cx = points[ia, 0] - half, points[ib, 0] - half, points[ic, 0] - half
        x0, x1 = max(0, _up(min(ax, bx, cx))), min(width, _up(max(ax, bx, cx)))
        if x0 >= x1:
            continue
        ay, by, cy = points[ia, 1] - half, points[ib, 1] - half, points[ic, 1] - half
        y0, y1 = max(0, _up(min(ay, by, cy))), min(height, _up(max(ay, by, cy)))
        az, bz, cz = points[ia, 2], points[ib, 2], points[ic, 2]
        bx, by, cx, cy = bx - ax, by - ay, cx - ax, cy - ay
        area = bx * cy - by * cx
        if y0 >= y1 or abs(area) < 1e-9 or az < 1.0 or bz < 1.0 or cz < 1.0:
            continue
        inv = one / area
        bx, by, cx, cy = bx * inv, by * inv, cx * inv, cy * inv
        for y in range(y0, y1):
            dy = np.float32(y) - ay
            for x in range(x0, x1):
                # relative to the first corner: small numbers, and no cracks along shared edges
                dx = np.float32(x) - ax
                w1 = cy * dx - cx * dy
                w2 = bx * dy - by * dx
                w0 = one - w1 - w2
                if w0 < edge or w1 < edge or w2 < edge:
                    continue
                z = w0 * az + w1 * bz + w2 * cz
                if z < depth[y, x]:
                    depth[y, x] = z
                    triangle[y, x] = f
                    weights[y, x, 0] = w0
                    weights[y, x, 1] = w1
    return depth, triangle, weights


@compiled
def depth_only(points: np.ndarray, faces: np.ndarray, height: int, width: int):  # type: ignore[no-untyped-def]
    """The depth of `raster` alone."""
    depth = np.full((height, width), FAR, np.float32)
    half, one, edge = np.float32(0.5), np.float32(1.0), np.float32(-1e-6)
    for f in range(faces.shape[0]):
        ia, ib, ic = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, bx, cx = points[ia, 0] - half, points[ib, 0] - half, points[ic, 0] - half
        x0, x1 = max(0, _up(min(ax, bx, cx))), min(width, _up(max(ax, bx, cx)))
        if x0 >= x1:
            continue
        ay, by, cy = points[ia, 1] - half, points[ib, 1] - half, points[ic, 1] - half
        y0, y1 = max(0, _up(min(ay, by, cy))), min(height, _up(max(ay, by, cy)))
        az, bz, cz = points[ia, 2], points[ib, 2], points[ic, 2]
        bx, by, cx, cy = bx - ax, by - ay, cx - ax, cy - ay
        area = bx * cy - by * cx
        if y0 >= y1 or abs(area) < 1e-9 or az < 1.0 or bz < 1.0 or cz < 1.0:
            continue
        inv = one / area
        bx, by, cx, cy = bx * inv, by * inv, cx * inv, cy * inv
        for y in range(y0, y1):
            dy = np.float32(y) - ay
            for x in range(x0, x1):
                dx = np.float32(x) - ax
                w1 = cy * dx - cx * dy
                w2 = bx * dy - by * dx
                w0 = one - w1 - w2
                if w0 >= edge and w1 >= edge and w2 >= edge:
                    depth[y, x] = min(depth[y, x], w0 * az + w1 * bz + w2 * cz)
    return depth


@inlined
def _up(value):  # type: ignore[no-untyped-def]
    """The integer above; coordinates are far below 2**30."""
    whole = int(value)
    return whole + 1 if value > whole else whole


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


@inlined
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
    order: np.ndarray,
    depth: np.ndarray,
    image: np.ndarray,
    cover: np.ndarray,
    bias: float,
    solid: float,
):
    """Thin anti-aliased lines over a picture, hidden where the z-buffer is nearer.

    Args:
        points: [S, K, 3] float32 pixels and distance.
        colours: [S, K, 3] float32 linear RGB.
        widths: [K] float32, in pixels; below one pixel a strand is drawn as partial coverage.
        order: [N] rows of `points` to draw, furthest strand first.
        depth: [H, W] float32, changed: a strand that covers more than `solid` hides what comes
            behind it.
        image: [H, W, 3] float32, changed.
        cover: [H, W] float32 coverage by strands, changed.
        bias: how far behind the z-buffer a strand may lie and still be seen.
    """
    for s in order:
        for k in range(points.shape[1] - 1):
            _segment(points, colours, widths, s, k, depth, image, cover, np.float32(bias), solid)


@inlined
def _segment(  # type: ignore[no-untyped-def]
    points, colours, widths, s, k, depth, image, cover, bias, solid
):
    """Draws strand s between its knots k and k + 1."""
    height, width = depth.shape
    half, one = np.float32(0.5), np.float32(1.0)
    ax, ay, az = points[s, k, 0] - half, points[s, k, 1] - half, points[s, k, 2]
    dx, dy, dz = points[s, k + 1, 0] - half - ax, points[s, k + 1, 1] - half - ay, points[s, k + 1, 2] - az
    steep = abs(dy) > abs(dx)
    if steep:
        start, delta, other, slope, last, across = ay, dy, ax, dx, height, width
    else:
        start, delta, other, slope, last, across = ax, dx, ay, dy, width, height
    if abs(delta) < 1e-6:
        return
    # one sample for each row or column the segment crosses: no gaps and no double ink
    lo, hi = (start, start + delta) if delta > 0 else (start + delta, start)
    stretch = np.sqrt(dx * dx + dy * dy) / abs(delta)
    w0, w1 = widths[k] * stretch, (widths[k + 1] - widths[k]) * stretch
    inv = one / delta
    for i in range(max(_up(lo), 0), min(_up(hi), last)):
        t = (np.float32(i) - start) * inv
        z, w, centre = az + dz * t, w0 + w1 * t, other + slope * t
        reach, strength = max(w, one) * half, min(w, one)
        low, high = centre - reach, centre + reach
        for j in range(max(_up(low - half), 0), min(_up(high + half), across)):
            x, y = (j, i) if steep else (i, j)
            if z > depth[y, x] + bias:
                continue
            c = min(min(high, np.float32(j) + half) - max(low, np.float32(j) - half), one) * strength
            if c <= 0:
                continue
            for q in range(3):
                v = colours[s, k, q] + (colours[s, k + 1, q] - colours[s, k, q]) * t
                image[y, x, q] += (v - image[y, x, q]) * c
            cover[y, x] += (one - cover[y, x]) * c
            if c > solid and z < depth[y, x]:
                depth[y, x] = z
