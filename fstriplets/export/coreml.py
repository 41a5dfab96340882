"""Core ML packages for Apple devices, by coremltools.

The converter runs on macOS and Linux (coremltools 9.0 with torch 2.13 was), its models on Apple devices only,
so its files are not compared with PyTorch. Documentation followed: coremltools, "PyTorch Conversion Workflow"
(the path by torch.jit.trace) and `coremltools.convert`.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fstriplets.errors import MissingDependency
from fstriplets.export.graph import Embed, Swap

__all__ = ["import_coremltools", "write_coreml"]


def import_coremltools() -> Any:
    """The package coremltools.

    Raises:
        MissingDependency: not installed.
    """
    try:
        return importlib.import_module("coremltools")
    except ImportError as error:
        raise MissingDependency("coremltools", "coreml", "exporting to Core ML") from error


def write_coreml(module: Swap | Embed, path: Path, precision: str, metadata: Mapping[str, str]) -> None:
    """Writes a module as an ML program (.mlpackage) for iOS 15 and macOS 12 or later.

    Args:
        precision: `fp32` or `fp16`, of weights and arithmetic; inputs and outputs are float32.

    Raises:
        MissingDependency: coremltools is not installed.
    """
    ct = import_coremltools()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing makes constants of Python values, which is what we want
        traced = torch.jit.trace(module, module.example())  # type: ignore[no-untyped-call]
    inputs = [
        ct.TensorType(name=name, shape=tuple(value.shape))
        for name, value in zip(module.inputs, module.example(), strict=True)
    ]
    model = ct.convert(
        traced,
        inputs=inputs,
        outputs=[ct.TensorType(name=name) for name in module.outputs],
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS15,
    )
    model.short_description = metadata["description"]
    model.license = metadata["licence"]
    model.version = metadata["fstriplets_version"]
    model.user_defined_metadata.update(metadata)
    model.save(str(path))
