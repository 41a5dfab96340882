"""`bundled`: the face embedder that ships with fstriplets, trained on synthetic people alone.

A picture and its mirror image are embedded and summed. What it is worth on real photos, beside public
recognisers, is in docs/faces.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fstriplets.config import PipelineConfig
from fstriplets.faces.embed import Embeddings, Pixels, arcface_crops, normalised
from fstriplets.models.bundled import bundled_network, one_thread
from fstriplets.models.networks.face_embedder import EMBEDDER_SIDE, FaceEmbedder, SmoothIdentity
from fstriplets.models.weights import entry

__all__ = ["BundledEmbedder", "smooth_identity"]


class BundledEmbedder:
    """The bundled network on the CPU: 512 numbers of unit length."""

    name = "bundled"

    def __init__(self, config: PipelineConfig) -> None:
        sha256 = entry("face_embedder").sha256
        self.weights = {"face_embedder": sha256}
        self.fingerprint = f"bundled-1:{sha256[:12]}"
        self._network = bundled_network("face_embedder", FaceEmbedder)

    def embed(self, crops: Pixels, landmarks: npt.NDArray[np.floating[Any]]) -> Embeddings:
        """[B, 512] float32, L2-normalised."""
        rows = []
        # Always one face at a time: results must not depend on who shares a batch.
        for face in arcface_crops(crops, landmarks, EMBEDDER_SIDE):
            both = torch.from_numpy(np.stack([face, face[:, ::-1]])).permute(0, 3, 1, 2)
            with one_thread():
                found = self._network((both.float() - 127.5) / 127.5)
            rows.append(found.sum(dim=0, keepdim=True).numpy())
        return normalised(rows)


def smooth_identity() -> SmoothIdentity:
    """The smooth identity of `ffhq` crops, with the bundled weights: what LatentSwap compares faces with."""
    return SmoothIdentity(bundled_network("face_embedder", FaceEmbedder))
