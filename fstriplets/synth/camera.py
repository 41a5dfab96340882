"""The camera: white balance, tone curve, defocus, sensor noise and compression."""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.synth.scene import Scene

__all__ = ["develop", "to_jpeg"]


def develop(linear: np.ndarray, scene: Scene) -> np.ndarray:
    """Linear picture to uint8 RGB as a camera would: white balance, tone curve, blur, noise."""
    size = linear.shape[1]
    image = linear * (1.55 * scene.exposure * scene.warmth)
    filmic = np.clip((image * (2.51 * image + 0.03)) / (image * (2.43 * image + 0.59) + 0.14), 0, 1)
    image = 0.35 * filmic + 0.65 * np.clip(image / (1 + 0.14 * image), 0, 1)
    image = np.clip(image, 0, 1) ** np.float32(1 / 2.2)
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
    image = np.clip(grey[..., None] + scene.saturation * (image - grey[..., None]), 0, 1)
    image = cv2.GaussianBlur(image, (0, 0), max(0.35, scene.blur * size))
    rng = np.random.default_rng([scene.seed, 6])
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(scene.noise)
    image = image + grain * (1.15 - 0.6 * image)
    return np.asarray(np.clip(image * 255 + 0.5, 0, 255), np.uint8)


def to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of uint8 RGB pixels."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise RuntimeError("JPEG encoding failed")
    return bytes(data)
