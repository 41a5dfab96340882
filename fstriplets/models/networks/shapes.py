"""Shape checks at the boundary of a network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["check_shape"]


def check_shape(name: str, tensor: Tensor, shape: Sequence[int | None], multiple_of: int = 1) -> None:
    """Check a tensor against `shape`, None standing for any size.

    Args:
        name: what the tensor is, for the message.
        tensor: any tensor.
        shape: wanted size of each dimension, None for any.
        multiple_of: what the last two sizes must be multiples of.

    Raises:
        ValueError: names the tensor, the shape it has and the one it should have.
    """
    have = tuple(tensor.shape)
    fits = len(have) == len(shape) and all(
        want is None or size == want for size, want in zip(have, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must be [{wanted}], got {list(have)}")
    if any(size % multiple_of for size in have[-2:]):
        raise ValueError(f"{name} must have sides that are multiples of {multiple_of}, got {list(have)}")
