"""What an editor is: the protocol every backend follows, and the table of edits.

A backend lives in a file of its own in this folder and is named in registry.py; other packages
add theirs through the entry-point group `fstriplets.editors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from fstriplets.errors import PhotoRejected

__all__ = ["EDIT_GROUPS", "EditResult", "Editor", "WeightsRecord"]

#: Edit name -> `identity` (who is it?) or `attribute` (what do they wear, do, have?); DESIGN section 5.
EDIT_GROUPS: dict[str, str] = {
    "aging": "identity",
    "chubbiness": "identity",
    "beard": "identity",
    "glasses": "attribute",
    "sunglasses": "attribute",
    "hair": "attribute",
    "grin": "attribute",
}


@dataclass(frozen=True, slots=True, eq=False)
class EditResult:
    """What an editor returns.

    Attributes:
        images: [B, 3, H, W] float32 in [-1, 1].
        mask: [B, 1, H, W] float32 in [0, 1]: where the editor allowed itself to change pixels;
            everything outside must be the input's own pixels.
        rejected: batch index -> why the editor turned that face down (no hair found, …); its image
            and mask are ignored and the edit becomes a row with that reason.
    """

    images: Tensor
    mask: Tensor
    rejected: Mapping[int, PhotoRejected] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WeightsRecord:
    """The weights an editor used; goes on every row they touched."""

    sha256: str
    licence: str


@runtime_checkable
class Editor(Protocol):
    """An editor backend.

    Attributes:
        name: registered name.
        edits: the edits it can do, keys of EDIT_GROUPS.
        fingerprint: code version and weights; part of every edit id.
        weights: the weights it loaded, empty for weight-free editors.
        needs: keyword arguments it wants beside the four of `edit`: any of `landmarks`
            ([B, 68, 2] float32 crop pixels) and `poses` ([B, 3] yaw, pitch, roll in degrees).
            Optional: a missing attribute means none.
        gated: whether the accept gates judge its edits. Optional: a missing attribute means yes.
    """

    name: str
    edits: frozenset[str]
    fingerprint: str
    weights: Sequence[WeightsRecord]

    def edit(self, faces: Tensor, edit: str, strength: Tensor, seeds: Tensor) -> EditResult:
        """Edit a batch.

        Args:
            faces: [B, 3, H, W] float32 in [-1, 1]. Not to be written to: returning this very tensor
                says that nothing changed.
            edit: one of `edits`.
            strength: [B] float32 in [0, 1]; 0 returns the input.
            seeds: [B] int64; the same seed gives the same picture.
        """
        ...
