"""Muon: momentum whose direction is made orthogonal, for the weights that are matrices.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the step has the size of
Adam's as in Liu et al., "Muon is scalable for LLM training" (2025), so that Adam's learning rates serve.
torch.optim.Muon (torch 2.9) takes no convolutions, which are matrices of [out, in x kernel] here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonal"]

_STEPS = 5  # of Newton and Schulz
_QUINTIC = 3.4445, -4.7750, 2.0315  # Jordan's: singular values end within 0.7 to 1.2
_ADAM_RMS = 0.2  # root mean square of a step of Adam's


class Muon(torch.optim.Optimizer):
    """Muon for matrices, Adam for the rest.

    Args:
        matrices: parameters of two dimensions and more, of hidden layers; the first is the outputs.
        others: biases, norms, first and last layers.
        lr: of both. momentum: Nesterov's, of the matrices. betas: of Adam.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(matrices), "momentum": momentum},
            {"params": list(others), "betas": betas},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; what has no gradient stays."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" in group:
                    step = _orthogonal_step(parameter.grad, state, group["momentum"])
                else:
                    step = _adam_step(parameter.grad, state, group["betas"])
                parameter.add_(step, alpha=-group["lr"])
        return loss


def _orthogonal_step(gradient: Tensor, state: dict[str, Tensor], momentum: float) -> Tensor:
    if "average" not in state:
        state["average"] = torch.zeros_like(gradient)
    average = state["average"].mul_(momentum).add_(gradient)
    step = orthogonal(gradient.add(average, alpha=momentum).flatten(1))
    size = float(_ADAM_RMS * max(step.shape) ** 0.5)
    return step.mul_(size).view_as(gradient)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with about the same singular vectors and singular values near 1: [M, N] -> [M, N]."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x if wide is matrix else x.T).contiguous()


def _adam_step(gradient: Tensor, state: dict[str, Tensor], betas: tuple[float, float]) -> Tensor:
    if "step" not in state:
        state["step"] = torch.zeros(())
        state["first"], state["second"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    state["step"] += 1
    first = state["first"].lerp_(gradient, 1 - betas[0])
    second = state["second"].lerp_(gradient.square(), 1 - betas[1])
    count = float(state["step"])
    rise, spread = (1.0 - float(beta**count) for beta in betas)
    step: Tensor = (first / rise) / ((second / spread).sqrt() + 1e-8)
    return step
