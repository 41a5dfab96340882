"""A tiny corpus of drawn faces: aligned crops that need no detector, for tests of the build."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def draw_face(person: int, photo: int, size: int = 96) -> np.ndarray:
    """uint8 [size, size, 3] RGB: a cartoon whose colours name the person and whose gaze the photo."""
    rng = np.random.default_rng([person, photo])
    image = np.full((size, size, 3), (60 + 20 * (person % 7), 90, 120), np.uint8)
    skin = (200 - 12 * (person % 9), 160 - 10 * (person % 5), 130)
    centre = (size // 2, int(size * 0.55))
    cv2.ellipse(image, centre, (int(size * 0.3), int(size * 0.4)), 0, 0, 360, skin, -1, cv2.LINE_AA)
    shift = int(rng.integers(-3, 4))
    for x in (0.38, 0.62):
        cv2.circle(
            image, (int(size * x) + shift, int(size * 0.48)), size // 20, (20, 20, 30), -1, cv2.LINE_AA
        )
    smile = int(rng.integers(5, 25))
    cv2.ellipse(
        image,
        (size // 2 + shift, int(size * 0.7)),
        (size // 8, smile * size // 200 + 1),
        0,
        0,
        180,
        (150, 40, 50),
        2,
    )
    noise = rng.normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_corpus(folder: Path, people: int = 6, photos: int = 5, size: int = 96) -> Path:
    """One folder a person, PNG crops in it."""
    for person in range(people):
        home = folder / f"p{person:03d}"
        home.mkdir(parents=True, exist_ok=True)
        for photo in range(photos):
            image = draw_face(person, photo, size)
            cv2.imwrite(str(home / f"{photo}.png"), image[..., ::-1])
    return folder
