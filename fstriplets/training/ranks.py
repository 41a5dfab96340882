"""Several processes that train one network together: who is who, and what they tell each other.

Every rank holds the same weights and takes its part of every batch; gradients are averaged after the
backward pass in one flat all-reduce. The networks here are small (10 MB), so hiding that behind the
backward pass would win nothing, and a GAN's two optimisers, which DistributedDataParallel makes hard, stay
plain. Without a process group all of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fstriplets.errors import ClusterError

__all__ = ["Ranks", "open_ranks", "sync_batch_norm", "these_ranks"]

_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes and reports."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag, true when it is so for any rank."""
        if self.size == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return tuple(bool(vote) for vote in votes)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Means over the ranks; all must bring the same names."""
        if self.size == 1 or not values:
            return dict(values)
        names = sorted(values)
        row = torch.tensor([values[name] for name in names], dtype=torch.float64)
        dist.all_reduce(row)
        return dict(zip(names, (row / self.size).tolist(), strict=True))

    def mean_tensor(self, tensor: Tensor) -> Tensor:
        """Mean of a tensor over the ranks, without a gradient."""
        tensor = tensor.detach().clone()
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor /= self.size
        return tensor

    def from_first(self, value: Any) -> Any:
        """What the first rank holds; what the others give does not matter."""
        if self.size == 1:
            return value
        box = [value if self.first else None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its mean over the ranks."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def these_ranks() -> Ranks:
    """The ranks of the open process group, or a single one."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


@contextmanager
def open_ranks(
    init_method: str = "env://",
    rank: int | None = None,
    size: int | None = None,
    local_rank: int | None = None,
) -> Iterator[Ranks]:
    """Joins the process group that torchrun's variables describe, or the one given; leaves it at the end.

    GPUs talk by nccl and the CPU by gloo. `local_rank`, by default $LOCAL_RANK, chooses the GPU.

    Raises:
        ClusterError: the others do not come.
    """
    rank = int(os.environ.get("RANK", 0)) if rank is None else rank
    size = int(os.environ.get("WORLD_SIZE", 1)) if size is None else size
    if size == 1:
        yield Ranks()
        return
    if torch.cuda.is_available():
        local_rank = int(os.environ.get("LOCAL_RANK", 0)) if local_rank is None else local_rank
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, init_method, timeout=_TIMEOUT, world_size=size, rank=rank)
    except (RuntimeError, ValueError) as error:
        raise ClusterError(f"rank {rank} of {size} cannot meet the others: {error}") from error
    try:
        yield Ranks(rank, size)
    finally:
        dist.destroy_process_group()


def sync_batch_norm(network: nn.Module) -> nn.Module:
    """The network with BatchNorm statistics taken over all ranks' samples; names of weights stay.

    With it, ranks compute what one process would with the whole batch. nccl has torch's own; on the CPU,
    where torch has none, the sums are exchanged by a differentiable all-reduce.
    """
    if these_ranks().size == 1:
        return network
    if torch.cuda.is_available():
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and not isinstance(child, _SyncedBatchNorm):
                setattr(module, name, _SyncedBatchNorm.of(child))
    return network


class _SyncedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the samples of all ranks, each of which brings as many: [B, C] or [B, C, H, W]."""

    @classmethod
    def of(cls, plain: nn.BatchNorm1d | nn.BatchNorm2d) -> _SyncedBatchNorm:
        synced = cls(plain.num_features, plain.eps, plain.momentum, plain.affine)
        synced.load_state_dict(plain.state_dict())
        return synced.train(plain.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        size = dist.get_world_size()
        wide = x.float() if x.ndim == 4 else x.float()[:, :, None, None]
        mean = _sum_over_ranks(wide.mean((0, 2, 3))) / size
        centred = wide - mean[:, None, None]
        variance = _sum_over_ranks(centred.square().mean((0, 2, 3))) / size
        self._remember(mean, variance, x)
        y = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype).view_as(x)

    def _check_input_dim(self, input: Tensor) -> None:
        """Both shapes are taken."""

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, x: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        count = x.numel() // x.shape[1] * dist.get_world_size()
        momentum = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        self.num_batches_tracked += 1


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum_over_ranks(tensor: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(tensor)  # type: ignore[no-untyped-call]
    return total
