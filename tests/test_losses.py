"""Losses of the swap trainer: values in both forms, gradients, and what must not count."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fstriplets.training import (
    PerceptualLoss,
    adv_loss_discriminator,
    adv_loss_generator,
    hinge,
    id_loss,
    pixel_loss,
    pixel_loss_release,
)


def unit(*rows: list[float]) -> torch.Tensor:
    return F.normalize(torch.tensor(rows))


def test_id_loss_in_the_papers_form_is_one_minus_cosine() -> None:
    a, b = unit([1.0, 0.0], [1.0, 0.0]), unit([1.0, 0.0], [0.0, 1.0])
    assert id_loss(a, b, form="paper") == pytest.approx(0.5)


def test_id_loss_in_the_codes_form_averages_those_beyond_the_margin() -> None:
    a, b = unit([1.0, 0.0], [1.0, 0.0]), unit([1.0, 0.0], [0.0, 1.0])
    assert id_loss(a, b) == pytest.approx(0.98)  # the first is within the margin and is not counted
    assert id_loss(a, b, torch.tensor([1.0, 1.0])) == pytest.approx(0.49)
    assert id_loss(a, b, torch.tensor([1.0, 0.0])) == pytest.approx(0)


@pytest.mark.parametrize("weights", [None, torch.zeros(1)])
def test_id_loss_is_zero_and_has_a_gradient_where_nothing_counts(weights: torch.Tensor | None) -> None:
    a = unit([1.0, 0.0]).requires_grad_()
    loss = id_loss(a, unit([1.0, 0.0]), weights)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(a.grad).all()


def test_pixel_loss_ignores_samples_without_ground_truth() -> None:
    swapped = torch.zeros(2, 3, 4, 4, requires_grad=True)
    result = torch.stack([torch.ones(3, 4, 4), torch.full((3, 4, 4), torch.nan)])
    loss = pixel_loss(swapped, result, torch.tensor([True, False]))
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert torch.isfinite(swapped.grad).all()
    assert (swapped.grad[1] == 0).all()
    assert pixel_loss(swapped, result, torch.tensor([False, False])) == 0


def test_the_releases_pixel_loss_leaves_black_face_pixels_out_only() -> None:
    swapped, black = torch.zeros(1, 3, 256, 256), torch.full((1, 3, 256, 256), -1.0)
    assert pixel_loss_release(swapped, black) == pytest.approx(1.5)
    face, brow = swapped.clone(), swapped.clone()
    face[:, :, 200, 128] = 1
    brow[:, :, 10, 128] = 1
    assert pixel_loss_release(face, black) == pytest.approx(1.5)
    assert pixel_loss_release(brow, black) > 1.5


def test_hinge_sums_the_scales() -> None:
    scores = [torch.tensor([2.0, 0.0]), torch.tensor([-2.0])]
    assert hinge(scores, real=True) == pytest.approx(0.5 + 3)
    assert hinge(scores, real=False) == pytest.approx((3 + 1) / 2 + 0)
    assert hinge(scores, real=True, weights=(1, 0.02)) == pytest.approx(0.5 + 0.06)
    with pytest.raises(ValueError, match="1 weights for 2 scales"):
        hinge(scores, real=True, weights=(1,))


def test_the_generators_two_forms_differ_beyond_the_hinge() -> None:
    fake = [torch.tensor([3.0])]
    assert adv_loss_generator(fake, form="paper") == -3
    assert adv_loss_generator(fake, form="code") == 0


def test_the_discriminators_loss_is_zero_when_both_are_told_apart() -> None:
    real, fake = [torch.tensor([1.5])], [torch.tensor([-1.5])]
    assert adv_loss_discriminator(real, fake) == 0
    assert adv_loss_discriminator(fake, real) == 5


class TwoMaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.conv(x), self.norm(self.conv(x)).relu()]


def test_perceptual_loss_reaches_the_swapped_image_only() -> None:
    loss = PerceptualLoss(TwoMaps(), weights=(1, 0.5)).train()
    swapped, target = (torch.rand(1, 3, 8, 8, requires_grad=True) for _ in range(2))
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss(swapped, target).backward()
    assert swapped.grad.abs().sum() > 0
    assert target.grad is None
    assert all(p.grad is None for p in loss.parameters())
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())
    assert loss(swapped, swapped) == 0


def test_perceptual_loss_wants_a_weight_for_every_map() -> None:
    with pytest.raises(ValueError, match="3 weights for 2"):
        PerceptualLoss(TwoMaps(), weights=(1, 1, 1))(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
