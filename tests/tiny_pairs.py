"""A training set in the form of `synth pairs`, made from the demo corpus' photos in no time."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np

from fstriplets.faces.align import similarity, transform_points, warp
from fstriplets.faces.landmarks import five_points
from fstriplets.faces.parse import LandmarkParser
from fstriplets.faces.templates import template_points
from fstriplets.resources import resource
from fstriplets.synth.pairs import PAIR_ATTRIBUTES

SIZE = 256


def demo_photos() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(person, uint8 [H, W, 3] RGB, landmarks [68, 2]) of the demo corpus."""
    table = resource("demo", "table.csv")
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        (
            row["identity_id"],
            cv2.cvtColor(cv2.imread(str(table.parent / row["path"])), cv2.COLOR_BGR2RGB),
            np.array(json.loads(row["landmarks"])),
        )
        for row in rows
    ]


def write_tiny_pairs(root: Path, people: int = 6, held_out: int = 3) -> Path:
    """The demo's first people; the last `held_out` of them have numbers that are kept for validation."""
    (root / "people").mkdir()
    photos, parser = demo_photos(), LandmarkParser()
    names = sorted({name for name, _, _ in photos})[:people]
    for k, name in enumerate(names):
        number = k if k < people - held_out else 20 * (k - people + held_out) + 19
        pictures, points = [], []
        for _, pixels, landmarks in (photo for photo in photos if photo[0] == name):
            matrix = similarity(five_points(landmarks), template_points("ffhq", SIZE))
            pictures.append(warp(pixels, matrix, SIZE))
            points.append(transform_points(landmarks, matrix))
        count = len(pictures)
        jpeg = [cv2.imencode(".jpg", picture[..., ::-1])[1].ravel() for picture in pictures]
        labels = [parser.labels(picture, own) for picture, own in zip(pictures, points, strict=True)]
        png = [cv2.imencode(".png", picture)[1].ravel() for picture in labels]
        np.savez(
            root / "people" / f"p{number:07d}.npz",
            jpeg=np.concatenate(jpeg), jpeg_ends=np.cumsum([len(j) for j in jpeg]),
            png=np.concatenate(png), png_ends=np.cumsum([len(p) for p in png]),
            base=np.arange(count), edit=np.array([""] * count), strength=np.zeros(count, np.float32),
            landmarks=np.array(points, np.float32), pose=np.zeros((count, 3), np.float32),
            box=np.zeros((count, 4), np.float32),
            attributes=np.zeros((count, len(PAIR_ATTRIBUTES)), np.float32), names=np.array(PAIR_ATTRIBUTES),
        )  # fmt: skip
    return root
