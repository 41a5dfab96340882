"""Accept gates: did the edit do what it should, and nothing else (DESIGN section 5)?

Each gate has its threshold in `accept` of the pipeline and its value in the edits manifest. Gates run
in the order below; the first that says no gives the reason.

    no_change        mean absolute change inside the edited region   >= accept.min_inside_change
    leaked_outside   mean absolute change outside that region        <= accept.max_outside_change
    area_too_large   share of the crop that changed                  <= accept.max_changed_area
    identity_kept    identity edits: cosine to the original          <= accept.identity_max
    identity_lost    identity edits: cosine to the original          >= accept.identity_floor
                     attribute edits: cosine to the original         >= accept.identity_min
    attribute_missing  change of the wanted attribute's score        >= accept.min_attribute_change
    attribute_drift    change of any other attribute's score         <= accept.max_attribute_drift
                       (save those that go with the edit)

Identity gates need an embedder, attribute gates an attribute scorer; without one the value is absent and
the gate passes. Where accept.identity_* is empty the recogniser's own cosines count (faces/limits.py). Only
scores named in accept.attribute_gates reject: those that were seen to tell an edit from none on real photos
(docs/faces.md); all are recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from fstriplets.edits.base import EDIT_GROUPS

if TYPE_CHECKING:
    from fstriplets.config import AcceptConfig
    from fstriplets.faces.limits import IdentityLimits

__all__ = ["AttributeScorer", "attribute_changes", "judge", "measure"]

#: A pixel counts as changed when a channel moved by more than this (of 255): rounding does not count.
_CHANGED = 2
#: Mask above which a pixel belongs to the edited region.
_INSIDE = 1 / 255
#: Edit -> scores it may move besides its own: what goes with it on a face, or looks like it to a network.
_GOES_WITH: dict[str, frozenset[str]] = {
    "aging": frozenset({"hair_grey", "hair_bald", "chubbiness"}),
    "beard": frozenset({"aging"}),
    "glasses": frozenset({"sunglasses"}),
    "sunglasses": frozenset({"glasses"}),
    "grin": frozenset({"chubbiness"}),
    "hair": frozenset({"hair_bald", "hair_fringe", "hair_cut", "hair_grey", "aging"}),
}


class AttributeScorer(Protocol):
    """Scores attributes of aligned faces, e.g. a network's sigmoid outputs."""

    def __call__(self, crops: np.ndarray, landmarks: np.ndarray) -> Mapping[str, np.ndarray]:
        """Crops uint8 [B, S, S, 3], landmarks [B, 5|68, 2] → attribute name -> scores [B] in 0..1."""
        ...


def measure(original: np.ndarray, edited: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """What changed, and where.

    Args:
        original, edited: uint8 [S, S, 3].
        mask: float32 [S, S] in 0..1, the editor's own.

    Returns:
        changed_area: share of pixels that changed, 0..1.
        inside_change, outside_change: mean absolute change inside and outside the mask, of 255.
    """
    difference = cv2.absdiff(original, edited)
    inside = (mask > _INSIDE).astype(np.uint8)
    changed = cv2.inRange(difference, (0, 0, 0), (_CHANGED, _CHANGED, _CHANGED))  # 255 where unchanged
    return {
        "changed_area": 1.0 - cv2.countNonZero(changed) / inside.size,
        "inside_change": sum(cv2.mean(difference, inside)[:3]) / 3,  # 0 where the mask is empty
        "outside_change": sum(cv2.mean(difference, 1 - inside)[:3]) / 3,
    }


def attribute_changes(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], index: int
) -> dict[str, float]:
    """`attribute_<name>`: how much a score rose, for one face of a batch."""
    return {f"attribute_{name}": float(after[name][index] - before[name][index]) for name in sorted(after)}


def judge(
    edit: str, values: Mapping[str, float], config: AcceptConfig, limits: IdentityLimits
) -> tuple[str, str]:
    """The first gate that says no.

    Args:
        edit: key of EDIT_GROUPS.
        values: what was measured; absent values switch their gates off.
        config: thresholds of pixels and scores.
        limits: those of cosines, with the config's numbers in them (`IdentityLimits.settled`).

    Returns:
        (reason, message), both empty when the edit is accepted.
    """
    for reason, message in (
        _pixels(edit, values, config),
        _identity(edit, values, limits),
        _attributes(edit, values, config),
    ):
        if reason:
            return reason, message
    return "", ""


def _pixels(edit: str, values: Mapping[str, float], config: AcceptConfig) -> tuple[str, str]:
    inside, outside, area = values["inside_change"], values["outside_change"], values["changed_area"]
    if inside < config.min_inside_change:
        return "no_change", (
            f"{edit} changed its region by {inside:.2f} of 255, below"
            f" accept.min_inside_change {config.min_inside_change:g}"
        )
    if outside > config.max_outside_change:
        return "leaked_outside", (
            f"{edit} changed pixels outside its region by {outside:.2f} of 255, above"
            f" accept.max_outside_change {config.max_outside_change:g}"
        )
    if area > config.max_changed_area:
        return "area_too_large", (
            f"{edit} changed {area:.0%} of the crop, above accept.max_changed_area"
            f" {config.max_changed_area:.0%}"
        )
    return "", ""


def _identity(edit: str, values: Mapping[str, float], limits: IdentityLimits) -> tuple[str, str]:
    similarity = values.get("identity_similarity")
    if similarity is None:
        return "", ""
    if EDIT_GROUPS[edit] == "identity":
        if similarity > limits.identity_max:
            return "identity_kept", (
                f"{edit} should change who it is, but the similarity to the original is {similarity:.3f},"
                f" above accept.identity_max {limits.identity_max:g}"
            )
        floor, key = limits.identity_floor, "identity_floor"
    else:
        floor, key = limits.identity_min, "identity_min"
    if similarity < floor:
        return "identity_lost", (
            f"after {edit} the similarity to the original is {similarity:.3f}, below accept.{key} {floor:g}"
        )
    return "", ""


def _attributes(edit: str, values: Mapping[str, float], config: AcceptConfig) -> tuple[str, str]:
    changes = {key.removeprefix("attribute_"): v for key, v in values.items() if key.startswith("attribute_")}
    changes = {name: change for name, change in changes.items() if name in config.attribute_gates}
    wanted = changes.pop(edit, None)
    if wanted is not None and wanted < config.min_attribute_change:
        return "attribute_missing", (
            f"the score of {edit} rose by {wanted:.2f}, below accept.min_attribute_change"
            f" {config.min_attribute_change:g}"
        )
    allowed = _GOES_WITH.get(edit, frozenset())
    for name, change in changes.items():
        if name not in allowed and abs(change) > config.max_attribute_drift:
            return "attribute_drift", (
                f"{edit} moved the score of {name} by {change:+.2f}, beyond accept.max_attribute_drift"
                f" {config.max_attribute_drift:g}"
            )
    return "", ""
