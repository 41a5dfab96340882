"""The running average of a network's weights, which is what ships, and writing it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Average", "save_half"]

Network = TypeVar("Network", bound=nn.Module)


class Average(Generic[Network]):
    """Exponential moving average of weights and of BatchNorm's statistics.

    Args:
        network: what to follow.
        decay: of the average; the first steps count more, so that it is of use from the start.

    Attributes:
        network: a copy that holds the average, in evaluation mode.
    """

    def __init__(self, network: Network, decay: float = 0.998) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def follow(self, network: Network, step: int) -> None:
        """Moves the average towards the network after step number `step`."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mine, other in zip(_tensors(self.network), _tensors(network), strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, 1 - decay)
            else:
                mine.copy_(other)


def _tensors(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict().values())


def save_half(network: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Writes a network as safetensors: kernels in half precision, vectors (BatchNorm, biases) in full.

    Args:
        metadata: names and words for the file's head.
    """
    from safetensors.torch import save_file

    state = {
        key: (value.half() if value.is_floating_point() and value.dim() > 1 else value).contiguous().clone()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata=dict(metadata or {}))
    return path
