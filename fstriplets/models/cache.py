"""Models loaded once a process, keyed by backend and the sha256 of their weights."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fstriplets.errors import WeightsError

__all__ = ["cached_model", "clear_models", "onnx_session"]

T = TypeVar("T")

_models: dict[tuple[str, str], Any] = {}
_lock = threading.RLock()


def cached_model(backend: str, key: str, load: Callable[[], T]) -> T:
    """The model kept under (backend, key), loaded by `load` on first use in this process.

    Args:
        backend: what runs it ("onnx", "yunet"); one file may serve several.
        key: sha256 of its weights, plus whatever else shapes the loaded object.
    """
    with _lock:
        if (backend, key) not in _models:
            _models[backend, key] = load()
        model: T = _models[backend, key]
        return model


def clear_models() -> None:
    """Forget every loaded model (tests, notebooks)."""
    with _lock:
        _models.clear()


def onnx_session(path: Path, sha256: str, threads: int = 1) -> Any:
    """An onnxruntime.InferenceSession on the CPU.

    The CPU and a fixed number of threads, so that embeddings and landmarks, and with them manifests,
    come out the same on every worker.

    Raises:
        WeightsError: the file is no ONNX model.
    """

    def load() -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # some exports list initialisers as inputs: pages of warnings
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise WeightsError(f"{path} is no ONNX model that onnxruntime can load: {error}") from error

    return cached_model("onnx", f"{sha256}/{threads}", load)
