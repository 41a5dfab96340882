"""Augmentation of training pictures: what photos suffer and the renderer does not show.

Small pure functions on uint8 [H, W, 3] RGB pictures; all chance comes from the `np.random.Generator` that
is handed in, so that a batch is a function of its seed. `degrade` is what most trainers want; occluders
give back a mask, because what they hide has no label any more.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "DEGRADATIONS",
    "blur",
    "colour",
    "degrade",
    "grey",
    "hat",
    "jpeg",
    "noise",
    "occlude",
    "replace_background",
    "resample",
    "shade",
    "texture",
]

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Rng = np.random.Generator

#: Step of `degrade` -> how often it is taken.
DEGRADATIONS: dict[str, float] = {
    "shade": 0.35,
    "colour": 0.9,
    "grey": 0.06,
    "blur": 0.25,
    "resample": 0.35,
    "noise": 0.4,
    "jpeg": 0.6,
}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def degrade(picture: Pixels, rng: Rng, odds: Mapping[str, float] = DEGRADATIONS) -> Pixels:
    """Light, colour, grey, blur, coarse pixels, noise and JPEG, each taken with its odds, in the order
    in which a photo meets them. Geometry does not change.

    Args:
        odds: step -> probability; a missing step is never taken.
    """
    for name, step in _STEPS.items():
        if rng.random() < odds.get(name, 0.0):
            picture = step(picture, rng)
    return picture


def colour(picture: Pixels, rng: Rng, strength: float = 1.0) -> Pixels:
    """Exposure, contrast, gamma, white balance and saturation.

    Args:
        strength: 1: as far as photos of strangers differ; less for a smaller change.
    """
    gamma = np.exp(rng.normal(0, 0.22 * strength))
    gain = np.exp(rng.normal(0, 0.16 * strength))
    lift = rng.normal(0, 0.035 * strength)
    balance = np.exp(rng.normal(0, 0.09 * strength, 3))
    balance /= balance.mean()
    ramp = np.arange(256) / 255.0
    curve = (ramp[:, None] ** gamma * gain * balance + lift) * 255
    table = np.clip(curve + 0.5, 0, 255).astype(np.uint8)
    tinted: Pixels = cv2.LUT(np.ascontiguousarray(picture), np.ascontiguousarray(table[None]))
    amount = float(np.clip(1 + rng.normal(0, 0.3 * strength), 0.1, 1.8))
    # Towards or away from each pixel's own grey, one 3 x 3 matrix.
    mix = amount * np.eye(3) + (1 - amount) * np.tile(_LUMA, (3, 1))
    return np.asarray(cv2.transform(tinted, mix), np.uint8)


def grey(picture: Pixels, rng: Rng | None = None) -> Pixels:
    """The picture without colour, sometimes in sepia when chance is given."""
    luma = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    plain: Pixels = cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB)
    if rng is not None and rng.random() < 0.2:
        warm = np.array([1.06, 1.0, rng.uniform(0.7, 0.92)])
        plain = np.clip(plain * warm, 0, 255).astype(np.uint8)
    return plain


def shade(picture: Pixels, rng: Rng) -> Pixels:
    """A smooth shadow or light over the picture, with a hard edge now and then."""
    height, width = picture.shape[:2]
    if rng.random() < 0.6:
        field = rng.normal(0, 0.35, (3, 3)).astype(np.float32)
    else:  # the shadow of something: one side of a line is darker
        angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25)
        y, x = np.mgrid[-0.5:0.5:24j, -0.5:0.5:24j]
        edge = (x * np.cos(angle) + y * np.sin(angle) - offset) * rng.uniform(3, 40)
        field = (rng.uniform(-0.8, -0.2) / (1 + np.exp(-np.clip(edge, -30, 30)))).astype(np.float32)
    gain = np.exp(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC))
    return np.asarray(cv2.multiply(picture, cv2.merge([gain] * 3), dtype=cv2.CV_8U), np.uint8)


def blur(picture: Pixels, rng: Rng) -> Pixels:
    """Out of focus, or moved."""
    side = max(picture.shape[:2])
    if rng.random() < 0.7:
        sigma = rng.uniform(0.003, 0.016) * side
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    length = max(3, int(rng.uniform(0.02, 0.07) * side) | 1)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), rng.uniform(0, 180), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return np.asarray(cv2.filter2D(picture, -1, kernel / max(float(kernel.sum()), 1e-6)), np.uint8)


def resample(picture: Pixels, rng: Rng, least: float = 0.22) -> Pixels:
    """Made smaller and large again, by chance's choice of filters.

    Args:
        least: smallest size, as a share of the picture's.
    """
    height, width = picture.shape[:2]
    share = np.exp(rng.uniform(np.log(least), 0))
    small = (max(8, round(width * share)), max(8, round(height * share)))
    down = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST)[rng.choice(3, p=(0.6, 0.3, 0.1))]
    up = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[rng.choice(3, p=(0.5, 0.45, 0.05))]
    coarse = cv2.resize(picture, small, interpolation=down)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=up), np.uint8)


def noise(picture: Pixels, rng: Rng) -> Pixels:
    """Sensor noise: fine or clumped, of one colour or of all."""
    height, width = picture.shape[:2]
    sigma = np.exp(rng.uniform(np.log(1.5), np.log(14.0)))
    coarse = 1 if rng.random() < 0.6 else 2
    channels = 1 if rng.random() < 0.4 else 3
    grain = np.empty((height // coarse + 1, width // coarse + 1, channels), np.int16)
    # Integers from a table of normal values: a third of the time of drawing floats.
    table = np.rint(_NORMAL * sigma).astype(np.int16)
    grain[:] = table[rng.integers(0, 256, grain.shape, dtype=np.uint8)]
    if coarse > 1:
        grain = cv2.resize(grain, (0, 0), fx=coarse, fy=coarse, interpolation=cv2.INTER_LINEAR)
    grain = grain.reshape(*grain.shape[:2], -1)[:height, :width]
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def jpeg(picture: Pixels, rng: Rng, low: int = 18, high: int = 92) -> Pixels:
    """Compressed by JPEG at a quality from low to high, and read again."""
    quality = int(rng.integers(low, high + 1))
    done, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    decoded: Pixels = cv2.imdecode(coded, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return np.ascontiguousarray(decoded[..., ::-1])


def texture(height: int, width: int, rng: Rng) -> Pixels:
    """A procedural surface: clouds of several octaves, stripes, checks, blocks or a gradient."""
    kind = rng.choice(5, p=(0.4, 0.15, 0.1, 0.2, 0.15))
    a, b = _two_colours(rng)
    if kind == 0:
        share = _clouds(height, width, rng)
    elif kind in (1, 2):
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
        angle, count = rng.uniform(0, np.pi), rng.uniform(2, 25)
        phase = np.sin((x * np.cos(angle) + y * np.sin(angle)) * count * 2 * np.pi + rng.uniform(0, 6))
        if kind == 2:
            phase = phase * np.sin((y * np.cos(angle) - x * np.sin(angle)) * count * 2 * np.pi)
        share = np.clip(phase * rng.uniform(0.6, 6) + 0.5, 0, 1)
    elif kind == 3:  # blocks: windows, shelves, posters
        cells = rng.integers(2, 9, 2)
        blocks = rng.random((*cells, 3)).astype(np.float32)
        blocks = a + (b - a) * blocks
        mode = cv2.INTER_NEAREST if rng.random() < 0.6 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(blocks, (width, height), interpolation=mode), np.float32).astype(
            np.uint8
        )
    else:
        share = cv2.resize(rng.random((2, 2)).astype(np.float32), (width, height))
    share = np.asarray(share, np.float32)[..., None]
    return np.asarray(a + (b - a) * share, np.float32).astype(np.uint8)


def replace_background(picture: Pixels, background: Mask, rng: Rng, other: Pixels | None = None) -> Pixels:
    """Another background behind the person.

    Args:
        background: [H, W], what to replace.
        other: a picture to put there; None draws a `texture`, sometimes blurred, as behind a portrait.
    """
    height, width = picture.shape[:2]
    behind = texture(height, width, rng) if other is None else cv2.resize(other, (width, height))
    if rng.random() < 0.4:
        behind = cv2.GaussianBlur(behind, (0, 0), rng.uniform(0.01, 0.05) * max(height, width))
    # A soft edge, drawn in a little: the old background must not be left as a rim.
    alpha = cv2.GaussianBlur(background.astype(np.float32), (0, 0), max(0.006 * max(height, width), 0.5))
    alpha = np.clip(alpha * 1.6, 0, 1)
    return np.asarray(cv2.blendLinear(picture, np.ascontiguousarray(behind), 1 - alpha, alpha), np.uint8)


def occlude(picture: Pixels, rng: Rng, area: float = 0.12) -> tuple[Pixels, Mask]:
    """Something in front: a blob, a bar or a hand, anywhere in the picture.

    Args:
        area: largest share of the picture's area, about.

    Returns:
        the picture and [H, W], what is hidden.
    """
    height, width = picture.shape[:2]
    side = max(height, width)
    mask = np.zeros((height, width), np.uint8)
    at = rng.uniform(0, 1, 2) * (width, height)
    reach = side * np.sqrt(rng.uniform(0.08, 1) * area)
    kind = rng.choice(3, p=(0.45, 0.25, 0.3))
    skin = None
    if kind == 0:
        _fill_blob(mask, at, reach * 0.6, rng)
    elif kind == 1:
        angle = rng.uniform(0, np.pi)
        step = np.array([np.cos(angle), np.sin(angle)]) * side
        thick = max(2, int(reach * rng.uniform(0.06, 0.35)))
        cv2.line(mask, _pixel(at - step), _pixel(at + step * rng.uniform(0, 1)), 255, thick, cv2.LINE_AA)
    else:
        _fill_hand(mask, at, reach * 0.35, rng)
        tone = np.array([0.92, 0.70, 0.58]) * rng.uniform(0.25, 1.0)
        skin = np.clip(tone * 255 + rng.normal(0, 8, 3), 0, 255)
    return _cover(picture, mask, skin, rng)


def hat(picture: Pixels, landmarks: npt.ArrayLike, rng: Rng) -> tuple[Pixels, Mask]:
    """Something worn over hair and forehead: a cap, a headscarf, a helmet's rim.

    Args:
        landmarks: [68, 2] pixels, where the brows are.

    Returns:
        the picture and [H, W], what is hidden.
    """
    p = np.asarray(landmarks, np.float64)
    height, width = picture.shape[:2]
    right, up = p[16] - p[0], p[27] - p[8]
    brow = p[17:27].mean(axis=0)
    base = brow + up * rng.uniform(0.12, 0.5)
    half = rng.uniform(0.55, 0.85)
    rim = rng.uniform(-0.12, 0.14)  # bent up or down in the middle
    lower = [base + right * t * half + up * rim * (1 - t * t) for t in np.linspace(-1, 1, 9)]
    crown = up * rng.uniform(0.7, 1.6)
    upper = [
        base + right * np.cos(a) * half * rng.uniform(0.9, 1.1) + crown * np.sin(a)
        for a in np.linspace(0.15, np.pi - 0.15, 9)
    ]
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(np.array(lower + upper) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    if rng.random() < 0.3:  # a scarf: down the sides as well
        for sign in (-1, 1):
            side = [base + right * sign * half, base + right * sign * half * 0.8]
            side += [point - up * rng.uniform(1.0, 1.8) for point in side[::-1]]
            cv2.fillPoly(mask, [np.rint(np.array(side) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return _cover(picture, mask, None, rng)


def _cover(
    picture: Pixels, mask: npt.NDArray[np.uint8], tone: np.ndarray | None, rng: Rng
) -> tuple[Pixels, Mask]:
    """Paint a mask: textured, or of one tone with clouds, darker towards one side."""
    height, width = mask.shape
    if tone is None:
        surface = texture(height, width, rng).astype(np.float32)
    else:
        surface = tone * (0.85 + 0.3 * _clouds(height, width, rng)[..., None])
    corners = rng.uniform(0.55, 1.15, (2, 2)).astype(np.float32)
    surface = surface * cv2.resize(corners, (width, height))[..., None]
    alpha = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 1.4))[..., None].astype(np.float32) / 255
    mixed = picture + (surface - picture) * alpha
    return np.clip(mixed, 0, 255).astype(np.uint8), mask > 127


def _clouds(height: int, width: int, rng: Rng) -> npt.NDArray[np.float32]:
    """Noise of a few octaves in 0..1."""
    total = np.zeros((height, width), np.float32)
    first, weight, share = int(rng.integers(2, 6)), 1.0, rng.uniform(0.35, 0.75)
    for octave in range(4):
        cells = first * 2**octave
        layer = rng.random((cells, cells), dtype=np.float32)
        total += weight * cv2.resize(layer, (width, height), interpolation=cv2.INTER_LINEAR)
        weight *= share
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def _two_colours(rng: Rng) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Two colours, often of like hue; values of 0..255."""
    a = rng.random(3) ** 1.3 * 255
    b = rng.random(3) * 255
    if rng.random() < 0.5:
        b = a * rng.uniform(0.3, 1.7)
    if rng.random() < 0.6:  # most walls have little colour
        a, b = (v.mean() + (v - v.mean()) * 0.15 for v in (a, b))
    return np.clip(a, 0, 255).astype(np.float32), np.clip(b, 0, 255).astype(np.float32)


def _fill_blob(mask: npt.NDArray[np.uint8], at: np.ndarray, reach: float, rng: Rng) -> None:
    """A closed curve of a few waves, or with few corners."""
    corners = int(rng.integers(3, 7)) if rng.random() < 0.4 else 24
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
    radius = np.ones(corners)
    for wave in (1, 2, 3):
        radius += rng.normal(0, 0.3 / wave) * np.cos(wave * angle + rng.uniform(0, 6))
    stretch = np.exp(rng.normal(0, 0.3))
    spread = np.stack([np.cos(angle) * stretch, np.sin(angle) / stretch], -1) * radius[:, None]
    cv2.fillPoly(mask, [np.rint((at + spread * reach) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)


def _fill_hand(mask: npt.NDArray[np.uint8], at: np.ndarray, palm: float, rng: Rng) -> None:
    """A palm with fingers, any way up."""
    turn, thick = rng.uniform(0, 2 * np.pi), max(2, int(palm * rng.uniform(0.35, 0.5)))
    axes = (max(1, int(palm)), max(1, int(palm * 0.85)))
    cv2.ellipse(mask, _pixel(at), axes, np.degrees(turn), 0, 360, 255, -1, cv2.LINE_AA)
    spread = rng.uniform(0.1, 0.3)
    for finger in np.arange(4) - 1.5:
        angle = turn + finger * spread
        base = at + palm * np.array([np.cos(angle + finger * 0.15), np.sin(angle + finger * 0.15)])
        tip = base + palm * rng.uniform(0.8, 1.5) * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(mask, _pixel(base), _pixel(tip), 255, thick, cv2.LINE_AA)


def _pixel(point: npt.ArrayLike) -> tuple[int, int]:
    x, y = np.asarray(point, np.float64)
    return round(float(x)), round(float(y))


#: 256 equally likely values of the normal distribution.
_NORMAL = np.sort(np.random.default_rng(0).normal(size=256 * 64)).reshape(256, 64).mean(axis=1)
_STEPS = {
    "shade": shade,
    "colour": colour,
    "grey": grey,
    "blur": blur,
    "resample": resample,
    "noise": noise,
    "jpeg": jpeg,
}
