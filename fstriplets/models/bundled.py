"""Bundled networks, ready to answer: weights read once a process, float32, on one thread of the CPU.

One thread and one face at a time, so that manifests do not depend on the machine or on who shares a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from fstriplets.errors import WeightsError
from fstriplets.models.cache import cached_model
from fstriplets.models.weights import entry, require
from fstriplets.models.weights.load import load_state_dict

__all__ = ["bundled_network", "one_thread"]

Network = TypeVar("Network", bound=nn.Module)


def bundled_network(name: str, build: Callable[[], Network]) -> Network:
    """The network with the weights `name`, in evaluation mode; the same object for all callers.

    Args:
        name: row of the table of weights.
        build: makes the network, untrained.

    Raises:
        WeightsError: the file is missing, has another hash, or does not fit the network.
    """

    def load() -> Network:
        state = load_state_dict(require(name))
        network = build().eval().requires_grad_(False)
        # Counters of BatchNorm, which evaluation does not read, are not in the file.
        missing = network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
        lost = [key for key in missing.missing_keys if not key.endswith("num_batches_tracked")]
        if lost or missing.unexpected_keys:
            raise WeightsError(f"weights {name!r} do not fit: {', '.join([*lost, *missing.unexpected_keys])}")
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    return cached_model("torch", entry(name).sha256, load)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inference on one thread, whatever torch is set to."""
    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        if before != 1:
            torch.set_num_threads(before)
