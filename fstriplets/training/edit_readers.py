"""What readers of faces say of an edit: the identity and attribute losses of the `flow-gan` trainer.

A generator that is only pulled towards pixels makes edits that a person sees and a network does not, or too
few of them: glasses no gate finds, cheeks that leave the identity alone. So the bundled embedder and the
bundled analyser, both frozen, hold each result against the truth of its pair. The trainer makes windows
only; a result is read in its place in the truth, so that they see a whole face and all of the difference is
the generator's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fstriplets.models.networks.face_analyser import FaceAnalyser
from fstriplets.models.weights import load_state_dict, require
from fstriplets.models.weights.adapters import load_into
from fstriplets.training.swap_features import load_identity

__all__ = ["EditReaders", "put_back"]

_EMBEDDER, _ANALYSER = "face_embedder", "face_analyser"
_ANALYSER_SIDE = 128


class EditReaders:
    """The bundled readers, frozen."""

    def __init__(self) -> None:
        self._identity = load_identity(_EMBEDDER, "ffhq")
        state = {name: value.float() for name, value in load_state_dict(require(_ANALYSER)).items()}
        self._analyser = load_into(FaceAnalyser(), state).eval().requires_grad_(False)

    def losses(self, result: Tensor, edited: Tensor) -> dict[str, Tensor]:
        """How else results are read than their truths.

        Args:
            result, edited: [B, 3, S, S] in [-1, 1], whole faces, template `ffhq`.

        Returns:
            `identity`: 1 - cosine of the embeddings. `attributes`: cross-entropy of the scores, less that
            of the truth with itself, so that both are 0 where nothing differs.
        """
        with torch.no_grad():
            embedding, scores = self._identity(edited), torch.sigmoid(self._attributes(edited))
            least = F.binary_cross_entropy(scores, scores)
        said = self._attributes(result)
        return {
            "identity": (1 - (self._identity(result) * embedding).sum(1)).mean(),
            "attributes": F.binary_cross_entropy_with_logits(said, scores) - least,
        }

    def _attributes(self, faces: Tensor) -> Tensor:
        size = (_ANALYSER_SIDE, _ANALYSER_SIDE)
        small = F.interpolate(faces, size, mode="bilinear", antialias=True)
        logits: Tensor = self._analyser(small).attributes
        return logits


def put_back(whole: Tensor, parts: Tensor, corners: Tensor) -> Tensor:
    """Pictures [B, C, S, S] with windows [B, C, s, s] of them replaced; corners [B, 2]: top, left."""
    size, side = parts.shape[-1], whole.shape[-1]
    rows = []
    for picture, part, (top, left) in zip(whole, parts, corners.tolist(), strict=True):
        edges = (left, side - size - left, top, side - size - top)
        inside = F.pad(torch.ones_like(part[:1]), edges)
        rows.append(picture * (1 - inside) + F.pad(part, edges))
    return torch.stack(rows)
