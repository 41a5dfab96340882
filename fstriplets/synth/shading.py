"""Shading of the drawn mesh: linear light, soft shadow, scattering under the skin, eyes.

Three lights and a sky of nine spherical-harmonic terms; wrapped diffuse light whose red reaches
furthest, GGX highlights (F0 0.028), screen-space scattering (a blur of the light that falls on the
skin, widest in red) and depth occlusion at two scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fstriplets.synth.hairlight import look_up
from fstriplets.synth.jit import compiled, inlined
from fstriplets.synth.mesh import BACK, CLOTH, EYE_L, EYE_R, FACE, FRAME, GUMS, TEETH
from fstriplets.synth.raster import FAR, depth_only, sample

__all__ = [
    "Lighting",
    "Materials",
    "ambient_occlusion",
    "compose",
    "extent",
    "pack_constants",
    "scatter",
    "shade",
    "shadow_map",
    "tap_bounds",
]

_SHADOW_SIZE = 448
_SHADOW_SPAN = 56.0
# Numbers of the kernels, single precision: a plain literal would make numba compute in double.
F = np.float32
ONE, TINY, PI = np.float32(1.0), np.float32(1e-12), np.float32(np.pi)
#: Least light of the sky; how far off the skin the hair's shadow is looked up, units; light on eyes in shade.
LEAST_SKY, OFF, EYE_SHADE = np.float32(0.02), np.float32(0.3), np.float32(0.3)
#: Angle of the limbus from the optical axis, radians; what vessels take from the sclera's RGB; colour of the
#: flesh in the inner corner over the sclera's red.
LIMBUS = np.float32(0.455)
REDDEN = np.array([0.10, 0.42, 0.38], np.float32)
FLESH = np.array([0.95, 0.50, 0.45], np.float32)
#: Light that reaches teeth, from the middle to the back.
TOOTH_LIGHT = np.array([1.0, 0.97, 0.86, 0.70, 0.58, 0.5, 0.45, 0.4], np.float32)
#: Slopes of the painted relief are taken over steps longer than STEP (units) and cut at STEEP.
STEP, STEEP = np.float32(1e-4), np.float32(0.7)
#: How far light reaches round an edge and into shadow (RGB), on skin and on all else.
WRAP = np.array([[0.28, 0.13, 0.09], [0.15, 0.15, 0.15]], np.float32)
BLEED = np.array([[0.07, 0.018, 0.012], [0.0, 0.0, 0.0]], np.float32)
#: How much of the sky's light a hollow loses (RGB: skin throws red back); how open is open to wide lights.
DEEP, SOFT = np.array([0.80, 0.92, 0.95], np.float32), np.float32(1.25)


@dataclass(frozen=True, eq=False)
class Lighting:
    """Light of one photo, in camera axes (x right, y up, z towards the camera).

    Attributes:
        directions: [3, 3] unit vectors towards the lights; the first one casts shadows.
        colours: [3, 3] linear RGB, strength included.
        sky: [9, 3] spherical-harmonic terms of the light from everywhere.
        softness: radius of the first light's shadow edge, units.
    """

    directions: np.ndarray
    colours: np.ndarray
    sky: np.ndarray
    softness: float


@dataclass(frozen=True, eq=False)
class Materials:
    """What surfaces are made of.

    Attributes:
        iris: [6] iris RGB, ring RGB; sclera: [3].
        teeth: [3]; eye: [3] size of the iris over the usual, darkness of its rim, pink of the sclera.
        cloth: [8] colour a, colour b, pattern number, scale; frame: [3] glasses frame colour.
        gaze_axes: [2, 3] the eyes' optical axes in canonical space.
        eye_centres: [2, 3]; eye_radius; pupil: pupil's share of the iris.
    """

    iris: np.ndarray
    sclera: np.ndarray
    teeth: np.ndarray
    eye: np.ndarray
    cloth: np.ndarray
    frame: np.ndarray
    gaze_axes: np.ndarray
    eye_centres: np.ndarray
    eye_radius: float
    pupil: float


def shadow_map(points: np.ndarray, faces: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth seen from a light, and the [3, 4] map from camera space to its pixels and depth."""
    side = np.cross(direction, [0.0, 1.0, 0.0])
    side = side / np.linalg.norm(side)
    up = np.cross(direction, side)
    k = _SHADOW_SIZE / _SHADOW_SPAN
    matrix = np.zeros((3, 4), np.float32)
    matrix[0, :3], matrix[0, 3] = k * side, _SHADOW_SIZE / 2
    matrix[1, :3], matrix[1, 3] = -k * up, _SHADOW_SIZE / 2
    matrix[2, :3], matrix[2, 3] = -direction, 80.0
    seen = points @ matrix[:, :3].T + matrix[:, 3]
    return depth_only(seen.astype(np.float32), faces, _SHADOW_SIZE, _SHADOW_SIZE), matrix


def tap_bounds(shadow: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """[H, W, 2]: least and largest depth any tap round a pixel can meet (most pixels need no taps then)."""
    radius = int(np.ceil(np.abs(taps).max())) + 1
    box = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    # a tap that falls outside the map is lit
    return np.stack([cv2.erode(shadow, box), cv2.dilate(shadow, box, borderValue=float(FAR))], -1)


@compiled
def shade(  # type: ignore[no-untyped-def]
    triangle,
    weights,
    faces,
    values,
    material,
    textures,
    back,
    constants,
    directions,
    colours,
    sky,
    shadow,
    bounds,
    matrix,
    taps,
    smile,
    camera,
    reach,
    turn,
    pivot,
):
    """Albedo, diffuse light and highlights of every covered pixel, and its camera position.

    `triangle`, `weights` and `faces` are the raster's, `values` [V, 12] the vertices':
    camera position, normal, texture coordinates, canonical position, openness (openness.py).
    `textures` and `back` are the person's (bake.py): albedo RGB, specular, roughness, height, smile crease.
    `constants` packs iris (6), sclera (3), teeth (3), cloth (8), frame (3), axes (6), centres (6),
    radius, pupil, eye (3); see Materials. `shadow`, `bounds`, `matrix`: see shadow_map and tap_bounds.
    """
    height, width = triangle.shape
    albedo = np.zeros((height, width, 3), np.float32)
    diffuse = np.zeros((height, width, 3), np.float32)
    specular = np.zeros((height, width, 3), np.float32)
    position = np.zeros((height, width, 3), np.float32)
    bump = np.zeros((height, width), np.float32)
    shine = np.zeros((height, width, 2), np.float32)
    at = np.zeros(12, np.float32)
    tap = np.zeros(7, np.float32)
    for y in range(height):
        for x in range(width):
            f = triangle[y, x]
            if f < 0:
                continue
            m = material[f]
            _corners(faces, f, weights[y, x, 0], weights[y, x, 1], values, 0, 3, at)
            for k in range(3):
                position[y, x, k] = at[k]
            _corners(faces, f, weights[y, x, 0], weights[y, x, 1], values, 6, 11, at)
            bump[y, x] = _surface(m, at, textures, back, constants, smile, tap, albedo, shine, y, x)
    for y in range(height):
        for x in range(width):
            f = triangle[y, x]
            if f < 0:
                continue
            m = material[f]
            _corners(faces, f, weights[y, x, 0], weights[y, x, 1], values, 3, 6, at)
            _corners(faces, f, weights[y, x, 0], weights[y, x, 1], values, 11, 12, at)
            nx, ny, nz = at[3], at[4], at[5]
            if m < 2 or m == 6:
                sx, sy = _slope(x, y, m, triangle, material, bump, position)
                nx, ny = nx - sx, ny - sy
            norm = ONE / np.sqrt(nx * nx + ny * ny + nz * nz + TINY)
            nx, ny, nz = nx * norm, ny * norm, nz * norm
            px, py, pz = position[y, x, 0], position[y, x, 1], position[y, x, 2]
            vx, vy, vz = -px, -py, camera - pz
            norm = ONE / np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx * norm, vy * norm, vz * norm
            ndv = nx * vx + ny * vy + nz * vz
            if ndv < 0:
                nx, ny, nz, ndv = -nx, -ny, -nz, -ndv
            dx, dy, dz = directions[0, 0], directions[0, 1], directions[0, 2]
            visible = _visible(px, py, pz, nx * dx + ny * dy + nz * dz, shadow, bounds, matrix, taps)
            if visible > 0:
                # back to model axes, where the shadow of the hair is kept
                qx, qy, qz = px + OFF * dx - pivot[0], py + OFF * dy - pivot[1], pz + OFF * dz - pivot[2]
                visible *= look_up(
                    reach,
                    turn[0, 0] * qx + turn[1, 0] * qy + turn[2, 0] * qz + pivot[0],
                    turn[0, 1] * qx + turn[1, 1] * qy + turn[2, 1] * qz + pivot[1],
                    turn[0, 2] * qx + turn[1, 2] * qy + turn[2, 2] * qz + pivot[2],
                )
            eye = m == 2 or m == 3
            if eye:
                visible = EYE_SHADE + (ONE - EYE_SHADE) * visible
            spec, rough = shine[y, x, 0], shine[y, x, 1]
            _from_sky(nx, ny, nz, ndv, spec, at[11], sky, diffuse, specular, y, x)
            _from_lights(
                nx, ny, nz, vx, vy, vz, ndv, spec, rough, m < 2, visible, at[11], directions, colours,
                diffuse, specular, y, x,
            )  # fmt: skip
            if eye:
                _window(nx, ny, nz, vx, vy, vz, ndv, spec * visible, directions, colours, specular, y, x)
    return albedo, diffuse, specular, position


@inlined
def _corners(faces, f, w0, w1, values, first, last, out):  # type: ignore[no-untyped-def]
    """Channels first..last of the vertices' values at one pixel, into `out`."""
    w2 = ONE - w0 - w1
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    for k in range(first, last):
        out[k] = w0 * values[a, k] + w1 * values[b, k] + w2 * values[c, k]


@inlined
def _surface(m, at, textures, back, constants, smile, tap, albedo, shine, y, x):  # type: ignore[no-untyped-def]
    """Albedo, gloss and roughness of one pixel; returns its height (units)."""
    if m < 2:
        image = textures if m == 0 else back
        sample(image, at[6] * (image.shape[1] - 1), at[7] * (image.shape[0] - 1), tap)
        crease = np.exp(smile * tap[6])
        for k in range(3):
            albedo[y, x, k] = tap[k] * crease
        shine[y, x, 0], shine[y, x, 1] = tap[3], tap[4]
        return np.float32(tap[5] + 0.05 * smile * tap[6])
    if m == 2 or m == 3:
        _eye(at, constants, m - 2, albedo, shine, y, x)
    elif m == 4:
        _tooth(at, constants, albedo, y, x)
        shine[y, x, 0], shine[y, x, 1] = 0.5, 0.28
    elif m == 5:
        albedo[y, x, 0], albedo[y, x, 1], albedo[y, x, 2] = 0.31, 0.10, 0.095
        shine[y, x, 0], shine[y, x, 1] = 0.3, 0.4
    elif m == 6:
        shine[y, x, 0], shine[y, x, 1] = 0.12, 0.75
        return _cloth(at, constants, albedo, y, x)
    else:
        for k in range(3):
            albedo[y, x, k] = constants[20 + k]
        shine[y, x, 0], shine[y, x, 1] = 1.2, 0.28
    return np.float32(0.0)


@inlined
def _slope(x, y, m, triangle, material, bump, position):  # type: ignore[no-untyped-def]
    """How the painted height tilts the normal along x and y, from the neighbours of the same material."""
    height, width = triangle.shape
    sx, sy = np.float32(0.0), np.float32(0.0)
    if not (0 < x < width - 1 and 0 < y < height - 1):
        return sx, sy
    a, b = triangle[y, x - 1], triangle[y, x + 1]
    if a >= 0 and b >= 0 and material[a] == m and material[b] == m:
        run = position[y, x + 1, 0] - position[y, x - 1, 0]
        if run > STEP:
            sx = min(max((bump[y, x + 1] - bump[y, x - 1]) / run, -STEEP), STEEP)
    a, b = triangle[y - 1, x], triangle[y + 1, x]
    if a >= 0 and b >= 0 and material[a] == m and material[b] == m:
        run = position[y - 1, x, 1] - position[y + 1, x, 1]
        if run > STEP:
            sy = min(max((bump[y - 1, x] - bump[y + 1, x]) / run, -STEEP), STEEP)
    return sx, sy


@inlined
def _from_sky(nx, ny, nz, ndv, spec, open_, sky, diffuse, specular, y, x):  # type: ignore[no-untyped-def]
    """Sets diffuse light and highlights to what comes from everywhere."""
    rim = ONE - min(ndv, ONE)
    rim = rim * rim * rim * rim * rim
    gloss = spec * (np.float32(0.012) + np.float32(0.10) * rim)
    n6 = np.float32(3.0) * nz * nz - ONE
    n8 = nx * nx - ny * ny
    for k in range(3):
        s = sky[0, k] + sky[1, k] * ny + sky[2, k] * nz + sky[3, k] * nx
        s += sky[4, k] * nx * ny + sky[5, k] * ny * nz + sky[6, k] * n6 + sky[7, k] * nx * nz + sky[8, k] * n8
        s = max(s, LEAST_SKY) * (ONE - DEEP[k] * (ONE - open_))
        diffuse[y, x, k] = s
        specular[y, x, k] = gloss * s * open_


@inlined
def _from_lights(  # type: ignore[no-untyped-def]
    nx, ny, nz, vx, vy, vz, ndv, spec, rough, skin, visible, open_, directions, colours, diffuse, specular,
    y, x,
):  # fmt: skip
    """Adds what the lights give: wrapped diffuse light, redder on skin, and GGX highlights."""
    a2 = rough * rough * rough * rough
    kk = (rough + ONE) * (rough + ONE) * np.float32(0.125)
    nv = max(ndv, np.float32(0.05))
    masked = nv * (ONE - kk) + kk
    row = 0 if skin else 1
    for light in range(directions.shape[0]):
        dx, dy, dz = directions[light, 0], directions[light, 1], directions[light, 2]
        ndl = nx * dx + ny * dy + nz * dz
        seen = visible if light == 0 else min(ONE, open_ * SOFT)  # the others are wide and cast no shadow
        for k in range(3):
            wrap = WRAP[row, k]
            lit = max((ndl + wrap) / (ONE + wrap), np.float32(0.0))
            diffuse[y, x, k] += colours[light, k] * lit * (seen + (ONE - seen) * BLEED[row, k])
        if ndl > 0 and seen > 0:
            hx, hy, hz = vx + dx, vy + dy, vz + dz
            norm = ONE / np.sqrt(hx * hx + hy * hy + hz * hz + TINY)
            ndh = min(max((nx * hx + ny * hy + nz * hz) * norm, np.float32(0.0)), ONE)
            vdh = min(max((vx * hx + vy * hy + vz * hz) * norm, np.float32(0.0)), ONE)
            lobe = ndh * ndh * (a2 - ONE) + ONE
            past = ONE - vdh
            fresnel = np.float32(0.028) + np.float32(0.972) * past * past * past * past * past
            spread = a2 / (PI * lobe * lobe)
            mask = np.float32(0.25) / (masked * (ndl * (ONE - kk) + kk))
            shiny = spec * spread * mask * fresnel * ndl * seen * np.float32(3.1)
            shiny = min(shiny, np.float32(4.0))
            for k in range(3):
                specular[y, x, k] += colours[light, k] * shiny


@inlined
def _window(nx, ny, nz, vx, vy, vz, ndv, gloss, directions, colours, specular, y, x):  # type: ignore[no-untyped-def]
    """A window placed where a cornea can mirror it."""
    dx, dy, dz = directions[0, 0] * 0.55, directions[0, 1] * 0.8, max(directions[0, 2], 0.4)
    norm = 1 / np.sqrt(dx * dx + dy * dy + dz * dz)
    rx, ry, rz = 2 * ndv * nx - vx, 2 * ndv * ny - vy, 2 * ndv * nz - vz
    hit = min(max(((rx * dx + ry * dy + rz * dz) * norm - 0.955) / 0.02, 0.0), 1.0)
    for k in range(3):
        specular[y, x, k] += 0.65 * gloss * hit * colours[0, k]


@inlined
def _visible(px, py, pz, ndl, shadow, bounds, matrix, taps):  # type: ignore[no-untyped-def]
    """Share of the first light that reaches a point (0..1), filtered over the taps."""
    sx = matrix[0, 0] * px + matrix[0, 1] * py + matrix[0, 2] * pz + matrix[0, 3]
    sy = matrix[1, 0] * px + matrix[1, 1] * py + matrix[1, 2] * pz + matrix[1, 3]
    sz = matrix[2, 0] * px + matrix[2, 1] * py + matrix[2, 2] * pz + matrix[2, 3]
    sz -= np.float32(0.30) + np.float32(0.45) * (ONE - min(max(ndl, np.float32(0.0)), ONE))
    x, y = int(sx), int(sy)
    if x < 0 or y < 0 or x >= shadow.shape[1] or y >= shadow.shape[0] or sz < bounds[y, x, 0]:
        return np.float32(1.0)
    if sz >= bounds[y, x, 1]:
        return np.float32(0.0)
    seen = 0
    for k in range(taps.shape[0]):
        x, y = int(sx + taps[k, 0]), int(sy + taps[k, 1])
        if x < 0 or y < 0 or x >= shadow.shape[1] or y >= shadow.shape[0] or sz < shadow[y, x]:
            seen += 1
    return np.float32(seen) / np.float32(taps.shape[0])


@inlined
def _ramp(value, low, high):  # type: ignore[no-untyped-def]
    """0 below `low`, 1 above `high`, smooth between."""
    t = min(max((value - low) / (high - low), F(0.0)), ONE)
    return t * t * (F(3.0) - F(2.0) * t)


@inlined
def _tooth(at, c, albedo, y, x):  # type: ignore[no-untyped-def]
    """Paints a tooth by its number and the place on it (mesh._place_teeth)."""
    number = int(at[6] * F(0.25))
    across = abs(at[6] - F(4.0) * F(number) - F(1.5))
    lower = at[7] > F(5.0)
    up = at[7] - F(10.0) if lower else at[7]
    light = TOOTH_LIGHT[number] * (ONE - F(0.55) * _ramp(across, F(0.55), F(1.0)))  # shade between teeth
    light *= F(0.84) if lower else ONE
    light *= ONE + F(0.035) * np.sin(F(number) * F(12.9) + np.sign(at[8]) * F(2.0))
    neck = _ramp(up, F(0.45), F(1.5))
    edge = ONE - _ramp(up, F(0.02), F(0.22))  # thin enamel lets the dark of the mouth through
    yellow = F(0.55) * neck + (F(0.35) if number == 2 else F(0.0))
    light *= (ONE - F(0.28) * neck) * (ONE - F(0.16) * edge)
    albedo[y, x, 0] = c[9] * light * (ONE - F(0.05) * edge)
    albedo[y, x, 1] = c[10] * light * (ONE - F(0.07) * yellow)
    albedo[y, x, 2] = c[11] * light * (ONE - F(0.20) * yellow + F(0.06) * edge)


@inlined
def _eye(at, c, which, albedo, shine, y, x):  # type: ignore[no-untyped-def]
    """Paints pupil, iris, limbus and sclera by the angle from the optical axis."""
    p = at[8:11]
    dx, dy, dz = p[0] - c[29 + 3 * which], p[1] - c[30 + 3 * which], p[2] - c[31 + 3 * which]
    norm = ONE / np.sqrt(dx * dx + dy * dy + dz * dz + TINY)
    ax, ay, az = c[23 + 3 * which], c[24 + 3 * which], c[25 + 3 * which]
    along = min(max((dx * ax + dy * ay + dz * az) * norm, -ONE), ONE)
    a = np.arccos(along) / (LIMBUS * c[37])  # 1 at the limbus
    phase = np.arctan2(dy * norm - ay, dx * norm - ax)
    inside = min(max((F(1.05) - a) / F(0.14), F(0.0)), ONE)
    nasal = dx if which == 1 else -dx  # towards the nose
    far = _ramp(a, F(1.1), F(2.3))
    vessels = F(0.7) + F(0.3) * np.sin(F(13.0) * phase + F(5.0) * a) * np.sin(F(4.0) * phase - F(9.0) * a)
    pink = c[39] * (F(0.15) + F(0.85) * far * vessels)
    flesh = _ramp(nasal - F(0.4) * abs(dy + F(0.2)), F(0.66), F(0.90))
    ring = ONE - (F(0.45) + F(0.4) * c[38]) * _ramp(a, F(0.74), ONE)
    fibre = np.sin(F(17) * phase + ONE) + np.sin(F(29) * phase + F(2))
    fibre += np.sin(F(41) * phase + F(0.3)) + np.sin(F(63) * phase + F(4))
    pupil = c[36]
    hole = min(max((a - pupil) / F(0.07), F(0.015)), ONE)
    near = (a - pupil - F(0.14)) / F(0.13)
    near = np.exp(-near * near)
    shade_ = (F(0.85) + F(0.08) * fibre - F(0.2) * abs(a - F(0.6))) * ring * hole
    for k in range(3):
        iris = (c[k] * (ONE - F(0.5) * near) + c[3 + k] * (F(0.6) * near)) * shade_
        white = c[6 + k] * (ONE - F(0.42) * far) * (ONE - REDDEN[k] * pink)
        white += flesh * (FLESH[k] * c[6] - white)
        albedo[y, x, k] = iris * inside + white * (ONE - inside)
    shine[y, x, 0], shine[y, x, 1] = F(0.4) + F(0.6) * inside, F(0.2) - F(0.1) * inside


@compiled
def _cloth(at, c, albedo, y, x):  # type: ignore[no-untyped-def]
    """Colour and weave of cloth (0 plain, 1 stripes, 2 heather, 3 check); returns its height."""
    u, v, p = at[6], at[7], at[8:11]
    pattern, scale = int(c[18]), c[19]
    px, py = p[0], p[1]
    fine = np.sin(px * F(21.0) + F(3.0) * np.sin(py * F(9.0)))
    fine *= np.sin(py * F(23.0) + F(2.0) * np.sin(px * F(7.0)))
    fold = F(0.20) * np.sin(px * F(0.55) + F(0.9) * np.sin(py * F(0.35) + scale * F(9.0)) + scale * F(40.0))
    fold += F(0.13) * np.sin(px * F(0.9) - py * F(0.8) + scale * F(17.0))
    fold += F(0.06) * np.sin(px * F(1.7) + py * F(1.1) + scale * F(5.0))
    mix = np.float32(0.0)
    if pattern == 1:
        mix = np.float32(1.0) if np.sin(p[1] * 6.2832 / (1.2 + 2.5 * scale)) > 0.35 else np.float32(0.0)
    elif pattern == 2:
        mix = 0.5 + 0.5 * fine * np.sin(p[0] * 3.1 + p[1] * 5.3)
    elif pattern == 3:
        w = 6.2832 / (1.6 + 2.5 * scale)
        mix = 0.35 * (np.sin(p[0] * w) > 0.2) + 0.35 * (np.sin(p[1] * w) > 0.2)
    hem = 0.0
    if v < 0.95:
        hem = 1.0
        fine = np.sin(u * F(620.0))
        mix *= 0.3
    edge = min(max(v / 0.08, 0.45), 1.0) * (1 - 0.25 * np.exp(-(((v - F(0.95)) / F(0.07)) ** 2)))
    for k in range(3):
        albedo[y, x, k] = (
            (c[12 + k] * (1 - mix) + c[15 + k] * mix) * (1 + 0.05 * fine) * edge * (1 - 0.05 * hem)
        )
    return np.float32(fold * min(max((v - 0.8) / 3.0, 0.0), 1.0) + 0.006 * fine + 0.10 * hem)


def pack_constants(m: Materials) -> np.ndarray:
    """Materials as the flat float32 array `shade` reads."""
    parts = (m.iris, m.sclera, m.teeth, m.cloth, m.frame, m.gaze_axes, m.eye_centres, [m.eye_radius, m.pupil])
    return np.concatenate([np.ravel(p) for p in (*parts, m.eye)]).astype(np.float32)


@compiled
def compose(albedo, diffuse, specular, occlusion, triangle, backdrop):  # type: ignore[no-untyped-def]
    """The linear picture, written over `albedo`: surfaces under their light, the backdrop elsewhere."""
    least = np.float32(0.2)
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            if triangle[y, x] < 0:
                for k in range(3):
                    albedo[y, x, k] = backdrop[y, x, k]
            else:
                shine = min(max(occlusion[y, x], least), ONE)
                for k in range(3):
                    albedo[y, x, k] = albedo[y, x, k] * diffuse[y, x, k] + specular[y, x, k] * shine
    return albedo


def ambient_occlusion(depth: np.ndarray, size: int) -> np.ndarray:
    """[H, W] in [0.35, 1]: darker where nearer surfaces stand around, at two scales."""
    half = cv2.resize(depth, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST)
    out = np.ones_like(half)
    for sigma, gain in ((size * 0.006, 0.22), (size * 0.022, 0.12)):
        around = cv2.GaussianBlur(half, (0, 0), sigma / 2)
        out *= np.clip(1 + np.minimum(around - half, 0) * np.float32(gain), 0.35, 1)
    return np.asarray(cv2.resize(out, (depth.shape[1], depth.shape[0]), interpolation=cv2.INTER_LINEAR))


def scatter(diffuse: np.ndarray, skin: np.ndarray, scale: float) -> None:
    """Spreads the light that falls on skin under it, in place.

    Args:
        diffuse: [H, W, 3] float32, changed; skin: [H, W] float32 mask, 0 or 1; scale: pixels a model unit.
    """
    widths = [max(width * scale, 0.3) for width in (0.20, 0.095, 0.06)]
    part = extent(skin, int(4 * widths[0]) + 2)
    mask, light = np.ascontiguousarray(skin[part]), diffuse[part]
    for k, sigma in enumerate(widths):
        weight = cv2.GaussianBlur(mask, (0, 0), sigma)
        channel = np.ascontiguousarray(light[..., k])
        _spread(light, k, mask, cv2.GaussianBlur(channel * mask, (0, 0), sigma), weight)


@compiled
def _spread(light, k, mask, blurred, weight):  # type: ignore[no-untyped-def]
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] > 0:
                light[y, x, k] = blurred[y, x] / (weight[y, x] + np.float32(1e-4))


def extent(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of what a mask covers, with a margin; the whole picture where it is empty."""
    part = []
    for axis, length in ((1, mask.shape[0]), (0, mask.shape[1])):
        used = np.flatnonzero(mask.any(axis))
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, length - 1)
        part.append(slice(max(first - margin, 0), min(last + margin + 1, length)))
    return part[0], part[1]


_ = (BACK, CLOTH, EYE_L, EYE_R, FACE, FRAME, GUMS, TEETH)
