"""Light in hair: how much of it reaches a strand or the skin below, and the colour a strand takes.

The strands of a head are counted once into a grid round it; for each photo the grid is marched towards the
first light, which gives the shadow of hair on hair and of hair on skin. Strands are shaded after Kajiya and
Kay (1989), with a coloured and a white lobe.
"""

from __future__ import annotations

import numpy as np

from fstriplets.synth.jit import compiled

__all__ = ["GRID_ORIGIN", "GRID_STEP", "count_strands", "march", "pose_and_shade"]

#: The grid in model axes: where it begins, the side of a cell, and cells along x, y, z.
GRID_ORIGIN = np.array([-14.0, -22.0, -14.0], np.float32)
GRID_STEP = 0.8
GRID_SHAPE = (36, 50, 38)


@compiled
def count_strands(points, width):  # type: ignore[no-untyped-def]
    """Optical density a unit in each cell of the grid, from strands [S, K, 3] `width` units wide."""
    grid = np.zeros((36, 50, 38), np.float32)
    volume = 0.8**3
    for s in range(points.shape[0]):
        for k in range(points.shape[1] - 1):
            length = 0.0
            for d in range(3):
                length += (points[s, k + 1, d] - points[s, k, d]) ** 2
            i = int((points[s, k, 0] + 14.0) / 0.8)
            j = int((points[s, k, 1] + 22.0) / 0.8)
            m = int((points[s, k, 2] + 14.0) / 0.8)
            if 0 <= i < 36 and 0 <= j < 50 and 0 <= m < 38:
                grid[i, j, m] += np.sqrt(length) * width / volume
    return grid


@compiled
def march(grid, direction, steps, gain):  # type: ignore[no-untyped-def]
    """Share of light from `direction` (unit, model axes) that reaches each cell."""
    out = np.ones(grid.shape, np.float32)
    nx, ny, nz = grid.shape
    for i in range(nx):
        for j in range(ny):
            for m in range(nz):
                depth = 0.0
                for k in range(1, steps + 1):
                    t = 0.9 * k
                    a = int(i + direction[0] * t + 0.5)
                    b = int(j + direction[1] * t + 0.5)
                    c = int(m + direction[2] * t + 0.5)
                    if a < 0 or b < 0 or c < 0 or a >= nx or b >= ny or c >= nz:
                        break
                    depth += grid[a, b, c]
                    if depth * gain > 4:
                        break
                out[i, j, m] = np.exp(-depth * 0.72 * gain)
    return out


@compiled
def look_up(grid, x, y, z):  # type: ignore[no-untyped-def]
    """Trilinear value of a grid at a point in model axes; 1 outside it."""
    fx, fy, fz = (x + 14.0) / 0.8 - 0.5, (y + 22.0) / 0.8 - 0.5, (z + 14.0) / 0.8 - 0.5
    i, j, m = int(np.floor(fx)), int(np.floor(fy)), int(np.floor(fz))
    if i < 0 or j < 0 or m < 0 or i >= grid.shape[0] - 1 or j >= grid.shape[1] - 1 or m >= grid.shape[2] - 1:
        return np.float32(1.0)
    fx, fy, fz = fx - i, fy - j, fz - m
    near = (grid[i, j, m] * (1 - fx) + grid[i + 1, j, m] * fx) * (1 - fy) + (
        grid[i, j + 1, m] * (1 - fx) + grid[i + 1, j + 1, m] * fx
    ) * fy
    far = (grid[i, j, m + 1] * (1 - fx) + grid[i + 1, j, m + 1] * fx) * (1 - fy) + (
        grid[i, j + 1, m + 1] * (1 - fx) + grid[i + 1, j + 1, m + 1] * fx
    ) * fy
    return np.float32(near * (1 - fz) + far * fz)


@compiled
def pose_and_shade(  # type: ignore[no-untyped-def]
    points, head, shade, colour, rotations, pivot, camera, directions, lights, ambient, reach, open_
):
    """Screen points and linear colours of strands.

    Args:
        points: [S, K, 3] model axes; head: [S, K] share that turns with the head; shade: [S].
        colour: [S, 3] linear RGB.
        rotations: [2, 3, 3] of head and body; pivot: [3]; camera: [4] x, y, focal length, distance.
        directions, lights: [L, 3]; ambient: [3].
        reach: grid of the first light's reach (march); open_: grid of how open a place is to the sky.

    Returns:
        screen [S, K, 3] and colours [S, K, 3], float32.
    """
    strands, knots = points.shape[0], points.shape[1]
    screen = np.empty((strands, knots, 3), np.float32)
    out = np.empty((strands, knots, 3), np.float32)
    posed = np.empty((knots, 3), np.float32)
    centre = np.empty(3, np.float32)
    for d in range(3):
        centre[d] = pivot[d]
        for q in range(3):
            local = (0.0, 2.5, -0.5)[q] - pivot[q]
            centre[d] += rotations[0, d, q] * local
    for s in range(strands):
        for k in range(knots):
            lx, ly, lz = points[s, k, 0] - pivot[0], points[s, k, 1] - pivot[1], points[s, k, 2] - pivot[2]
            w = head[s, k]
            for d in range(3):
                h = rotations[0, d, 0] * lx + rotations[0, d, 1] * ly + rotations[0, d, 2] * lz
                if w < 1:
                    b = rotations[1, d, 0] * lx + rotations[1, d, 1] * ly + rotations[1, d, 2] * lz
                    h = b + (h - b) * w
                posed[k, d] = h + pivot[d]
            z = camera[3] - posed[k, 2]
            ratio = camera[2] / z
            screen[s, k, 0] = camera[0] + posed[k, 0] * ratio
            screen[s, k, 1] = camera[1] - posed[k, 1] * ratio
            screen[s, k, 2] = z
        for k in range(knots):
            before, after = max(k - 1, 0), min(k + 1, knots - 1)
            tx = posed[after, 0] - posed[before, 0]
            ty = posed[after, 1] - posed[before, 1]
            tz = posed[after, 2] - posed[before, 2]
            norm = 1 / np.sqrt(tx * tx + ty * ty + tz * tz + 1e-9)
            tx, ty, tz = tx * norm, ty * norm, tz * norm
            rx, ry, rz = posed[k, 0] - centre[0], posed[k, 1] - centre[1], posed[k, 2] - centre[2]
            norm = 1 / np.sqrt(rx * rx + ry * ry + rz * rz + 1e-9)
            rx, ry, rz = rx * norm, ry * norm, rz * norm
            sv = np.sqrt(max(1 - tz * tz, 0.0))
            see = look_up(reach, points[s, k, 0], points[s, k, 1], points[s, k, 2])
            sky = look_up(open_, points[s, k, 0], points[s, k, 1], points[s, k, 2])
            for q in range(3):
                out[s, k, q] = ambient[q] * (0.25 + 0.75 * sky) * 0.80 * colour[s, q]
            for light in range(directions.shape[0]):
                dx, dy, dz = directions[light, 0], directions[light, 1], directions[light, 2]
                tl = tx * dx + ty * dy + tz * dz
                sl = np.sqrt(max(1 - tl * tl, 0.0))
                # past the horizon of the head its own bulk takes the light away
                facing = min(max(0.30 + 0.85 * (rx * dx + ry * dy + rz * dz), 0.04), 1.0)
                facing *= (0.10 + 0.90 * see) if light == 0 else (0.4 + 0.6 * sky)
                both = min(max(sl * sv - tl * tz, 0.0), 1.0)
                b2 = both * both
                b4 = b2 * b2
                b12 = b4 * b4 * b4
                b48 = b12 * b12 * b12 * b12
                soft = facing * (0.70 * sl + 0.75 * b12)
                hard = facing * 0.050 * b48
                for q in range(3):
                    out[s, k, q] += lights[light, q] * (soft * colour[s, q] + hard)
            root = min(1.0, 0.55 + 0.45 * 2.2 * k / (knots - 1))
            for q in range(3):
                out[s, k, q] *= root * shade[s]
    return screen, out
