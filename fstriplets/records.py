"""The records that flow through a build, and the manifest schemas made of them.

corpus/ yields Photo; faces/ turns it into Face (+ pixels, an AlignedFace); triplets/ plans
PlannedTriplet over faces; edits/ answers with Edit; shards/ writes Triplet rows. The parquet
schemas below are the one source of truth for every manifest; docs/formats.md is made from them.

Conventions: images are uint8 [H, W, 3] RGB; boxes are (x0, y0, x1, y1) pixels; landmarks are
[5, 2] or [68, 2] float pixels (x, y), origin at the centre of the top-left pixel; angles are degrees
(yaw > 0: the person's face turns to the viewer's right; pitch > 0: up; roll > 0: clockwise).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = [
    "STATUSES",
    "AlignedFace",
    "Edit",
    "Face",
    "Photo",
    "PlannedEdit",
    "PlannedTriplet",
    "Triplet",
    "content_id",
    "schema",
    "seed_of",
]

#: `ok`, `rejected` (a gate said no) or `failed` (an error).
STATUSES = ("ok", "rejected", "failed")


def content_id(*parts: str | bytes) -> str:
    """A stable id: the first 20 hex digits (80 bits) of the sha256 of the parts.

    Parts are joined with a NUL, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for i, part in enumerate(parts):
        if i:
            digest.update(b"\0")
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:20]


def seed_of(seed: int, *ids: str) -> int:
    """A 63-bit seed from the config's seed and content ids, never from arrival order."""
    digest = hashlib.sha256("\0".join((str(seed), *ids)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of the corpus, before anybody looked inside it."""

    photo_id: str  #: content_id(identity_id, uri)
    identity_id: str  #: the corpus' own name for the person
    uri: str  #: relative to the corpus root (posix), or absolute / a URL where a table says so
    licence: str = ""  #: empty: unknown
    consent: str = ""  #: basis of consent ("signed form 2024-03", "synthetic"); empty: none on record
    box: tuple[float, float, float, float] | None = None  #: where the table has it
    landmarks: tuple[tuple[float, float], ...] | None = None  #: 5 or 68 points, photo pixels
    attributes: dict[str, float] = field(default_factory=dict)  #: numeric columns of the table
    status: str = "ok"  #: a corpus may reject a photo before it is read (symlink that escapes, …)
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Face:
    """One aligned face, or the reason why it was turned down. Everything but pixels."""

    face_id: str  #: content_id(identity_id, aligned pixel bytes)
    photo_id: str
    identity_id: str
    box: tuple[float, float, float, float]  #: in the photo (after EXIF rotation)
    landmarks: tuple[tuple[float, float], ...]  #: 5 or 68 points in the crop
    transform: tuple[float, ...]  #: 2x3 row-major affine, photo pixels to crop pixels
    score: float  #: detector confidence 0..1
    sharpness: float  #: faces/quality.py says how it is measured
    brightness: float  #: mean luma of the face, 0..255
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    embedding: tuple[float, ...] | None = None  #: L2-normalised; None without an embedder
    similarity: float | None = None  #: cosine to the person's centroid, this face left out
    attributes: dict[str, float] = field(default_factory=dict)
    status: str = "ok"
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFace:
    """A face with its pixels; lives only inside a bucket."""

    face: Face
    pixels: np.ndarray  #: uint8 [S, S, 3] RGB


@dataclass(frozen=True, slots=True)
class PlannedEdit:
    """One edit to make. Equal records are the same edit: it is made once."""

    face_id: str
    edit: str
    strength: float  #: 0..1
    editor: str
    seed: int


@dataclass(frozen=True, slots=True)
class PlannedTriplet:
    """One triplet to make, of the kinds in triplets/kinds.py.

    `first` is A (or I); `second` is B, and equals `first` for the kinds made from a single photo.
    """

    kind: str
    first: str  #: face_id of A or I
    second: str  #: face_id of B or I
    edit: PlannedEdit


@dataclass(frozen=True, slots=True)
class Edit:
    """What an editor made of a face, and what the accept gates measured."""

    edit_id: str  #: content_id(face_id, edit, strength as %.4f, seed, editor fingerprint)
    face_id: str
    identity_id: str
    edit: str
    strength: float
    editor: str
    fingerprint: str  #: editor code version and weights
    seed: int
    weights_sha256: str = ""
    weights_licence: str = ""
    values: dict[str, float] = field(default_factory=dict)  #: everything a gate measured, by name
    status: str = "ok"
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Triplet:
    """A formed triplet: ids of its three members, each a face_id or an edit_id."""

    triplet_id: str  #: content_id(identity_id, kind, source_id, target_id, result_id) = __key__
    kind: str
    identity_id: str
    source_id: str
    target_id: str
    result_id: str
    real: str  #: which member is unedited, `source` or `target`: real for the discriminator
    edit: str
    edit_id: str
    strength: float
    editor: str
    licence: str  #: of the photos, joined with " + " when they differ
    consent: str
    weights_licence: str = ""  #: of the weights that made the edit
    identity_similarity: float | None = None  #: of the edit to its original
    status: str = "ok"
    reason: str = ""
    message: str = ""


@cache
def schema(manifest: str) -> pa.Schema:
    """The parquet schema of a manifest: `photos`, `faces`, `edits`, `triplets` or `plan`."""
    import pyarrow as pa

    text, f64, f32, i64, i32 = pa.string(), pa.float64(), pa.float32(), pa.int64(), pa.int32()
    floats = pa.list_(f32)
    outcome: list[tuple[str, Any]] = [("status", text), ("reason", text), ("message", text)]
    numbers = pa.map_(text, f64)
    fields: dict[str, list[tuple[str, Any]]] = {
        "photos": [
            ("photo_id", text), ("identity_id", text), ("split", text), ("uri", text),
            ("sha256", text), ("bytes", i64), ("width", i32), ("height", i32), ("format", text),
            ("licence", text), ("consent", text), ("duplicate_of", text), *outcome,
        ],
        "faces": [
            ("face_id", text), ("photo_id", text), ("identity_id", text), ("split", text),
            ("box", floats), ("landmarks", floats), ("transform", floats), ("score", f32),
            ("sharpness", f32), ("brightness", f32), ("yaw", f32), ("pitch", f32), ("roll", f32),
            ("embedding", floats), ("similarity", f32), ("attributes", numbers), *outcome,
        ],
        "edits": [
            ("edit_id", text), ("face_id", text), ("identity_id", text), ("split", text),
            ("edit", text), ("strength", f64), ("editor", text), ("fingerprint", text),
            ("weights_sha256", text), ("weights_licence", text), ("seed", i64),
            ("identity_similarity", f32), ("changed_area", f32), ("outside_change", f32),
            ("inside_change", f32), ("attribute_scores", numbers), *outcome,
        ],
        "triplets": [
            ("triplet_id", text), ("kind", text), ("identity_id", text), ("split", text),
            ("shard", text), ("json_offset", i64), ("json_size", i64),
            ("result_offset", i64), ("result_size", i64), ("source_offset", i64),
            ("source_size", i64), ("target_offset", i64), ("target_size", i64),
            ("source_id", text), ("target_id", text), ("result_id", text), ("real", text),
            ("edit", text), ("edit_id", text), ("strength", f64), ("editor", text),
            ("identity_similarity", f32), ("licence", text), ("consent", text),
            ("weights_licence", text), *outcome,
        ],
        "plan": [
            ("shard", text), ("split", text), ("identity_id", text), ("photo_id", text),
            ("uri", text), ("licence", text), ("consent", text), ("box", floats),
            ("landmarks", floats), ("attributes", numbers), *outcome,
        ],
    }  # fmt: skip
    return pa.schema(fields[manifest])
