"""Skin and hair without a network: the face's own colours, and where things are on any head.

Skin: a Gaussian of the cheeks' colours inside a head-shaped outline. Hair: rays walk out of the forehead
until the skin ends; what lies there and is not background seeds GrabCut (Rother et al. 2004) at low
resolution; at full resolution each pixel near the edge gets its share of hair from the colours on both
sides. Where there is no hair to be told from skin and background, there is none: an empty mask.
"""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import curve, smoothstep
from fstriplets.edits.warp.portrait import Portrait

__all__ = ["face_outline", "features", "hair_mask", "skin_mask", "skin_tone"]

Array = np.ndarray

#: Side of the picture GrabCut sees.
_SMALL = 104
#: Least hair: this many square units of it, on this share of the rays.
_MIN_HAIR, _MIN_RAYS = 0.5, 0.35
#: Lab distance within which colours are one head of hair, and beyond which hair is not background.
_SAME_HAIR, _TOLD_APART = 20.0, 11.0
#: Nearer to the skin's colour than this: a bald head, or hair that cannot be told from it.
_BALD = 10.0


def face_outline(portrait: Portrait, top: float = -1.0) -> Array:
    """Jaw and forehead as a closed polygon [N, 2] pixels; `top`: height of its crown, face units."""
    points = portrait.points
    face = portrait.frame.to_face(points)
    left, right = face[0], face[16]
    middle = (face[27, 0] + face[21:23, 0].mean()) / 2
    arc = np.array(
        [
            right,
            [right[0] * 0.96 + middle * 0.04, top * 0.45],
            [right[0] * 0.70 + middle * 0.30, top * 0.86],
            [middle, top],
            [left[0] * 0.70 + middle * 0.30, top * 0.86],
            [left[0] * 0.96 + middle * 0.04, top * 0.45],
            left,
        ]
    )
    crown = portrait.frame.to_picture(curve(arc, 40))
    return np.vstack([curve(points[:17], 60), crown])


def skin_tone(portrait: Portrait) -> Array:
    """[3] median RGB of the cheeks, 0..1."""
    cheeks = _cheeks(portrait)
    return np.asarray(np.median(portrait.image[cheeks], axis=0), np.float32)


def _cheeks(portrait: Portrait) -> Array:
    """Boolean [H, W]: cheeks, nose and the middle of the forehead, where skin is sure."""
    points = portrait.points
    brow = portrait.frame.to_face(points[17:27])
    forehead = portrait.frame.to_picture(
        np.array([brow[3], brow[6], brow[6] + [0, -0.22], brow[3] + [0, -0.22]])
    )
    mask = portrait.polygon(forehead)
    for corners in ((1, 3, 4, 48, 31, 41), (15, 13, 12, 54, 35, 46)):
        polygon = points[list(corners)]
        mask += portrait.polygon(polygon.mean(0) + 0.75 * (polygon - polygon.mean(0)))
    sure: Array = mask > 0.5
    if sure.sum() < 16:
        sure = portrait.polygon(points[:17]) > 0.5
    return sure


def _likeness(portrait: Portrait) -> Array:
    """How skin-coloured each pixel is [H, W] 0..1: chroma strictly, brightness leniently."""
    lab = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2LAB)
    sample = lab[_cheeks(portrait)]
    middle = np.median(sample, 0)
    spread = 1.4826 * np.median(np.abs(sample - middle), 0)
    spread = np.maximum(spread * [3.2, 2.4, 2.4], [16.0, 5.0, 5.0])
    offset = (lab - middle) / spread
    offset[..., 0] = np.where(offset[..., 0] > 0, offset[..., 0] * 0.7, offset[..., 0])
    return np.asarray(np.exp(-0.5 * (offset**2).sum(-1)), np.float32)


def features(portrait: Portrait, feather: float = 0.03) -> Array:
    """Eyes, brows, nostrils and lips [H, W] 0..1: what skin edits leave alone."""
    points = portrait.points
    mask = np.zeros((portrait.height, portrait.width), np.float32)
    for eye in (points[36:42], points[42:48]):
        mask = np.maximum(mask, portrait.polygon(eye.mean(0) + 1.25 * (eye - eye.mean(0))))
    mask = np.maximum(mask, portrait.polygon(curve(points[48:60], 60, closed=True)))
    for brow in (points[17:22], points[22:27]):
        mask = np.maximum(mask, portrait.polygon(_thick(brow, 0.09 * portrait.unit)))
    return np.asarray(np.clip(portrait.blur(mask, feather) * 1.3, 0, 1))


def _thick(line: Array, width: float) -> Array:
    """A polyline [N, 2] made a band of half width `width` px."""
    line = curve(line, 24)
    tangent = np.gradient(line, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return np.vstack([line + width * normal, (line - width * normal)[::-1]])


def skin_mask(portrait: Portrait, top: float = -1.15) -> Array:
    """Skin of the face [H, W] 0..1: soft-edged, without eyes, brows and lips."""
    outline = portrait.polygon(face_outline(portrait, top), 0.03)
    inner = portrait.polygon(face_outline(portrait, -0.45), 0.10)  # below the hairline: surely face
    coloured = portrait.blur(smoothstep(_likeness(portrait), 0.04, 0.35), 0.03)
    return np.asarray(outline * np.maximum(coloured, 0.35 * inner) * (1 - features(portrait)))


def hair_mask(portrait: Portrait) -> Array:
    """Hair of the head [H, W] 0..1; all zero where no hair can be told from skin and background."""
    empty = np.zeros((portrait.height, portrait.width), np.float32)
    scale = _SMALL / max(portrait.height, portrait.width)
    small = Portrait(
        cv2.resize(portrait.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
        (portrait.points + 0.5) * scale - 0.5,
    )
    seeds = _seeds(small)
    if seeds is None:
        return empty
    found = _grow(small, *seeds)
    if found.sum() < _MIN_HAIR * small.unit**2:
        return empty
    smooth = cv2.GaussianBlur(found.astype(np.float32), (0, 0), 1.0)  # no stairs when enlarged
    large = cv2.resize(smooth, (portrait.width, portrait.height), interpolation=cv2.INTER_CUBIC)
    mask = _matte(portrait, large)
    keep_off = portrait.polygon(_face_core(portrait), 0.04)
    return np.asarray(mask * (1 - keep_off), np.float32)


def _face_core(portrait: Portrait) -> Array:
    """The part of the face where hair is never recoloured: brows and below."""
    outline = face_outline(portrait, -0.62)
    middle = outline.mean(0)
    return np.asarray(middle + 0.93 * (outline - middle))


def _seeds(small: Portrait) -> tuple[Array, Array] | None:
    """Boolean [h, w] of pixels that are surely hair, and the hair's Lab colour [3]; or None."""
    skin = small.blur(_likeness(small), 0.03)
    lab = cv2.cvtColor(small.image, cv2.COLOR_RGB2LAB)
    start = small.frame.to_face(small.points[21:23]).mean(0) - np.array([0, 0.15])
    reach = np.arange(0, 2.2, 1.0 / small.unit)
    angles = np.radians(np.linspace(-165, -15, 31))
    bands = []
    for angle in angles:
        ray = start + reach[:, None] * np.array([np.cos(angle), np.sin(angle)])
        band = _after_skin(small, skin, reach, np.round(small.frame.to_picture(ray)).astype(int))
        if band is not None:
            bands.append(band)
    if len(bands) < _MIN_RAYS * len(angles):
        return None
    # the colour most rays agree on, the ones straight up counting a little more
    medians = np.array([np.median(lab[band[:, 1], band[:, 0]], axis=0) for band in bands])
    near = np.linalg.norm(medians[:, None] - medians, axis=-1) < _SAME_HAIR
    agreed = medians[near[int(near.sum(1).argmax())]]
    colour = np.median(agreed, axis=0)
    skin_lab = np.median(lab[_cheeks(small)], axis=0)
    if not _natural(colour) or np.linalg.norm(colour - skin_lab) < _BALD:
        return None
    spread = float(np.clip(3 * np.median(np.linalg.norm(agreed - colour, axis=1)), 10, _SAME_HAIR))
    background = lab[_far(small)]
    if np.mean(np.linalg.norm(background - colour, axis=-1) < _TOLD_APART) > 0.4:
        return None
    seeds = np.zeros(skin.shape, bool)
    for band in bands:
        x, y = band[:, 0], band[:, 1]
        seeds[y, x] = np.linalg.norm(lab[y, x] - colour, axis=-1) < spread
    return seeds, colour


def _natural(lab: Array) -> bool:
    """Is this a colour hair has? Caps, scarves and walls mostly are not."""
    a, b = float(lab[1]), float(lab[2])
    return -7 < a < 28 and -12 < b < 45 and not (b < -5 and lab[0] > 45) and not (a > 16 and b < 8)


def _after_skin(small: Portrait, skin: Array, reach: Array, pixels: Array) -> Array | None:
    """The pixels [K, 2] of a ray just behind the end of the forehead."""
    inside = np.all((pixels >= 0) & (pixels < [small.width, small.height]), axis=1, keepdims=True)[:, 0]
    pixels = pixels[: len(inside) if inside.all() else int(np.argmin(inside))]
    bare = (skin[pixels[:, 1], pixels[:, 0]] < 0.25) & (reach[: len(pixels)] > 0.2)
    starts = np.flatnonzero(bare)
    if len(starts) == 0 or reach[starts[0]] > 1.5:
        return None
    first = starts[0] + 1
    band = pixels[first : first + max(3, int(0.25 * small.unit))]
    return band if len(band) > 1 else None


def _far(small: Portrait) -> Array:
    """Boolean [h, w]: beside and above the head, where photos mostly show background."""
    x, y = small.grid
    outside = (x / 1.7) ** 2 + ((y + 0.1) / 2.0) ** 2 > 1
    far: Array = outside & (y < 0.6)
    if far.sum() < 20:
        far = (np.abs(x) > 0.97 * np.abs(x).max()) & (y < 0.6)
    return far


def _grow(small: Portrait, seeds: Array, colour: Array) -> Array:
    """GrabCut from the seeds → boolean [h, w], only what hangs together with them."""
    x, y = small.grid
    lab = cv2.cvtColor(small.image, cv2.COLOR_RGB2LAB)
    unlike = np.linalg.norm(lab - colour.astype(np.float32), axis=-1)
    face = small.polygon(_face_core(small)) > 0.5
    skin = _likeness(small) > 0.45
    head = (x / 1.7) ** 2 + ((y - 0.1) / 2.1) ** 2 < 1
    labels = np.full(seeds.shape, cv2.GC_PR_BGD, np.uint8)
    labels[head & (unlike < 1.2 * _SAME_HAIR) & ~skin & (y < 0.9)] = cv2.GC_PR_FGD
    labels[_far(small) & (unlike > _TOLD_APART)] = cv2.GC_BGD
    labels[(y > 0.9) & (np.abs(x) < 0.95)] = cv2.GC_BGD
    labels[y > 1.5] = cv2.GC_BGD
    labels[(skin & (unlike > 8)) | face] = cv2.GC_BGD
    labels[seeds & ~face] = cv2.GC_FGD
    picture = np.ascontiguousarray((small.image * 255).astype(np.uint8))
    cv2.setRNGSeed(7)  # its mixtures start from k-means
    cv2.grabCut(picture, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    found = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    # thin hair beside the face is lost to GrabCut's smoothness: take what has the hair's own colour
    reach = (x / 1.6) ** 2 + ((y - 0.1) / 2.0) ** 2 < 1
    sides = (unlike < 0.75 * _SAME_HAIR) & ~skin & ~face & reach & ((y < 0.7) | (np.abs(x) > 0.9)) & (y < 1.4)
    if np.mean(unlike[_far(small)] < _SAME_HAIR) < 0.08:
        found |= (sides & (labels != cv2.GC_BGD)).astype(np.uint8)
    filled = cv2.morphologyEx(found, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    found |= filled & (~face & ~(skin & (unlike > 12))).astype(np.uint8)
    _, parts = cv2.connectedComponents(found)
    touched = np.unique(parts[seeds & (found > 0)])
    grown: Array = np.isin(parts, touched[touched > 0])
    wide = (x / 1.9) ** 2 + ((y + 0.1) / 2.3) ** 2 > 1
    leaked = (grown & wide & (y < 0.3)).sum() > 0.3 * max(1, grown.sum())
    crown = grown[(np.abs(x) < 0.7) & (y < -0.8) & (y > -1.35)]  # nobody's hair leaves this bare
    bare = crown.size > 0 and crown.mean() < 0.15
    if leaked or bare or _flat(lab[..., 0], grown, float(colour[0])):
        return np.zeros_like(grown)
    return grown


def _flat(lightness: Array, grown: Array, level: float) -> bool:
    """Is a good part of it without any strands? Then it is a wall; only black hair may be so even."""
    if level < 30 or not grown.any():
        return False
    relief = np.sqrt(np.maximum(cv2.blur(lightness**2, (5, 5)) - cv2.blur(lightness, (5, 5)) ** 2, 0))
    return bool(np.mean(relief[grown] < 1.0) > 0.2)


def _matte(portrait: Portrait, rough: Array) -> Array:
    """Sharpen a rough mask: near its edge, how far each pixel lies from hair to what is beside it."""
    size = 2 * max(2, int(0.11 * portrait.unit)) + 1
    band = 2 * max(1, int(0.05 * portrait.unit)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (band, band))
    inside = cv2.erode(rough, kernel) > 0.6
    outside = cv2.dilate(rough, kernel) < 0.4

    def local(where: Array) -> tuple[Array, Array]:
        weight = where.astype(np.float32)
        share = cv2.blur(weight, (size, size))
        return cv2.blur(portrait.image * weight[..., None], (size, size)) / (share[..., None] + 1e-4), share

    (hair, hair_share), (other, other_share) = local(inside), local(outside)
    across = hair - other
    length = (across**2).sum(-1)
    alpha = ((portrait.image - other) * across).sum(-1) / np.maximum(length, 1e-4)
    # where hair and its surroundings look alike the mask itself must do
    trust = smoothstep(length, 0.004, 0.02) * (hair_share > 0.02) * (other_share > 0.02)
    edge = np.clip(alpha, 0, 1) * trust + rough * (1 - trust)
    return np.asarray(np.where(inside, 1, np.where(outside, 0, edge)), np.float32)
