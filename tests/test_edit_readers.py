"""The identity and attribute losses of the editor's trainer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fstriplets.resources import resource
from fstriplets.training.edit_readers import EditReaders, put_back


@pytest.fixture(scope="module")
def readers() -> EditReaders:
    torch.set_num_threads(1)
    return EditReaders()


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """[2, 3, 256, 256]: two demo people, roughly where an aligned crop has them."""
    photos = sorted((resource("demo") / "photos").rglob("*.jpg"))
    chosen = [cv2.imread(str(photo))[..., ::-1] for photo in (photos[0], photos[-1])]
    crops = [cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA) for photo in chosen]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_nothing_is_lost_where_the_result_is_the_truth(readers: EditReaders, faces: torch.Tensor) -> None:
    values = readers.losses(faces, faces)
    assert {name: float(value) for name, value in values.items()} == {
        "identity": pytest.approx(0, abs=1e-5),
        "attributes": pytest.approx(0, abs=1e-5),
    }


def test_another_face_loses_both_and_gradients_reach_the_result(
    readers: EditReaders, faces: torch.Tensor
) -> None:
    other = faces.flip(0).clone().requires_grad_()
    values = readers.losses(other, faces)
    assert values["identity"] > 0.3
    assert values["attributes"] > 0.005
    for value in values.values():
        (gradient,) = torch.autograd.grad(value, other, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_windows_go_back_to_their_places() -> None:
    torch.manual_seed(0)
    whole, parts = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 8, 8, requires_grad=True)
    corners = torch.tensor([[0, 4], [8, 8]])
    made = put_back(whole, parts, corners)
    expected = whole.clone()
    expected[0, :, 0:8, 4:12], expected[1, :, 8:16, 8:16] = parts[0].detach(), parts[1].detach()
    assert torch.equal(made, expected)
    made.sum().backward()
    assert parts.grad is not None
    assert torch.equal(parts.grad, torch.ones_like(parts))
