"""Light in hair: how much of it reaches a strand or the skin below, and the colour a strand takes.

The strands of a head are counted once into a grid round it; for each photo the grid is marched towards the
first light, which gives the shadow of hair on hair and of hair on skin. Strands are shaded after Kajiya and
Kay (1989), with a coloured and a white lobe.
"""

from __future__ import annotations

import numpy as np

from fstriplets.synth.jit import compiled, inlined

__all__ = ["GRID_ORIGIN", "GRID_STEP", "count_strands", "march", "pose_and_shade"]

#: The grid in model axes: where it begins, the side of a cell, and cells along x, y, z.
GRID_ORIGIN = np.array([-14.0, -22.0, -14.0], np.float32)
GRID_STEP = 0.8
GRID_SHAPE = (36, 50, 38)
# The same for the kernels, single precision: a plain literal would make numba compute in double.
EAST, BELOW, CELLS = np.float32(14.0), np.float32(22.0), np.float32(1 / 0.8)
ONE, HALF, NOTHING, LEAST = np.float32(1.0), np.float32(0.5), np.float32(0.0), np.float32(1e-9)
#: Highlights: strength of the white and the tinted one, and how far they lie from the mirror direction,
#: radians; how much strands differ in that; how much lighter the ends are.
WHITE, TINTED = np.float32(0.08), np.float32(1.15)
TOWARDS_ROOT, TOWARDS_TIP, SCATTERED = np.float32(0.12), np.float32(0.14), np.float32(0.6)
BLEACHED = np.float32(0.4)
#: Middle of the head, model axes.
MIDDLE = np.array([0.0, 2.5, -0.5], np.float32)


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
    nx, ny, nz = grid.shape
    depth = np.zeros(grid.shape, np.float32)
    dark = np.float32(4.0) / gain  # what lies behind is left out
    for k in range(1, steps + 1):
        t = 0.9 * k
        a = int(np.floor(direction[0] * t + 0.5))
        b = int(np.floor(direction[1] * t + 0.5))
        c = int(np.floor(direction[2] * t + 0.5))
        for i in range(max(0, -a), min(nx, nx - a)):
            for j in range(max(0, -b), min(ny, ny - b)):
                for m in range(max(0, -c), min(nz, nz - c)):
                    if depth[i, j, m] <= dark:
                        depth[i, j, m] += grid[i + a, j + b, m + c]
    return np.exp(depth * (np.float32(-0.72) * gain))


@inlined
def look_up(grid, x, y, z):  # type: ignore[no-untyped-def]
    """Trilinear value of a grid at a point in model axes; 1 outside it."""
    fx, fy, fz = (x + EAST) * CELLS - HALF, (y + BELOW) * CELLS - HALF, (z + EAST) * CELLS - HALF
    i, j, m = int(fx), int(fy), int(fz)
    if fx < 0 or fy < 0 or fz < 0:
        return ONE
    if i >= grid.shape[0] - 1 or j >= grid.shape[1] - 1 or m >= grid.shape[2] - 1:
        return ONE
    fx, fy, fz = fx - np.float32(i), fy - np.float32(j), fz - np.float32(m)
    gx, gy = ONE - fx, ONE - fy
    near = (grid[i, j, m] * gx + grid[i + 1, j, m] * fx) * gy
    near += (grid[i, j + 1, m] * gx + grid[i + 1, j + 1, m] * fx) * fy
    far = (grid[i, j, m + 1] * gx + grid[i + 1, j, m + 1] * fx) * gy
    far += (grid[i, j + 1, m + 1] * gx + grid[i + 1, j + 1, m + 1] * fx) * fy
    return near + (far - near) * fz


@compiled
def pose_and_shade(  # type: ignore[no-untyped-def]
    points,
    head,
    shade,
    chosen,
    used,
    colour,
    rotations,
    pivot,
    camera,
    directions,
    lights,
    ambient,
    reach,
    open_,
    depth,
    bias,
):
    """Screen points and linear colours of strands.

    Args:
        points: [S, K, 3] model axes; head: [S, K] share that turns with the head; shade: [S].
        chosen: [N] the strands and used: [J] the knots of each that are drawn.
        colour: [S, 3] linear RGB.
        rotations: [2, 3, 3] of head and body; pivot: [3]; camera: [4] x, y, focal length, distance.
        directions, lights: [L, 3]; ambient: [3].
        reach: grid of the first light's reach (march); open_: grid of how open a place is to the sky.
        depth: [H, W] z-buffer; bias: how far behind it a strand may be and still be drawn.

    Returns:
        screen [N, J, 3] and colours [N, J, 3], float32, and the rows of them that may be seen: strands
        wholly behind something or outside the picture are left out, and have no colours.
    """
    strands, knots = chosen.shape[0], used.shape[0]
    screen = np.empty((strands, knots, 3), np.float32)
    out = np.empty((strands, knots, 3), np.float32)
    seen = np.empty(strands, np.int64)
    count = 0
    posed = np.empty((knots, 3), np.float32)
    centre = np.empty(3, np.float32)
    for d in range(3):
        centre[d] = pivot[d]
        for q in range(3):
            centre[d] += rotations[0, d, q] * (MIDDLE[q] - pivot[q])
    far = _furthest(depth)
    for n in range(strands):
        s = chosen[n]
        _pose(points, head, s, used, rotations, pivot, camera, posed, screen, n)
        if not _may_be_seen(screen, n, far, depth.shape[0], depth.shape[1], bias):
            continue
        seen[count] = n
        count += 1
        turn = SCATTERED * (shade[s] - ONE)
        for k in range(knots):
            own = used[k]
            see = look_up(reach, points[s, own, 0], points[s, own, 1], points[s, own, 2])
            sky = look_up(open_, points[s, own, 0], points[s, own, 1], points[s, own, 2])
            t = np.float32(k) / np.float32(knots - 1)
            tone = min(ONE, np.float32(0.55) + np.float32(0.99) * t) + BLEACHED * max(t - HALF, NOTHING)
            tone *= shade[s]
            _light(posed, k, centre, see, sky, colour, s, directions, lights, ambient, tone, turn, out, n)
    return screen, out, seen[:count]


@inlined
def _pose(points, head, s, used, rotations, pivot, camera, posed, screen, n):  # type: ignore[no-untyped-def]
    """Camera axes and screen points of the knots of strand s."""
    for k in range(used.shape[0]):
        own = used[k]
        lx, ly, lz = points[s, own, 0] - pivot[0], points[s, own, 1] - pivot[1], points[s, own, 2] - pivot[2]
        w = head[s, own]
        for d in range(3):
            h = rotations[0, d, 0] * lx + rotations[0, d, 1] * ly + rotations[0, d, 2] * lz
            if w < ONE:
                b = rotations[1, d, 0] * lx + rotations[1, d, 1] * ly + rotations[1, d, 2] * lz
                h = b + (h - b) * w
            posed[k, d] = h + pivot[d]
        z = camera[3] - posed[k, 2]
        ratio = camera[2] / z
        screen[n, k, 0] = camera[0] + posed[k, 0] * ratio
        screen[n, k, 1] = camera[1] - posed[k, 1] * ratio
        screen[n, k, 2] = z


@compiled
def _furthest(depth):  # type: ignore[no-untyped-def]
    """Largest depth within 8 pixels or more of each block of 8 x 8 pixels."""
    high, wide = (depth.shape[0] + 7) // 8, (depth.shape[1] + 7) // 8
    own = np.zeros((high, wide), np.float32)
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            own[y // 8, x // 8] = max(own[y // 8, x // 8], depth[y, x])
    out = np.zeros((high, wide), np.float32)
    for y in range(high):
        for x in range(wide):
            for i in range(max(y - 1, 0), min(y + 2, high)):
                for j in range(max(x - 1, 0), min(x + 2, wide)):
                    out[y, x] = max(out[y, x], own[i, j])
    return out


@inlined
def _may_be_seen(screen, n, far, height, width, bias):  # type: ignore[no-untyped-def]
    """Whether a pixel of a strand can lie before the z-buffer; True where that is not sure."""
    for k in range(screen.shape[1] - 1):
        ax, ay, bx, by = screen[n, k, 0], screen[n, k, 1], screen[n, k + 1, 0], screen[n, k + 1, 1]
        if max(ax, bx) < -2 or max(ay, by) < -2 or min(ax, bx) > width + 2 or min(ay, by) > height + 2:
            continue
        # no point of a short segment is further than 6 pixels from one of its ends
        if max(abs(ax - bx), abs(ay - by)) > 12:
            return True
        nearest = min(screen[n, k, 2], screen[n, k + 1, 2]) - bias
        for x, y in ((ax, ay), (bx, by)):
            i, j = min(max(int(y) // 8, 0), far.shape[0] - 1), min(max(int(x) // 8, 0), far.shape[1] - 1)
            if nearest <= far[i, j]:
                return True
    return False


@inlined
def _light(posed, k, centre, see, sky, colour, s, directions, lights, ambient, tone, turn, out, n):  # type: ignore[no-untyped-def]
    """Colour of a strand at a knot (Kajiya-Kay), its highlights moved by `turn` radians along it."""
    before, after = max(k - 1, 0), min(k + 1, posed.shape[0] - 1)
    tx, ty, tz = (
        posed[after, 0] - posed[before, 0],
        posed[after, 1] - posed[before, 1],
        posed[after, 2] - posed[before, 2],
    )
    norm = ONE / np.sqrt(tx * tx + ty * ty + tz * tz + LEAST)
    tx, ty, tz = tx * norm, ty * norm, tz * norm
    rx, ry, rz = posed[k, 0] - centre[0], posed[k, 1] - centre[1], posed[k, 2] - centre[2]
    norm = ONE / np.sqrt(rx * rx + ry * ry + rz * rz + LEAST)
    rx, ry, rz = rx * norm, ry * norm, rz * norm
    sv = np.sqrt(max(ONE - tz * tz, NOTHING))
    around = (np.float32(0.25) + np.float32(0.75) * sky) * np.float32(0.80)
    for q in range(3):
        out[n, k, q] = ambient[q] * around * colour[s, q]
    for light in range(directions.shape[0]):
        dx, dy, dz = directions[light, 0], directions[light, 1], directions[light, 2]
        tl = tx * dx + ty * dy + tz * dz
        sl = np.sqrt(max(ONE - tl * tl, NOTHING))
        # past the horizon of the head its own bulk takes the light away
        facing = np.float32(0.30) + np.float32(0.85) * (rx * dx + ry * dy + rz * dz)
        facing = min(max(facing, np.float32(0.04)), ONE)
        if light == 0:
            facing *= np.float32(0.10) + np.float32(0.90) * see
        else:
            facing *= np.float32(0.4) + np.float32(0.6) * sky
        # cosine and sine of how far a strand is turned from where it mirrors the light
        on, past = sl * sv - tl * tz, sl * tz + tl * sv
        white, tinted = turn - TOWARDS_ROOT, turn + TOWARDS_TIP
        b = min(max(on * (ONE - HALF * white * white) - past * white, NOTHING), ONE)
        c = min(max(on * (ONE - HALF * tinted * tinted) - past * tinted, NOTHING), ONE)
        b4, c4 = b * b * b * b, c * c * c * c
        b8 = b4 * b4
        soft = facing * (np.float32(0.62) * sl + TINTED * c4 * c4 * c4)
        hard = facing * WHITE * b8 * b8 * b8
        for q in range(3):
            out[n, k, q] += lights[light, q] * (soft * colour[s, q] + hard)
    for q in range(3):
        out[n, k, q] *= tone
