"""Importing the face model: from a clone of ICT-FaceKit (OBJ files) or from an .npz made of one.

The clone's `FaceXModel` folder holds `generic_neutral_mesh.obj`, `identity000.obj` … `identity099.obj`
and one OBJ an expression, all with the same vertices. Offsets are kept in half precision, as the .npz
has them, so that both ways of importing give the same people.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fstriplets.errors import UserError
from fstriplets.synth.facemodel import KEYS, model_path

__all__ = ["import_face_model", "read_clone"]

_NEUTRAL = "generic_neutral_mesh.obj"
#: The 53 actions in the model's order; each is an OBJ file of the clone.
EXPRESSIONS = (
    *("browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R"),
    *("cheekPuff_L", "cheekPuff_R", "cheekSquint_L", "cheekSquint_R", "eyeBlink_L", "eyeBlink_R"),
    *("eyeLookDown_L", "eyeLookDown_R", "eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L", "eyeLookOut_R"),
    *("eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L", "eyeSquint_R", "eyeWide_L", "eyeWide_R"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimple_L", "mouthDimple_R"),
    *("mouthFrown_L", "mouthFrown_R", "mouthFunnel", "mouthLeft", "mouthLowerDown_L", "mouthLowerDown_R"),
    *("mouthPress_L", "mouthPress_R", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthSmile_L", "mouthSmile_R", "mouthStretch_L"),
    *("mouthStretch_R", "mouthUpperUp_L", "mouthUpperUp_R", "noseSneer_L", "noseSneer_R"),
)
#: Vertices of the 68 landmarks (Multi-PIE order) in the topology of the light model.
LANDMARKS68 = (
    *(1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443),
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147),
    *(4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081),
    *(0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),
)


def import_face_model(
    source: Path, target: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Imports a face model and returns the file written.

    Args:
        source: a clone of ICT-FaceKit, its FaceXModel folder, or an .npz with the keys of facemodel.KEYS.
        target: where to write; None: `model_path()`.
        progress: called with (files read, files in all).

    Raises:
        UserError: the source is neither; the message says what is missing.
    """
    target = target or model_path()
    if source.is_dir():
        arrays = read_clone(source, progress)
    elif source.suffix == ".npz" and source.is_file():
        arrays = _read_npz(source)
    else:
        raise UserError(f"{source} is neither a clone of ICT-FaceKit nor an .npz of the face model")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as data:
        missing = [k for k in KEYS if k not in data]
        if missing:
            raise UserError(f"{path} is not a face model: it lacks {', '.join(missing)}")
        return {k: data[k] for k in KEYS}


def read_clone(folder: Path, progress: Callable[[int, int], None] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a clone; see import_face_model."""
    root = folder if (folder / _NEUTRAL).is_file() else folder / "FaceXModel"
    if not (root / _NEUTRAL).is_file():
        raise UserError(f"{folder} holds no FaceXModel/{_NEUTRAL}: is it a clone of ICT-FaceKit?")
    identities = sorted(root.glob("identity*.obj"))
    expressions = [root / f"{name}.obj" for name in EXPRESSIONS]
    absent = [p.name for p in expressions if not p.is_file()]
    if len(identities) != 100 or absent:
        raise UserError(
            f"{root} holds {len(identities)} of 100 identity modes"
            + (f" and lacks {', '.join(absent[:3])}" if absent else "")
            + ": clone ICT-FaceKit again (the light model, with git-lfs if it asks for it)"
        )
    arrays = _read_mesh(root / _NEUTRAL)
    neutral = arrays["neutral"]
    total = 1 + len(identities) + len(expressions)
    offsets = []
    for k, path in enumerate([*identities, *expressions]):
        vertices = _read_vertices(path)
        if vertices.shape != neutral.shape:
            raise UserError(f"{path} has {len(vertices)} vertices, the neutral mesh {len(neutral)}")
        offsets.append((vertices - neutral).astype(np.float16))
        if progress:
            progress(k + 2, total)
    landmarks = _landmarks(root)
    if max(landmarks) >= len(neutral):
        raise UserError(f"{root / _NEUTRAL} has {len(neutral)} vertices: not the topology of the light model")
    return arrays | {
        "identity": np.stack(offsets[: len(identities)]),
        "expression": np.stack(offsets[len(identities) :]),
        "expression_names": np.array(EXPRESSIONS),
        "landmarks68": np.array(landmarks, np.int32),
    }


def _landmarks(root: Path) -> tuple[int, ...]:
    """Vertices of the 68 landmarks: those the clone names, else those of the public light model."""
    listed = root / "vertex_indices.json"
    if listed.is_file():
        found = json.loads(listed.read_text(encoding="utf-8")).get("idx_to_landmark_verts", [])
        if len(found) == 68:
            return tuple(int(v) for v in found)
    return LANDMARKS68


def _read_vertices(path: Path) -> np.ndarray:
    rows = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("v ")]
    return np.array([row.split()[:3] for row in rows], np.float64).astype(np.float32)


def _read_mesh(path: Path) -> dict[str, np.ndarray]:
    """Vertices, texture coordinates and triangles (polygons become fans) of an OBJ with materials."""
    uv, faces, uv_faces, material, names, current = [], [], [], [], [], -1
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("vt "):
            uv.append(line.split()[1:3])
        elif line.startswith("usemtl "):
            name = line.split(maxsplit=1)[1].strip()
            if name not in names:
                names.append(name)
            current = names.index(name)
        elif line.startswith("f "):
            corners = [c.split("/") for c in line.split()[1:]]
            for k in range(1, len(corners) - 1):
                fan = (corners[0], corners[k], corners[k + 1])
                faces.append([int(c[0]) - 1 for c in fan])
                uv_faces.append([int(c[1]) - 1 for c in fan])
                material.append(current)
    order = sorted(names)
    rank = np.array([order.index(n) for n in names])
    return {
        "neutral": _read_vertices(path),
        "uv": np.array(uv, np.float64).astype(np.float32),
        "faces": np.array(faces, np.int32),
        "uv_faces": np.array(uv_faces, np.int32),
        "material": rank[np.array(material)].astype(np.uint8),
        "materials": np.array(order),
    }
