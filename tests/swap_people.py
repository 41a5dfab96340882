"""People of the demo corpus and a model whose swap is told at a glance, for the tests of swapping."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from fstriplets.config import PipelineConfig
from fstriplets.corpus.base import Terms
from fstriplets.faces.detect_lbp import LbpDetector
from fstriplets.resources import resource

TOOLS: dict[str, Any] = {"detector": "lbp", "landmarker": "template", "parser": "landmarks"}
FLAGS = ["--detector", "lbp", "--landmarker", "template", "--parser", "landmarks"]


@cache
def demo(number: int) -> Path:
    """A photo of the demo corpus in which lbp finds a face, each number another person's."""
    people = sorted((resource("demo") / "photos").iterdir())
    if number:
        people = people[people.index(demo(number - 1).parent) + 1 :]
    finder = LbpDetector(PipelineConfig())
    for photo in (photo for person in people for photo in sorted(person.glob("*.jpg"))):
        if finder.detect(Terms().photo("", ""), pixels_of(photo)):
            return photo
    raise AssertionError(f"lbp finds fewer than {number + 1} people in the demo corpus")


def nobody(folder: Path) -> Path:
    """A photo without a face."""
    path = folder / "nobody.jpg"
    Image.fromarray(np.random.default_rng(0).integers(90, 150, (120, 160, 3)).astype(np.uint8)).save(path)
    return path


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


class Inverter:
    """A model whose swap is told from the target at a glance; faces embed as their mean colour."""

    size, crop, name = 128, "ffhq", "inverter"

    def __init__(self) -> None:
        self.embedded = self.swapped = 0

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.embedded += len(crops)
        small = np.stack([cv2.resize(crop[32:-16, 32:-32], (8, 8)).astype(np.float32) for crop in crops])
        flat = small.reshape(len(crops), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    def swap(self, crops: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        assert len(crops) == len(embeddings)
        self.swapped += len(crops)
        return 255 - crops


def two_people(folder: Path) -> Path:
    """A photo of two demo people, the second smaller, as PNG."""
    left, right = pixels_of(demo(0)), pixels_of(demo(2))
    photo = np.full((320, 600, 3), 90, np.uint8)
    photo[:, :320] = left
    photo[40:280, 340:580] = cv2.resize(right, (240, 240), interpolation=cv2.INTER_AREA)
    path = folder / "two.png"
    Image.fromarray(photo).save(path)
    return path
