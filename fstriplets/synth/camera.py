"""Background, tone curve, defocus, sensor noise and compression."""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.synth.scene import Scene

__all__ = ["backdrop", "develop", "to_jpeg"]


def backdrop(scene: Scene, height: int, width: int) -> np.ndarray:
    """[H, W, 3] linear RGB: a wall, a room or the open air, far out of focus."""
    rng = np.random.default_rng([scene.backdrop, 4])
    light = scene.light.colours[0] / scene.light.colours[0].max() * 0.5 + 0.5
    y, x = np.mgrid[0:48, 0:48].astype(np.float32) / 48
    kind = rng.choice(["wall", "room", "open"], p=[0.4, 0.35, 0.25])
    if kind == "wall":
        colour = rng.uniform(0.06, 0.62) * np.exp(rng.normal(0, 0.12, 3))
        slope = rng.normal(0, 0.35, 2)
        picture = colour * np.exp(slope[0] * (x - 0.5) + slope[1] * (0.5 - y))[..., None]
        picture = picture * (1 + 0.05 * _blobs(rng, 5)[..., None])
    elif kind == "room":
        picture = np.broadcast_to(rng.uniform(0.05, 0.35) * np.exp(rng.normal(0, 0.2, 3)), (48, 48, 3)).copy()
        for _ in range(rng.integers(5, 11)):
            colour = np.exp(rng.uniform(-3.2, -0.3)) * np.exp(rng.normal(0, 0.35, 3))
            x0, w = rng.uniform(-0.2, 1.0), rng.uniform(0.05, 0.5)
            y0, h = rng.uniform(-0.3, 0.9), rng.uniform(0.1, 1.0)
            inside = (x > x0) & (x < x0 + w) & (y > y0) & (y < y0 + h)
            picture[inside] = colour
    else:
        green = np.array([0.10, 0.15, 0.05]) * rng.uniform(0.5, 1.6)
        sky = np.array([0.55, 0.68, 0.85]) * rng.uniform(0.6, 1.2)
        horizon = rng.uniform(0.1, 0.6)
        edge = np.clip((y - horizon) * 8 + 0.8 * _blobs(rng, 6), 0, 1)[..., None]
        picture = sky * (1 - edge) + green * (1 + 0.6 * _blobs(rng, 9)[..., None]).clip(0.2, None) * edge
    picture = np.clip(picture * light, 0.004, 1.1).astype(np.float32)
    picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1.2, 4.0)))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC).clip(0.002, None)


def _blobs(rng: np.random.Generator, cells: int) -> np.ndarray:
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    return cv2.resize(grid, (48, 48), interpolation=cv2.INTER_CUBIC)


def develop(linear: np.ndarray, scene: Scene) -> np.ndarray:
    """Linear picture to uint8 RGB as a camera would: white balance, tone curve, blur, noise."""
    size = linear.shape[1]
    image = linear * (1.55 * scene.exposure * scene.warmth)
    filmic = np.clip((image * (2.51 * image + 0.03)) / (image * (2.43 * image + 0.59) + 0.14), 0, 1)
    image = 0.35 * filmic + 0.65 * np.clip(image / (1 + 0.14 * image), 0, 1)
    image = np.clip(image, 0, 1) ** np.float32(1 / 2.2)
    image = cv2.GaussianBlur(image, (0, 0), max(0.35, scene.blur * size))
    rng = np.random.default_rng([scene.seed, 6])
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(scene.noise)
    image = image + grain * (1.15 - 0.6 * image)
    return np.asarray(np.clip(image * 255 + 0.5, 0, 255), np.uint8)


def to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of uint8 RGB pixels."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("JPEG encoding failed")
    return bytes(data)
