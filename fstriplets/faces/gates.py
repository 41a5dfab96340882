"""The gates of `quality`: a face that fails one gets its name as reason. The first that fails counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fstriplets.config import QualityConfig
from fstriplets.records import Face

__all__ = ["gate"]


def gate(face: Face, limits: QualityConfig) -> Face:
    """The face, rejected if a measurement it has is out of bounds; else as it came.

    Reasons: small_face, low_score, outside_photo, blurry, dark, bright, extreme_pose.
    """
    for reason, message in _failures(face, limits):
        return replace(face, status="rejected", reason=reason, message=message)
    return face


def _failures(face: Face, limits: QualityConfig) -> Iterator[tuple[str, str]]:
    x0, y0, x1, y1 = face.box
    side = min(x1 - x0, y1 - y0)
    if side < limits.min_face:
        yield "small_face", f"the face is {side:.0f} px, quality.min_face is {limits.min_face}"
    if face.score < limits.min_score:
        yield "low_score", f"detector score {face.score:.2f}, quality.min_score is {limits.min_score:g}"
    outside = face.attributes.get("outside", 0.0)
    if outside > limits.max_outside:
        yield (
            "outside_photo",
            f"{outside:.0%} of the crop lie outside the photo, quality.max_outside is {limits.max_outside:g}",
        )
    if face.sharpness < limits.min_sharpness:
        yield (
            "blurry",
            f"sharpness {face.sharpness:.2f}, quality.min_sharpness is {limits.min_sharpness:g}",
        )
    low, high = limits.brightness
    if face.brightness < low:
        yield "dark", f"mean luma {face.brightness:.0f}, quality.brightness starts at {low:g}"
    if face.brightness > high:
        yield "bright", f"mean luma {face.brightness:.0f}, quality.brightness ends at {high:g}"
    if face.yaw is not None and abs(face.yaw) > limits.max_yaw:
        yield "extreme_pose", f"yaw {face.yaw:.0f} degrees, quality.max_yaw is {limits.max_yaw:g}"
    if face.pitch is not None and abs(face.pitch) > limits.max_pitch:
        yield "extreme_pose", f"pitch {face.pitch:.0f} degrees, quality.max_pitch is {limits.max_pitch:g}"
