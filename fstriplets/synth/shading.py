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
from fstriplets.synth.jit import compiled
from fstriplets.synth.mesh import BACK, CLOTH, EYE_L, EYE_R, FACE, FRAME, GUMS, TEETH
from fstriplets.synth.raster import raster, sample

__all__ = ["Lighting", "Materials", "ambient_occlusion", "scatter", "shade", "shadow_map"]

#: Channels of the interpolated vertex values: camera position, normal, texture, canonical position.
POSITION, NORMAL, TEXTURE, CANONICAL = slice(0, 3), slice(3, 6), slice(6, 8), slice(8, 11)
CHANNELS = 11
_SHADOW_SIZE = 448
_SHADOW_SPAN = 56.0


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
        teeth: [3]; cloth: [8] colour a, colour b, pattern number, scale; frame: [3] glasses frame colour.
        gaze_axes: [2, 3] the eyes' optical axes in canonical space.
        eye_centres: [2, 3]; eye_radius; pupil: pupil's share of the iris.
    """

    iris: np.ndarray
    sclera: np.ndarray
    teeth: np.ndarray
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
    depth, _, _ = raster(seen.astype(np.float32), faces, _SHADOW_SIZE, _SHADOW_SIZE)
    return depth, matrix


@compiled
def shade(  # type: ignore[no-untyped-def]
    triangle,
    values,
    material,
    textures,
    back,
    constants,
    directions,
    colours,
    sky,
    shadow,
    matrix,
    taps,
    smile,
    camera,
    reach,
    turn,
    pivot,
):
    """Albedo, diffuse light and highlights of every covered pixel.

    `textures` and `back` are the person's (bake.py): albedo RGB, specular, roughness, height, smile crease.
    `constants` packs iris (6), sclera (3), teeth (3), cloth (8), frame (3), axes (6), centres (6),
    radius, pupil; see Materials.
    """
    height, width = triangle.shape
    albedo = np.zeros((height, width, 3), np.float32)
    diffuse = np.zeros((height, width, 3), np.float32)
    specular = np.zeros((height, width, 3), np.float32)
    bump = np.zeros((height, width), np.float32)
    shine = np.zeros((height, width, 2), np.float32)
    tap = np.zeros(7, np.float32)
    for y in range(height):
        for x in range(width):
            f = triangle[y, x]
            if f < 0:
                continue
            m = material[f]
            if m == 0 or m == 1:
                u, v = values[y, x, 6], values[y, x, 7]
                if m == 0:
                    sample(textures, u * (textures.shape[1] - 1), v * (textures.shape[0] - 1), tap)
                else:
                    sample(back, u * (back.shape[1] - 1), v * (back.shape[0] - 1), tap)
                crease = np.exp(smile * tap[6])
                for k in range(3):
                    albedo[y, x, k] = tap[k] * crease
                shine[y, x, 0] = tap[3]
                shine[y, x, 1] = tap[4]
                bump[y, x] = tap[5] + 0.05 * smile * tap[6]
            elif m == 2 or m == 3:
                _eye(values[y, x, 8:11], constants, m - 2, albedo[y, x], shine[y, x])
            elif m == 4:
                for k in range(3):
                    albedo[y, x, k] = constants[9 + k]
                shine[y, x, 0], shine[y, x, 1] = 0.6, 0.3
            elif m == 5:
                albedo[y, x, 0], albedo[y, x, 1], albedo[y, x, 2] = 0.30, 0.085, 0.085
                shine[y, x, 0], shine[y, x, 1] = 0.6, 0.35
            elif m == 6:
                bump[y, x] = _cloth(
                    values[y, x, 6], values[y, x, 7], values[y, x, 8:11], constants, albedo[y, x]
                )
                shine[y, x, 0], shine[y, x, 1] = 0.12, 0.75
            else:
                for k in range(3):
                    albedo[y, x, k] = constants[20 + k]
                shine[y, x, 0], shine[y, x, 1] = 1.2, 0.28
    for y in range(height):
        for x in range(width):
            f = triangle[y, x]
            if f < 0:
                continue
            m = material[f]
            px, py, pz = values[y, x, 0], values[y, x, 1], values[y, x, 2]
            nx, ny, nz = values[y, x, 3], values[y, x, 4], values[y, x, 5]
            if (m < 2 or m == 6) and 0 < x < width - 1 and 0 < y < height - 1:
                a, b = triangle[y, x - 1], triangle[y, x + 1]
                if a >= 0 and b >= 0 and material[a] == m and material[b] == m:
                    run = values[y, x + 1, 0] - values[y, x - 1, 0]
                    if run > 1e-4:
                        nx -= min(max((bump[y, x + 1] - bump[y, x - 1]) / run, -0.7), 0.7)
                a, b = triangle[y - 1, x], triangle[y + 1, x]
                if a >= 0 and b >= 0 and material[a] == m and material[b] == m:
                    run = values[y - 1, x, 1] - values[y + 1, x, 1]
                    if run > 1e-4:
                        ny -= min(max((bump[y - 1, x] - bump[y + 1, x]) / run, -0.7), 0.7)
            norm = 1 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
            nx, ny, nz = nx * norm, ny * norm, nz * norm
            vx, vy, vz = -px, -py, camera - pz
            norm = 1 / np.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx * norm, vy * norm, vz * norm
            ndv = nx * vx + ny * vy + nz * vz
            if ndv < 0:
                nx, ny, nz, ndv = -nx, -ny, -nz, -ndv
            skin = m < 2
            eye = m == 2 or m == 3
            rough, spec = shine[y, x, 1], shine[y, x, 0]
            a2 = rough**4
            kk = (rough + 1) ** 2 / 8
            for k in range(3):
                s = (
                    sky[0, k]
                    + sky[1, k] * ny
                    + sky[2, k] * nz
                    + sky[3, k] * nx
                    + sky[4, k] * nx * ny
                    + sky[5, k] * ny * nz
                    + sky[6, k] * (3 * nz * nz - 1)
                    + sky[7, k] * nx * nz
                    + sky[8, k] * (nx * nx - ny * ny)
                )
                diffuse[y, x, k] = max(s, 0.02)
                rim = 1 - min(max(ndv, 0.0), 1.0)
                specular[y, x, k] = spec * (0.012 + 0.10 * rim**5) * max(s, 0.02)
            for light in range(directions.shape[0]):
                dx, dy, dz = directions[light, 0], directions[light, 1], directions[light, 2]
                ndl = nx * dx + ny * dy + nz * dz
                visible = np.float32(1.0)
                if light == 0:
                    visible = _visible(px, py, pz, ndl, shadow, matrix, taps)
                    # back to model axes, where the shadow of the hair is kept
                    qx, qy, qz = px + 0.3 * dx - pivot[0], py + 0.3 * dy - pivot[1], pz + 0.3 * dz - pivot[2]
                    visible *= look_up(
                        reach,
                        turn[0, 0] * qx + turn[1, 0] * qy + turn[2, 0] * qz + pivot[0],
                        turn[0, 1] * qx + turn[1, 1] * qy + turn[2, 1] * qz + pivot[1],
                        turn[0, 2] * qx + turn[1, 2] * qy + turn[2, 2] * qz + pivot[2],
                    )
                    if eye:
                        visible = 0.3 + 0.7 * visible
                for k in range(3):
                    if skin:
                        wrap = 0.28 if k == 0 else (0.13 if k == 1 else 0.09)
                        bleed = 0.07 if k == 0 else (0.018 if k == 1 else 0.012)
                    else:
                        wrap = 0.15
                        bleed = 0.0
                    lit = max((ndl + wrap) / (1 + wrap), 0.0)
                    lit *= visible + (1 - visible) * bleed
                    diffuse[y, x, k] += colours[light, k] * lit
                if ndl > 0:
                    hx, hy, hz = vx + dx, vy + dy, vz + dz
                    norm = 1 / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
                    hx, hy, hz = hx * norm, hy * norm, hz * norm
                    ndh = min(max(nx * hx + ny * hy + nz * hz, 0.0), 1.0)
                    vdh = min(max(vx * hx + vy * hy + vz * hz, 0.0), 1.0)
                    nv = max(ndv, 0.05)
                    spread = a2 / (np.pi * (ndh * ndh * (a2 - 1) + 1) ** 2)
                    mask = 0.25 / ((nv * (1 - kk) + kk) * (ndl * (1 - kk) + kk))
                    fresnel = 0.028 + 0.972 * (1 - vdh) ** 5
                    shiny = min(spec * spread * mask * fresnel * ndl * visible * 3.1, 4.0)
                    for k in range(3):
                        specular[y, x, k] += colours[light, k] * shiny
            if eye:
                # a window placed where a cornea can mirror it
                dx, dy, dz = directions[0, 0] * 0.55, directions[0, 1] * 0.8, max(directions[0, 2], 0.4)
                norm = 1 / np.sqrt(dx * dx + dy * dy + dz * dz)
                rx, ry, rz = 2 * ndv * nx - vx, 2 * ndv * ny - vy, 2 * ndv * nz - vz
                hit = min(max(((rx * dx + ry * dy + rz * dz) * norm - 0.955) / 0.02, 0.0), 1.0)
                for k in range(3):
                    specular[y, x, k] += 0.65 * hit * colours[0, k]
    return albedo, diffuse, specular, bump


@compiled
def _visible(px, py, pz, ndl, shadow, matrix, taps):  # type: ignore[no-untyped-def]
    """Share of the first light that reaches a point (0..1), filtered over the taps."""
    sx = matrix[0, 0] * px + matrix[0, 1] * py + matrix[0, 2] * pz + matrix[0, 3]
    sy = matrix[1, 0] * px + matrix[1, 1] * py + matrix[1, 2] * pz + matrix[1, 3]
    sz = matrix[2, 0] * px + matrix[2, 1] * py + matrix[2, 2] * pz + matrix[2, 3]
    slack = 0.30 + 0.45 * (1 - min(max(ndl, 0.0), 1.0))
    seen = 0.0
    for k in range(taps.shape[0]):
        x, y = int(sx + taps[k, 0]), int(sy + taps[k, 1])
        if x < 0 or y < 0 or x >= shadow.shape[1] or y >= shadow.shape[0] or sz - slack < shadow[y, x]:
            seen += 1.0
    return np.float32(seen / taps.shape[0])


@compiled
def _eye(p, c, which, albedo, shine):  # type: ignore[no-untyped-def]
    """Paints pupil, iris, limbus and sclera by the angle from the optical axis."""
    dx, dy, dz = p[0] - c[29 + 3 * which], p[1] - c[30 + 3 * which], p[2] - c[31 + 3 * which]
    norm = 1 / np.sqrt(dx * dx + dy * dy + dz * dz + 1e-12)
    ax, ay, az = c[23 + 3 * which], c[24 + 3 * which], c[25 + 3 * which]
    along = min(max((dx * ax + dy * ay + dz * az) * norm, -1.0), 1.0)
    a = np.arccos(along) / 0.455  # 1 at the limbus
    phase = np.arctan2(dy, dx)
    fibre = 0.25 * (
        np.sin(17 * phase + 1) + np.sin(29 * phase + 2) + np.sin(41 * phase + 0.3) + np.sin(63 * phase + 4)
    )
    pupil = c[36]
    inside = min(max((1.04 - a) / 0.12, 0.0), 1.0)
    limbus = 1 - 0.72 * min(max((a - 0.80) / 0.2, 0.0), 1.0)
    hole = min(max((a - pupil) / 0.07, 0.015), 1.0)
    near = np.exp(-(((a - pupil - 0.14) / 0.13) ** 2))
    shade_ = (0.85 + 0.32 * fibre - 0.2 * abs(a - 0.6)) * limbus * hole
    corner = min(max(abs(p[0] - c[29 + 3 * which]) - 0.8, 0.0), 1.0)
    for k in range(3):
        iris = (c[k] * (1 - 0.5 * near) + c[3 + k] * (0.6 * near)) * shade_
        white = c[6 + k] * (1 - (0.10 if k == 0 else 0.2) * corner)
        albedo[k] = iris * inside + white * (1 - inside)
    shine[0], shine[1] = 1.0, 0.10


@compiled
def _cloth(u, v, p, c, albedo):  # type: ignore[no-untyped-def]
    """Colour and weave of cloth (0 plain, 1 stripes, 2 heather, 3 check); returns its height."""
    pattern, scale = int(c[18]), c[19]
    fine = np.sin(p[0] * 21.0 + 3 * np.sin(p[1] * 9.0)) * np.sin(p[1] * 23.0 + 2 * np.sin(p[0] * 7.0))
    fold = (
        0.20 * np.sin(p[0] * 0.55 + 0.9 * np.sin(p[1] * 0.35 + scale * 9) + scale * 40)
        + 0.13 * np.sin(p[0] * 0.9 - p[1] * 0.8 + scale * 17)
        + 0.06 * np.sin(p[0] * 1.7 + p[1] * 1.1 + scale * 5)
    )
    mix = 0.0
    if pattern == 1:
        mix = 1.0 if np.sin(p[1] * 6.2832 / (1.2 + 2.5 * scale)) > 0.35 else 0.0
    elif pattern == 2:
        mix = 0.5 + 0.5 * fine * np.sin(p[0] * 3.1 + p[1] * 5.3)
    elif pattern == 3:
        w = 6.2832 / (1.6 + 2.5 * scale)
        mix = 0.35 * (np.sin(p[0] * w) > 0.2) + 0.35 * (np.sin(p[1] * w) > 0.2)
    hem = 0.0
    if v < 0.95:
        hem = 1.0
        fine = np.sin(u * 620.0)
        mix *= 0.3
    edge = min(max(v / 0.08, 0.45), 1.0) * (1 - 0.25 * np.exp(-(((v - 0.95) / 0.07) ** 2)))
    for k in range(3):
        albedo[k] = (c[12 + k] * (1 - mix) + c[15 + k] * mix) * (1 + 0.05 * fine) * edge * (1 - 0.05 * hem)
    return np.float32(fold * min(max((v - 0.8) / 3.0, 0.0), 1.0) + 0.006 * fine + 0.10 * hem)


def pack_constants(m: Materials) -> np.ndarray:
    """Materials as the flat float32 array `shade` reads."""
    parts = (m.iris, m.sclera, m.teeth, m.cloth, m.frame, m.gaze_axes, m.eye_centres, [m.eye_radius, m.pupil])
    return np.concatenate([np.ravel(p) for p in parts]).astype(np.float32)


def ambient_occlusion(depth: np.ndarray, size: int) -> np.ndarray:
    """[H, W] in [0.35, 1]: darker where nearer surfaces stand around, at two scales."""
    half = cv2.resize(depth, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST)
    out = np.ones_like(half)
    for sigma, gain in ((size * 0.006, 0.22), (size * 0.022, 0.12)):
        around = cv2.GaussianBlur(half, (0, 0), sigma / 2)
        out *= np.clip(1 + np.minimum(around - half, 0) * np.float32(gain), 0.35, 1)
    return np.asarray(cv2.resize(out, (depth.shape[1], depth.shape[0]), interpolation=cv2.INTER_LINEAR))


def scatter(diffuse: np.ndarray, skin: np.ndarray, scale: float) -> np.ndarray:
    """Light on skin after it has spread under it.

    Args:
        diffuse: [H, W, 3]; skin: [H, W] float32 mask; scale: pixels a model unit.
    """
    out = diffuse.copy()
    for k, width in ((0, 0.20), (1, 0.095), (2, 0.06)):
        sigma = max(width * scale, 0.3)
        weight = cv2.GaussianBlur(skin, (0, 0), sigma)
        blurred = cv2.GaussianBlur(diffuse[..., k] * skin, (0, 0), sigma) / (weight + 1e-4)
        out[..., k] = np.where(skin > 0, blurred, diffuse[..., k])
    return out


_ = (BACK, CLOTH, EYE_L, EYE_R, FACE, FRAME, GUMS, TEETH)
