"""Reading checkpoints without running code from them.

safetensors, or torch.load(weights_only=True). A pickle that wants more than tensors and plain
containers is refused: unpickling it would run whatever its author put inside.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fstriplets.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_checkpoint", "load_state_dict"]

_CONVERT = (
    "If you trust where it comes from, convert it once, in an environment without anything to lose:"
    ' python -c "import torch; from safetensors.torch import save_file;'
    " s = torch.load('{path}', map_location='cpu', weights_only=False);"
    " s = s.state_dict() if hasattr(s, 'state_dict') else s.get('state_dict', s);"
    " save_file({{k: v.clone().contiguous() for k, v in s.items()}}, '{stem}.safetensors')\""
)


def load_checkpoint(path: str | Path) -> Any:
    """Everything in a checkpoint: tensors in plain containers, on the CPU.

    Raises:
        WeightsError: missing, damaged, or a pickle that wants to run code; says how to convert it.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no such checkpoint: {path}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path, device="cpu")
        except SafetensorError as error:
            raise WeightsError(f"{path} is no intact safetensors file: {error}") from error
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch speaks so both of forbidden classes and of files that are no pickle at all.
        if "weights only" in str(error).lower() or "weights_only" in str(error).lower():
            hint = _CONVERT.format(path=path, stem=path.with_suffix(""))
            reason = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()[0]
            raise WeightsError(f"{path} wants to run code when read ({reason}): refused. {hint}") from error
        raise WeightsError(f"{path} is no intact checkpoint: {error}") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is no intact checkpoint: {error}") from error


def load_state_dict(path: str | Path, key: str | None = None) -> dict[str, Tensor]:
    """The state dict inside a checkpoint, tensors on the CPU.

    Args:
        key: which entry of the checkpoint (`g_ema`, `state_dict`); None takes the checkpoint itself, or
            its only entry that is a mapping of names to tensors.

    Raises:
        WeightsError: as `load_checkpoint`; or no state dict where one was looked for.
    """
    checkpoint = load_checkpoint(path)
    if key is not None:
        if not isinstance(checkpoint, dict) or key not in checkpoint:
            raise WeightsError(f"{path} has no entry {key!r}; it has: {_names(checkpoint)}")
        checkpoint = checkpoint[key]
    if _is_state_dict(checkpoint):
        return dict(checkpoint)
    inner = {k: v for k, v in checkpoint.items() if _is_state_dict(v)} if isinstance(checkpoint, dict) else {}
    if len(inner) == 1:
        return dict(next(iter(inner.values())))
    raise WeightsError(
        f"{path} holds {'several state dicts' if inner else 'no state dict'}; it has: {_names(checkpoint)}"
    )


def _is_state_dict(value: Any) -> bool:
    import torch

    return (
        isinstance(value, dict) and bool(value) and all(isinstance(v, torch.Tensor) for v in value.values())
    )


def _names(checkpoint: Any) -> str:
    if not isinstance(checkpoint, dict):
        return type(checkpoint).__name__
    return ", ".join(sorted(map(str, checkpoint))[:12]) or "nothing"
