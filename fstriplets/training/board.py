"""Metrics for TensorBoard, where it is installed; metrics.jsonl has the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fstriplets.training.loop import Progress

__all__ = ["board"]


def board(folder: Path) -> Callable[[Progress], None]:
    """A reporter that writes events under folder/tensorboard; one that does nothing without the package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda progress: None
    writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def report(progress: Progress) -> None:
        group = "validation" if progress.validation else "train"
        for name, value in progress.values.items():
            writer.add_scalar(f"{group}/{name}", value, progress.step)
        writer.flush()

    return report
