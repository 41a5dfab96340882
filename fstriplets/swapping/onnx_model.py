"""The swapper as ONNX files, run by ONNX Runtime: what `fstriplets export swap` writes.

This module needs neither torch nor onnx: what a file is stands in its own metadata.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fstriplets.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxSwapper", "load_onnx", "onnx_generator", "open_session"]

Pixels = npt.NDArray[np.uint8]
Embeddings = npt.NDArray[np.float32]

#: Precisions a folder is searched for, the best first.
_ORDER = ("fp32", "fp16", "int8")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxSwapper:
    """Swaps faces in aligned crops; see model.Model.

    Args:
        generator, embedder: sessions of `open_session`.
        name: what summaries call it.

    Raises:
        WeightsError: the files are not a generator and the recogniser that belongs to it.
    """

    def __init__(
        self, generator: onnxruntime.InferenceSession, embedder: onnxruntime.InferenceSession, name: str
    ) -> None:
        head = _described(generator, "generator", name)
        mine, theirs = int(head["embedding_size"]), embedder.get_outputs()[0].shape[1]
        if mine != theirs:
            raise WeightsError(
                f"the swapper {name} wants embeddings of {mine} numbers, its embedder gives {theirs}:"
                " --embedder must be the one it was exported with"
            )
        self.size, self.crop, self.name = int(head["size"]), head["crop"], name
        if embedder.get_inputs()[0].shape[2] != self.size:
            raise WeightsError(
                f"the swapper {name} works on crops of {self.size} px, its embedder on"
                f" {embedder.get_inputs()[0].shape[2]} px: --embedder must be the one it was exported with"
            )
        self._generator, self._embedder = generator, embedder

    def embed(self, crops: Pixels) -> Embeddings:
        """As Model.embed."""
        rows = [self._embedder.run(None, {"face": face[None]})[0] for face in _planes(crops)]
        return np.concatenate(rows).astype(np.float32)

    def swap(self, crops: Pixels, embeddings: Embeddings) -> Pixels:
        """As Model.swap."""
        inputs = zip(_planes(crops), np.asarray(embeddings, np.float32), strict=True)
        rows = [self._generator.run(None, {"target": t[None], "embedding": e[None]})[0] for t, e in inputs]
        images = np.clip(np.round((np.concatenate(rows) + 1) * 127.5), 0, 255)
        return np.ascontiguousarray(images.astype(np.uint8).transpose(0, 2, 3, 1))


def _planes(crops: Pixels) -> npt.NDArray[np.float32]:
    """uint8 [B, S, S, 3] -> float32 [B, 3, S, S] in [-1, 1]."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / np.float32(127.5) - 1


def load_onnx(weights: str | Path, embedder: str | Path | None = None, device: str = "auto") -> OnnxSwapper:
    """The swapper of an exported file, or of the folder of an export (its most precise one).

    Args:
        weights: file or folder.
        embedder: ONNX file of its recogniser; None: the one the file names, beside it.
        device: `cpu`, `cuda`, or `auto`: cuda where this ONNX Runtime has it.

    Raises:
        WeightsError: no such file, or not what `fstriplets export swap` writes.
        ConfigError: unknown device.
    """
    path = onnx_generator(weights)
    generator = open_session(path, device)
    head = _described(generator, "generator", path.name)
    partner = Path(embedder).expanduser() if embedder is not None else path.with_name(head["embedder_file"])
    if partner.suffix != ".onnx":
        raise WeightsError(
            f"--embedder {embedder}: an ONNX swapper takes the embedder that was exported with it,"
            f" {head['embedder_file']}"
        )
    if not partner.is_file():
        raise WeightsError(
            f"{path} needs its face recogniser, and there is no {partner}: keep the files of an export"
            " together, or say where it is with --embedder"
        )
    recogniser = open_session(partner, device)
    _described(recogniser, "embedder", partner.name)
    return OnnxSwapper(generator, recogniser, path.name)


def onnx_generator(weights: str | Path) -> Path:
    """The generator's file of an export.

    Raises:
        WeightsError: there is none.
    """
    path = Path(weights).expanduser()
    if path.is_file() and path.suffix == ".onnx":
        return path
    if path.is_file():
        raise WeightsError(
            f"--runtime onnx: {path.name} is no ONNX file; make one with"
            f" fstriplets export swap {path} --output DIR"
        )
    if not path.is_dir():
        raise WeightsError(f"--weights: no such file or folder: {weights}")
    for precision in _ORDER:
        if (found := path / f"swapper-{precision}.onnx").is_file():
            return found
    raise WeightsError(f"--weights {path}: the folder holds no swapper-fp32.onnx, -fp16 or -int8")


def open_session(path: Path, device: str = "cpu", threads: int = 0) -> onnxruntime.InferenceSession:
    """A session with every optimisation of the graph.

    Args:
        path: ONNX file.
        device: `cpu`, `cuda`, or `auto`.
        threads: within an operator; 0: all cores.

    Raises:
        WeightsError: no intact ONNX file. ConfigError: unknown device.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # warnings are about operators it places on the CPU
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=_providers(device))
    except Exception as error:  # of classes the library does not export
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise WeightsError(f"{path} is no ONNX file that ONNX Runtime can run: {error}") from error


def _providers(device: str) -> list[str]:
    import onnxruntime

    there = onnxruntime.get_available_providers()
    kind = device.split(":")[0]
    if kind == "auto":
        return [name for name in (_PROVIDERS["cuda"], _PROVIDERS["cpu"]) if name in there]
    if kind not in _PROVIDERS:
        raise ConfigError(f"--device {device}: ONNX Runtime takes auto, {', '.join(_PROVIDERS)}")
    if _PROVIDERS[kind] not in there:
        raise ConfigError(
            f"--device {device}: this ONNX Runtime has no {_PROVIDERS[kind]} (pip install onnxruntime-gpu);"
            " --device cpu works anywhere"
        )
    return [_PROVIDERS[kind]] if kind == "cpu" else [_PROVIDERS[kind], _PROVIDERS["cpu"]]


def _described(session: onnxruntime.InferenceSession, role: str, name: str) -> dict[str, str]:
    """A file's metadata, if it is in that role."""
    head: dict[str, Any] = dict(session.get_modelmeta().custom_metadata_map)
    if head.get("role") != role:
        found = f"it says it is {head['role']}" if "role" in head else "it does not say what it is"
        raise WeightsError(f"{name} is no {role} that `fstriplets export swap` wrote: {found}")
    return head
