"""How far an exported file is from the PyTorch network it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fstriplets.export.faces import FacePairs, Images
from fstriplets.export.report import ExportedFile
from fstriplets.models.weights import file_sha256
from fstriplets.swapping.onnx_model import open_session

__all__ = ["compare_embedder", "compare_generator", "described", "embed", "swap"]

_LEVELS = 127.5  # of 255, a step of 1 in [-1, 1]
_MOST_DECIBELS = 120.0  # said where nothing differs


@torch.inference_mode()
def embed(identity: nn.Module, faces: Images) -> Images:
    """PyTorch's embeddings: [N, 3, S, S] -> [N, D]."""
    rows = [identity(torch.from_numpy(face)[None]).numpy() for face in faces]
    return np.concatenate(rows)


@torch.inference_mode()
def swap(generator: nn.Module, targets: Images, embeddings: Images) -> Images:
    """PyTorch's swapped images, by the network as it was trained: [N, 3, S, S]."""
    rows = [
        generator(torch.from_numpy(target)[None], torch.from_numpy(embedding)[None]).full.numpy()
        for target, embedding in zip(targets, embeddings, strict=True)
    ]
    return np.concatenate(rows)


def compare_generator(
    path: Path, precision: str, pairs: FacePairs, embeddings: Images, truth: Images
) -> ExportedFile:
    """A generator's file against `truth`, the finite images `swap` gave for the same inputs."""
    run = _opened(path)
    errors = []
    for target, embedding, wanted in zip(pairs.targets, embeddings, truth, strict=True):
        made = run({"target": target[None], "embedding": embedding[None]})
        error = np.abs(made[0].astype(np.float64) - wanted) * _LEVELS
        errors.append(np.where(np.isfinite(error), error, 255.0))  # overflown: as wrong as can be
    every = np.stack(errors)
    square = float((every**2).mean())
    psnr = min(_MOST_DECIBELS, 10 * math.log10(255**2 / square)) if square else _MOST_DECIBELS
    mean, most = float(every.mean()), float(every.max())
    return described(path, "generator", _kind(path), precision, mean_error=mean, max_error=most, psnr=psnr)


def compare_embedder(path: Path, precision: str, faces: Images, truth: Images) -> ExportedFile:
    """An embedder's file against `truth`, what `embed` gave for the same faces."""
    run = _opened(path)
    made = np.concatenate([run({"face": face[None]}) for face in faces])
    cosine = float((made * truth).sum(axis=1).min())
    return described(path, "embedder", _kind(path), precision, min_cosine=cosine)


def _kind(path: Path) -> str:
    return path.suffix.removeprefix(".")


def _opened(path: Path) -> Callable[[Mapping[str, Images]], Images]:
    """An ONNX or TFLite file as a function of its named inputs: its one output."""
    if _kind(path) == "tflite":
        from fstriplets.export.tflite import open_tflite

        return open_tflite(path)
    session = open_session(path)

    def run(inputs: Mapping[str, Images]) -> Images:
        (made,) = session.run(None, dict(inputs))
        return np.asarray(made)

    return run


def described(path: Path, role: str, kind: str, precision: str, **errors: float) -> ExportedFile:
    """The record of a file, or of a folder that is one model."""
    if path.is_dir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return ExportedFile(path, role, kind, precision, size, "", **errors)
    return ExportedFile(path, role, kind, precision, path.stat().st_size, file_sha256(path), **errors)
