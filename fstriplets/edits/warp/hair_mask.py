"""Where a head's hair is: the face parser's word, sharpened along the photo's own edges.

The parser (faces/analyser.py) says at 64 px how sure it is of hair. Its sure pixels teach two histograms of
colour, hair and not hair, which move the unsure ones; what does not hang together with sure hair is
dropped; a guided filter (He et al. 2013; coefficients at low resolution as in He & Sun 2015) carries the
edge to the photo's own pixels. Hair that does not lie over the forehead up to where every head ends is a
bald head's rim, or what a cap leaves: then there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import smoothstep
from fstriplets.edits.warp.parse import face_outline
from fstriplets.edits.warp.portrait import Portrait
from fstriplets.faces.analyser import shared_analyser

__all__ = ["hair_mask"]

Array = np.ndarray

#: Side of the picture in which colours are learnt and edges found.
_SMALL = 128
#: Probabilities above and below which the parser is sure of hair, and of something else.
_HAIR, _OTHER = 0.8, 0.15
#: Cells of the histograms along each axis of Lab; a and b from -64 to 64.
_CELLS = 16
#: Weight of the colours' log odds beside the parser's, and the most they say.
_TRUST, _MOST = 0.8, 4.0
_ROUNDS = 2
#: Log odds to get over below the cheeks, where dark collars and shadows of the neck look like hair.
_BELOW = 1.5
#: Least: share of the forehead's width that has hair above, height above the brows up to which it reaches,
#: area; most: height above the brows at which it begins. Face units.
_MIN_WIDTH, _MIN_TOP, _MIN_AREA, _MAX_BROW = 0.7, 0.9, 0.75, 1.25
#: Lab a of the reddest hair.
_REDDEST = 32.0
#: Height from which it is the crown, face units, and least share of a dark crown that the parser itself sees.
_CROWN, _MIN_SEEN = -0.55, 0.65


def hair_mask(portrait: Portrait) -> Array:
    """Hair of the head [H, W] float32 in 0..1; all zero on a bald head and under a hat."""
    scale = _SMALL / max(portrait.height, portrait.width)
    small = Portrait(
        cv2.resize(portrait.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
        (portrait.points + 0.5) * scale - 0.5,
    )
    hair, nothing = _parsed(portrait, small)
    found = _connected(small, _belief(small, hair, nothing))
    if not (_worn(small, found > 0.5) and _natural(small, found > 0.5) and _seen(small, found > 0.5, hair)):
        return np.zeros((portrait.height, portrait.width), np.float32)
    return _sharpened(portrait, small, found)


def _parsed(portrait: Portrait, small: Portrait) -> tuple[Array, Array]:
    """The parser's probabilities of hair and of background [h, w]; it looks at the whole portrait."""
    photo = np.clip(np.round(portrait.image * 255), 0, 255).astype(np.uint8)
    reading = shared_analyser().read(photo, portrait.points)
    scale = small.width / portrait.width
    hair, nothing = (
        reading.probability(part, small.height, small.width, scale) for part in ("hair", "background")
    )
    return hair, nothing


def _belief(small: Portrait, hair: Array, nothing: Array) -> Array:
    """Parser and colours together [h, w] 0..1."""
    x, y = small.grid
    dark = _dark(small, hair)
    # what it overlooks is fair hair, which must not teach what hair is not; on dark hair that would be caps
    head = ((x / 1.5) ** 2 + (y / 2.0) ** 2 < 1) & (dark < 0.5)
    share = np.clip(hair, 0.01, 0.99)
    logit = np.log(share / (1 - share)) - dark * _BELOW * smoothstep(y, 0.5, 0.9)
    belief = hair
    for _ in range(_ROUNDS):
        other = (belief < _OTHER) & ~(head & (nothing > 0.3))
        odds = _colour_odds(small.image, belief * (belief > _HAIR), other.astype(np.float32))
        belief = 1 / (1 + np.exp(-logit - _TRUST * np.clip(odds, -_MOST, _MOST)))
    return np.asarray(belief, np.float32)


def _dark(small: Portrait, hair: Array) -> float:
    """How dark the hair is, 0..1."""
    level = small.image[hair > _HAIR].mean(-1)
    return float(smoothstep(float(np.median(level)), 0.40, 0.25)) if len(level) else 1.0


def _colour_odds(image: Array, hair: Array, other: Array) -> Array:
    """How much more often a pixel's colour is that of hair than of the rest [h, w], a logarithm.

    Args:
        image: [h, w, 3] RGB in 0..1.
        hair, other: [h, w] weights of the pixels to learn from.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    cells = (lab + np.array([0, 64, 64], np.float32)) * np.array(
        [_CELLS / 100, _CELLS / 128, _CELLS / 128], np.float32
    )
    cells = np.clip(cells, 0, _CELLS - 1).astype(np.int64)
    index = (cells[..., 0] * _CELLS + cells[..., 1]) * _CELLS + cells[..., 2]
    rare = 2e-4  # of all pixels: what neither has seen is worth nothing
    ratio = np.log((_histogram(index, hair) + rare) / (_histogram(index, other) + rare))
    return np.asarray(ratio[index], np.float32)


def _histogram(index: Array, weight: Array) -> Array:
    """Shares of the cells, each shared with its neighbours: [cells]."""
    cube = np.bincount(index.ravel(), weight.ravel(), _CELLS**3).reshape((_CELLS,) * 3)
    for axis in range(3):
        padded = np.pad(cube, [(int(axis == i),) * 2 for i in range(3)])
        low, middle, high = (padded.take(range(k, k + _CELLS), axis) for k in range(3))
        cube = 0.25 * low + 0.5 * middle + 0.25 * high
    return np.asarray(cube.ravel() / max(cube.sum(), 1e-6))


def _connected(small: Portrait, belief: Array) -> Array:
    """`belief` where it hangs together with enough sure hair, else 0."""
    count, parts = cv2.connectedComponents((belief > 0.5).astype(np.uint8))
    sure = np.bincount(parts[belief > 0.85], minlength=count)
    area = np.bincount(parts.ravel(), minlength=count)
    keep = (sure > 0.03 * small.unit**2) & (sure > 0.15 * area)
    keep[0] = False
    near = cv2.dilate(keep[parts].astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.asarray(belief * near, np.float32)


def _worn(small: Portrait, hair: Array) -> bool:
    """Is this a head of hair, not a bald head's rim or what shows under a cap?"""
    if hair.sum() < _MIN_AREA * small.unit**2:
        return False
    face = small.frame.to_face(small.points)
    xs = np.linspace(0.85 * face[17, 0], 0.85 * face[26, 0], 27)
    brows = np.interp(xs, face[17:27, 0], face[17:27, 1])
    heights = np.linspace(0.05, 1.6, 64)
    grid = np.stack([np.repeat(xs, 64), (brows[:, None] - heights).ravel()], -1)
    x, y = np.round(small.frame.to_picture(grid)).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < small.width) & (y < small.height)
    up = np.where(inside, hair[np.clip(y, 0, small.height - 1), np.clip(x, 0, small.width - 1)], False)
    columns, seen = up.reshape(27, 64), inside.reshape(27, 64)
    covered = columns.any(1)
    if covered.mean() < _MIN_WIDTH:
        return False
    begins = heights[columns.argmax(1)][covered]
    ends = heights[63 - columns[:, ::-1].argmax(1)][covered]
    # where the crop cuts the head off, hair that reaches its edge may go on
    ends = np.where(ends + 0.06 > (heights * seen).max(1)[covered], np.inf, ends)
    return bool(np.median(begins) < _MAX_BROW and np.median(ends) > _MIN_TOP)


def _natural(small: Portrait, hair: Array) -> bool:
    """Is this a colour that hair has? Red caps and scarves are redder."""
    lab = cv2.cvtColor(small.image, cv2.COLOR_RGB2LAB)
    return bool(np.median(lab[hair, 1]) < _REDDEST)


def _seen(small: Portrait, hair: Array, parsed: Array) -> bool:
    """Has the parser itself seen it? Dark hair it does; dark caps grow into the mask by their colour."""
    crown = hair & (small.grid[1] < _CROWN)
    return _dark(small, parsed) < 0.5 or bool((parsed[crown] > 0.5).mean() > _MIN_SEEN)


def _sharpened(portrait: Portrait, small: Portrait, found: Array) -> Array:
    """A rough mask [h, w] on the portrait's own edges [H, W]."""
    size = (portrait.width, portrait.height)
    slope, offset = _guided(small.image, found, max(2, int(0.09 * small.unit)))
    slope, offset = (cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in (slope, offset))
    mask = smoothstep(_dot(slope, portrait.image) + offset, 0.15, 0.85)
    reach = cv2.dilate((found > 0.1).astype(np.float32), np.ones((5, 5), np.uint8))
    mask = np.asarray(mask * cv2.resize(reach, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return _matte(portrait, mask)


def _guided(image: Array, mask: Array, radius: int) -> tuple[Array, Array]:
    """The guided filter's linear model of `mask` in the colours of `image`: slope [h, w, 3], offset."""

    def mean(x: Array) -> Array:
        return np.asarray(cv2.blur(x, (2 * radius + 1, 2 * radius + 1)))

    middle, level = mean(image), mean(mask)
    covariance = mean(image * mask[..., None]) - middle * level[..., None]
    spread = [
        mean(image[..., i] * image[..., j]) - middle[..., i] * middle[..., j] + 1e-3 * (i == j)
        for i, j in combinations_with_replacement(range(3), 2)
    ]
    slope = _solved(spread, covariance)
    return mean(slope), mean(level - _dot(slope, middle))


def _solved(matrix: Sequence[Array], vector: Array) -> Array:
    """x of `matrix` x = `vector` by Cramer's rule; numpy's solver is slow on many small ones.

    Args:
        matrix: its upper triangle row by row, symmetric: six of [h, w].
        vector: [h, w, 3].

    Returns:
        float32 [h, w, 3].
    """
    a, b, c, d, e, f = (np.asarray(part, np.float64) for part in matrix)
    x, y, z = cv2.split(vector)
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    dd, ee, ff = a * f - c * c, b * c - a * e, a * d - b * b
    over = 1 / (a * aa + b * bb + c * cc)
    rows = (aa * x + bb * y + cc * z, bb * x + dd * y + ee * z, cc * x + ee * y + ff * z)
    return np.asarray(cv2.merge([np.asarray(row * over, np.float32) for row in rows]))


def _dot(a: Array, b: Array) -> Array:
    """Sums of a b over the colours [H, W]; numpy's own are slow over so short an axis."""
    return np.asarray(cv2.transform(a * b, np.ones((1, 3), np.float32)))


def _matte(portrait: Portrait, rough: Array) -> Array:
    """Near the mask's edge, how far each pixel's colour lies on the way to hair from what is beside it.

    A pixel of the edge is hair in part: recoloured as if it were all hair, it would glow.
    """
    size = 2 * max(2, int(0.11 * portrait.unit)) + 1
    band = 2 * max(1, int(0.04 * portrait.unit)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (band, band))
    inside = cv2.erode(rough, kernel) > 0.6
    outside = cv2.dilate(rough, kernel) < 0.4

    def local(where: Array) -> tuple[Array, Array]:
        weight = where.astype(np.float32)
        share = cv2.blur(weight, (size, size))
        return cv2.blur(portrait.image * weight[..., None], (size, size)) / (share[..., None] + 1e-4), share

    (hair, hair_share), (other, other_share) = local(inside), local(outside)
    across = hair - other
    length = _dot(across, across)
    alpha = _dot(portrait.image - other, across) / np.maximum(length, 1e-4)
    # where hair and its surroundings look alike the mask itself must do
    trust = smoothstep(length, 0.004, 0.02) * (hair_share > 0.02) * (other_share > 0.02)
    # on the forehead strands thin out over skin: there the mask knows better
    trust *= 1 - portrait.polygon(face_outline(portrait, -1.3), 0.1)
    edge = np.clip(alpha, 0, 1) * trust + rough * (1 - trust)
    return np.asarray(np.where(inside, rough, np.where(outside, 0, edge)), np.float32)
