"""The `null` editor: returns its input. It measures what the pipeline itself costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fstriplets.edits.base import EDIT_GROUPS, EditResult, WeightsRecord

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NullEditor"]


class NullEditor:
    """Every edit, undone. Its edits pass no gate because there is nothing to judge."""

    name = "null"
    edits = frozenset(EDIT_GROUPS)
    fingerprint = "null-1"
    weights: Sequence[WeightsRecord] = ()
    gated = False

    def edit(self, faces: Tensor, edit: str, strength: Tensor, seeds: Tensor) -> EditResult:
        """The faces themselves, and an empty mask."""
        batch, _, height, width = faces.shape
        return EditResult(images=faces, mask=faces.new_zeros(1, 1, 1, 1).expand(batch, 1, height, width))
