"""Small pictures and corpora for the tests of corpus/, made on the spot."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """A smooth coloured picture with some grain; its corners differ, so that turning it shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([220 * x / width, 220 * y / height, 220 * (1 - x / width) * (1 - y / height)], -1)
    return np.clip(base + rng.normal(0, 3, base.shape), 0, 255).astype(np.uint8)


def encode(pixels: np.ndarray | Image.Image, format: str = "JPEG", **options: object) -> bytes:
    """Bytes of a picture in one of Pillow's formats."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    if format == "JPEG":
        options = {"quality": 92, **options}
    image.save(buffer, format, **options)
    return buffer.getvalue()


def write_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    """A tar of files (bytes) and other members (their header)."""
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
