"""The generator's and the discriminator's losses at every scale, weighted by the recipe.

FACTS of the paper: the same losses at 256, 128 and 64 with weights of their own ("multi-scale gradient");
its ablation shows that without the small ones training fails to converge. Truth and real images of the
small scales are the large ones averaged over areas.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fstriplets.faces.aligned import canonical
from fstriplets.training.losses import (
    PerceptualLoss,
    adv_loss_generator,
    hinge,
    id_loss,
    l1_loss,
    pixel_loss,
)
from fstriplets.training.ranks import Ranks
from fstriplets.training.swap_features import Features, Identity
from fstriplets.training.swap_recipe import Recipe
from fstriplets.training.swap_truth import face_hull

__all__ = ["SwapLosses", "at_scales"]

#: The face's place reaches beyond the mean face's hull, shares of the side: people differ, and so do poses.
_MARGIN = 0.06


def at_scales(images: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Images [B, 3, S, S] averaged down to the sides of `like`."""
    size = images.shape[-1]
    return [
        images if image.shape[-1] == size else F.adaptive_avg_pool2d(images, image.shape[-1])
        for image in like
    ]


def _face_weights(crop: str, size: int, weight: float) -> Tensor:
    """What each place counts: 1 + `weight` where faces are in aligned crops, 1 elsewhere, over their mean.

    Returns:
        [size, size]
    """
    face = face_hull(canonical(crop, size).points, size).astype(np.uint8)
    width = 2 * max(1, round(_MARGIN * size)) + 1
    mask = cv2.dilate(face, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    weights = 1 + weight * torch.from_numpy(mask).float()
    return weights / weights.mean()


class SwapLosses:
    """Sums of a recipe's losses.

    Args:
        recipe: weights and forms.
        identity: recogniser of the id loss.
        features: of the perceptual loss; None where no scale has one.
        ranks: losses that count samples count those of all.
    """

    def __init__(self, recipe: Recipe, identity: Identity, features: Features | None, ranks: Ranks) -> None:
        self._recipe, self._identity, self._ranks = recipe, identity, ranks
        self.weights = recipe.losses()
        self._places: dict[int, Tensor] = {}
        #: Outputs with a discriminator, largest first.
        self.judged = [side for side, weights in self.weights.items() if weights.adv]
        self._perceptual = None
        if features is not None:
            taps = features.taps
            self._perceptual = PerceptualLoss(
                features, [1.0] * len(taps) if taps else recipe.perceptual_weights
            )

    def generator(
        self,
        images: Sequence[Tensor],  # swapped, one a scale, largest first
        scores: Sequence[Tensor],  # of the judged ones
        embeddings: Tensor,  # [B, D], of the sources or of what else the faces shall be
        target: Tensor,
        result: Tensor,
        has_result: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each loss unweighted by name (`id_256`), detached."""
        terms: dict[str, tuple[float, Tensor]] = {}
        judged = dict(zip(self.judged, scores, strict=True))
        targets, results = at_scales(target, images), at_scales(result, images)
        count = self._ranks.mean_tensor if self._ranks.size > 1 else None
        found = self._embeddings(images)
        for index, (side, weights) in enumerate(self.weights.items()):
            image = images[index]
            if weights.adv:
                loss = adv_loss_generator([judged[side]], form=self._recipe.adv_form)
                terms[f"adv_{side}"] = weights.adv, loss
            if weights.id:
                form = self._recipe.id_form
                loss = id_loss(found[side], embeddings, form=form, mean_count=count)
                terms[f"id_{side}"] = weights.id, loss
            if weights.pixel:
                loss = pixel_loss(image, results[index], has_result, mean_count=count)
                terms[f"pixel_{side}"] = weights.pixel, loss
            if weights.l1:
                places = self._weights_of_places(image)
                loss = l1_loss(image, results[index], has_result, places, mean_count=count)
                terms[f"l1_{side}"] = weights.l1, loss
            if (weights.perceptual or weights.truth) and self._perceptual is not None:
                terms |= self._appearance(side, image, targets[index], results[index], has_result)
        total = torch.stack([weight * loss for weight, loss in terms.values()]).sum()
        return total, {name: loss.detach() for name, (_, loss) in terms.items()}

    def _weights_of_places(self, image: Tensor) -> Tensor | None:
        """[S, S] of an output, or None where all places count alike."""
        if not self._recipe.face_weight:
            return None
        size = image.shape[-1]
        if size not in self._places:
            weights = _face_weights(self._identity.crop.have, size, self._recipe.face_weight)
            self._places[size] = weights.to(image.device)
        return self._places[size]

    def _appearance(
        self, side: int, image: Tensor, target: Tensor, result: Tensor, has_result: Tensor
    ) -> dict[str, tuple[float, Tensor]]:
        """Weighted perceptual distances to the targets and, where they are known, to the results.

        The features of the swapped images are taken once for both, those they are held against in one pass.
        """
        assert self._perceptual is not None
        weights, compare = self.weights[side], self._perceptual
        rows = has_result.nonzero()[:, 0] if weights.truth else has_result.new_zeros(0, dtype=torch.long)
        wanted = [target] if weights.perceptual else []
        if len(rows):
            wanted.append(result[rows])
        kept = compare.wanted(wanted)
        terms: dict[str, tuple[float, Tensor]] = {}
        found: list[Tensor] = []
        if weights.perceptual:
            found = compare.features(image)
            terms[f"perceptual_{side}"] = weights.perceptual, compare.between(found, kept[0])
        if weights.truth:
            usual = self._ranks.mean_tensor(has_result.sum().float())  # all ranks ask, also those with none
            loss = image.sum() * 0
            if len(rows):
                mine = [part[rows] for part in found] if found else compare.features(image[rows])
                loss = compare.between(mine, kept[-1]) * (len(rows) / usual)
            terms[f"truth_{side}"] = weights.truth, loss
        return terms

    def _embeddings(self, images: Sequence[Tensor]) -> dict[int, Tensor]:
        """Output -> embeddings of its swapped faces, where it has an id loss."""
        wanted = {side: image for (side, w), image in zip(self.weights.items(), images, strict=True) if w.id}
        if not wanted:
            return {}
        return dict(zip(wanted, self._identity.at_scales(list(wanted.values())), strict=True))

    def discriminator(self, scores: Sequence[Tensor], real: bool) -> Tensor:
        """Hinge of real or of fake images, every scale's discriminator alike: they share no weights."""
        return hinge(scores, real)

    def chosen(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Of images at all scales, those a discriminator sees."""
        return [image for side, image in zip(self.weights, images, strict=True) if side in self.judged]
