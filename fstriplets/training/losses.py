"""Losses of MobileFSGAN: identity, pixel, adversarial (hinge) and perceptual.

Yu et al. (ICME 2022), section 3.2. Where the released code and the paper differ, both forms are here
and named `paper` and `code`. Nothing in this file weighs one loss against another: recipes do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = [
    "ID_MARGIN",
    "VGG19_WEIGHTS",
    "PerceptualLoss",
    "adv_loss_discriminator",
    "adv_loss_generator",
    "hinge",
    "id_loss",
    "l1_loss",
    "pixel_loss",
    "pixel_loss_release",
]

#: Mean of a scalar tensor over ranks: `Ranks.mean_tensor`.
MeanCount = Callable[[Tensor], Tensor]

#: Distance below which the release no longer pulls the identity; the paper has none.
ID_MARGIN = 0.02
#: Weights of relu1_1 … relu5_1 in the release.
VGG19_WEIGHTS = (0.0, 0.6, 0.8, 1.0, 1.2)


def id_loss(
    embeddings: Tensor,
    wanted: Tensor,
    weights: Tensor | None = None,
    *,
    form: Literal["paper", "code"] = "code",
    mean_count: MeanCount | None = None,
) -> Tensor:
    """How far the swapped faces' identities are from the sources'.

    `paper` is 1 - cos. `code` is relu(1 - cos - 0.02), averaged over the samples that are not yet
    within the margin.

    Args:
        embeddings: [B, D] of the swapped images.
        wanted: [B, D] of the sources.
        weights: [B] sample weights; the mean is then the weighted one in both forms. None: all alike.
        mean_count: mean over ranks of how many samples count.

    Returns:
        A scalar; 0 where no sample counts.
    """
    check_shape("wanted", wanted, list(embeddings.shape))
    distance = 1 - F.cosine_similarity(embeddings, wanted, dim=1)
    if form == "code":
        distance = F.relu(distance - ID_MARGIN)
    if weights is not None:
        check_shape("weights", weights, [embeddings.shape[0]])
        return _ratio((distance * weights).sum(), weights.sum(), mean_count)
    if form == "paper":
        return distance.mean()
    return _ratio(distance.sum(), (distance > 0).sum(), mean_count)


def pixel_loss(
    swapped: Tensor,
    result: Tensor,
    has_result: Tensor | None = None,
    *,
    mean_count: MeanCount | None = None,
) -> Tensor:
    """Half the mean squared error, over the samples that have ground truth.

    Args:
        swapped: [B, 3, H, W] in [-1, 1].
        result: [B, 3, H, W] in [-1, 1]; what stands at samples without ground truth does not matter.
        has_result: [B] bool; None: all have.
        mean_count: mean over ranks of how many samples have.

    Returns:
        A scalar; 0 where no sample has ground truth.
    """
    result = _where_known(swapped, result, has_result)
    error = 0.5 * (swapped - result).square().flatten(1).mean(1)
    return error.mean() if has_result is None else _ratio(error.sum(), has_result.sum(), mean_count)


def l1_loss(
    swapped: Tensor,
    result: Tensor,
    has_result: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    mean_count: MeanCount | None = None,
) -> Tensor:
    """Mean absolute error over the samples that have ground truth; not in the paper.

    Args:
        swapped, result, has_result, mean_count: as pixel_loss takes them.
        weights: [H, W] of the places, mean 1. None: all alike.
    """
    result = _where_known(swapped, result, has_result)
    apart = (swapped - result).abs()
    if weights is not None:
        check_shape("weights", weights, list(swapped.shape[2:]))
        apart = apart * weights
    error = apart.flatten(1).mean(1)
    return error.mean() if has_result is None else _ratio(error.sum(), has_result.sum(), mean_count)


def _where_known(swapped: Tensor, result: Tensor, has_result: Tensor | None) -> Tensor:
    """The results, and where there is none the swapped images, which then have no error."""
    check_shape("result", result, list(swapped.shape))
    if has_result is None:
        return result
    check_shape("has_result", has_result, [swapped.shape[0]])
    # replaced, not multiplied by 0: a missing result may hold nan, and so would its gradient
    return torch.where(has_result.bool()[:, None, None, None], result, swapped.detach())


def pixel_loss_release(swapped: Tensor, result: Tensor) -> Tensor:
    """The release's weighted form: half the squared error without the black pixels of the face area.

    Ground truth that an editor left black (all channels at -1) counts only outside the face: in the
    upper 80/256, and in the outer 40/256 left and right. Channels are summed, not averaged, so this is
    about three times `pixel_loss`. The sample weights the release takes here change nothing there.

    Args:
        swapped, result: [B, 3, S, S] in [-1, 1].
    """
    check_shape("result", result, list(swapped.shape))
    side = swapped.shape[-1]
    top, flank = side * 80 // 256, side * 40 // 256
    counts = (result.sum(1, keepdim=True) >= -2.999).to(swapped.dtype)
    counts[:, :, :top] = 1
    counts[..., :flank] = 1
    counts[..., side - flank :] = 1
    return 0.5 * ((swapped - result).square() * counts).sum() / counts.sum()


def hinge(scores: Sequence[Tensor], real: bool, weights: Sequence[float] | None = None) -> Tensor:
    """Sum over the scales of relu(1 - D) for real, relu(1 + D) for fake, each averaged over its patches.

    Args:
        scores: one tensor a scale, any shape.
        real: what the scores are pushed towards.
        weights: one a scale; None: 1 each.
    """
    return _over_scales([F.relu(1 - s if real else 1 + s).mean() for s in scores], weights)


def adv_loss_discriminator(
    real: Sequence[Tensor], fake: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """What the discriminator minimises (paper and code agree): hinge of real plus hinge of fake.

    Args:
        real: scores of unedited members, one tensor a scale.
        fake: scores of swapped images (detached from the generator), one tensor a scale.
    """
    return hinge(real, True, weights) + hinge(fake, False, weights)


def adv_loss_generator(
    fake: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    *,
    form: Literal["paper", "code"] = "paper",
) -> Tensor:
    """What the generator minimises: -D in the paper, relu(1 - D) in the code.

    Args:
        fake: scores of swapped images, one tensor a scale.
    """
    if form == "code":
        return hinge(fake, True, weights)
    return _over_scales([-s.mean() for s in fake], weights)


class PerceptualLoss(nn.Module):
    """Weighted mean absolute difference of feature maps; the features are frozen.

    With VGG19Slices and the default weights this is the release's.
    """

    def __init__(
        self,
        features: nn.Module,  # images [B, 3, H, W] in [-1, 1] -> list of feature tensors
        weights: Sequence[float] = VGG19_WEIGHTS,  # one for each feature tensor
    ) -> None:
        super().__init__()
        self.features = features.requires_grad_(False)
        self.weights = tuple(weights)
        self.eval()

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Stays in eval mode: its normalisation statistics are not to be trained."""
        del mode
        return super().train(False)

    def forward(self, swapped: Tensor, target: Tensor) -> Tensor:
        """A scalar; no gradient reaches `target`."""
        check_shape("target", target, list(swapped.shape))
        return self.between(self.features(swapped), self.wanted([target])[0])

    @torch.no_grad()
    def wanted(self, batches: Sequence[Tensor]) -> list[list[Tensor]]:
        """Feature maps of each batch of images of one size, found in one pass; without gradients."""
        if not batches:
            return []
        maps = [
            part.split([len(batch) for batch in batches]) for part in self.features(torch.cat(list(batches)))
        ]
        return [list(parts) for parts in zip(*maps, strict=True)]

    def between(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """The distance of feature maps already found: a scalar."""
        if len(found) != len(self.weights):
            raise ValueError(f"{len(self.weights)} weights for {len(found)} feature maps: give one each")
        return _over_scales([F.l1_loss(f, w) for f, w in zip(found, wanted, strict=True)], self.weights)


def _ratio(total: Tensor, count: Tensor, mean_count: MeanCount | None) -> Tensor:
    """total / count, and total (which is then 0, with its graph) where the count is 0.

    Gradients are averaged over ranks, so dividing by the mean count gives the mean over all samples.
    """
    if mean_count is not None:
        count = mean_count(count.float())
    return total / torch.where(count > 0, count, torch.ones_like(count))


def _over_scales(losses: Sequence[Tensor], weights: Sequence[float] | None) -> Tensor:
    factors = [1.0] * len(losses) if weights is None else weights
    if not losses or len(factors) != len(losses):
        raise ValueError(f"{len(factors)} weights for {len(losses)} scales: give one each")
    return torch.stack([loss * factor for loss, factor in zip(losses, factors, strict=True)]).sum()
