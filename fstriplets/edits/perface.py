"""The loop of editors that work on one face at a time.

Most do: what a face gets must not depend on its batch mates, down to the last bit, and libraries choose
their algorithms by the size of the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch

from fstriplets.edits.base import EditResult
from fstriplets.errors import PhotoRejected

__all__ = ["PerFaceEditor"]


class PerFaceEditor(ABC):
    """An editor whose batches are loops; a subclass adds the other attributes of the protocol."""

    needs: tuple[str, ...] = ("landmarks",)

    def edit(
        self,
        faces: torch.Tensor,
        edit: str,
        strength: torch.Tensor,
        seeds: torch.Tensor,
        *,
        landmarks: torch.Tensor,
    ) -> EditResult:
        """Edit a batch.

        Args:
            faces: [B, 3, H, W] float32 in [-1, 1].
            edit: one of `edits`.
            strength: [B] in 0..1; 0 returns the input.
            seeds: [B] int64.
            landmarks: [B, 68, 2] crop pixels.
        """
        images = faces.clone()
        mask = faces.new_zeros(faces.shape[0], 1, *faces.shape[2:])
        rejected: dict[int, PhotoRejected] = {}
        for i in range(faces.shape[0]):
            if (power := float(strength[i])) <= 0:
                continue
            photo = faces[i].permute(1, 2, 0).cpu().numpy()
            points = landmarks[i].cpu().numpy()
            try:
                picture, where = self.edit_face(photo, points, edit, power, int(seeds[i]))
            except PhotoRejected as no:
                rejected[i] = no
                continue
            painted = torch.from_numpy(where > 0).to(faces.device)
            new = torch.from_numpy(picture).permute(2, 0, 1).to(faces.device).clamp(-1, 1)
            images[i] = torch.where(painted, new, faces[i])
            mask[i, 0] = torch.from_numpy(where)
        return EditResult(images, mask, rejected)

    @abstractmethod
    def edit_face(
        self, photo: np.ndarray, landmarks: np.ndarray, edit: str, strength: float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Edit one face.

        Args:
            photo: float32 [H, W, 3] RGB in [-1, 1]; not to be written to.
            landmarks: [68, 2] pixels.
            strength: above 0, up to 1.

        Returns:
            The picture, like `photo`, and the mask [H, W] float32 in 0..1; where the mask is 0, the
            photo's own pixels are taken.

        Raises:
            PhotoRejected: the edit needs what the face does not show.
        """
