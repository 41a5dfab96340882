"""Makes the demo corpus that ships in fstriplets/demo: `python -m fstriplets.synth.demo [FOLDER]`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

from fstriplets.synth.body import build_body
from fstriplets.synth.camera import to_jpeg
from fstriplets.synth.facemodel import load_face_model
from fstriplets.synth.mesh import build_mesh
from fstriplets.synth.person import make_person
from fstriplets.synth.render import render_photo
from fstriplets.synth.scene import make_scene

__all__ = ["make_demo"]

#: Folder -> identity seed: people looked at and chosen to differ in looks, neighbours most.
PEOPLE = {
    "p200": 905,
    "p201": 929,
    "p202": 951,
    "p203": 909,
    "p206": 925,
    "p207": 906,
    "p208": 914,
    "p209": 959,
    "p210": 919,
    "p212": 941,
    "p213": 901,
    "p214": 939,
    "p215": 924,
    "p217": 944,
}
PHOTOS, SIZE, MAX_YAW = 6, 320, 40.0
LICENCE = "CC0-1.0 (synthetic; face model ICT-FaceKit, MIT)"


def make_demo(folder: Path) -> None:
    """Writes FOLDER/photos/ID/NN.jpg and FOLDER/table.csv."""
    mesh = build_mesh(load_face_model())
    rows = []
    for identity, seed in PEOPLE.items():
        body = build_body(make_person(seed), mesh)
        (folder / "photos" / identity).mkdir(parents=True, exist_ok=True)
        for k in range(PHOTOS):
            scene = make_scene(mesh, seed * 100 + k, MAX_YAW)
            photo = render_photo(body, scene, mesh, SIZE)
            name = f"photos/{identity}/{k:02d}.jpg"
            (folder / name).write_bytes(to_jpeg(photo.pixels, max(scene.quality, 88)))
            rows.append(
                {
                    "path": name,
                    "identity_id": identity,
                    "licence": LICENCE,
                    "consent": "synthetic",
                    "box": json.dumps(_box(photo.truth.landmarks68)),
                    "landmarks": json.dumps(
                        [[round(float(v), 2) for v in p] for p in photo.truth.landmarks68]
                    ),
                    "yaw": round(scene.yaw, 2),
                    "pitch": round(scene.pitch, 2),
                    "roll": round(scene.roll, 2),
                    "age": round(body.person.age, 1),
                    "beard": round(max(body.person.beard, body.person.moustache), 3),
                    "smile": round(float(scene.expression[mesh.index("mouthSmile_L")]), 3),
                }
            )
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _box(landmarks: np.ndarray) -> list[float]:
    """Detector-like box: the landmarks' extent and the forehead above them."""
    (x0, y0), (x1, y1) = landmarks.min(0), landmarks.max(0)
    return [round(float(v), 1) for v in (x0, y0 - 0.28 * (y1 - y0), x1, y1)]


if __name__ == "__main__":
    make_demo(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "demo")
